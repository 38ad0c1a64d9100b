"""The plugin's hub client in a Node process, and hubs where it meets the Python one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.interop.node_processes import NODE, POUCHDB_SERVER, Pouch, pouchdb_server
from tests.interop.serving import Serving

HERE = Path(__file__).parent
BROWSER = HERE.parents[1] / "browser"

needs_plugin = pytest.mark.skipif(
    shutil.which("npm") is None or not (BROWSER / "node_modules").is_dir(),
    reason="Node and the plugin's packages are not installed: make setup-browser",
)

HUBS = ["serve", "public", "pouchdb-server"]


@asynccontextmanager
async def sessions() -> AsyncIterator[Pouch]:
    """A Node process; its methods are those of ``session.mjs``."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        "--no-warnings",
        str(HERE / "session.mjs"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 << 20,
    )
    client = Pouch(process)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def hub_at(kind: str, folder: Path) -> AsyncIterator[str]:
    """A hub of one of the kinds of :data:`HUBS`, at a server process of its own; gives its URL."""
    if kind == "pouchdb-server":
        if not POUCHDB_SERVER.exists():
            pytest.skip("needs pouchdb-server from npm")
        async with pouchdb_server(folder) as url:
            await _make(url + "hub")
            yield url + "hub"
    elif kind == "public":
        async with Serving(folder / "served", 0, "--hub", "hub") as server:
            yield server.url + "hub"
    else:
        async with Serving(folder / "served") as server:
            await _make(server.url + "hub")
            yield server.url + "hub"


async def _make(url: str) -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.put(url)).status_code == 201
