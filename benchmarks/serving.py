"""One PouchDB in Node against ``peerpouch serve``, and against ``pouchdb-server``; and requests per second.

The servers are processes of their own; the client is the same, in the same run.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from benchmarks.registry import Benchmark, Measured, Run, benchmark
from tests.interop.node_processes import MODULES, NODE, POUCHDB_SERVER, Pouch, free_port, pouch, pouchdb_server
from tests.interop.serving import Serving

OURS, THEIRS = "peerpouch serve", "pouchdb-server"
NOTES = {OURS: "every write synced to disk", THEIRS: "in memory"}
AVAILABLE = NODE is not None and (MODULES / "pouchdb").exists() and POUCHDB_SERVER.exists()

bulk = benchmark("server-bulk-write", "Bulk writes, Node PouchDB to a server", "docs/s", costly=True)
push = benchmark("server-push", "Push, Node PouchDB to a server", "docs/s", costly=True)
pull = benchmark("server-pull", "Pull, Node PouchDB from a server", "docs/s", costly=True)
no_op = benchmark("server-no-op", "Pull with nothing new, Node PouchDB", "ms", higher_is_better=False, costly=True)

Task = Callable[[Run, Pouch, str], Awaitable[Measured]]


@asynccontextmanager
async def server(name: str, run: Run) -> AsyncIterator[str]:
    """A fresh server; gives its URL."""
    folder = run.folder / "server"
    folder.mkdir(exist_ok=True)
    if name == THEIRS:
        async with pouchdb_server(folder) as url:
            yield url
    else:
        async with Serving(folder, free_port()) as ours:
            yield ours.url


def _measure(what: Benchmark, task: Task) -> None:
    for name in (OURS, THEIRS):
        if not AVAILABLE:
            continue

        @what.subject(name, NOTES[name], "peer" if name == THEIRS else "other")
        async def _subject(run: Run, name: str = name) -> Measured:
            async with server(name, run) as url, pouch(run.folder) as client:
                return await task(run, client, url + "bench")


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _bulk(run: Run, client: Pouch, url: str) -> Measured:
    return Measured(run.scale.documents / await _timed(client("fill", url, run.scale.documents, "d")))


async def _push(run: Run, client: Pouch, url: str) -> Measured:
    await client("fill", "local", run.scale.documents, "d")
    return Measured(run.scale.documents / await _timed(client("replicate", "local", url)))


async def _pull(run: Run, client: Pouch, url: str) -> Measured:
    await client("fill", url, run.scale.documents, "d")
    return Measured(run.scale.documents / await _timed(client("replicate", url, "local")))


async def _no_op(run: Run, client: Pouch, url: str) -> Measured:
    await client("fill", url, run.scale.documents // 10, "d")
    await client("replicate", url, "local")
    return Measured(await _timed(client("replicate", url, "local")) * 1000)


for _what, _task in ((bulk, _bulk), (push, _push), (pull, _pull), (no_op, _no_op)):
    _measure(_what, _task)


REQUESTS = 3000
"""GETs of one document at each number of connections, where there is no ``wrk``."""

WRK = shutil.which("wrk")
SECONDS = 5
"""That ``wrk`` asks for, at each number of connections."""

_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
_P99 = re.compile(r"^\s+99%\s+([0-9.]+)(us|ms|s)$", re.MULTILINE)
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def read_wrk(output: str) -> Measured:
    """What ``wrk --latency`` printed.

    Raises:
        ValueError: it tells of no rate, or of answers that were none.
    """
    rate, p99 = _RATE.search(output), _P99.search(output)
    if rate is None or p99 is None or "Non-2xx" in output or "Socket errors" in output:
        raise ValueError(f"wrk did not measure:\n{output}")
    return Measured(float(rate[1]), f"p99 {float(p99[1]) * _MILLISECONDS[p99[2]]:.1f} ms, client wrk")


async def _wrk(wrk: str, url: str, connections: int) -> Measured:
    process = await asyncio.create_subprocess_exec(
        *(wrk, "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-H", "Accept: application/json", url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return read_wrk(output.decode())


async def _gets(run: Run, name: str, connections: int) -> Measured:
    async with server(name, run) as url, pouch(run.folder) as client:
        await client("put", url + "bench", [{"_id": "a", "text": "x" * 200}])
        if WRK is not None:
            return await _wrk(WRK, url + "bench/a", connections)
        parts = urlsplit(url)
        times: list[float] = []
        request = f"GET /bench/a HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n\r\n".encode()

        async def one(count: int) -> None:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            for _ in range(count):
                began = time.perf_counter()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(lengths[0].partition(b":")[2]))
                times.append(time.perf_counter() - began)
            writer.close()
            await writer.wait_closed()

        await one(50)
        times.clear()
        seconds = await _timed(asyncio.gather(*(one(REQUESTS // connections) for _ in range(connections))))
    p99 = statistics.quantiles(times, n=100)[98] * 1000
    return Measured(len(times) / seconds, f"p99 {p99:.1f} ms, client in Python")


for _connections in (1, 16, 64):
    _line = benchmark(
        f"server-get-{_connections}", f"GET of a document, {_connections} connections", "requests/s", costly=True
    )
    for _name in (OURS, THEIRS):
        if AVAILABLE:

            @_line.subject(_name, "client and server share the processors", "peer" if _name == THEIRS else "other")
            async def _subject(run: Run, name: str = _name, connections: int = _connections) -> Measured:
                return await _gets(run, name, connections)
