"""What an operation costs in a database of a million documents, against one of ten thousand.

Each database is made once in a run, and what the benchmarks add to it is small beside it. ``python -m benchmarks.growth
FILE SIZE`` is the process whose memory at rest is looked at, ``… FILE COPY`` the one that replicates.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import peerpouch
from benchmarks.documents import BATCH, record
from benchmarks.local import FULL_NOTE, stopwatch
from benchmarks.prepared import fill, records
from benchmarks.processes import python
from benchmarks.registry import Benchmark, Measured, Run, Scale, benchmark
from peerpouch.ports import Database

WHICH = A_HUNDREDTH, MANY = "among a hundredth", "among many"
"""How many documents: a million in the full form. The first is what the second is held against."""

ROWS = 10_000
"""Rows of a listing or feed that are timed, wherever it begins."""

READS = 5_000
WRITES = 500
BATCHES = 10
OPENINGS = 20

Operation = Callable[[Database, int], Awaitable[float]]

_added = 0


def size_of(which: str, scale: Scale) -> int:
    """Documents."""
    return scale.million if which == MANY else scale.million // 100


async def file_of(size: int) -> Path:
    """The database with so many documents, to which these benchmarks add a few."""
    return await records(size, "growth")


def _new(count: int) -> list[dict[str, object]]:
    """Records that no database has yet, with ids after all others."""
    global _added
    _added += count
    return [record(1_000_000_000 + _added + number) | {"_id": f"z-{_added + number:09d}"} for number in range(count)]


def _operation(name: str, title: str, unit: str, note: str = "") -> Callable[[Operation], Operation]:
    made = benchmark(f"growth-{name}", title, unit)

    def add(operation: Operation) -> Operation:
        for which in WHICH:
            _add(made, which, note, operation)
        return operation

    return add


def _add(made: Benchmark, which: str, note: str, operation: Operation) -> None:
    @made.subject(which, note)
    async def _measure(run: Run) -> Measured:
        size = size_of(which, run.scale)
        async with peerpouch.open(await file_of(size)) as database:
            return Measured(await operation(database, size), f"{size:,} documents")


@_operation("bulk-write", "Growth: bulk write, 1,000 a batch", "docs/s", FULL_NOTE)
async def _bulk_write(database: Database, size: int) -> float:
    batches = [_new(BATCH) for _ in range(BATCHES)]
    with stopwatch() as seconds:
        for batch in batches:
            await database.bulk_docs(batch)
    return BATCHES * BATCH / seconds[0]


@_operation("edit", "Growth: edits all over the database, 1,000 a batch", "docs/s", FULL_NOTE)
async def _edit(database: Database, size: int) -> float:
    # A document twice in one batch would be a conflict.
    ids = [f"record-{number * 7919 % size:09d}" for number in range(min(BATCHES * BATCH, size))]
    docs = []
    for start in range(0, len(ids), BATCH):
        rows = (await database.all_docs(keys=ids[start : start + BATCH], include_docs=True))["rows"]
        found = [doc for row in rows if (doc := row.get("doc")) is not None]
        docs.append([doc | {"edited": time.time()} for doc in found])
    with stopwatch() as seconds:
        for batch in docs:
            await database.bulk_docs(batch)
    return sum(map(len, docs)) / seconds[0]


@_operation("single-write", "Growth: single writes, one after another", "docs/s", FULL_NOTE)
async def _single_write(database: Database, size: int) -> float:
    docs = _new(WRITES)
    with stopwatch() as seconds:
        for doc in docs:
            await database.put(doc)
    return WRITES / seconds[0]


@_operation("read", "Growth: point reads", "docs/s")
async def _read(database: Database, size: int) -> float:
    ids = [f"record-{number * 7919 % size:09d}" for number in range(READS)]
    with stopwatch() as seconds:
        for doc_id in ids:
            await database.get(doc_id)
    return READS / seconds[0]


@_operation("listing", "Growth: 10,000 rows of a listing with documents", "docs/s", "from the middle")
async def _listing(database: Database, size: int) -> float:
    start = f"record-{max(0, min(size // 2, size - ROWS)):09d}"
    with stopwatch() as seconds:
        listed = await database.all_docs(startkey=start, limit=ROWS, include_docs=True)
    return len(listed["rows"]) / seconds[0]


@_operation("changes", "Growth: the first 10,000 rows of the changes feed", "rows/s")
async def _changes(database: Database, size: int) -> float:
    with stopwatch() as seconds:
        found = await database.changes(limit=ROWS)
    return len(found["results"]) / seconds[0]


@_operation("changes-from-end", "Growth: changes feed from the end: nothing new", "feeds/s")
async def _changes_from_end(database: Database, size: int) -> float:
    since = (await database.info())["update_seq"]
    with stopwatch() as seconds:
        for _ in range(WRITES):
            await database.changes(since=since)
    return WRITES / seconds[0]


opening = benchmark("growth-opening", "Growth: opening a database", "ms", higher_is_better=False)
memory = benchmark("growth-memory", "Growth: memory of an open database", "MB", higher_is_better=False)


def _add_opening(which: str) -> None:
    @opening.subject(which, "until the first document is read")
    async def _opening(run: Run) -> Measured:
        path = await file_of(size_of(which, run.scale))
        times = []
        for _ in range(OPENINGS):
            began = time.perf_counter()
            async with peerpouch.open(path) as database:
                await database.get(record(0)["_id"])
                times.append(time.perf_counter() - began)
        return Measured(statistics.median(times) * 1000, f"slowest of {OPENINGS}: {max(times) * 1000:.1f} ms")

    @memory.subject(which, "at rest, after 10,000 rows of a listing and 5,000 point reads")
    async def _memory(run: Run) -> Measured:
        size = size_of(which, run.scale)
        before, after = await _process(str(await file_of(size)), str(size))
        return Measured((after - before) / 1e6, f"beside {before / 1e6:.0f} MB of Python with the library loaded")


replicating = benchmark("growth-replication", "Growth: replication of all of it, in one process", "docs/s", once=True)


def _add_replication(which: str) -> None:
    @replicating.subject(which, FULL_NOTE)
    async def _replication(run: Run) -> Measured:
        size = size_of(which, run.scale)
        seconds, peak = await _process(str(await file_of(size)), str(run.folder / "copy.db"))
        return Measured(size / seconds, f"{size:,} documents, peak memory {peak / 1e6:.0f} MB of both databases")


async def _process(*arguments: str) -> tuple[float, float]:
    first, second = json.loads(await python("benchmarks.growth", *arguments))
    return first, second


for _which in WHICH:
    _add_opening(_which)
    _add_replication(_which)


def resident() -> int:
    """Bytes that this process has in memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell a process's memory in /proc")


async def _at_rest(path: Path, size: int) -> tuple[int, int]:
    async with peerpouch.open(":memory:") as small:
        await fill(small, 1)
    before = resident()
    async with peerpouch.open(path) as database:
        async for _ in database.all_docs(limit=ROWS, include_docs=True):
            pass
        for number in range(READS):
            await database.get(f"record-{number * 7919 % size:09d}")
        return before, resident()


async def _replicated(path: Path, copy: Path) -> tuple[float, int]:
    async with peerpouch.open(path) as source, peerpouch.open(copy) as target:
        with stopwatch() as seconds:
            await peerpouch.replicate(source, target)
    return seconds[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    _file, _argument = Path(sys.argv[1]), sys.argv[2]
    _work = _at_rest(_file, int(_argument)) if _argument.isdigit() else _replicated(_file, Path(_argument))
    print(json.dumps(asyncio.run(_work)))
