"""Two processes on one machine and a WebRTC data channel between them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import peerpouch
from benchmarks.local import FULL_NOTE
from benchmarks.registry import Measured, Run, benchmark
from peerpouch.cli.processes import Process
from peerpouch.remote import RemoteDatabase
from tests.interop.node_processes import free_port
from tests.interop.serving import Serving

ROOT = Path(__file__).parent.parent
MOMENT = 60.0
WORK = 500.0

replication = benchmark("peer-replication", "Replication, two processes by WebRTC", "docs/s", costly=True)
attachment = benchmark("peer-attachment", "Attachment, two processes by WebRTC", "MB/s", costly=True)
connect = benchmark("connect", "Connect: from open to the first document", "ms", higher_is_better=False, costly=True)
live = benchmark(
    "live-latency", "Live change: written here until seen there", "ms", higher_is_better=False, costly=True
)


@asynccontextmanager
async def pair(run: Run, hub: str | None = None) -> AsyncIterator[tuple[Process, Process]]:
    """A sharing and an opening process with a hub, which is a file if none is given."""
    folders = [run.folder / "sharer", run.folder / "opener"]
    for folder in folders:
        folder.mkdir()
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


@replication.subject("peerpouch", FULL_NOTE)
async def _replication(run: Run) -> Measured:
    async with pair(run) as (sharer, opener):
        await sharer.call("fill", timeout=WORK, count=run.scale.documents)
        await sharer.call("share", timeout=MOMENT)
        opened = await opener.call("open", timeout=MOMENT)
        pulled = await opener.call("pull", timeout=WORK)
        peaks = [(await each.call("used", timeout=MOMENT))["peak"] / 1e6 for each in (sharer, opener)]
    detail = f"{opened['path']}; peak memory {peaks[0]:.0f} and {peaks[1]:.0f} MB"
    return Measured(pulled["docs"] / pulled["seconds"], detail)


def _per_megabyte(before: dict[str, float], after: dict[str, float], size: int) -> float:
    """Milliseconds of a processor for a megabyte."""
    return (after["processor"] - before["processor"]) * 1e9 / size


@attachment.subject("peerpouch", "read in place, from disk")
async def _attachment(run: Run) -> Measured:
    async with pair(run) as (sharer, opener):
        await sharer.call("attach", timeout=WORK, size=run.scale.attachment)
        await sharer.call("share", timeout=MOMENT)
        await opener.call("open", timeout=MOMENT)
        before = [await each.call("used", timeout=MOMENT) for each in (sharer, opener)]
        read = await opener.call("download", timeout=WORK)
        after = [await each.call("used", timeout=MOMENT) for each in (sharer, opener)]
    sends, reads = [_per_megabyte(*each, read["bytes"]) for each in zip(before, after, strict=True)]
    grown = [max(0.0, now["peak"] - then["memory"]) / 1e6 for then, now in zip(before, after, strict=True)]
    detail = f"{sends:.0f} and {reads:.0f} ms of a processor per MB; memory +{grown[0]:.0f} and +{grown[1]:.0f} MB"
    return Measured(read["bytes"] / read["seconds"] / 1e6, detail)


@attachment.subject("bare data channel", "the same engine, from memory, without peerpouch", "limit")
async def _bare_channel(run: Run) -> Measured:
    env = {"PYTHONPATH": str(ROOT)}
    async with (
        await Process.start("the sender", "benchmarks.channel", env=env) as sender,
        await Process.start("the receiver", "benchmarks.channel", env=env) as receiver,
    ):
        offer = await sender.call("offer", timeout=MOMENT)
        await sender.call("accept", timeout=MOMENT, sdp=await receiver.call("answer", timeout=MOMENT, sdp=offer))
        before = [await each.call("used", timeout=MOMENT) for each in (sender, receiver)]
        receiving = asyncio.create_task(receiver.call("receive", timeout=WORK))
        await sender.call("send", timeout=WORK, size=run.scale.attachment)
        received = await receiving
        after = [await each.call("used", timeout=MOMENT) for each in (sender, receiver)]
    sends, reads = [_per_megabyte(*each, received["bytes"]) for each in zip(before, after, strict=True)]
    detail = f"{sends:.0f} and {reads:.0f} ms of a processor per MB"
    return Measured(received["bytes"] / received["seconds"] / 1e6, detail)


async def _connections(run: Run, hub: str | None = None) -> Measured:
    times = []
    for number in range(run.scale.connects):
        folder = run.folder / str(number)
        folder.mkdir()
        async with pair(Run(folder, run.scale), hub) as (sharer, opener):
            await sharer.call("fill", timeout=MOMENT, count=10)
            await sharer.call("share", timeout=MOMENT)
            times.append((await opener.call("open", timeout=MOMENT))["ms"])
    times.sort()
    return Measured(statistics.median(times), f"p95 {times[int(len(times) * 0.95)]:.0f} ms")


@connect.subject("a hub that is a file", "median of fresh processes")
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
                seen = asyncio.create_task(reader.call("arrival", timeout=MOMENT, doc_id=doc_id))
                written = await writer.call("write", timeout=MOMENT, doc_id=doc_id)
                delays.append((await seen - written) * 1000)
        await opener.call("settle", timeout=MOMENT)
    delays.sort()
    return Measured(statistics.median(delays), f"p99 {delays[int(len(delays) * 0.99)]:.1f} ms")
