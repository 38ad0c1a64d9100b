"""What a server process holds in memory while much goes through it: however much it is, and however slowly it is read.

The bounds are generous; without streaming, each would be passed by far.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.interop.node_processes import LIMIT
from tests.interop.serving import Serving

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")

MB = 1 << 20
LARGE = 192 * MB
"""Bytes that go through, six times of what may be held."""
ALLOWED = 32 * MB
"""Bytes that a server may hold in addition while that goes through: its chunks, SQLite's cache, what malloc keeps."""
PAGE = 16 * MB
"""What a listing may hold for one reader: a page of 4 MB of documents, as rows and as JSON, twice that in Python."""
FEEDS = 300


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    async with Serving(tmp_path) as server:
        async with client(server) as http:
            assert (await http.put("db")).status_code == 201
            await http.put("db/warm", json={})
            await http.put("db/warm/a", params={"rev": (await http.get("db/warm")).json()["_rev"]}, content=bytes(MB))
            await http.get("db/warm/a")
            await http.get("db/_all_docs")
        yield server


def client(server: Serving) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=LIMIT)


async def _blocks(size: int) -> AsyncIterator[bytes]:
    for n in range(size // MB):
        yield hashlib.sha256(str(n).encode()).digest() * (MB // 32)


async def test_a_large_attachment_goes_in_and_out_through_a_small_server(server: Serving) -> None:
    before = server.memory(peak=True)
    expected = hashlib.sha256()
    async for block in _blocks(LARGE):
        expected.update(block)
    async with client(server) as http:
        put = await http.put("db/large/a", content=_blocks(LARGE), headers={"content-length": str(LARGE)})
        assert put.status_code == 201, put.text
        assert server.memory(peak=True) - before < ALLOWED
        found, size = hashlib.sha256(), 0
        async with http.stream("GET", "db/large/a") as response:
            async for chunk in response.aiter_raw():
                found.update(chunk)
                size += len(chunk)
    assert (size, found.digest()) == (LARGE, expected.digest())
    assert server.memory(peak=True) - before < ALLOWED


@pytest.mark.parametrize("path", ["/db/large/a", "/db/_all_docs?include_docs=true"])
async def test_nothing_piles_up_for_a_reader_that_does_not_read(server: Serving, path: str) -> None:
    async with client(server) as http:
        if path.endswith("/a"):
            await http.put("db/large/a", content=_blocks(LARGE // 2), headers={"content-length": str(LARGE // 2)})
        else:
            for start in range(0, 6000, 200):
                docs = [{"_id": f"{n:05}", "text": "x" * 20_000} for n in range(start, start + 200)]
                assert (await http.post("db/_bulk_docs", json={"docs": docs})).status_code == 201
    before = server.memory()
    parts = urlsplit(server.url)
    readers = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=MB)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        readers.append(writer)
    async with client(server) as http:
        # The server has had its chance to go on when it has answered this often.
        for n in range(200):
            assert (await http.get("db/warm", params={"n": n})).status_code == 200
    held = server.memory() - before
    assert held < ALLOWED + len(readers) * PAGE, f"{held / MB:.0f} MB"
    for writer in readers:
        writer.close()


async def test_idle_feeds_cost_little_and_each_sees_a_change(server: Serving) -> None:
    parts = urlsplit(server.url)
    request = f"GET /db/_changes?feed=continuous&since=now&heartbeat=60000 HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n"
    before = server.memory()
    feeds = []
    for _ in range(FEEDS):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(request.encode())
        feeds.append((reader, writer))
    for reader, _ in feeds:
        async with asyncio.timeout(LIMIT):
            await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"\n\r\n")  # the first empty line says that it has caught up
    each = (server.memory() - before) / FEEDS
    assert each < 200_000, f"{each:.0f} bytes for a feed"
    async with client(server) as http:
        await http.put("db/news", json={})

    async def sees(reader: asyncio.StreamReader) -> str:
        while True:
            line = (await reader.readline()).strip()
            if line.startswith(b"{"):
                return str(json.loads(line)["id"])

    async with asyncio.timeout(LIMIT):
        seen = await asyncio.gather(*(sees(reader) for reader, _ in feeds))
    assert seen == ["news"] * FEEDS
    for _, writer in feeds:
        writer.close()
