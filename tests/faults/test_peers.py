"""Peers that vanish, refuse and come back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import peerpouch
from peerpouch.errors import PeerPouchError, PeerUnreachable, ShareNotFound
from tests.node.support import Person, eventually

DOCUMENTS = 20_000
SEED = "07" * 32
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def sharing(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Alice, as a process of her own; killed at the end, if she still lives."""
    arguments = ["-m", "tests.faults.sharer", str(folder / "alice.db"), str(folder / "hub.db"), SEED]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline(), "the sharing process did not start"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def filled(tmp_path: Path) -> Path:
    async with peerpouch.open(tmp_path / "alice.db", durability="normal") as database:
        for start in range(0, DOCUMENTS, 5000):
            await database.bulk_docs([{"_id": f"{n:06}", "text": "x" * 200} for n in range(start, start + 5000)])
    return tmp_path


async def test_a_peer_killed_in_the_middle_is_unreachable_in_seconds_and_the_next_run_completes(filled: Path) -> None:
    async with Person(filled, "bob") as bob:
        local = await bob.database()
        async with sharing(filled) as alice:
            remote = await bob.open("share", timeout=5)
            replication = peerpouch.replicate(remote, local)
            async for progress in replication:
                if progress.docs_written:
                    alice.send_signal(signal.SIGKILL)
                    break
            with pytest.raises(PeerUnreachable):
                await replication
            written = (await local.info())["doc_count"]
            assert 0 < written < DOCUMENTS
            # Her share still stands in the hub, but nobody answers.
            with pytest.raises(PeerUnreachable):
                await remote.get("000000")
        async with sharing(filled):
            result = await peerpouch.replicate(remote, local)
            assert result.ok
            assert (await local.info())["doc_count"] == DOCUMENTS
            assert result.docs_written <= DOCUMENTS - written + 5000  # it went on near its checkpoint
        await remote.close()


async def test_live_replication_goes_on_when_the_peer_comes_back(tmp_path: Path) -> None:
    async with Person(tmp_path, "bob") as bob:
        local = await bob.database()
        async with sharing(tmp_path):
            remote = await bob.open("share", timeout=5)
            sync = peerpouch.sync(local, remote, live=True)
            await local.put({"_id": "before"})
            await eventually(lambda: sync.progress.push.docs_written == 1)
        await local.put({"_id": "meanwhile"})
        async with sharing(tmp_path):
            await eventually(lambda: sync.progress.push.docs_written == 2)
            assert (await remote.get("meanwhile"))["_id"] == "meanwhile"
            await sync.cancel()
        await remote.close()


async def test_a_peer_that_ends_in_order_withdraws_its_share(tmp_path: Path) -> None:
    async with Person(tmp_path, "bob") as bob:
        async with sharing(tmp_path) as alice:
            remote = await bob.open("share", timeout=5)
            following = asyncio.ensure_future(_follow(remote))
            await asyncio.sleep(0)
            alice.send_signal(signal.SIGINT)
            await alice.wait()
            with pytest.raises(PeerPouchError):
                await following
            with pytest.raises(ShareNotFound):
                await remote.get("a")
            assert await bob.hub.get_shared_databases() == []
        await remote.close()


async def _follow(remote: peerpouch.RemoteShare) -> None:
    async for _ in remote.changes(live=True):
        pass


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs signals")
async def test_a_stopped_peer_is_unreachable_and_reached_again(tmp_path: Path) -> None:
    """Like a laptop that sleeps: the process stands still, and its connections with it."""
    async with Person(tmp_path, "bob") as bob, sharing(tmp_path) as alice:
        remote = await bob.open("share", timeout=5)
        await remote.put({"_id": "a"})
        alice.send_signal(signal.SIGSTOP)
        with pytest.raises(PeerUnreachable):
            await remote.get("a")
        alice.send_signal(signal.SIGCONT)
        assert (await remote.get("a"))["_id"] == "a"
        await remote.close()
