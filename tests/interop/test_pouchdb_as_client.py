"""A real PouchDB takes ``peerpouch serve`` for a CouchDB."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.node.folder import hash_password
from peerpouch.ports import User
from tests.interop.node_processes import LIMIT, Pouch, needs_pouchdb, pouch

pytestmark = needs_pouchdb


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[peerpouch.Server]:
    async with peerpouch.Server(tmp_path / "server", port=0) as server:
        yield server


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Pouch]:
    async with pouch(tmp_path) as client:
        yield client


async def until_same(client: Pouch, url: str) -> dict[str, Any]:
    """Wait until the local database and the server's are the same; gives their state."""
    async with asyncio.timeout(LIMIT):
        while True:
            here, there = await client("state", "local"), await client("state", url)
            if here == there:
                return dict(here)
            await asyncio.sleep(0.2)


async def test_the_whole_database_api_works(server: peerpouch.Server, client: Pouch) -> None:
    assert await client("api", server.url + "api") == "done"


async def test_live_replication_both_ways_brings_conflicts_deletions_and_attachments(
    server: peerpouch.Server, client: Pouch
) -> None:
    url = server.url + "notes"
    await client("put", "local", [{"_id": "both", "from": "here"}, {"_id": "gone"}, {"_id": "mine"}])
    await client("put", url, [{"_id": "both", "from": "there"}, {"_id": "yours"}])
    await client("live", "sync", url)
    state = await until_same(client, url)
    assert set(state) == {"both", "gone", "mine", "yours"}
    assert len(state["both"]) == 2
    await client("remove", url, "gone")
    await client("remove", "local", "yours")
    await client("attach", "local", "mine", "a.bin", 100_000)
    await client("attach", url, "pictures", "b.bin", 300_000)
    async with peerpouch.open(url) as remote:
        await remote.put({"_id": "from-python"})
    async with asyncio.timeout(LIMIT):
        while True:
            state = await until_same(client, url)
            if {"pictures", "from-python"} <= set(state) and state["gone"][0][1] and state["mine"][0][2]:
                break
    assert state["yours"][0][1]
    assert state["pictures"][0][2] == ["b.bin"]
    ended = await client("stop", "sync")
    assert ended["push"]["failures"] == ended["pull"]["failures"] == 0


async def test_ten_thousand_documents_travel_and_a_second_run_fetches_none(
    server: peerpouch.Server, client: Pouch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url + "many"
    await client("fill", "local", 5_000, "here-")
    await client("fill", url, 5_000, "there-")
    pushed, pulled = await client("replicate", "local", url), await client("replicate", url, "local")
    assert (pushed["written"], pulled["written"]) == (5_000, 5_000)
    async with peerpouch.open(url) as remote:
        assert (await remote.info())["doc_count"] == 10_000
    await client.close()
    with caplog.at_level(logging.INFO, "peerpouch.access"):
        async with pouch(tmp_path) as again:
            assert (await again("replicate", url, "local"))["written"] == 0
            assert (await again("replicate", "local", url))["written"] == 0
    asked = [record.getMessage() for record in caplog.records]
    assert any("/many/_changes" in line for line in asked)
    assert not any("_bulk_get" in line for line in asked)
    # The first run asked in this way, so the line before would see it.
    caplog.clear()
    with caplog.at_level(logging.INFO, "peerpouch.access"):
        async with pouch(tmp_path) as again:
            await again("put", url, [{"_id": "one more"}])
            assert (await again("replicate", url, "local"))["written"] == 1
    assert any("_bulk_get" in record.getMessage() for record in caplog.records)


async def test_a_refused_document_stops_neither_replicator(
    server: peerpouch.Server, client: Pouch, tmp_path: Path
) -> None:
    owner = User("", frozenset(("_admin",)))
    async with peerpouch.Server(tmp_path / "closed", port=0, admins={"root": "secret"}) as closed:
        async with closed.registry.hold("_users") as users:
            await users.put(await _user("ben", "pass"))
        await closed.registry.create("notes", owner)
        async with closed.registry.hold("notes") as notes:
            await notes.put_security({"members": {"names": ["ben"]}})
        url = closed.url.replace("://", "://ben:pass@") + "notes"
        docs = [{"_id": "a"}, {"_id": "_design/x", "views": {}}, {"_id": "b"}, {"_id": "c"}]
        await client("put", "local", docs)
        result = await client("replicate", "local", url)
        assert (result["written"], result["failures"]) == (3, 1)
        assert result["denied"] == ["_design/x"]
        async with peerpouch.open(tmp_path / "own.db") as own, peerpouch.open(url) as remote:
            await own.bulk_docs([{"_id": "d"}, {"_id": "_design/y"}, {"_id": "e"}])
            progress = await peerpouch.replicate(own, remote)
            assert (progress.docs_written, progress.docs_failed) == (2, 1)
            assert [refused.id for refused in progress.refused] == ["_design/y"]
            ids = [row["id"] async for row in remote.all_docs()]
        assert ids == ["a", "b", "c", "d", "e"]


async def _user(name: str, password: str) -> dict[str, Any]:
    record = await hash_password(password)
    return {"_id": f"org.couchdb.user:{name}", "name": name, "type": "user", "roles": [], **record}
