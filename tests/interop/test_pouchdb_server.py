"""A real ``pouchdb-server``, as the other side of replications and as a hub."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

import peerpouch
from tests.interop.node_processes import LIMIT, needs_pouchdb_server, pouchdb_server

pytestmark = needs_pouchdb_server


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[str]:
    async with pouchdb_server(tmp_path) as url:
        yield url


async def make(url: str) -> str:
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.put(url)).status_code == 201
    return url


async def state(database: peerpouch.Database) -> dict[str, Any]:
    """All leaves of all documents, with what is attached to them."""
    found = {}
    async for change in database.changes():
        leaves = await database.open_revs(change["id"])
        docs = [leaf.doc for leaf in leaves if leaf.doc is not None]
        found[change["id"]] = sorted((doc["_rev"], sorted(doc.get("_attachments", {}))) for doc in docs)
    return found


async def test_replication_both_ways_brings_conflicts_deletions_and_attachments(other: str, tmp_path: Path) -> None:
    url = await make(other + "notes")
    async with peerpouch.open(tmp_path / "own.db") as own, peerpouch.open(url) as remote:
        await own.bulk_docs([{"_id": f"own-{n:04}", "n": n} for n in range(300)])
        await remote.bulk_docs([{"_id": f"other-{n:04}", "n": n} for n in range(300)])
        await own.put({"_id": "both", "from": "own"})
        await remote.put({"_id": "both", "from": "other"})
        data = bytes(n * 7 % 256 for n in range(200_000))
        await own.put_attachment("picture", "a.bin", data, "application/octet-stream")
        written = await remote.put_attachment("note", "b.txt", b"some text " * 1000, "text/plain")
        gone = await own.put({"_id": "gone"})
        await own.remove("gone", gone.rev)
        # Its feed passes over a document that is written while it is read, so the first run may leave some.
        while (result := await peerpouch.sync(own, remote)).docs_written:
            assert result.ok
        assert result.docs_failed == 0
        here, there = await state(own), await state(remote)
        assert here == there
        assert len(here["both"]) == 2
        assert len(here) == 604
        assert await (await remote.get_attachment("picture", "a.bin")).read() == data
        assert await (await own.get_attachment("note", "b.txt")).read() == b"some text " * 1000
        assert (await own.get("note"))["_rev"] == written.rev


async def test_live_replication_carries_changes_both_ways(other: str, tmp_path: Path) -> None:
    url = await make(other + "live")
    async with peerpouch.open(tmp_path / "own.db") as own, peerpouch.open(url) as remote:
        sync = peerpouch.sync(own, remote, live=True)
        try:
            for n in range(5):
                for source, target in ((own, remote), (remote, own)):
                    doc_id = f"{n}-{'own' if source is own else 'other'}"
                    since = (await target.info())["update_seq"]
                    await source.put({"_id": doc_id})
                    async with asyncio.timeout(LIMIT), target.changes(since=since, live=True) as feed:
                        async for change in feed:
                            if change["id"] == doc_id:
                                break
        finally:
            await sync.cancel()


async def test_two_processes_find_each_other_through_it_and_replicate_by_webrtc(other: str, tmp_path: Path) -> None:
    hub = await make(other + "hub")
    async with peerpouch.open(tmp_path / "shared.db") as shared:
        await shared.bulk_docs([{"_id": str(n)} for n in range(200)])
    sharer = await _command("share", str(tmp_path / "shared.db"), "--hub", hub, "--name", "n", "--json", home=tmp_path)
    try:
        assert sharer.stdout is not None
        line = await asyncio.wait_for(sharer.stdout.readline(), LIMIT)
        assert json.loads(line)["name"] == "n"
        copy = str(tmp_path / "copy.db")
        syncing = await _command("sync", copy, "n", "--hub", hub, "--json", home=tmp_path)
        out, _ = await asyncio.wait_for(syncing.communicate(), LIMIT)
        assert syncing.returncode == 0
        assert json.loads(out)["pull"]["docs_written"] == 200
    finally:
        sharer.terminate()
        await asyncio.wait_for(sharer.wait(), LIMIT)
    async with peerpouch.open(copy, create=False) as database:
        assert (await database.info())["doc_count"] == 200
    async with peerpouch.open(hub) as database:
        assert [row["id"] async for row in database.all_docs()] == []


async def _command(*arguments: str, home: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "peerpouch.cli",
        *arguments,
        env={**os.environ, "PEERPOUCH_HOME": str(home), "PEERPOUCH_ICE_SERVERS": "none"},
        stdout=asyncio.subprocess.PIPE,
    )
