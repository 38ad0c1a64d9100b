"""One PouchDB in Node against ``peerpouch serve``, and against ``pouchdb-server``; and requests per second.

The servers are processes of their own; the client is the same, in the same run.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.peering import latencies
from benchmarks.pouchdb import ask
from benchmarks.processes import output
from benchmarks.registry import Benchmark, Measured, Role, Run, benchmark
from tests.interop.node_processes import (
    MODULES,
    NODE,
    POUCHDB_SERVER,
    Pouch,
    free_port,
    pouch,
    pouchdb_server,
    until_up,
)
from tests.interop.serving import Serving

OURS, THEIRS = "peerpouch serve", "pouchdb-server"
NOTES = {OURS: "every write synced to disk", THEIRS: "in memory"}
AVAILABLE = NODE is not None and (MODULES / "pouchdb").exists() and POUCHDB_SERVER.exists()

bulk = benchmark("server-bulk-write", "Bulk writes, Node PouchDB to a server", "docs/s", costly=True)
push = benchmark("server-push", "Push, Node PouchDB to a server", "docs/s", costly=True)
pull = benchmark("server-pull", "Pull, Node PouchDB from a server", "docs/s", costly=True)
through = benchmark(
    "server-live", "Live change, Node PouchDB through a server to another", "ms", higher_is_better=False, costly=True
)
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

        @what.subject(name, NOTES[name], "peer" if name == THEIRS else "other", short=what is not push)
        async def _subject(run: Run, name: str = name) -> Measured:
            async with server(name, run) as url, pouch(run.folder) as client:
                return await task(run, client, url + "bench")


async def _timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _bulk(run: Run, client: Pouch, url: str) -> Measured:
    return Measured(run.scale.far / await _timed(client("fill", url, run.scale.far, "d")))


async def _push(run: Run, client: Pouch, url: str) -> Measured:
    await client("fill", "local", run.scale.far, "d")
    return Measured(run.scale.far / await _timed(client("replicate", "local", url)))


async def _pull(run: Run, client: Pouch, url: str) -> Measured:
    await client("fill", url, run.scale.far, "d")
    return Measured(run.scale.far / await _timed(client("replicate", url, "local")))


async def _no_op(run: Run, client: Pouch, url: str) -> Measured:
    await client("fill", url, run.scale.far // 10, "d")
    await client("replicate", url, "local")
    return Measured(await _timed(client("replicate", url, "local")) * 1000)


async def _through(run: Run, client: Pouch, url: str) -> Measured:
    found = await ask(run, "throughServer", url=url, times=run.scale.live)
    return latencies([seconds * 1000 for seconds in found["times"]])


for _what, _task in ((through, _through), (bulk, _bulk), (push, _push), (pull, _pull), (no_op, _no_op)):
    _measure(_what, _task)


REQUESTS = 3000
"""GETs of one document at each number of connections, where there is no ``wrk``."""

WRK = shutil.which("wrk")
_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
_PARTS = {name: re.compile(rf"^\s+{name[1:]}%\s+([0-9.]+)(us|ms|s)$", re.MULTILINE) for name in ("p50", "p99")}
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def read_wrk(output: str) -> Measured:
    """What ``wrk --latency`` printed.

    Raises:
        ValueError: it tells of no rate, or of answers that were none.
    """
    rate = _RATE.search(output)
    parts = {name: match for name, pattern in _PARTS.items() if (match := pattern.search(output))}
    if rate is None or len(parts) < len(_PARTS) or "Non-2xx" in output or "Socket errors" in output:
        raise ValueError(f"wrk did not measure:\n{output}")
    milliseconds = {name: float(each[1]) * _MILLISECONDS[each[2]] for name, each in parts.items()}
    return _gotten(float(rate[1]), milliseconds, "wrk")


def _gotten(rate: float, parts: dict[str, float], client: str) -> Measured:
    return Measured(rate, f"p50 {parts['p50']:.1f}, p99 {parts['p99']:.1f} ms, client {client}", parts)


async def _wrk(wrk: str, url: str, connections: int, seconds: int) -> Measured:
    command = (wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", "Accept: application/json", url)
    return read_wrk((await output(*command)).decode())


async def _gets(run: Run, url: str, connections: int) -> Measured:
    """Ask for one document over and over."""
    if WRK is not None:
        return await _wrk(WRK, url, connections, run.scale.seconds)
    parts = urlsplit(url)
    times: list[float] = []
    request = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/json\r\n\r\n".encode()

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        for _ in range(count):
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            await reader.readexactly(int(lengths[0].partition(b":")[2]))
            times.append((time.perf_counter() - began) * 1000)
        writer.close()
        await writer.wait_closed()

    await one(50)
    times.clear()
    seconds = await _timed(asyncio.gather(*(one(REQUESTS // connections) for _ in range(connections))))
    found = latencies(times)
    return _gotten(len(times) / seconds, {"p50": found.value, "p99": found.more["p99"]}, "in Python")


DOCUMENT = {"_id": "a", "text": "x" * 200}


async def _gets_of(run: Run, name: str, connections: int) -> Measured:
    async with server(name, run) as url, pouch(run.folder) as client:
        await client("put", url + "bench", [DOCUMENT])
        return await _gets(run, url + "bench/a", connections)


async def constant(scope: Any, receive: Any, send: Any) -> None:
    """The document as an ASGI application, without a database."""
    if scope["type"] != "http":
        return
    body = json.dumps(DOCUMENT).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _gets_of_nothing(run: Run, connections: int) -> Measured:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "benchmarks.serving:constant", "--port", str(port)),
        *("--log-level", "warning", "--no-access-log", "--lifespan", "off", "--http", "h11", "--loop", "asyncio"),
        cwd=Path(__file__).parent.parent,
    )
    url = f"http://127.0.0.1:{port}/bench/a"
    try:
        await until_up(url)
        return await _gets(run, url, connections)
    finally:
        process.kill()
        await process.wait()


def _register_gets(connections: int) -> None:
    line = benchmark(
        f"server-get-{connections}", f"GET of a document, {connections} connections", "requests/s", costly=True
    )
    for name in (OURS, THEIRS):
        if AVAILABLE:
            role: Role = "peer" if name == THEIRS else "other"

            @line.subject(name, "client and server share the processors", role, short=connections == 16)
            async def _of(run: Run, name: str = name) -> Measured:
                return await _gets_of(run, name, connections)

    @line.subject(
        "the HTTP server alone", "uvicorn with an answer that never changes", "limit", short=connections == 16
    )
    async def _of_nothing(run: Run) -> Measured:
        return await _gets_of_nothing(run, connections)


for _connections in (1, 16, 64):
    _register_gets(_connections)
