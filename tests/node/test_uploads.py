"""Pushing over a socket and over a peer's channel goes on where it broke off, and begins anew at a killed server."""

from __future__ import annotations

import asyncio
import random
import socket
import sys
from pathlib import Path
from typing import Any

import httpx2

import peerpouch
from peerpouch.ports import Database
from peerpouch.remote import RemoteDatabase
from tests.node.support import people
from tests.remote.test_uploads import Line

SIZE = 20_000_000
DATA = random.Random(8).randbytes(SIZE)
CUTS = (0.7, 0.91, 1.0)


def cut(remote: Any) -> Line:
    """Put a line that breaks off before what carries the requests of a remote database."""
    line = Line(remote._client._exchange, [int(part * SIZE) for part in CUTS])
    remote._client._exchange = line
    return line


async def push(local: Database, remote: Database) -> None:
    await local.put({"_id": "large", "_attachments": {"a": {"content_type": "image/png", "data": DATA}}})
    async with asyncio.timeout(120):
        progress = await peerpouch.replicate(local, remote, retry=True)
    assert progress.ok
    assert await (await remote.get_attachment("large", "a")).read() == DATA


async def test_over_http(tmp_path: Path) -> None:
    async with (
        peerpouch.Server(tmp_path / "server", port=0) as server,
        peerpouch.open(tmp_path / "local.db") as local,
        peerpouch.open(server.url + "db") as remote,
    ):
        assert isinstance(remote, RemoteDatabase)
        await remote.create()
        line = cut(remote)
        await push(local, remote)
        assert not line.cuts and SIZE < line.sent < 1.15 * SIZE


async def test_over_a_peers_channel(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await alice.hub.share_database(await alice.database(), name="share")
        async with await bob.open("share") as remote:
            line = cut(remote)
            await push(await bob.database(), remote)
            assert not line.cuts and SIZE < line.sent < 1.15 * SIZE


async def test_a_server_that_was_killed_gets_the_rest_of_it_and_holds_it_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["-m", "peerpouch.cli", "serve", str(tmp_path / "server"), "--port", str(port)]
    url = f"http://127.0.0.1:{port}/"
    process: asyncio.subprocess.Process | None = None

    async def start() -> None:
        nonlocal process
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL)
        async with asyncio.timeout(60), httpx2.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    await client.get(url)
                    return
                except httpx2.TransportError:
                    await asyncio.sleep(0.05)

    async def kill() -> None:
        assert process is not None
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def restart() -> None:
        line.on_cut = None
        await kill()
        await start()

    await start()
    try:
        async with peerpouch.open(tmp_path / "local.db") as local, peerpouch.open(url + "db") as remote:
            assert isinstance(remote, RemoteDatabase)
            await remote.create()
            line = cut(remote)
            line.cuts = [int(0.7 * SIZE)]
            line.on_cut = restart
            await push(local, remote)
            # What was sent and had not been read is sent again: the sockets of both hold megabytes.
            assert not line.cuts and SIZE < line.sent < 1.7 * SIZE
            assert sum("offset=0" in asked for asked in line.asked) == 1
            assert len((await remote.get("large"))["_attachments"]) == 1
    finally:
        await kill()
