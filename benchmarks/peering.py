"""Two processes on one machine and a WebRTC data channel between them."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import peerpouch
from benchmarks.documents import SETS, TITLES, Make, record
from benchmarks.local import FULL_NOTE, whole
from benchmarks.prepared import copy_of_records
from benchmarks.registry import Benchmark, Measured, Run, benchmark
from peerpouch.cli.processes import Process
from peerpouch.remote import RemoteDatabase
from tests.interop.node_processes import free_port
from tests.interop.serving import Serving

ROOT = Path(__file__).parent.parent
MOMENT = 60.0
WORK = 280.0
CHANNEL, CHANNEL_NOTE = "bare data channel", "the same engine, from memory, without peerpouch"
LEAST = 4 << 20
"""Bytes from which on a channel's rate can be told."""

replication = benchmark("peer-replication", "Replication, two processes by WebRTC", "docs/s", costly=True)
attachment = benchmark("peer-attachment", "Attachment, two processes by WebRTC", "MB/s", costly=True)
connect = benchmark("connect", "Connect: from open to the first document", "ms", higher_is_better=False, costly=True)
live = benchmark(
    "live-latency", "Live change: written here until seen there", "ms", higher_is_better=False, costly=True
)


@asynccontextmanager
async def pair(run: Run, hub: str | None = None) -> AsyncIterator[tuple[Process, Process]]:
    """A sharing and an opening process with a hub, which is a file if none is given.

    The sharer's database, ``bench.db`` in the folder ``sharer``, may be there already.
    """
    folders = [run.folder / "sharer", run.folder / "opener"]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    hub = hub or str(run.folder / "hub.db")
    async with (
        await _peer("the sharer", folders[0], hub) as sharer,
        await _peer("the opener", folders[1], hub) as opener,
    ):
        await sharer.call("start", timeout=MOMENT)
        await opener.call("start", timeout=MOMENT)
        yield sharer, opener


async def _peer(name: str, folder: Path, hub: str) -> Process:
    env = {"PYTHONPATH": str(ROOT), "PEERPOUCH_HOME": str(folder)}
    return await Process.start(name, "benchmarks.peer", str(folder), hub, env=env)


async def used(*peers: Process) -> list[dict[str, float]]:
    """What each has used by now, and the most memory since it was asked last."""
    return [await each.call("used", timeout=MOMENT) for each in peers]


async def _replicated(run: Run, count: int, kind: str = "") -> Measured:
    folder = run.folder / "sharer"
    folder.mkdir()
    if not kind:
        await copy_of_records(folder, count)
    async with pair(run) as (sharer, opener):
        if kind:
            await sharer.call("fill", timeout=WORK, count=count, kind=kind)
        await sharer.call("share", timeout=MOMENT)
        opened = await opener.call("open", timeout=MOMENT)
        pulled = await opener.call("pull", timeout=WORK)
        peaks = [each["peak"] / 1e6 for each in await used(sharer, opener)]
    detail = f"{opened['path'].partition(',')[0]}; peak memory {peaks[0]:.0f} and {peaks[1]:.0f} MB"
    return Measured(whole(pulled["docs"], count) / pulled["seconds"], detail)


@replication.subject("peerpouch", FULL_NOTE)
async def _replication(run: Run) -> Measured:
    return await _replicated(run, run.scale.documents)


async def _carried(count: int, make: Make) -> Measured:
    """So many documents' worth of bytes over a bare channel."""
    each = sum(len(json.dumps(make(number), ensure_ascii=False).encode()) for number in range(100)) / 100
    received = await bare_transfer(max(int(count * each), LEAST))
    return Measured(received["bytes"] / received["seconds"] / each)


@replication.subject(CHANNEL, f"as many bytes, {CHANNEL_NOTE}", "limit")
async def _channel_replication(run: Run) -> Measured:
    return await _carried(run.scale.documents, record)


def _register_set(line: Benchmark, kind: str, make: Make) -> None:
    @line.subject("peerpouch", FULL_NOTE)
    async def _ours(run: Run) -> Measured:
        return await _replicated(run, run.scale.documents // 10, kind)

    @line.subject(CHANNEL, f"as many bytes, {CHANNEL_NOTE}", "limit", short=False)
    async def _theirs(run: Run) -> Measured:
        return await _carried(run.scale.documents // 10, make)


for _kind, _make in SETS.items():
    _title = f"Replication, two processes by WebRTC: {TITLES[_kind]}"
    _register_set(benchmark(f"peer-replication-{_kind}", _title, "docs/s", costly=True), _kind, _make)


def _per_megabyte(before: dict[str, float], after: dict[str, float], size: int) -> float:
    """Milliseconds of a processor for a megabyte."""
    return (after["processor"] - before["processor"]) * 1e9 / size


@attachment.subject("peerpouch", "read in place, from disk")
async def _attachment(run: Run) -> Measured:
    async with pair(run) as (sharer, opener):
        await sharer.call("attach", timeout=WORK, size=run.scale.attachment)
        await sharer.call("share", timeout=MOMENT)
        await opener.call("open", timeout=MOMENT)
        before = await used(sharer, opener)
        read = await opener.call("download", timeout=WORK)
        after = await used(sharer, opener)
    sends, reads = [_per_megabyte(*each, read["bytes"]) for each in zip(before, after, strict=True)]
    grown = [max(0.0, now["peak"] - then["memory"]) / 1e6 for then, now in zip(before, after, strict=True)]
    detail = f"{sends:.0f} and {reads:.0f} ms of a processor per MB; memory +{grown[0]:.0f} and +{grown[1]:.0f} MB"
    return Measured(read["bytes"] / read["seconds"] / 1e6, detail)


@asynccontextmanager
async def bare_pair() -> AsyncIterator[tuple[Process, Process]]:
    """Two processes with an end of a bare data channel each, which are not connected yet."""
    env = {"PYTHONPATH": str(ROOT)}
    async with (
        await Process.start("the sender", "benchmarks.channel", env=env) as sender,
        await Process.start("the receiver", "benchmarks.channel", env=env) as receiver,
    ):
        yield sender, receiver


async def meet(offerer: Process, answerer: Process) -> None:
    """Connect two ends: each hears of the other by this process."""
    offer = await offerer.call("offer", timeout=MOMENT)
    await offerer.call("accept", timeout=MOMENT, sdp=await answerer.call("answer", timeout=MOMENT, sdp=offer))


async def bare_transfer(size: int) -> dict[str, float]:
    """Send so many bytes; gives bytes, seconds, and what each end used of a processor for a megabyte."""
    async with bare_pair() as (sender, receiver):
        await meet(sender, receiver)
        before = await used(sender, receiver)
        receiving = asyncio.create_task(receiver.call("receive", timeout=WORK))
        await sender.call("send", timeout=WORK, size=size)
        received: dict[str, float] = await receiving
        after = await used(sender, receiver)
    sends, reads = [_per_megabyte(*each, int(received["bytes"])) for each in zip(before, after, strict=True)]
    return {**received, "sends": sends, "reads": reads}


@attachment.subject(CHANNEL, CHANNEL_NOTE, "limit")
async def _bare_channel(run: Run) -> Measured:
    received = await bare_transfer(run.scale.attachment)
    detail = f"{received['sends']:.0f} and {received['reads']:.0f} ms of a processor per MB"
    return Measured(received["bytes"] / received["seconds"] / 1e6, detail)


def latencies(times: list[float]) -> Measured:
    """The median of milliseconds, with the 95th and the 99th in the hundred."""
    times = sorted(times)
    more = {name: times[min(int(len(times) * share), len(times) - 1)] for name, share in (("p95", 0.95), ("p99", 0.99))}
    return Measured(statistics.median(times), f"p95 {more['p95']:.1f}, p99 {more['p99']:.1f} ms of {len(times)}", more)


async def _connections(run: Run, hub: str | None = None, *, settled: bool = True) -> Measured:
    """``settled``: the opener has loaded its engine, as the sharer has before it shares, and as the limit has."""
    times = []
    for number in range(run.scale.connects):
        folder = run.folder / str(number)
        folder.mkdir()
        async with pair(Run(folder, run.scale), hub) as (sharer, opener):
            await sharer.call("fill", timeout=MOMENT, count=10)
            await sharer.call("share", timeout=MOMENT)
            if settled:
                await opener.call("settled", timeout=MOMENT)
            times.append((await opener.call("open", timeout=MOMENT))["ms"])
    return latencies(times)


@connect.subject("a hub that is a file", "fresh processes that are at the hub")
async def _connect(run: Run) -> Measured:
    return await _connections(run)


@connect.subject("a hub under peerpouch serve", "the same, over HTTP")
async def _connect_by_http(run: Run) -> Measured:
    folder = run.folder / "server"
    folder.mkdir()
    async with Serving(folder, free_port()) as server:
        async with peerpouch.open(server.url + "hub") as hub:
            assert isinstance(hub, RemoteDatabase)
            await hub.create()
        return await _connections(run, server.url + "hub")


@connect.subject("a hub that is a file, at once", "the opener has just begun, and still loads its engine")
async def _connect_at_once(run: Run) -> Measured:
    return await _connections(run, settled=False)


@connect.subject("the engine alone", "fresh processes, signalled by pipes, until the channel opens", "limit")
async def _connect_bare(run: Run) -> Measured:
    times = []
    for _ in range(run.scale.connects):
        async with bare_pair() as (offerer, answerer):
            await used(offerer, answerer)  # until both are there
            began = time.perf_counter()
            await meet(offerer, answerer)
            await offerer.call("opened", timeout=MOMENT)
            times.append((time.perf_counter() - began) * 1000)
    return latencies(times)


@live.subject("peerpouch", FULL_NOTE)
async def _live(run: Run) -> Measured:
    delays = []
    async with pair(run) as (sharer, opener):
        await sharer.call("share", timeout=MOMENT)
        await opener.call("open", timeout=MOMENT)
        await opener.call("live", timeout=MOMENT)
        for number in range(run.scale.live):
            for writer, reader in ((sharer, opener), (opener, sharer)):
                doc_id = f"live-{number}-{writer.pid}"
                await reader.call("expect", timeout=MOMENT, doc_id=doc_id)
                written = await writer.call("write", timeout=MOMENT, doc_id=doc_id)
                delays.append((await reader.call("arrival", timeout=MOMENT) - written) * 1000)
        await opener.call("settle", timeout=MOMENT)
    return latencies(delays)


@live.subject("two syncs", "a row written to SQLite here and there, and a message between: nothing else", "limit")
async def _live_bare(run: Run) -> Measured:
    delays = []
    async with bare_pair() as (one, other):
        for name, each in (("one", one), ("other", other)):
            await each.call("keep", timeout=MOMENT, file=str(run.folder / f"{name}.db"))
        await meet(one, other)
        for each in (one, other):
            await each.call("opened", timeout=MOMENT)
        for _ in range(run.scale.live):
            for writer, reader in ((one, other), (other, one)):
                seen = asyncio.create_task(reader.call("arrival", timeout=MOMENT))
                written = await writer.call("write", timeout=MOMENT, body="x" * 200)
                delays.append((await seen - written) * 1000)
    return latencies(delays)
