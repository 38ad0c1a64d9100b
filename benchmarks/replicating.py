"""Replication between two databases of one process."""

from __future__ import annotations

import peerpouch
from benchmarks.local import FULL_NOTE, fill, stopwatch
from benchmarks.registry import Measured, Run, benchmark

local_replication = benchmark("local-replication", "Replication, two local databases", "docs/s")
no_op = benchmark("no-op-replication", "Replication with nothing new, local", "ms", higher_is_better=False)


@local_replication.subject("peerpouch", FULL_NOTE)
async def _local_replication(run: Run) -> Measured:
    async with peerpouch.open(run.folder / "a.db") as source, peerpouch.open(run.folder / "b.db") as target:
        await fill(source, run.scale.documents)
        with stopwatch() as seconds:
            result = await peerpouch.replicate(source, target)
    return Measured(result.docs_written / seconds[0])


@no_op.subject("peerpouch")
async def _no_op(run: Run) -> Measured:
    async with peerpouch.open(run.folder / "a.db") as source, peerpouch.open(run.folder / "b.db") as target:
        await fill(source, run.scale.documents)
        await peerpouch.replicate(source, target)
        with stopwatch() as seconds:
            await peerpouch.replicate(source, target)
    return Measured(seconds[0] * 1000)
