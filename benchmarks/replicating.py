"""Replication between two databases of one process."""

from __future__ import annotations

import peerpouch
from benchmarks.local import FULL_NOTE, per_second, stopwatch, whole
from benchmarks.prepared import copy_of_records
from benchmarks.registry import Measured, Run, benchmark

local_replication = benchmark("local-replication", "Replication, two local databases", "docs/s")
no_op = benchmark("no-op-replication", "Replication with nothing new, local", "ms", higher_is_better=False)


@local_replication.subject("peerpouch", FULL_NOTE)
async def _local_replication(run: Run) -> Measured:
    path = await copy_of_records(run.folder, run.scale.documents)
    async with peerpouch.open(path) as source, peerpouch.open(run.folder / "b.db") as target:
        with stopwatch() as seconds:
            result = await peerpouch.replicate(source, target)
    return per_second(whole(result.docs_written, run.scale.documents), seconds)


@no_op.subject("peerpouch")
async def _no_op(run: Run) -> Measured:
    path = await copy_of_records(run.folder, run.scale.documents)
    async with peerpouch.open(path) as source, peerpouch.open(run.folder / "b.db") as target:
        await peerpouch.replicate(source, target)
        with stopwatch() as seconds:
            await peerpouch.replicate(source, target)
    return Measured(seconds[0] * 1000)
