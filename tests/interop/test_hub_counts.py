"""What many connections leave in a hub: a file, a server's plain database, its public hub, a pouchdb-server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest

import peerpouch
from peerpouch.hub.client import HubClient
from peerpouch.hub.collector import collect_garbage
from peerpouch.identity.keys import Identity
from peerpouch.identity.proofs import HubSession
from peerpouch.node.databases import open_file
from peerpouch.node.urls import open_url
from peerpouch.ports import Database, SystemClock
from tests.hub.conftest import publish
from tests.interop.node_processes import LIMIT, POUCHDB_SERVER, pouchdb_server

CONNECTIONS = 100
AT_ONCE = 8


@asynccontextmanager
async def hub_at(kind: str, folder: Path) -> AsyncIterator[str]:
    """A hub of a kind; gives its path or URL."""
    if kind == "file":
        yield str(folder / "hub.db")
    elif kind == "pouchdb-server":
        async with pouchdb_server(folder) as url, httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.put(url + "hub")).status_code == 201
            yield url + "hub"
    else:
        name = "hub" if kind == "public" else None
        async with peerpouch.Server(folder, port=0, hub=name) as server, httpx2.AsyncClient(trust_env=False) as http:
            if name is None:
                assert (await http.put(server.url + "hub")).status_code == 201
            yield server.url + "hub"


async def _open(target: str, session: HubSession) -> Database:
    if target.startswith("http"):
        return await open_url(target, session=session)
    return await open_file(target)


async def _deleted(database: Database) -> int:
    """Tombstones, counted in the feed, as a pouchdb-server has no count of them."""
    return sum([bool(change.get("deleted")) async for change in database.changes()])


@pytest.mark.parametrize(
    ("kind", "tombstones"),
    [
        ("file", CONNECTIONS),
        ("serve", CONNECTIONS),
        ("public", 0),
        pytest.param(
            "pouchdb-server",
            CONNECTIONS,
            marks=pytest.mark.skipif(not POUCHDB_SERVER.exists(), reason="pouchdb-server is not installed"),
        ),
    ],
)
async def test_a_connection_leaves_a_tombstone_at_most(tmp_path: Path, kind: str, tombstones: int) -> None:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(hub_at(kind, tmp_path))

        async def join() -> tuple[HubClient, Database]:
            session = HubSession()
            database = await stack.enter_async_context(await _open(target, session))
            client = HubClient(database, Identity.ephemeral(), SystemClock(), session=session)
            return await stack.enter_async_context(client), database

        alice, _ = await join()
        bob, database = await join()
        share = await publish(alice)
        turns = asyncio.Semaphore(AT_ONCE)

        async def connect(number: int) -> None:
            async with turns:
                await bob.signal(share, {"sdp": str(number)}, timeout=LIMIT)

        await asyncio.gather(*map(connect, range(CONNECTIONS)))
        async with asyncio.timeout(LIMIT):
            while len(rows := [change["id"] async for change in database.changes() if not change.get("deleted")]) > 1:
                await asyncio.sleep(0.05)  # signals are deleted behind the answers
        assert rows == [f"share:{share}"]
        assert await _deleted(database) == tombstones
        if kind in ("file", "serve"):
            # An operator's pass, which owners' processes make by and by.
            done = await collect_garbage(database, now=SystemClock().now())
            assert done.purged == CONNECTIONS
            assert await _deleted(database) == 0


@pytest.mark.skipif(not POUCHDB_SERVER.exists(), reason="pouchdb-server is not installed")
async def test_an_operator_prepares_and_tidies_a_hub_that_can_not_purge(tmp_path: Path) -> None:
    async with pouchdb_server(tmp_path) as url, httpx2.AsyncClient(trust_env=False, base_url=url) as http:
        assert (await _operate(tmp_path, "init", url + "hub")).returncode == 0
        dead = f"hub/signal:{'0' * 26}:{'1' * 26}"
        assert (await http.put(dead, json={"created": 1000})).status_code == 201
        assert (await _operate(tmp_path, "gc", url + "hub")).returncode == 0
        assert (await http.get(dead)).status_code == 404


async def _operate(home: Path, *arguments: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "peerpouch.cli", "hub", *arguments, env={**os.environ, "PEERPOUCH_HOME": str(home)}
    )
    await asyncio.wait_for(process.wait(), LIMIT)
    return process
