"""Writing, listing and replicating other documents than small records: nested ones of 2 kB, Unicode text, and documents
with small attachments. Of each a tenth of what there is of records."""

from __future__ import annotations

import peerpouch
from benchmarks.documents import SETS, TITLES, Make, batches
from benchmarks.local import FULL_NOTE, per_second, stopwatch, whole
from benchmarks.pouchdb import AVAILABLE, NAME, UNSYNCED, ask, rate
from benchmarks.prepared import fill
from benchmarks.registry import Measured, Run, benchmark


def _count(run: Run) -> int:
    return run.scale.documents // 10


async def _write(run: Run, make: Make) -> Measured:
    made = list(batches(_count(run), make=make))
    async with peerpouch.open(run.folder / "bench.db") as database:
        with stopwatch() as seconds:
            for batch in made:
                await database.bulk_docs(batch)
    return per_second(_count(run), seconds)


async def _list(run: Run, make: Make) -> Measured:
    async with peerpouch.open(run.folder / "bench.db") as database:
        await fill(database, _count(run), make)
        with stopwatch() as seconds:
            count = sum([1 async for _ in database.all_docs(include_docs=True)])
    return per_second(whole(count, _count(run)), seconds)


async def _replicate(run: Run, make: Make) -> Measured:
    async with peerpouch.open(run.folder / "a.db") as source, peerpouch.open(run.folder / "b.db") as target:
        await fill(source, _count(run), make)
        with stopwatch() as seconds:
            result = await peerpouch.replicate(source, target)
    return per_second(whole(result.docs_written, _count(run)), seconds)


_TASKS = (
    ("bulk-write", "Bulk write", "bulk", FULL_NOTE, UNSYNCED, _write),
    ("listing", "Listing", "list", "", "", _list),
    ("local-replication", "Replication, two local databases", "replicate", FULL_NOTE, UNSYNCED, _replicate),
)


def _register() -> None:
    for name, title, task, ours, theirs, measure in _TASKS:
        for kind, make in SETS.items():
            line = benchmark(f"{name}-{kind}", f"{title}: {TITLES[kind]}", "docs/s")

            @line.subject("peerpouch", ours)
            async def _ours(run: Run, measure=measure, make: Make = make) -> Measured:  # type: ignore[no-untyped-def]
                found: Measured = await measure(run, make)
                return found

            if AVAILABLE:

                @line.subject(NAME, theirs, "peer")
                async def _theirs(run: Run, task: str = task, kind: str = kind) -> Measured:
                    return rate(await ask(run, task, _count(run), kind, filled=task != "bulk"), _count(run))


_register()
