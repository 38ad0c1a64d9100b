"""One database in one process: writing, reading, listing."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import apsw
import orjson

import peerpouch
from benchmarks.documents import BATCH, batches, record
from benchmarks.prepared import copy_of_records, kept
from benchmarks.registry import Measured, Run, benchmark
from peerpouch.ports import Database

FULL_NOTE = "every batch synced to disk"
BARE_FILE, INSERT = "bare.db", "INSERT INTO docs VALUES (?, ?)"

bulk_write = benchmark("bulk-write", "Bulk write, 1,000 a batch", "docs/s")
single_write = benchmark("single-write", "Single writes, one after another", "docs/s")
concurrent_write = benchmark("concurrent-write", "Single writes, 64 at once", "docs/s")
point_read = benchmark("point-read", "Point reads", "docs/s")
listing = benchmark("listing", "Listing with documents", "docs/s")
changes = benchmark("changes", "Changes feed from 0", "rows/s")


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Its list holds the seconds once the block has ended, and those that this process had a processor."""
    seconds: list[float] = []
    began, busy = time.perf_counter(), time.process_time()
    yield seconds
    seconds += [time.perf_counter() - began, time.process_time() - busy]


def per_second(count: int, seconds: list[float]) -> Measured:
    """So many operations in the time of a :func:`stopwatch`, and what each took of a processor.

    Where that is nearly all of the time the processor bounds it, and otherwise whatever was waited for.
    """
    each = seconds[1] / count * 1e6
    return Measured(count / seconds[0], f"{each:.1f} us of a processor each", {"busy": seconds[1] / seconds[0]})


def whole(count: int, expected: int) -> int:
    """A count, if it is what it must be: whoever leaves something out is not measured.

    Raises:
        RuntimeError: it is another.
    """
    if count != expected:
        raise RuntimeError(f"it was {count:,} in place of {expected:,}")
    return count


def bare_table(folder: Path) -> apsw.Connection:
    """A SQLite file with one table, as durable as peerpouch's own."""
    connection = apsw.Connection(str(folder / BARE_FILE))
    for statement in (
        "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL",
        "CREATE TABLE docs (id TEXT PRIMARY KEY, body BLOB)",
    ):
        connection.execute(statement).fetchall()
    return connection


@bulk_write.subject("peerpouch", FULL_NOTE)
async def _bulk_write(run: Run) -> Measured:
    made = list(batches(run.scale.documents))
    async with peerpouch.open(run.folder / "bench.db") as database:
        with stopwatch() as seconds:
            for batch in made:
                await database.bulk_docs(batch)
    return per_second(run.scale.documents, seconds)


@bulk_write.subject("bare SQLite", f"{FULL_NOTE}; id and JSON in one table", "limit")
async def _bulk_write_sqlite(run: Run) -> Measured:
    made = list(batches(run.scale.documents))
    connection = bare_table(run.folder)
    with stopwatch() as seconds:
        for batch in made:
            with connection:
                connection.executemany(INSERT, ((doc["_id"], orjson.dumps(doc)) for doc in batch))
    connection.close()
    return per_second(run.scale.documents, seconds)


@bulk_write.subject(
    "bare SQLite with revisions", f"{FULL_NOTE}; and a hash of sorted JSON, a sequence, an index by id", "limit"
)
async def _bulk_write_revisions(run: Run) -> Measured:
    """What nothing that has revisions and a changes feed can do without."""
    made = list(batches(run.scale.documents))
    connection = bare_table(run.folder)
    connection.execute("DROP TABLE docs")
    connection.execute(
        "CREATE TABLE docs (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, rev TEXT NOT NULL, body BLOB NOT NULL)"
    )
    with stopwatch() as seconds:
        for batch in made:
            with connection:
                connection.executemany(
                    "INSERT INTO docs (id, rev, body) VALUES (?, ?, ?)",
                    (
                        (
                            doc["_id"],
                            "1-" + sha256(orjson.dumps(doc, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32],
                            orjson.dumps(doc),
                        )
                        for doc in batch
                    ),
                )
    connection.close()
    return per_second(run.scale.documents, seconds)


@single_write.subject("peerpouch", "every write synced to disk")
async def _single_write(run: Run) -> Measured:
    docs = [record(number) for number in range(run.scale.single)]
    async with peerpouch.open(run.folder / "bench.db") as database:
        with stopwatch() as seconds:
            for doc in docs:
                await database.put(doc)
    return per_second(len(docs), seconds)


@single_write.subject("bare SQLite", "every write synced to disk; id and JSON in one table", "limit")
async def _single_write_sqlite(run: Run) -> Measured:
    docs = [record(number) for number in range(run.scale.single)]
    connection = bare_table(run.folder)
    with stopwatch() as seconds:
        for doc in docs:
            connection.execute(INSERT, (doc["_id"], orjson.dumps(doc)))
    connection.close()
    return per_second(len(docs), seconds)


@concurrent_write.subject("peerpouch", "concurrent writers share a sync")
async def _concurrent_write(run: Run) -> Measured:
    waiting = iter([record(number) for number in range(run.scale.single * 4)])

    async def write(database: Database) -> None:
        for doc in waiting:
            await database.put(doc)

    async with peerpouch.open(run.folder / "bench.db") as database:
        with stopwatch() as seconds:
            await asyncio.gather(*(write(database) for _ in range(64)))
    return per_second(run.scale.single * 4, seconds)


@point_read.subject("peerpouch")
async def _point_read(run: Run) -> Measured:
    ids = [record(number * 7919 % run.scale.documents)["_id"] for number in range(run.scale.single * 5)]
    async with peerpouch.open(await copy_of_records(run.folder, run.scale.documents)) as database:
        with stopwatch() as seconds:
            for doc_id in ids:
                await database.get(doc_id)
    return per_second(len(ids), seconds)


async def filled_table(run: Run) -> apsw.Connection:
    """A SQLite file with one table of all records."""

    async def make(path: Path) -> None:
        path.mkdir()
        connection = bare_table(path)
        with connection:
            for batch in batches(run.scale.documents):
                connection.executemany(INSERT, ((doc["_id"], orjson.dumps(doc)) for doc in batch))
        connection.close()

    made = await kept(f"bare-{run.scale.documents}", make)
    return apsw.Connection(shutil.copyfile(made / BARE_FILE, run.folder / BARE_FILE).as_posix())


@point_read.subject("bare SQLite", "and its JSON parsed", "limit")
async def _point_read_sqlite(run: Run) -> Measured:
    ids = [record(number * 7919 % run.scale.documents)["_id"] for number in range(run.scale.single * 5)]
    connection = await filled_table(run)
    with stopwatch() as seconds:
        for doc_id in ids:
            for (body,) in connection.execute("SELECT body FROM docs WHERE id = ?", (doc_id,)):
                orjson.loads(body)
    connection.close()
    return per_second(len(ids), seconds)


@listing.subject("peerpouch")
async def _listing(run: Run) -> Measured:
    async with peerpouch.open(await copy_of_records(run.folder, run.scale.documents)) as database:
        with stopwatch() as seconds:
            count = sum([1 async for _ in database.all_docs(include_docs=True)])
    return per_second(whole(count, run.scale.documents), seconds)


@changes.subject("peerpouch", f"pages of {BATCH}")
async def _changes(run: Run) -> Measured:
    async with peerpouch.open(await copy_of_records(run.folder, run.scale.documents)) as database:
        with stopwatch() as seconds:
            count = sum([1 async for _ in database.changes(batch_size=BATCH)])
    return per_second(whole(count, run.scale.documents), seconds)


@listing.subject("bare SQLite", "and its JSON parsed", "limit")
async def _listing_sqlite(run: Run) -> Measured:
    connection = await filled_table(run)
    with stopwatch() as seconds:
        count = sum(1 for (body,) in connection.execute("SELECT body FROM docs ORDER BY id") if orjson.loads(body))
    connection.close()
    return per_second(whole(count, run.scale.documents), seconds)
