"""Pages of the changes feed: each is one short read, and the next begins after its last sequence."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import apsw

from peerpouch.errors import BadRequest
from peerpouch.ports import AttachmentMode, Change, Document, Seq
from peerpouch.storage.connections import fetch, fetch_one, gather_values
from peerpouch.storage.listing import PAGE_BYTES, body_bytes
from peerpouch.storage.rows import StoredDocument, add_conflicts, document, gathered_document, marked, weight
from peerpouch.storage.schema import BRANCHED, DELETED, SEQ_SPAN_BITS

_COLUMNS = "seq, id, key, rev, flags, body, ancestry"
_IDS = 500  # ids looked up in one statement
# Up to so many ids are looked up, for each page anew; for more the feed is read and compared with the set.
_FEW_IDS = 10_000
# Up to so many changes are read where the feed runs: what is new to a live feed, some 50 microseconds.
_FEW = 16


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What ``changes`` was asked for; see :meth:`peerpouch.ports.Documents.changes`."""

    incarnation: str
    descending: bool = False
    style: Literal["main_only", "all_docs"] = "main_only"
    include_docs: bool = False
    conflicts: bool = False
    attachments: AttachmentMode = False
    doc_ids: frozenset[str] | None = None
    matches: Callable[[Document], bool] | None = None
    needs_doc: bool = False


class FeedPage(NamedTuple):
    """Attributes:
    changes: With the document of each, where one is needed.
    last: Up to which sequence everything was considered.
    more: Whether there may be more behind it.
    pending: Changes behind ``last``.
    """

    changes: list[tuple[int, Change, Document | None]]
    last: int
    more: bool
    pending: int


def parse_since(since: Seq | int, incarnation: str, update_seq: int) -> int:
    """The position that a sequence stands for here.

    A sequence of another incarnation, or of a future that was lost when an old copy was put in place, starts over.

    Raises:
        BadRequest: if it is no sequence.
    """
    if type(since) is int:
        if since < 0:
            raise BadRequest("since must not be negative.")
        return since
    if since == "now":
        return update_seq
    if type(since) is str:
        number, dash, origin = since.partition("-")
        if number.isascii() and number.isdigit():
            if not dash:
                return int(number)
            position = int(number)
            return position if origin == incarnation and position <= update_seq else 0
    raise BadRequest(f"since must be a sequence or 'now', not {since!r}.")


def format_seq(seq: int, incarnation: str) -> Seq:
    """A sequence as it is seen outside."""
    return f"{seq}-{incarnation}"


def page(connection: apsw.Connection, options: FeedOptions, position: int, limit: int, before: int | None) -> FeedPage:
    """The changes after ``position``, from at most ``limit`` documents.

    Args:
        before: For a descending feed, the sequence that the page ends before; ``None`` for the first page.
    """
    (update_seq,) = fetch_one(connection, "SELECT update_seq FROM state")
    if not _one_by_one(options, position, update_seq):
        found = _gathered_page(connection, options, position, limit, before, update_seq)
        if found is not None:
            return found
    changes: list[tuple[int, Change, Document | None]] = []
    size = 0
    last = position
    read = 0
    cut = False
    for row in _rows(connection, options, position, limit, before, update_seq):
        read += 1
        last = row[0]
        item, cost = _change(connection, row, options)
        if item is not None:
            changes.append(item)
            size += cost
            if size > PAGE_BYTES:
                cut = True
                break
    more = cut or read == limit
    if options.descending:
        return FeedPage(changes, last, more, 0)
    if not more:
        last = max(position, update_seq)
    return FeedPage(changes, last, more, count_after(connection, last) if more else 0)


def few(connection: apsw.Connection, options: FeedOptions, position: int, limit: int) -> FeedPage | None:
    """The page of a feed that has hardly anything new; ``None`` where it takes more than a point read."""
    if options.descending or options.needs_doc:
        return None
    (update_seq,) = fetch_one(connection, "SELECT update_seq FROM state")
    return page(connection, options, position, limit, None) if update_seq - position <= _FEW else None


def _one_by_one(options: FeedOptions, position: int, update_seq: int) -> bool:
    """Whether the changes are to be read one by one: with the data of attachments, or a few ids only."""
    return bool(options.attachments) or _few_ids(options, position, update_seq)


def _gathered_page(
    connection: apsw.Connection, options: FeedOptions, position: int, limit: int, before: int | None, update_seq: int
) -> FeedPage | None:
    """A page whose changes and documents are put together by SQLite; ``None`` where they are too large for that, or
    something in them is damaged and is to be named."""
    order = "DESC" if options.descending else "ASC"
    source = f"FROM docs WHERE seq > ? AND seq < ? ORDER BY seq {order} LIMIT ?"
    bindings = (position, update_seq + 1 if before is None else before, limit)
    if options.needs_doc and body_bytes(connection, f"SELECT body {source}", bindings) > PAGE_BYTES:
        return None
    # The leaves of a branched document are in its ancestry, which SQLite can't read.
    revs = "'[{\"rev\":\"' || rev || '\"}]'"
    if options.style == "all_docs":
        revs = f"CASE WHEN flags & {BRANCHED} THEN 'null' ELSE {revs} END"
    row = (
        """'[' || seq || ',{"seq":' || json_quote(seq || ?) || ',"id":' || json_quote(id) || ',"changes":' || """
        f"""{revs} || CASE WHEN flags & {DELETED} THEN ',"deleted":true' ELSE '' END || '}}'"""
    )
    row += f" || ',' || {marked(options.conflicts)} || ']'" if options.needs_doc else " || ',null]'"
    columns = "seq, id, key, rev, flags, body" if options.needs_doc else "seq, id, rev, flags"
    try:
        items, _ = gather_values(connection, row, f"SELECT {columns} {source}", (f"-{options.incarnation}", *bindings))
    except ValueError:
        return None
    finished = (_gathered(connection, seq, change, value, options) for seq, change, value in items)
    changes = [item for item in finished if item is not None]
    last = items[-1][0] if items else position
    more = len(items) == limit
    if options.descending:
        return FeedPage(changes, last, more, 0)
    if not more:
        last = max(position, update_seq)
    return FeedPage(changes, last, more, count_after(connection, last) if more else 0)


def _gathered(
    connection: apsw.Connection, seq: int, change: Any, value: Any, options: FeedOptions
) -> tuple[int, Change, Document | None] | None:
    """A change that SQLite put together, with what it can't; ``None`` for one that is not asked for."""
    doc_id = change["id"]
    if options.doc_ids is not None and doc_id not in options.doc_ids:
        return None
    doc: Document | None = None
    if value is not None:
        doc = gathered_document(connection, doc_id, value)
        if options.matches is not None and not options.matches(doc):
            return None
        if options.include_docs:
            change["doc"] = doc
    if change["changes"] is None:
        stored = StoredDocument.find(connection, doc_id)
        change["changes"] = [{"rev": rev} for rev in ([] if stored is None else stored.leaf_revs())]
    return seq, change, doc


def _few_ids(options: FeedOptions, position: int, update_seq: int) -> bool:
    return options.doc_ids is not None and len(options.doc_ids) <= min(update_seq - position, _FEW_IDS)


def _rows(
    connection: apsw.Connection,
    options: FeedOptions,
    position: int,
    limit: int,
    before: int | None,
    update_seq: int,
) -> Any:
    if options.doc_ids is not None and _few_ids(options, position, update_seq):
        rows = _rows_of(connection, options.doc_ids, position, before)
        rows.sort(reverse=options.descending)
        seqs = rows[:limit]
        return (fetch_one(connection, f"SELECT {_COLUMNS} FROM docs WHERE seq = ?", (seq,)) for seq in seqs)
    columns = _COLUMNS
    if not options.needs_doc:
        # The ancestry, behind the body in the row, is read only where it is needed.
        columns = f"seq, id, key, rev, flags, x'', CASE WHEN flags & {BRANCHED} THEN ancestry END"
    order = "DESC" if options.descending else "ASC"
    bindings: tuple[int, ...] = (position, limit)
    bound = ""
    if before is not None:
        bound = "AND seq < ?"
        bindings = (position, before, limit)
    return connection.execute(
        f"SELECT {columns} FROM docs WHERE seq > ? {bound} ORDER BY seq {order} LIMIT ?", bindings
    )


def _rows_of(connection: apsw.Connection, doc_ids: Collection[str], position: int, before: int | None) -> list[int]:
    wanted = list(doc_ids)
    found: list[int] = []
    for offset in range(0, len(wanted), _IDS):
        part = wanted[offset : offset + _IDS]
        marks = ", ".join("?" * len(part))
        found += [
            seq
            for (seq,) in fetch(connection, f"SELECT seq FROM docs WHERE id IN ({marks})", part)
            if seq > position and (before is None or seq < before)
        ]
    return found


_Changed = tuple[tuple[int, Change, Document | None] | None, int]
"""A change with its document, or ``None`` where it is not asked for; and the bytes that it costs."""


def _change(connection: apsw.Connection, row: Any, options: FeedOptions) -> _Changed:
    seq, doc_id, key, rev, flags, body, _ = row
    if options.doc_ids is not None and doc_id not in options.doc_ids:
        return None, 0
    doc: Document | None = None
    if options.needs_doc:
        doc = document(connection, doc_id, key, rev, flags, body, options.attachments)
    change = _finish(connection, seq, doc_id, rev, flags, doc, options)
    return change, 0 if change is None else weight(body, doc)


def _finish(
    connection: apsw.Connection,
    seq: int,
    doc_id: str,
    rev: str,
    flags: int,
    doc: Document | None,
    options: FeedOptions,
) -> tuple[int, Change, Document | None] | None:
    if doc is not None:
        if options.matches is not None and not options.matches(doc):
            return None
        if options.conflicts and flags & BRANCHED:
            add_conflicts(connection, doc)
    revs = [rev]
    if options.style == "all_docs" and flags & BRANCHED:
        stored = StoredDocument.find(connection, doc_id)
        revs = [rev] if stored is None else stored.leaf_revs()
    change: Change = {
        "seq": format_seq(seq, options.incarnation),
        "id": doc_id,
        "changes": [{"rev": item} for item in revs],
    }
    if flags & DELETED:
        change["deleted"] = True
    if options.include_docs and doc is not None:
        change["doc"] = doc
    return seq, change, doc


def count_after(connection: apsw.Connection, seq: int) -> int:
    """How many documents have their newest sequence after this one; costs the number of spans, not of documents."""
    span = seq >> SEQ_SPAN_BITS
    (whole,) = fetch_one(connection, "SELECT coalesce(sum(docs), 0) FROM seq_counts WHERE span > ?", (span,))
    (part,) = fetch_one(
        connection, "SELECT count(*) FROM docs WHERE seq > ? AND seq < ?", (seq, (span + 1) << SEQ_SPAN_BITS)
    )
    total: int = whole + part
    return total
