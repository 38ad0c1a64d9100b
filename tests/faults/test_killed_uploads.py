"""Pushing a large attachment to a peer while either end, or both, are killed: it goes on from where it was."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import peerpouch
from peerpouch.storage import Storage
from peerpouch.storage.maintenance import uploads_folder
from tests.faults.test_peers import ROOT, sharing
from tests.transports.harness import SCALE

SIZE = 40_000_000
SEED = "09" * 32
SLACK = 8_000_000
"""Bytes that were on their way, at most: credit of streams, what the engines had queued, and the framing of all."""


@asynccontextmanager
async def pushing(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Bob, as a process of his own."""
    arguments = ["-m", "tests.faults.pusher", str(folder / "bob.db"), str(folder / "hub.db"), SEED]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def came(folder: Path) -> int:
    """Bytes that are kept of the upload."""
    return sum(path.stat().st_size for path in uploads_folder(folder / "alice.db").glob("*.upload"))


async def sent_by(bob: asyncio.subprocess.Process) -> int:
    assert bob.stdout is not None
    async with asyncio.timeout(300 * SCALE):
        line = await bob.stdout.readline()
        assert await bob.wait() == 0
    return int(line)


async def until(folder: Path, part: float, bob: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(300 * SCALE):
        while came(folder) < part * SIZE and bob.returncode is None:
            await asyncio.sleep(0.002)


@pytest.mark.timeout(900 * SCALE)
@pytest.mark.parametrize("killed", ["sender", "receiver", "both"])
@pytest.mark.parametrize("seed", range(int(os.environ.get("PEERPOUCH_KILLS", "1"))))
async def test_it_goes_on_from_where_it_was(tmp_path: Path, killed: str, seed: int) -> None:
    part = random.Random(f"{killed} {seed}").uniform(0.2, 0.9)
    data = random.Random(seed).randbytes(SIZE)
    async with peerpouch.open(tmp_path / "bob.db", durability="normal") as local:
        await local.put({"_id": "large", "_attachments": {"a": {"content_type": "image/png", "data": data}}})
    async with sharing(tmp_path) as alice, pushing(tmp_path) as bob:
        await until(tmp_path, part, bob)
        for process in [alice] * (killed != "sender") + [bob] * (killed != "receiver"):
            process.kill()
            await process.wait()
        before = came(tmp_path)
        if killed == "sender":
            async with pushing(tmp_path) as again:
                sent = await sent_by(again)
        elif killed == "receiver":
            async with sharing(tmp_path):
                sent = await sent_by(bob)
        else:
            async with sharing(tmp_path), pushing(tmp_path) as again:
                sent = await sent_by(again)
    print(f"killed {killed} at {before / SIZE:.0%} of it; {sent / SIZE:.0%} were sent afterwards")
    assert before >= part * SIZE, "it had ended before it was killed"
    assert abs(SIZE - before - sent) < SLACK
    assert came(tmp_path) == 0
    async with peerpouch.open(tmp_path / "alice.db") as there:
        assert await (await there.get_attachment("large", "a")).read() == data
        assert isinstance(there, Storage) and not await there.check()


@pytest.mark.timeout(900 * SCALE)
async def test_when_what_came_is_not_kept_all_of_it_is_sent_anew(tmp_path: Path) -> None:
    data = random.Random(5).randbytes(SIZE)
    async with peerpouch.open(tmp_path / "bob.db", durability="normal") as local:
        await local.put({"_id": "large", "_attachments": {"a": {"content_type": "image/png", "data": data}}})
    async with sharing(tmp_path) as alice, pushing(tmp_path) as bob:
        await until(tmp_path, 0.5, bob)
        alice.kill()
        await alice.wait()
        for path in uploads_folder(tmp_path / "alice.db").iterdir():
            path.unlink()
        async with sharing(tmp_path):
            assert await sent_by(bob) > SIZE
    async with peerpouch.open(tmp_path / "alice.db") as there:
        assert await (await there.get_attachment("large", "a")).read() == data
