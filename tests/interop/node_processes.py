"""Real peers from npm, as child processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

HERE = Path(__file__).parent
NODE = shutil.which("node")
MODULES = HERE / "node" / "node_modules"
POUCHDB_SERVER = MODULES / "pouchdb-server" / "bin" / "pouchdb-server"

SCALE = float(os.environ.get("PEERPOUCH_TEST_TIMEOUT_SCALE", "1"))
LIMIT = 90 * SCALE
"""Seconds for one step of a test."""

needs_pouchdb = pytest.mark.skipif(
    NODE is None or not (MODULES / "pouchdb").exists(), reason="needs node, and pouchdb from npm"
)
needs_pouchdb_server = pytest.mark.skipif(
    NODE is None or not POUCHDB_SERVER.exists(), reason="needs node, and pouchdb-server from npm"
)


class Pouch:
    """A PouchDB in a Node process; its methods are those of ``pouch.mjs``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._last = 0
        self._reader = asyncio.create_task(self._read())

    async def __call__(self, method: str, *arguments: Any) -> Any:
        self._last += 1
        answer = self._calls[self._last] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        line = json.dumps({"call": self._last, "method": method, "arguments": arguments})
        self._process.stdin.write(line.encode() + b"\n")
        return await asyncio.wait_for(answer, LIMIT)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            answer = self._calls.pop(message["call"])
            if "error" in message:
                answer.set_exception(AssertionError(message["error"]))
            else:
                answer.set_result(message["result"])
        for answer in self._calls.values():
            answer.set_exception(AssertionError("The Node process ended."))

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), LIMIT)
        await self._reader


@asynccontextmanager
async def pouch(folder: Path) -> AsyncIterator[Pouch]:
    """A PouchDB whose local database is in a folder."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(HERE / "pouch.mjs"),
        str(folder),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 << 20,
    )
    client = Pouch(process)
    try:
        yield client
    finally:
        await client.close()


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def pouchdb_server(folder: Path) -> AsyncIterator[str]:
    """A ``pouchdb-server`` in memory; gives its URL."""
    assert NODE is not None
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(POUCHDB_SERVER),
        "--in-memory",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        cwd=folder,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/"
    try:
        await until_up(url)
        yield url
    finally:
        process.kill()
        await process.wait()


async def until_up(url: str) -> None:
    """Wait until a server answers."""
    async with asyncio.timeout(LIMIT), httpx2.AsyncClient(trust_env=False) as client:
        while True:
            try:
                await client.get(url)
                return
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
