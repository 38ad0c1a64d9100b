"""The port IndexStore: sorted rows beside the documents, for ``query`` to build its indexes in."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import apsw

from peerpouch.core import jsonio
from peerpouch.core.mango import parse_selector
from peerpouch.errors import InvalidJSON, NotFound
from peerpouch.ports import (
    Document,
    Documents,
    IndexGroup,
    IndexPosition,
    IndexRow,
    IndexState,
    IndexStore,
    ScanPage,
    Seq,
)
from peerpouch.storage.connections import fetch, fetch_one, gather, gather_values
from peerpouch.storage.engine import Engine
from peerpouch.storage.feed import format_seq
from peerpouch.storage.listing import PAGE_BYTES, ListOptions, body_bytes, scan_page
from peerpouch.storage.prefilter import Prefilter
from peerpouch.storage.rows import gathered_document, marked
from peerpouch.storage.schema import DELETED

T = TypeVar("T")

_NEWEST = "SELECT update_seq FROM state"
_DROP_STEP = 5000  # rows deleted in one transaction: some milliseconds
# Without statistics SQLite would take the primary key, and read the whole index for each document.
_IDS = 128  # ids in one statement
_MANY = ", ".join("?" * _IDS)
_ROWS_OF = (
    "SELECT doc_id, key, ordinal, value FROM index_rows INDEXED BY index_rows_by_doc "
    f"WHERE number = ? AND doc_id IN ({_MANY}) LIMIT -1"
)
_REMOVE = "DELETE FROM index_rows INDEXED BY index_rows_by_doc WHERE doc_id = ? AND number = ?"
_REMOVE_MANY = f"DELETE FROM index_rows INDEXED BY index_rows_by_doc WHERE number = ? AND doc_id IN ({_MANY})"
_ROWS = 500  # rows in one statement
_INSERT_MANY = f"INSERT INTO index_rows VALUES {', '.join(['(?, ?, ?, ?, ?)'] * _ROWS)}"
_INSERT = "INSERT INTO index_rows VALUES (?, ?, ?, ?, ?)"
# A longer value is read by itself, so that 1,000 rows are a text of no more than 8 MB.
_SMALL = 4096
_COLUMNS = (
    "json_quote(doc_id)",
    "'\"' || hex(key) || '\"'",
    "ordinal",
    f"CASE WHEN value IS NULL THEN 'null' WHEN length(value) <= {_SMALL} THEN '\"' || hex(value) || '\"' "
    "ELSE 'true' END",
)


class StoredIndexes(Documents, IndexStore, ABC):
    """The part of a storage that keeps indexes. An index without a name is being dropped."""

    _engine: Engine
    _incarnation: str

    async def newest_seq(self) -> Seq:
        return await self._look_up(lambda c: format_seq(fetch_one(c, _NEWEST)[0], self._incarnation))

    async def index_state(self, index: str) -> IndexState | None:
        row = await self._look_up(lambda c: fetch_one(c, "SELECT upto, rows FROM indexes WHERE name = ?", (index,)))
        return None if row is None else IndexState(*row)

    async def _look_up(self, function: Callable[[apsw.Connection], T]) -> T:
        """A point read, in this thread where nothing is in its way."""
        done, found = self._engine.read_now(function)
        return cast("T", found) if done else await self._engine.read(function)

    async def update_index(
        self,
        index: str,
        rows: Mapping[str, Sequence[tuple[bytes, bytes | None]]],
        *,
        since: Seq | None,
        upto: Seq,
    ) -> bool:
        def job(connection: apsw.Connection) -> bool:
            found = fetch_one(connection, "SELECT number, upto FROM indexes WHERE name = ?", (index,))
            if (None if found is None else found[1]) != since:
                return False
            if found is None:
                connection.execute("INSERT INTO indexes (name, upto, rows) VALUES (?, ?, 0)", (index, upto))
                number = connection.last_insert_rowid()
            else:
                number = found[0]
            added = _replace(connection, number, rows)
            connection.execute("UPDATE indexes SET upto = ?, rows = rows + ? WHERE number = ?", (upto, added, number))
            return True

        return await self._engine.write(job)

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
        def read(connection: apsw.Connection) -> list[IndexRow]:
            number = _number(connection, index)
            where, bindings = _range(number, start, end)
            order = "DESC" if descending else "ASC"
            return _gathered(
                connection,
                number,
                f"SELECT key, doc_id, ordinal, value FROM index_rows WHERE {where} "
                f"ORDER BY key {order}, doc_id {order}, ordinal {order} LIMIT ? OFFSET ?",
                [*bindings, limit, skip],
            )

        return await self._engine.read(read)

    async def read_index_groups(
        self,
        index: str,
        *,
        start: IndexPosition | None = None,
        end: IndexPosition | None = None,
        descending: bool = False,
        limit: int = 1000,
    ) -> tuple[list[IndexGroup], IndexPosition | None] | None:
        order = "DESC" if descending else "ASC"

        def read(connection: apsw.Connection) -> tuple[list[IndexGroup], IndexPosition | None] | None:
            where, bindings = _range(_number(connection, index), start, end)
            source = f"FROM index_rows WHERE {where} ORDER BY key {order}, doc_id {order}, ordinal {order} LIMIT ?"
            size = (
                f"SELECT coalesce(sum(length(key) + coalesce(length(value), 0)), 0) FROM (SELECT key, value {source})"
            )
            if fetch_one(connection, size, [*bindings, limit])[0] > PAGE_BYTES:
                return None
            groups = _grouped(connection, f"SELECT key, value {source}", [*bindings, limit], order)
            if groups is None:
                return None
            last = fetch_one(connection, f"SELECT key, doc_id, ordinal {source} OFFSET ?", [*bindings, 1, limit - 1])
            return groups, None if last is None else IndexPosition(*last)

        return await self._engine.read(read)

    async def read_index_docs(
        self,
        index: str,
        *,
        start: IndexPosition | None = None,
        end: IndexPosition | None = None,
        descending: bool = False,
        limit: int = 1000,
        conflicts: bool = False,
    ) -> list[tuple[IndexRow, Document | None]] | None:
        order = "DESC" if descending else "ASC"

        def read(connection: apsw.Connection) -> list[tuple[IndexRow, Document | None]] | None:
            where, bindings = _range(_number(connection, index), start, end)
            source = (
                "SELECT r.key AS place, r.doc_id, r.ordinal, d.id, d.key, d.rev, d.flags, d.body FROM "
                f"(SELECT key, doc_id, ordinal FROM index_rows WHERE {where} "
                f"ORDER BY key {order}, doc_id {order}, ordinal {order} LIMIT ?) r "
                "LEFT JOIN docs d ON d.id = r.doc_id LIMIT -1"
            )
            if body_bytes(connection, source, [*bindings, limit]) > PAGE_BYTES:
                return None
            row = (
                """'["' || hex(place) || '",' || json_quote(doc_id) || ',' || ordinal || ',' || """
                f"CASE WHEN id IS NULL OR flags & {DELETED} THEN 'null' ELSE {marked(conflicts)} END || ']'"
            )
            try:
                found, _ = gather_values(connection, row, source, [*bindings, limit])
            except ValueError:
                return None
            return [
                (
                    IndexRow(bytes.fromhex(place), doc_id, ordinal, None),
                    None if value is None else gathered_document(connection, doc_id, value),
                )
                for place, doc_id, ordinal, value in found
            ]

        return await self._engine.read(read)

    async def scan_docs(
        self,
        selector: Mapping[str, Any],
        *,
        after: str | None,
        startkey: str | None = None,
        endkey: str | None = None,
        descending: bool = False,
        limit: int = 1000,
        conflicts: bool = False,
    ) -> ScanPage | None:
        options = ListOptions(startkey=startkey, endkey=endkey, descending=descending, conflicts=conflicts)
        prefilter = Prefilter(parse_selector(selector))
        return await self._engine.read(lambda c: scan_page(c, options, prefilter, after, limit))

    async def count_index(
        self, index: str, *, start: IndexPosition | None = None, end: IndexPosition | None = None
    ) -> int:
        def read(connection: apsw.Connection) -> int:
            where, bindings = _range(_number(connection, index), start, end)
            (count,) = fetch_one(connection, f"SELECT count(*) FROM index_rows WHERE {where}", bindings)
            return int(count)

        return await self._engine.read(read)

    async def index_rows_of(self, index: str, doc_ids: Sequence[str]) -> dict[str, list[tuple[bytes, bytes | None]]]:
        def read(connection: apsw.Connection) -> dict[str, list[tuple[bytes, bytes | None]]]:
            number = _number(connection, index)
            found: dict[str, list[tuple[bytes, bytes | None]]] = {}
            for offset in range(0, len(doc_ids), _IDS):
                part: list[str | None] = [*doc_ids[offset : offset + _IDS]]
                part += [None] * (_IDS - len(part))  # so that one statement is prepared, and then kept
                for row in _gathered(connection, number, _ROWS_OF, [number, *part]):
                    found.setdefault(row.doc_id, []).append((row.key, row.value))
            for rows in found.values():
                rows.sort(key=lambda row: row[0])
            return found

        return await self._engine.read(read)

    async def drop_index(self, index: str) -> None:
        def unname(connection: apsw.Connection) -> None:
            connection.execute("UPDATE indexes SET name = NULL WHERE name = ?", (index,))

        await self._engine.write(unname)
        while await self._engine.write(drop_step):
            pass

    async def index_names(self) -> list[str]:
        rows = await self._engine.read(
            lambda c: fetch(c, "SELECT name FROM indexes WHERE name IS NOT NULL ORDER BY name")
        )
        return [row[0] for row in rows]


def drop_step(connection: apsw.Connection) -> bool:
    """Delete some rows of an index that was dropped; whether there may be more."""
    found = fetch_one(connection, "SELECT number FROM indexes WHERE name IS NULL LIMIT 1")
    if found is None:
        return False
    rows = fetch(
        connection, "SELECT key, doc_id, ordinal FROM index_rows WHERE number = ? LIMIT ?", (*found, _DROP_STEP)
    )
    if rows:
        connection.executemany(
            "DELETE FROM index_rows WHERE number = ? AND key = ? AND doc_id = ? AND ordinal = ?",
            [(*found, *row) for row in rows],
        )
    else:
        connection.execute("DELETE FROM indexes WHERE number = ?", found)
    return True


def forget_document(connection: apsw.Connection, doc_id: str) -> None:
    """Remove a purged document's rows from all indexes."""
    for number, count in fetch(
        connection, "SELECT number, count(*) FROM index_rows WHERE doc_id = ? GROUP BY number", (doc_id,)
    ):
        connection.execute(_REMOVE, (doc_id, number))
        connection.execute("UPDATE indexes SET rows = rows - ? WHERE number = ?", (count, number))


def _replace(connection: apsw.Connection, number: int, rows: Mapping[str, Sequence[tuple[bytes, bytes | None]]]) -> int:
    """Gives by how many rows the index grew."""
    before = connection.total_changes()
    ids: list[str | None] = [*rows]
    for offset in range(0, len(ids), _IDS):
        part = ids[offset : offset + _IDS]
        connection.execute(_REMOVE_MANY, [number, *part, *[None] * (_IDS - len(part))])
    removed = connection.total_changes() - before
    items = [
        (number, key, doc_id, ordinal, value)
        for doc_id, pairs in rows.items()
        for ordinal, (key, value) in enumerate(pairs)
    ]
    items.sort(key=lambda item: item[1])  # in the order of the table, so that neighbours are written together
    # Each statement gives up the interpreter's lock and waits for it again; see `gather`.
    whole = len(items) - len(items) % _ROWS
    for offset in range(0, whole, _ROWS):
        connection.execute(_INSERT_MANY, [value for item in items[offset : offset + _ROWS] for value in item])
    connection.executemany(_INSERT, items[whole:])
    return len(items) - removed


def _gathered(connection: apsw.Connection, number: int, source: str, bindings: Sequence[Any]) -> list[IndexRow]:
    """The rows of an index that a query gives."""
    rows: list[IndexRow] = []
    for doc_id, key, ordinal, value in gather(connection, _COLUMNS, source, bindings):
        found_key = bytes.fromhex(key)
        found = None if value is None else b""
        if value is True:
            (found,) = fetch_one(
                connection,
                "SELECT value FROM index_rows WHERE number = ? AND key = ? AND doc_id = ? AND ordinal = ?",
                (number, found_key, doc_id, ordinal),
            )
        elif value:
            found = bytes.fromhex(value)
        rows.append(IndexRow(found_key, doc_id, ordinal, found))
    return rows


def _grouped(connection: apsw.Connection, source: str, bindings: Sequence[Any], order: str) -> list[IndexGroup] | None:
    """The keys and values that a query gives, by keys, as two texts; see :func:`gather`. ``None`` if they are not JSON.

    The keys are a text of their own: among the values, their digits would be looked at as if they were long integers.
    """
    keys, data = fetch_one(
        connection,
        "SELECT group_concat(hex(key)), CAST('[' || group_concat(found) || ']' AS BLOB) FROM "
        "(SELECT key, '[' || group_concat(coalesce(CAST(value AS TEXT), '[null,null]')) || ']' AS found "
        f"FROM ({source}) GROUP BY key ORDER BY key {order} LIMIT -1)",
        bindings,
    )
    if data is None:
        return []
    try:
        values = jsonio.loads(data)
    except InvalidJSON:
        return None
    return [IndexGroup(bytes.fromhex(key), found) for key, found in zip(keys.split(","), values, strict=True)]


def _number(connection: apsw.Connection, index: str) -> int:
    row = fetch_one(connection, "SELECT number FROM indexes WHERE name = ?", (index,))
    if row is None:
        raise NotFound(f"There is no index {index!r}.")
    number: int = row[0]
    return number


def _range(number: int, start: IndexPosition | None, end: IndexPosition | None) -> tuple[str, list[Any]]:
    terms = ["number = ?"]
    bindings: list[Any] = [number]
    for position, sign in ((start, ">="), (end, "<")):
        if position is not None:
            terms.append(f"(key, doc_id, ordinal) {sign} (?, ?, ?)")
            bindings.extend(position)
    return " AND ".join(terms), bindings
