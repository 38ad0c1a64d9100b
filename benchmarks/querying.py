"""Queries: building and updating an index, finding with and without one, and a grouped reduction of a stored view."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import peerpouch
from benchmarks.local import stopwatch
from benchmarks.pouchdb import AVAILABLE, NAME, ask, rate
from benchmarks.prepared import copy_of_records
from benchmarks.registry import Measured, Run, Scale, benchmark
from peerpouch.ports import Database

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


Count = Callable[[Scale], int]


@dataclass(frozen=True)
class Question:
    """What is asked of a database, the same of whoever is measured.

    Attributes:
        timed: ``build`` (the first time), ``update`` (after 1,000 changes), or ``again`` (when all is built).
        operations: What one asking counts for; all documents where nothing is said.
    """

    timed: str
    operations: int | None = None
    index: list[str] | None = None
    find: dict[str, Any] | None = None
    times: int = TIMES


def _documents(scale: Scale) -> int:
    return scale.documents


def _indexed(scale: Scale) -> int:
    return scale.indexed


def _slow(scale: Scale) -> int:
    return scale.slow


def _million(scale: Scale) -> int:
    return scale.million


def _line(
    name: str,
    title: str,
    unit: str,
    question: Question,
    *,
    ours: Count = _documents,
    theirs: Count = _documents,
    costly: bool = False,
    once: bool = False,
) -> None:
    """A benchmark. Where PouchDB is asked of fewer documents, peerpouch is measured with as many first, if it is asked
    for all documents and not for one answer."""
    made = benchmark(name, title, unit, costly=costly, once=once)
    note = "the view in JavaScript" if question.find is None else ""
    counts = {"peerpouch": ours}
    if theirs is not ours and question.operations is None:
        counts = {"peerpouch": theirs, "peerpouch, more documents": ours}
    for who, count in counts.items():

        @made.subject(who, note)
        async def _peerpouch(run: Run, count: Count = count) -> Measured:
            return await _measure(run, question, count(run.scale))

    if AVAILABLE:

        @made.subject(NAME, "LevelDB", "peer")
        async def _pouchdb(run: Run) -> Measured:
            count = theirs(run.scale)
            order: dict[str, Any] = {"timed": question.timed, "times": question.times, "index": question.index}
            order["operations"] = question.operations or count
            order |= {"find": question.find} if question.find else {"view": VIEW, "options": GROUPED, "design": DESIGN}
            found = rate(await ask(run, "ask", count, filled=True, **order))
            return Measured(found.value, f"{count:,} documents")


async def _measure(run: Run, question: Question, count: int) -> Measured:
    operations = question.operations or count
    async with peerpouch.open(await copy_of_records(run.folder, count), durability="normal") as database:
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
    return Measured(operations * times / seconds[0], f"{count:,} documents")


async def _create(database: Database, question: Question) -> None:
    if question.index is not None:
        await database.create_index(question.index)


def _once(database: Database, find: dict[str, Any] | None) -> Callable[[], Awaitable[object]]:
    if find is None:
        return lambda: database.query(VIEW, group=True)
    return lambda: database.find(**find)


_line(
    "index-build",
    "Building an index over two fields",
    "docs/s",
    Question("build", index=INDEX, find=FOUND),
    ours=_indexed,
    theirs=_indexed,
    costly=True,
)
_line(
    "index-update",
    f"Updating an index after {CHANGED:,} changes",
    "docs/s",
    Question("update", CHANGED, index=INDEX, find=FOUND),
    costly=True,
)
_line("find-indexed", "Finding 100 by an index", "finds/s", Question("again", 1, index=INDEX, find=FOUND), costly=True)
_line("find-unindexed", "Finding without an index", "docs/s", Question("again", find=UNINDEXED, times=3), costly=True)
_line("view-build", "Building a stored view", "docs/s", Question("build"), theirs=_slow, costly=True)
_line(
    "view-grouped", "A grouped _sum of a stored view", "docs/s", Question("again", times=3), theirs=_slow, costly=True
)
_line(
    "find-indexed-million",
    "Finding 100 of very many by an index",
    "finds/s",
    Question("again", 1, index=INDEX, find=FOUND),
    ours=_million,
    once=True,
)
