"""What SQLite takes for the same work without peerpouch: subjects that bound those of one process."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import apsw
import orjson

from benchmarks.documents import BATCH, SETS, Make, batches, record
from benchmarks.local import (
    FULL_NOTE,
    INSERT,
    bare_table,
    bulk_write,
    changes,
    concurrent_write,
    filled_table,
    per_second,
    single_write,
    stopwatch,
)
from benchmarks.prepared import copy_of_records
from benchmarks.registry import REGISTRY, Measured, Run
from benchmarks.replicating import local_replication

BARE, SAME = "bare SQLite", "bare SQLite, the same rows"
TOGETHER = 64


def _pieces(rows: list[Any], size: int) -> Iterator[list[Any]]:
    waiting = iter(rows)
    while piece := list(islice(waiting, size)):
        yield piece


def _insert(connection: apsw.Connection, statement: str, rows: list[Any], size: int) -> float:
    """Insert so many rows a transaction; gives rows a second."""
    with stopwatch() as seconds:
        for piece in _pieces(rows, size):
            with connection:
                connection.executemany(statement, piece)
    connection.close()
    return len(rows) / seconds[0]


def _plain(count: int, make: Make = record) -> list[tuple[str, dict[str, Any]]]:
    return [(doc["_id"], doc) for batch in batches(count, make=make) for doc in batch]


def _encoded(rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, bytes]]:
    return [(doc_id, orjson.dumps(doc)) for doc_id, doc in rows]


async def _rewrite(run: Run, documents: int, size: int) -> Measured:
    """Write the rows of a database of peerpouch's own once more, with its tables and indexes, and nothing else."""
    schema, table, rows = largest_table(await copy_of_records(run.folder, documents, "rows.db"))
    connection = apsw.Connection(str(run.folder / "again.db"))
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *schema):
        connection.execute(statement).fetchall()
    marks = ", ".join("?" * len(rows[0]))
    return Measured(_insert(connection, f"INSERT INTO {table} VALUES ({marks})", rows, size))


def largest_table(path: Path) -> tuple[list[str], str, list[Any]]:
    """The statements that make a file's tables, and the name and rows of the one with the most rows."""
    connection = apsw.Connection(str(path))
    found = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    made = [(str(kind), str(name), str(sql)) for kind, name, sql in found if not str(name).startswith("sqlite_")]
    counts: dict[str, int] = {}
    for kind, name, _ in made:
        if kind == "table":
            ((count,),) = connection.execute(f"SELECT count(*) FROM {name}").fetchall()
            counts[name] = int(str(count))
    largest = max(counts, key=counts.__getitem__)
    rows: list[Any] = connection.execute(f"SELECT * FROM {largest}").fetchall()
    connection.close()
    return [sql for _, _, sql in made], largest, rows


@bulk_write.subject(SAME, f"{FULL_NOTE}; peerpouch's finished rows, with their index", "limit")
async def _bulk_same(run: Run) -> Measured:
    return await _rewrite(run, run.scale.documents, BATCH)


@single_write.subject(SAME, "every write synced to disk; peerpouch's finished rows, with their index", "limit")
async def _single_same(run: Run) -> Measured:
    return await _rewrite(run, run.scale.single, 1)


@concurrent_write.subject(BARE, f"{TOGETHER} a transaction, each synced; id and JSON in one table", "limit")
async def _concurrent(run: Run) -> Measured:
    rows = _encoded(_plain(run.scale.single * 4))
    return Measured(_insert(bare_table(run.folder), INSERT, rows, TOGETHER))


@changes.subject(BARE, "number and id of each row", "limit")
async def _changes(run: Run) -> Measured:
    connection = await filled_table(run)
    with stopwatch() as seconds:
        count = sum(1 for _ in connection.execute("SELECT rowid, id FROM docs ORDER BY rowid"))
    connection.close()
    return per_second(count, seconds)


@local_replication.subject(BARE, f"{FULL_NOTE}; rows of id and JSON read here and written there", "limit")
async def _replication(run: Run) -> Measured:
    source = await filled_table(run)
    folder = run.folder / "target"
    folder.mkdir()
    target = bare_table(folder)
    with stopwatch() as seconds:
        rows = source.execute("SELECT id, body FROM docs ORDER BY rowid")
        while piece := list(islice(rows, BATCH)):
            with target:
                target.executemany(INSERT, piece)
    source.close()
    target.close()
    return per_second(run.scale.documents, seconds)


def _register_sets() -> None:
    for kind, make in SETS.items():

        @REGISTRY[f"bulk-write-{kind}"].subject(BARE, f"{FULL_NOTE}; id and JSON in one table", "limit")
        async def _set(run: Run, make: Make = make) -> Measured:
            made = _plain(run.scale.documents // 10, make)
            connection = bare_table(run.folder)
            with stopwatch() as seconds:
                for piece in _pieces(made, BATCH):
                    with connection:
                        connection.executemany(INSERT, _encoded(piece))
            connection.close()
            return per_second(len(made), seconds)


_register_sets()
