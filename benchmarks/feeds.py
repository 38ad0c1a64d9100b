"""A thousand idle continuous feeds at a server: memory for each, and the time until all have seen one change."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx2

from benchmarks.registry import Measured, Run, benchmark
from tests.interop.node_processes import free_port
from tests.interop.serving import Serving

memory = benchmark(
    "server-feed-memory", "Memory of an idle feed, of a thousand", "KB", higher_is_better=False, costly=True
)
fan_out = benchmark(
    "server-feed-fan-out", "One change, until a thousand feeds have it", "ms", higher_is_better=False, costly=True
)

Feed = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def _feeds(run: Run) -> AsyncIterator[tuple[Serving, list[Feed], int]]:
    """A server, open feeds of it, and the bytes that it held before them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # the server inherits it
    folder = run.folder / "server"
    folder.mkdir(exist_ok=True)
    async with Serving(folder, free_port()) as server:
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            await http.put("db")
            await http.get("db/_changes")
        before = server.memory()
        parts = urlsplit(server.url)
        request = f"GET /db/_changes?feed=continuous&heartbeat=60000 HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode()
        feeds: list[Feed] = []
        for _ in range(run.scale.feeds):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            feeds.append((reader, writer))
        for reader, _ in feeds:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"\n\r\n")
        try:
            yield server, feeds, before
        finally:
            for _, writer in feeds:
                writer.close()


@memory.subject("peerpouch serve", "resident memory of the process")
async def _memory(run: Run) -> Measured:
    async with _feeds(run) as (server, _, before):
        held = server.memory()
        return Measured((held - before) / run.scale.feeds / 1024, f"{held / 2**20:.0f} MB, {run.scale.feeds:,} feeds")


@fan_out.subject("peerpouch serve", "one client process reads all of them")
async def _fan_out(run: Run) -> Measured:
    async def sees(reader: asyncio.StreamReader) -> None:
        while not (await reader.readline()).startswith(b"{"):
            pass

    async with _feeds(run) as (server, feeds, _):
        waiting = asyncio.gather(*(sees(reader) for reader, _ in feeds))
        async with httpx2.AsyncClient(base_url=server.url, trust_env=False) as http:
            await asyncio.sleep(0.2)
            began = time.perf_counter()
            await http.put("db/news", json={})
            await waiting
        return Measured((time.perf_counter() - began) * 1000, f"{run.scale.feeds:,} feeds")
