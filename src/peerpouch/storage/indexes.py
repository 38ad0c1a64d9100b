"""The port IndexStore: sorted rows in the database's own file.

An index that is dropped may be large, so its rows go in several transactions. Until the last of them is gone the
index keeps its number, under a name that no caller uses: were the number free, a new index could get it, and the rows
with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import apsw

from peerpouch.errors import NotFound
from peerpouch.ports import Documents, IndexPosition, IndexRow, IndexState, IndexStore, Seq
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.engine import Engine

_DROPPED: Final = "\0dropped/"
# Rows removed in one transaction: some tens of milliseconds, for which other writers wait.
_DROP_ROWS: Final = 10_000

Rows = Mapping[str, Sequence[tuple[bytes, bytes | None]]]


class StoredIndexes(Documents, IndexStore):
    """The half of :class:`~peerpouch.storage.store.Storage` that implements ``IndexStore``."""

    _engine: Engine

    async def index_state(self, index: str) -> IndexState | None:
        return await self._engine.read(partial(_state, index=index))

    async def update_index(self, index: str, rows: Rows, *, since: Seq | None, upto: Seq) -> bool:
        return await self._engine.write(partial(_update, index=index, rows=rows, since=since, upto=upto))

    async def read_index(
        self,
        index: str,
        *,
        start: IndexPosition | None = None,
        end: IndexPosition | None = None,
        descending: bool = False,
        skip: int = 0,
        limit: int = 1000,
    ) -> list[IndexRow]:
        return await self._engine.read(
            partial(_read, index=index, start=start, end=end, descending=descending, skip=skip, limit=limit)
        )

    async def count_index(
        self, index: str, *, start: IndexPosition | None = None, end: IndexPosition | None = None
    ) -> int:
        return await self._engine.read(partial(_count, index=index, start=start, end=end))

    async def drop_index(self, index: str) -> None:
        await self._engine.write(partial(_hide, index=index))
        while await self._engine.write(_sweep):
            pass

    async def index_names(self) -> list[str]:
        return await self._engine.read(_names)


def forget_documents(connection: apsw.Connection, doc_ids: Iterable[str]) -> None:
    """Remove all rows of documents that are purged, inside the transaction that is open."""
    ids = list(doc_ids)
    for (number,) in fetch(connection, "SELECT number FROM indexes"):
        removed = _remove(connection, number, ids)
        connection.execute("UPDATE indexes SET rows = rows - ? WHERE number = ?", (removed, number))


def _state(connection: apsw.Connection, index: str) -> IndexState | None:
    row = fetch_one(connection, "SELECT upto, rows FROM indexes WHERE name = ?", (index,))
    return None if row is None else IndexState(row[0], row[1])


def _number(connection: apsw.Connection, index: str) -> int:
    row = fetch_one(connection, "SELECT number FROM indexes WHERE name = ?", (index,))
    if row is None:
        raise NotFound(f"There is no index {index!r}.")
    number: int = row[0]
    return number


def _update(connection: apsw.Connection, index: str, rows: Rows, since: Seq | None, upto: Seq) -> bool:
    found = fetch_one(connection, "SELECT number, upto, rows FROM indexes WHERE name = ?", (index,))
    if (None if found is None else found[1]) != since:
        return False
    if found is None:
        connection.execute("INSERT INTO indexes (name, upto, rows) VALUES (?, ?, 0)", (index, upto))
        number, count = connection.last_insert_rowid(), 0
    else:
        number, _, count = found
    if count:
        count -= _remove(connection, number, rows)
    new = [
        (number, key, doc_id, n, value) for doc_id, entries in rows.items() for n, (key, value) in enumerate(entries)
    ]
    # In the order of the table, so that neighbours are written together.
    new.sort(key=lambda row: row[1])
    connection.executemany("INSERT INTO index_rows VALUES (?, ?, ?, ?, ?)", new)
    connection.execute("UPDATE indexes SET upto = ?, rows = ? WHERE number = ?", (upto, count + len(new), number))
    return True


def _remove(connection: apsw.Connection, number: int, doc_ids: Iterable[str]) -> int:
    before = connection.total_changes()
    connection.executemany(
        # Without statistics SQLite would take the primary key, and read the whole index.
        "DELETE FROM index_rows INDEXED BY index_rows_by_doc WHERE number = ? AND doc_id = ?",
        [(number, doc_id) for doc_id in doc_ids],
    )
    return connection.total_changes() - before


def _bounded(
    number: int, start: IndexPosition | None, end: IndexPosition | None
) -> tuple[str, list[int | bytes | str]]:
    clause = "number = ?"
    bindings: list[int | bytes | str] = [number]
    if start is not None:
        clause += " AND (key, doc_id, n) >= (?, ?, ?)"
        bindings += start
    if end is not None:
        clause += " AND (key, doc_id, n) < (?, ?, ?)"
        bindings += end
    return clause, bindings


def _read(
    connection: apsw.Connection,
    index: str,
    start: IndexPosition | None,
    end: IndexPosition | None,
    descending: bool,
    skip: int,
    limit: int,
) -> list[IndexRow]:
    clause, bindings = _bounded(_number(connection, index), start, end)
    order = "key DESC, doc_id DESC, n DESC" if descending else "key, doc_id, n"
    return [
        IndexRow(*row)
        for row in fetch(
            connection,
            f"SELECT key, doc_id, n, value FROM index_rows WHERE {clause} ORDER BY {order} LIMIT ? OFFSET ?",
            (*bindings, limit, skip),
        )
    ]


def _count(connection: apsw.Connection, index: str, start: IndexPosition | None, end: IndexPosition | None) -> int:
    if start is None and end is None:
        state = _state(connection, index)
        if state is None:
            raise NotFound(f"There is no index {index!r}.")
        return state.rows
    clause, bindings = _bounded(_number(connection, index), start, end)
    count: int = fetch_one(connection, f"SELECT count(*) FROM index_rows WHERE {clause}", bindings)[0]
    return count


def _hide(connection: apsw.Connection, index: str) -> None:
    connection.execute("UPDATE indexes SET name = ? || number WHERE name = ?", (_DROPPED, index))


def _sweep(connection: apsw.Connection) -> bool:
    """Remove some rows of a dropped index, at last the index; whether something was left to be removed."""
    found = fetch_one(connection, "SELECT number FROM indexes WHERE name >= ? AND name < ?", (_DROPPED, "\0dropped0"))
    if found is None:
        return False
    last = fetch_one(
        connection,
        "SELECT key, doc_id, n FROM index_rows WHERE number = ? ORDER BY key, doc_id, n LIMIT 1 OFFSET ?",
        (found[0], _DROP_ROWS),
    )
    if last is None:
        connection.execute("DELETE FROM index_rows WHERE number = ?", found)
        connection.execute("DELETE FROM indexes WHERE number = ?", found)
    else:
        connection.execute(
            "DELETE FROM index_rows WHERE number = ? AND (key, doc_id, n) < (?, ?, ?)", (found[0], *last)
        )
    return True


def _names(connection: apsw.Connection) -> list[str]:
    rows = fetch(connection, "SELECT name FROM indexes WHERE name < ? OR name >= ?", (_DROPPED, "\0dropped0"))
    return [row[0] for row in rows]
