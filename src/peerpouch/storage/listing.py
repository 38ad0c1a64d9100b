"""Pages of ``all_docs`` and of ``_local`` documents: each is one short read, and the next begins after its last key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import apsw

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest
from peerpouch.ports import AllDocsRow, AttachmentMode, Document, ScanPage
from peerpouch.storage.connections import fetch, fetch_one, gather_values
from peerpouch.storage.prefilter import Prefilter
from peerpouch.storage.rows import Row, StoredDocument, document, gathered_document, marked, read_json, weight
from peerpouch.storage.schema import BRANCHED, DELETED

PAGE_ROWS = 1000
PAGE_BYTES = 4 * 1024 * 1024
"""A page ends after so many bytes of bodies and attachments, so that large documents don't fill the memory."""

_KEYS = 500  # keys looked up in one statement


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What ``all_docs`` was asked for; see :meth:`peerpouch.ports.Documents.all_docs`."""

    keys: Sequence[str] | None = None
    startkey: str | None = None
    endkey: str | None = None
    inclusive_end: bool = True
    descending: bool = False
    skip: int = 0
    limit: int | None = None
    include_docs: bool = False
    conflicts: bool = False
    attachments: AttachmentMode = False

    def check(self) -> None:
        """Raise BadRequest where options are malformed or contradict each other."""
        if self.skip < 0 or (self.limit is not None and self.limit < 0):
            raise BadRequest("skip and limit must not be negative.")
        if self.keys is not None and (self.startkey is not None or self.endkey is not None):
            raise BadRequest("keys can't be combined with startkey, endkey or key.")
        for text in (self.startkey, self.endkey, *(self.keys or ())):
            if text is not None and type(text) is not str:
                raise BadRequest(f"Document ids are text: {text!r} can't be a key.")


class ListPage(NamedTuple):
    """Rows, and the key after which the next page begins; ``None`` when this was the last."""

    rows: list[AllDocsRow]
    after: str | None


def page(connection: apsw.Connection, options: ListOptions, after: str | None, skip: int, limit: int) -> ListPage:
    """At most ``limit`` rows behind the key ``after``."""
    where, bindings = _range(options, after)
    order = "DESC" if options.descending else "ASC"
    source = f"FROM docs WHERE {where} AND NOT flags & {DELETED} ORDER BY id {order} LIMIT ? OFFSET ?"
    rows = _gathered(connection, options, source, (*bindings, limit, skip))
    if rows is None:
        return _page_by_rows(connection, options, source, (*bindings, limit, skip), limit)
    if options.include_docs:
        for row in rows:
            row["doc"] = gathered_document(connection, row["id"], row["doc"])
    return ListPage(rows, rows[-1]["key"] if len(rows) == limit else None)


def _gathered(
    connection: apsw.Connection, options: ListOptions, source: str, bindings: Sequence[Any]
) -> list[AllDocsRow] | None:
    """The rows, put together by SQLite, their documents as :func:`marked` has them; or ``None`` where they are to be
    read one by one: when they are large, or something in them is damaged and is to be named."""
    row = """'{"id":' || json_quote(id) || ',"key":' || json_quote(id) || ',"value":{"rev":"' || rev || '"}'"""
    if not options.include_docs:
        return gather_values(connection, row + " || '}'", f"SELECT id, rev {source}", bindings)[0]
    if options.attachments or body_bytes(connection, f"SELECT body {source}", bindings) > PAGE_BYTES:
        return None
    row += f" || ',\"doc\":' || {marked(options.conflicts)} || '}}'"
    try:
        return gather_values(connection, row, f"SELECT id, key, rev, flags, body {source}", bindings)[0]
    except ValueError:
        return None


def body_bytes(connection: apsw.Connection, source: str, bindings: Sequence[Any]) -> int:
    """How many bytes the bodies have that a query gives; their pages are not read for that."""
    (size,) = fetch_one(connection, f"SELECT coalesce(sum(length(body)), 0) FROM ({source})", bindings)
    return int(size)


def _page_by_rows(
    connection: apsw.Connection, options: ListOptions, source: str, bindings: Sequence[Any], limit: int
) -> ListPage:
    columns = "seq, id, key, rev, flags, body, ancestry"
    cursor = connection.execute(f"SELECT {columns} {source}", bindings)
    rows: list[AllDocsRow] = []
    size = 0
    found: Any
    for found in cursor:
        rows.append({"id": found[1], "key": found[1], "value": {"rev": found[3]}})
        rows[-1]["doc"] = _document(connection, found, options)
        size += weight(found[5], rows[-1]["doc"])
        if size > PAGE_BYTES:
            cursor.close()
            return ListPage(rows, found[1])
    return ListPage(rows, rows[-1]["key"] if len(rows) == limit else None)


def _range(options: ListOptions, after: str | None) -> tuple[str, list[str]]:
    ahead, behind = ("<", ">") if options.descending else (">", "<")
    terms: list[str] = []
    bindings: list[str] = []
    if after is not None:
        terms.append(f"id {ahead} ?")
        bindings.append(after)
    elif options.startkey is not None:
        terms.append(f"id {ahead}= ?")
        bindings.append(options.startkey)
    if options.endkey is not None:
        terms.append(f"id {behind}{'=' if options.inclusive_end else ''} ?")
        bindings.append(options.endkey)
    return " AND ".join(terms) or "1", bindings


def scan_page(
    connection: apsw.Connection, options: ListOptions, prefilter: Prefilter, after: str | None, limit: int
) -> ScanPage | None:
    """The documents among the next ``limit``, design documents aside, that a filter lets through; ``None`` where they
    are too large to be held together, or something in them is damaged and is to be named."""
    where, bindings = _range(options, after)
    order, last = ("DESC", "min") if options.descending else ("ASC", "max")
    where += f" AND NOT flags & {DELETED} AND NOT (id >= '_design/' AND id < '_design0')"
    source = f"SELECT id, key, rev, flags, body FROM docs WHERE {where} ORDER BY id {order} LIMIT ?"
    bound = [*bindings, limit]
    if body_bytes(connection, source, bound) > PAGE_BYTES:
        return None
    chosen = f"CASE WHEN {prefilter.sql} THEN '[' || json_quote(id) || ',' || {marked(options.conflicts)} || ']' END"
    try:
        data, examined, end = fetch_one(
            connection,
            f"SELECT CAST('[' || coalesce(group_concat({chosen}), '') || ']' AS BLOB), count(*), {last}(id) "
            f"FROM ({source})",
            [*prefilter.bindings, *bound],
        )
        values = jsonio.parse(data)
    except (ValueError, apsw.SQLError):
        return None
    docs = [gathered_document(connection, doc_id, value) for doc_id, value in values]
    return ScanPage(docs, end if examined == limit else None, examined)


def keyed_page(connection: apsw.Connection, options: ListOptions, keys: Sequence[str]) -> tuple[list[AllDocsRow], int]:
    """Rows for these keys in their order; how many of the keys they answer."""
    rows: list[AllDocsRow] = []
    size = 0
    for offset in range(0, len(keys), _KEYS):
        part = keys[offset : offset + _KEYS]
        marks = ", ".join("?" * len(part))
        columns = "seq, id, key, rev, flags, body, ancestry"
        if not options.include_docs:
            columns = "seq, id, key, rev, flags, 0, 0"
        cursor = connection.execute(f"SELECT {columns} FROM docs WHERE id IN ({marks})", list(part))
        found: dict[str, Any] = {}
        for item in cursor:
            found[str(item[1])] = item
            size += len(item[5]) if isinstance(item[5], bytes) else 0
            if size > PAGE_BYTES:
                break
        whole = size <= PAGE_BYTES
        cursor.close()
        if not whole:
            # The statement gives documents in any order: answer one by one what fits.
            return _one_by_one(connection, options, keys, rows)
        rows += [_keyed_row(connection, key, found.get(key), options) for key in part]
    return rows, len(keys)


def _one_by_one(
    connection: apsw.Connection, options: ListOptions, keys: Sequence[str], rows: list[AllDocsRow]
) -> tuple[list[AllDocsRow], int]:
    size = 0
    for key in keys[len(rows) :]:
        stored: list[Any] = fetch(
            connection, "SELECT seq, id, key, rev, flags, body, ancestry FROM docs WHERE id = ?", (key,)
        )
        found = stored[0] if stored else None
        rows.append(_keyed_row(connection, key, found, options))
        size += weight(found[5], rows[-1].get("doc")) if found else 0
        if size > PAGE_BYTES:
            break
    return rows, len(rows)


def _keyed_row(connection: apsw.Connection, key: str, found: Row | None, options: ListOptions) -> AllDocsRow:
    if found is None:
        return {"key": key, "error": "not_found"}
    value: dict[str, Any] = {"rev": found[3]}
    row: AllDocsRow = {"id": key, "key": key, "value": value}
    if found[4] & DELETED:
        value["deleted"] = True
        if options.include_docs:
            row["doc"] = None
    elif options.include_docs:
        row["doc"] = _document(connection, found, options)
    return row


def _document(connection: apsw.Connection, found: Row, options: ListOptions) -> Document:
    _, doc_id, key, rev, flags, body, _ = found
    doc = document(connection, doc_id, key, rev, flags, body, options.attachments)
    if options.conflicts and flags & BRANCHED:
        StoredDocument(connection, found).conflict_fields(doc, True, False)
    return doc


def local_page(connection: apsw.Connection, include_docs: bool, after: str) -> ListPage:
    """A page of ``_local`` documents."""
    rows: list[AllDocsRow] = []
    for doc_id, number, flags, body in fetch(
        connection, "SELECT id, rev, flags, body FROM local WHERE id > ? ORDER BY id LIMIT ?", (after, PAGE_ROWS)
    ):
        rev = f"0-{number}"
        row: AllDocsRow = {"id": doc_id, "key": doc_id, "value": {"rev": rev}}
        if include_docs:
            row["doc"] = {"_id": doc_id, "_rev": rev, **read_json(body, flags)}
        rows.append(row)
    return ListPage(rows, rows[-1]["key"] if len(rows) == PAGE_ROWS else None)
