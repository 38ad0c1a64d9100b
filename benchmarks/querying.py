"""Queries: building and updating an index, finding with and without one, and a grouped reduction of a stored view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import peerpouch
from benchmarks.local import fill, stopwatch
from benchmarks.pouchdb import AVAILABLE, NAME, ask, rate, records
from benchmarks.registry import Benchmark, Measured, Run, Scale, benchmark
from peerpouch.ports import Database

MANY = 1_000_000
CHANGED = 1000
TIMES = 20

INDEX = ["station", "value"]
FOUND = {"selector": {"station": "fjord", "value": {"$gt": 0}}, "limit": 100}
UNINDEXED = {"selector": {"value": {"$gt": 39.9}}}
VIEW = "bench/stations"
DESIGN = {
    "_id": "_design/bench",
    "views": {"stations": {"map": "function (doc) { emit(doc.station, doc.value); }", "reduce": "_sum"}},
}
GROUPED = {"group": True}


@dataclass(frozen=True)
class Question:
    """What is asked of a database, the same of whoever is measured.

    Attributes:
        timed: ``build`` (the first time), ``update`` (after 1,000 changes), or ``again`` (when all is built).
        operations: What one asking counts for.
    """

    timed: str
    operations: Callable[[Scale], int]
    documents: Callable[[Scale], int] = lambda scale: scale.documents
    index: list[str] | None = None
    find: dict[str, Any] | None = None
    times: int = TIMES


def _line(name: str, title: str, unit: str, question: Question, *, long: bool = False) -> Benchmark:
    made = benchmark(name, title, unit, long=long)

    async def ours(run: Run) -> Measured:
        return await _measure(run, question)

    async def pouchdb(run: Run) -> Measured:
        count = question.documents(run.scale)
        order: dict[str, Any] = {"timed": question.timed, "times": question.times, "index": question.index}
        order["operations"] = question.operations(run.scale)
        order |= {"find": question.find} if question.find else {"view": VIEW, "options": GROUPED, "design": DESIGN}
        return rate(await ask(run, "ask", records(count), **order))

    made.subject("peerpouch", "the view in JavaScript" if question.find is None else "")(ours)
    if AVAILABLE:
        made.subject(NAME, "LevelDB", "peer")(pouchdb)
    return made


async def _measure(run: Run, question: Question) -> Measured:
    operations = question.operations(run.scale)
    async with peerpouch.open(run.folder / "bench.db", durability="normal") as database:
        await fill(database, question.documents(run.scale))
        if question.find is None:
            await database.put(DESIGN)
        once = _once(database, question.find)
        if question.timed != "build":
            await _create(database, question)
            await once()
        if question.timed == "update":
            docs = [
                row["doc"] async for row in database.all_docs(include_docs=True, startkey="record-", limit=operations)
            ]
            await database.bulk_docs([{**doc, "value": doc["value"] + 1} for doc in docs if doc is not None])
        times = question.times if question.timed == "again" else 1
        with stopwatch() as seconds:
            if question.timed == "build":
                await _create(database, question)
            for _ in range(times):
                await once()
    return Measured(operations * times / seconds[0])


async def _create(database: Database, question: Question) -> None:
    if question.index is not None:
        await database.create_index(question.index)


def _once(database: Database, find: dict[str, Any] | None) -> Callable[[], Awaitable[object]]:
    if find is None:
        return lambda: database.query(VIEW, group=True)
    return lambda: database.find(**find)


def _documents(scale: Scale) -> int:
    return scale.documents


_line(
    "index-build", "Building an index over two fields", "docs/s", Question("build", _documents, index=INDEX, find=FOUND)
)
_line(
    "index-update",
    f"Updating an index after {CHANGED:,} changes",
    "docs/s",
    Question("update", lambda scale: CHANGED, index=INDEX, find=FOUND),
)
_line("find-indexed", "Finding 100 by an index", "finds/s", Question("again", lambda scale: 1, index=INDEX, find=FOUND))
_line(
    "find-unindexed",
    "Finding without an index",
    "docs/s",
    Question("again", _documents, find=UNINDEXED, times=3),
)
_line("view-build", "Building a stored view", "docs/s", Question("build", _documents))
_line("view-grouped", "A grouped _sum of a stored view", "rows/s", Question("again", _documents, times=3))
_line(
    "find-indexed-million",
    f"Finding 100 of {MANY:,} by an index",
    "finds/s",
    Question("again", lambda scale: 1, documents=lambda scale: MANY, index=INDEX, find=FOUND),
    long=True,
)
