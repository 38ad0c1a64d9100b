"""The examples do what their first lines say."""

from __future__ import annotations

import signal
from pathlib import Path

import peerpouch
from tests.cli.support import ended, python, text_line

EXAMPLES = Path(__file__).parent.parent / "examples"


async def test_one_example_shares_what_the_other_follows(tmp_path: Path) -> None:
    async with peerpouch.open(tmp_path / "notes.db") as notes:
        await notes.put({"_id": "heron", "seen": 3})
    arguments = ("hub.db", "Field notes")
    async with python(tmp_path, "alice", str(EXAMPLES / "share.py"), "notes.db", *arguments) as sharing:
        assert (await text_line(sharing)).startswith("shared as webrtc://")
        async with python(tmp_path, "bob", str(EXAMPLES / "follow.py"), "copy.db", *arguments) as following:
            assert "heron" in await text_line(following)
            assert "'who': 'an example'" in await text_line(sharing)
            while await text_line(following) != "idle: 1 documents\n":
                pass
            async with peerpouch.open(tmp_path / "copy.db") as copy:
                assert (await copy.get("heron"))["seen"] == 3
                await copy.put({"_id": "from-bob"})
            assert (await text_line(sharing)).startswith("from-bob is now 1-")
            for process in (following, sharing):
                process.send_signal(signal.SIGINT)
                result = await ended(process)
                assert (result.code, result.out.splitlines()[-1]) == (0, "withdrawn" if process is sharing else "ended")
