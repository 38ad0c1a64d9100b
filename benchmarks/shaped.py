"""Two processes and a link with latency, loss or a rate between them: :mod:`tests.network` makes it.

The link costs processor time of its own, so what counts is how a figure changes with the link and not how high it is.
"""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from benchmarks.documents import record
from benchmarks.peering import MOMENT, WORK, latencies
from benchmarks.prepared import copy_of_records
from benchmarks.registry import Measured, Run, benchmark
from peerpouch.cli.processes import Process
from tests.network.internet import Internet, internet
from tests.network.namespaces import missing
from tests.network.shaper import Shape

LACKING = missing()
"""Why these benchmarks are left out here, if they are."""

FEW = 5_000
LITTLE = 5
"""A link that carries little gets so many times less."""

CARRIED = "bare data channel, 50 ms"

CLEAN = Shape()
FAR = Shape(round_trip=0.05)
FAR_AND_LOSSY = Shape(round_trip=0.05, loss=0.01, seed=1)
SLOW = Shape(round_trip=0.02, rate=125_000.0)
TEN = Shape(round_trip=0.02, rate=1_250_000.0)


@asynccontextmanager
async def shaped_pair(run: Run, shape: Shape, compression: str = "auto") -> AsyncIterator[tuple[Process, Process]]:
    """A sharing and an opening process at the ends of a link, with a hub that is a file."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(internet("direct"))
        await net.shape(shape)
        peers = []
        for name, machine in (("sharer", net.a.machine), ("opener", net.b.machine)):
            folder = run.folder / name
            folder.mkdir(exist_ok=True)
            arguments = ("benchmarks.peer", str(folder), str(run.folder / "hub.db"))
            process = await machine.process(f"the {name}", *arguments, env={"PEERPOUCH_HOME": str(folder)})
            peers.append(await stack.enter_async_context(process))
            await process.call("start", timeout=MOMENT, compression=compression)
        yield peers[0], peers[1]


async def _pulled(run: Run, shape: Shape, documents: int, compression: str = "auto") -> dict[str, Any]:
    folder = run.folder / "sharer"
    folder.mkdir()
    await copy_of_records(folder, documents)
    async with shaped_pair(run, shape, compression) as (sharer, opener):
        await sharer.call("share", timeout=MOMENT)
        await opener.call("open", timeout=MOMENT)
        pulled: dict[str, Any] = await opener.call("pull", timeout=WORK)
        return pulled


async def _bare(run: Run, shape: Shape, size: int, channels: int) -> float:
    """Bytes a second of bare data channels side by side, each with processes of its own."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(internet("direct"))
        await net.shape(shape)
        pairs = [await _bare_pair(stack, net) for _ in range(channels)]
        receiving = [asyncio.create_task(receiver.call("receive", timeout=WORK)) for _, receiver in pairs]
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(sender.call("send", timeout=WORK, size=size // channels) for sender, _ in pairs))
        received = await asyncio.gather(*receiving)
        return float(sum(each["bytes"] for each in received) / (asyncio.get_running_loop().time() - began))


async def _bare_pair(stack: AsyncExitStack, net: Internet) -> tuple[Process, Process]:
    sender, receiver = [
        await stack.enter_async_context(await machine.process(name, "benchmarks.channel", env={}))
        for name, machine in (("the sender", net.a.machine), ("the receiver", net.b.machine))
    ]
    offer = await sender.call("offer", timeout=MOMENT)
    await sender.call("accept", timeout=MOMENT, sdp=await receiver.call("answer", timeout=MOMENT, sdp=offer))
    return sender, receiver


def _lossy(run: Run) -> int:
    """Bytes for a link with loss, which carries a few hundred kilobytes a second: 2 MiB in the full form."""
    return run.scale.attachment // 128


def _register() -> None:
    replication = benchmark("far-replication", "Replication over a link, by round trip and loss", "docs/s", costly=True)
    for name, shape in (
        ("0 ms", CLEAN),
        ("20 ms", Shape(round_trip=0.02)),
        ("50 ms", FAR),
        ("100 ms", Shape(round_trip=0.1)),
        ("50 ms, 1 % loss", FAR_AND_LOSSY),
        ("20 ms, 10 Mbit/s", TEN),
    ):

        @replication.subject(name, short=name in ("0 ms", "50 ms", "50 ms, 1 % loss"))
        async def _replicate(run: Run, shape: Shape = shape) -> Measured:
            documents = run.scale.far // (LITTLE if shape.loss or shape.rate else 1)
            pulled = await _pulled(run, shape, documents)
            return Measured(pulled["docs"] / pulled["seconds"], f"{pulled['docs']:,} documents")

    @replication.subject(CARRIED, "as many bytes, not compressed, from memory, without peerpouch", "limit", short=False)
    async def _carried(run: Run) -> Measured:
        each = len(json.dumps(record(0)))
        return Measured(await _bare(run, FAR, run.scale.far * each, 1) / each)

    few = benchmark("far-few", "Replication of few documents over a link", "ms", higher_is_better=False, costly=True)
    for name, shape in (("0 ms", CLEAN), ("50 ms", FAR)):

        @few.subject(name, short=False)
        async def _few(run: Run, shape: Shape = shape) -> Measured:
            pulled = await _pulled(run, shape, min(FEW, run.scale.far))
            return Measured(pulled["seconds"] * 1000, f"{pulled['docs']:,} documents")

    packed = benchmark(
        "far-compression", "Replication at 10 Mbit/s and at no limit, by compression", "docs/s", costly=True
    )
    for name, shape in (("10 Mbit/s", TEN), ("no limit", CLEAN)):
        for compression in ("auto", "on", "off"):

            @packed.subject(f"{name}, {compression}", short=shape is TEN and compression != "on")
            async def _packed(run: Run, shape: Shape = shape, compression: str = compression) -> Measured:
                pulled = await _pulled(run, shape, run.scale.far, compression)
                return Measured(pulled["docs"] / pulled["seconds"], f"{pulled['docs']:,} documents")

    attachment = benchmark("far-attachment", "Attachment over a link with 50 ms and 1 % loss", "MB/s", costly=True)

    @attachment.subject("peerpouch")
    async def _attachment(run: Run) -> Measured:
        async with shaped_pair(run, FAR_AND_LOSSY) as (sharer, opener):
            await sharer.call("attach", timeout=WORK, size=_lossy(run))
            await sharer.call("share", timeout=MOMENT)
            await opener.call("open", timeout=MOMENT)
            read = await opener.call("download", timeout=WORK)
        return Measured(read["bytes"] / read["seconds"] / 1e6)

    for channels in (1, 4, 8):

        @attachment.subject(
            f"{channels} bare data channel{'s' if channels > 1 else ''}", "", "limit", short=channels == 1
        )
        async def _channels(run: Run, channels: int = channels) -> Measured:
            return Measured(await _bare(run, FAR_AND_LOSSY, _lossy(run), channels) / 1e6)

    beside = benchmark("get-beside", "A get beside a flowing attachment", "ms", higher_is_better=False, costly=True)
    for name, shape in (("0 ms", CLEAN), ("50 ms", FAR), ("20 ms, 1 Mbit/s", SLOW)):

        @beside.subject(name, short=shape is FAR)
        async def _beside(run: Run, shape: Shape = shape) -> Measured:
            return await _gets(run, shape)


async def _gets(run: Run, shape: Shape) -> Measured:
    async with shaped_pair(run, shape) as (sharer, opener):
        await sharer.call("fill", timeout=WORK, count=10)
        await sharer.call("attach", timeout=WORK, size=run.scale.attachment)
        await sharer.call("share", timeout=MOMENT)
        await opener.call("open", timeout=MOMENT)
        alone = await opener.call("gets", timeout=WORK, count=run.scale.gets)
        flowing = asyncio.create_task(opener.call("download", timeout=WORK))
        times: list[float] = []
        try:
            await opener.call("flowing", timeout=MOMENT)
            while len(times) < run.scale.gets and not flowing.done():
                times += await opener.call("gets", timeout=WORK, count=1)
        finally:
            flowing.cancel()
            await asyncio.gather(flowing, return_exceptions=True)
    found = latencies([seconds * 1000 for seconds in times])
    before = statistics.median(alone) * 1000
    return Measured(found.value, f"{found.detail}; {before:.1f} ms alone", {**found.more, "alone": before})


if LACKING is None:
    _register()
