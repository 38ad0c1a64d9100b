"""Two processes, and a million documents or a gigabyte between them: how fast, and in how much memory."""

from __future__ import annotations

from typing import Any

import peerpouch
from benchmarks.attachments import noise
from benchmarks.local import FULL_NOTE
from benchmarks.peer import BIG
from benchmarks.peering import CHANNEL, CHANNEL_NOTE, MOMENT, bare_transfer, pair, used
from benchmarks.prepared import copy_of_records
from benchmarks.registry import Measured, Run, benchmark

WORK = 280.0
AGAIN = 10
"""Times that a replication with nothing new is repeated."""

million = benchmark("peer-million", "Replication of very many documents, two processes by WebRTC", "docs/s", once=True)
no_op = benchmark(
    "peer-no-op", "Replication with nothing new, two processes by WebRTC", "ms", higher_is_better=False, once=True
)
attachment = benchmark(
    "peer-large-attachment", "Replication of a large attachment, two processes by WebRTC", "MB/s", once=True
)

_replicated: dict[int, dict[str, Any]] = {}
"""What was found with so many documents: making and moving a million takes a minute, for two benchmarks."""


async def _replication(run: Run, count: int) -> dict[str, Any]:
    if count not in _replicated:
        await _prepare(run, count)
        async with pair(run) as (sharer, opener):
            await sharer.call("share", timeout=MOMENT)
            await opener.call("open", timeout=MOMENT)
            before = await used(sharer, opener)
            pulled = await opener.call("pull", timeout=WORK)
            after = await used(sharer, opener)
            again = await opener.call("pull_again", timeout=MOMENT, count=AGAIN)
        _replicated[count] = {**pulled, "memory": _memory(before, after), "again": again}
    return _replicated[count]


async def _prepare(run: Run, documents: int, size: int = 0) -> None:
    """Make the sharer's database here, so that its process has the memory of one that shares, not of one that wrote."""
    folder = run.folder / "sharer"
    folder.mkdir()
    async with peerpouch.open(await copy_of_records(folder, documents), durability="normal") as database:
        if size:
            await database.put_attachment(BIG, BIG, noise(size))


def _memory(before: list[dict[str, float]], after: list[dict[str, float]]) -> dict[str, float]:
    """Megabytes of each end: before, and the most from then on."""
    found: dict[str, float] = {}
    for end, then, now in zip(("sharer", "opener"), before, after, strict=True):
        found |= {f"{end} before": then["memory"] / 1e6, end: now["peak"] / 1e6}
    return found


def _in_words(memory: dict[str, float]) -> str:
    ends = (f"{end} {memory[f'{end} before']:.0f} to {memory[end]:.0f} MB" for end in ("sharer", "opener"))
    return f"memory: {', '.join(ends)}"


@million.subject("peerpouch", FULL_NOTE)
async def _million(run: Run) -> Measured:
    found = await _replication(run, run.scale.million)
    memory = found["memory"]
    return Measured(found["docs"] / found["seconds"], f"{found['docs']:,} documents; {_in_words(memory)}", memory)


async def _nothing_new(run: Run, count: int) -> Measured:
    again = (await _replication(run, count))["again"]
    detail = f"{count:,} documents, {again['requests']:g} requests"
    return Measured(again["seconds"] * 1000, detail, {"requests": again["requests"]})


@no_op.subject("peerpouch", f"median of {AGAIN}")
async def _no_op(run: Run) -> Measured:
    return await _nothing_new(run, run.scale.million)


@no_op.subject("peerpouch, a hundredth", f"median of {AGAIN}")
async def _no_op_of_few(run: Run) -> Measured:
    return await _nothing_new(run, run.scale.million // 100)


@attachment.subject("peerpouch", "from disk to disk, synced")
async def _attachment(run: Run) -> Measured:
    await _prepare(run, 0, run.scale.large)
    async with pair(run) as (sharer, opener):
        await sharer.call("share", timeout=MOMENT)
        await opener.call("open", timeout=MOMENT)
        before = await used(sharer, opener)
        pulled = await opener.call("pull", timeout=WORK)
        memory = _memory(before, await used(sharer, opener))
    detail = f"{run.scale.large >> 20} MiB; {_in_words(memory)}"
    return Measured(run.scale.large / pulled["seconds"] / 1e6, detail, memory)


@attachment.subject(CHANNEL, CHANNEL_NOTE, "limit")
async def _channel(run: Run) -> Measured:
    received = await bare_transfer(run.scale.large)
    return Measured(received["bytes"] / received["seconds"] / 1e6)
