"""Five hundred connections, one after the other, leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path

import pytest

import peerpouch
from peerpouch.peers import pool
from peerpouch.peers.limits import PoolLimits
from tests.node.support import eventually, people

COUNT = 500
WARM = 50
"""The first ones load what is loaded once."""

_STATUS, _FILES = Path("/proc/self/status"), Path("/proc/self/fd")


def _resident() -> int:
    """Bytes of this process in memory."""
    (line,) = [line for line in _STATUS.read_text().splitlines() if line.startswith("VmRSS:")]
    return 1024 * int(line.split()[1])


def _files() -> int:
    return len(list(_FILES.iterdir()))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not _STATUS.exists(), reason="needs /proc")
async def test_five_hundred_connections_leave_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A connection that nobody uses ends at once, so that each opening makes one.
    monkeypatch.setattr(pool, "PoolLimits", lambda: PoolLimits(idle=0.0))
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        await notes.put({"_id": "heron"})
        await alice.hub.share_database(notes, name="notes")
        share = await bob.find("notes")

        async def once() -> None:
            async with share.open(timeout=30) as remote:
                assert (await remote.get("heron"))["_id"] == "heron"
            await eventually(lambda: not bob.hub._pool._connections)

        async def quiet() -> bool:
            return not bob.hub._pool._connections and not alice.hub._pool._connections

        async def documents() -> int:
            async with peerpouch.open(tmp_path / "hub.db", create=False) as hub:
                return int((await hub.info())["doc_count"])

        for _ in range(WARM):
            await once()
        await eventually(quiet)
        gc.collect()
        before = _resident(), threading.active_count(), _files(), len(asyncio.all_tasks())
        documents_before = await documents()
        for _ in range(COUNT):
            await once()
        await eventually(quiet)
        gc.collect()

        async def settled() -> bool:
            # The engine's own threads close its sockets, and the hub's documents are deleted, a little later.
            return (
                _files() <= before[2] + 8
                and threading.active_count() <= before[1] + 1
                and len(asyncio.all_tasks()) <= before[3] + 2
                and await documents() <= documents_before
            )

        await eventually(settled)
        # Measured: 3 MB. Each connection that stayed would hold about one.
        assert _resident() - before[0] < 40 << 20
