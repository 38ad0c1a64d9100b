"""Reading a database in more ways than one after another."""

from __future__ import annotations

import asyncio

import peerpouch
from benchmarks.local import per_second, stopwatch
from benchmarks.prepared import copy_of_records
from benchmarks.registry import Measured, Run, Scale, benchmark

TIMES = 500
"""How often a feed is read from the end."""

READERS = 16

concurrent_read = benchmark("concurrent-read", "Point reads, 16 readers at once", "docs/s")
changes_from_end = benchmark("changes-from-end", "Changes feed from the end: nothing new", "feeds/s")


def random_ids(scale: Scale) -> list[str]:
    """Ids all over the database."""
    return [f"record-{number * 7919 % scale.documents:09d}" for number in range(scale.single * 5)]


@concurrent_read.subject("peerpouch")
async def _concurrent_read(run: Run) -> Measured:
    ids = random_ids(run.scale)
    waiting = iter(ids)
    async with peerpouch.open(await copy_of_records(run.folder, run.scale.documents)) as database:

        async def read() -> None:
            for doc_id in waiting:
                await database.get(doc_id)

        with stopwatch() as seconds:
            await asyncio.gather(*(read() for _ in range(READERS)))
    return per_second(len(ids), seconds)


@changes_from_end.subject("peerpouch")
async def _changes_from_end(run: Run) -> Measured:
    async with peerpouch.open(await copy_of_records(run.folder, run.scale.documents)) as database:
        since = (await database.info())["update_seq"]
        with stopwatch() as seconds:
            for _ in range(TIMES):
                await database.changes(since=since)
    return per_second(TIMES, seconds)
