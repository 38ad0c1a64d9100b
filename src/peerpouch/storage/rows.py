"""Documents on their way out: from rows of the file to CouchDB's JSON shapes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import apsw
import orjson

from peerpouch.core import jsonio, revisions
from peerpouch.core.revisions import Rev
from peerpouch.core.revtree import RevTree, is_line
from peerpouch.errors import CorruptDatabase, NotFound
from peerpouch.ports import AttachmentMode, Document, RevisionResult
from peerpouch.storage import contents
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.schema import ATTACHMENTS, BRANCHED, DELETED, EXACT

Row = tuple[int, str, int, str, int, bytes, str | None]
"""``seq, id, key, rev, flags, body, ancestry`` of ``docs``."""

Head = tuple[int, str, int, str, int, str | None]
"""``seq, id, key, rev, flags, ancestry`` of ``docs``: what a write has to know of the document that it is about."""

BY_ID = "SELECT seq, id, key, rev, flags, body, ancestry FROM docs WHERE id = ?"
_ATTACHMENTS_OF = (
    "SELECT name, content_type, digest, revpos, length, encoding, encoded_length, content FROM attachments "
    "WHERE key = ? AND rev = ?"
)


_OPENING = (
    "'{\"_id\":' || json_quote(id) || ',\"_rev\":\"' || rev || '\"' "
    f"|| CASE WHEN flags & {DELETED} THEN ',\"_deleted\":true' ELSE '' END "
    "|| CASE WHEN length(body) > 2 THEN ',' || CAST(substr(body, 2, length(body) - 2) AS TEXT) ELSE '' END"
)
DOCUMENT = _OPENING + " || '}'"
"""A document without attachments as JSON, put together by SQLite: that costs less than to put parsed parts together.
Neither a revision id nor an ancestry has a character that JSON would escape."""


def marked(conflicts: bool) -> str:
    """Any winner's document as JSON, for :func:`gathered_document`, which sees to what SQLite can't: a number in place
    of attachments is their key, one in place of conflicts says that there may be some, and one in place of the whole
    that it is to be read by itself."""
    branched = f"CASE WHEN flags & {BRANCHED} THEN ',\"_conflicts\":1' ELSE '' END" if conflicts else "''"
    return (
        f"CASE WHEN flags & {EXACT} THEN '{int(conflicts)}' ELSE {_OPENING} "
        f"|| CASE WHEN flags & {ATTACHMENTS} THEN ',\"_attachments\":' || key ELSE '' END || {branched} || '}}' END"
    )


DOCUMENT_WITH_HISTORY = (
    _OPENING + """ || ',"_revisions":{"start":' || CAST(rev AS INTEGER) || ',"ids":["' """
    """|| substr(rev, instr(rev, '-') + 1) || coalesce('","' || replace(ancestry, ',', '","'), '') || '"]}}'"""
)
"""The same with ``_revisions``, where the history is a single line."""


def read_json(body: bytes, flags: int) -> Any:
    """The value of a stored body."""
    try:
        return jsonio.loads(body) if flags & EXACT else orjson.loads(body)
    except ValueError as error:
        raise CorruptDatabase(f"The body of a document is damaged: {error}.") from None


def document(
    connection: apsw.Connection,
    doc_id: str,
    key: int,
    rev: str,
    flags: int,
    body: bytes,
    attachments: AttachmentMode = False,
    wanted: Callable[[int], bool] | None = None,
) -> Document:
    """A revision's document, its attachments as stubs or with their data.

    Args:
        wanted: Judges by ``revpos`` which attachments come with data; without it all do.
    """
    doc: Document = {"_id": doc_id, "_rev": rev}
    if flags & DELETED:
        doc["_deleted"] = True
    doc.update(read_json(body, flags))
    if flags & ATTACHMENTS:
        doc["_attachments"] = attachment_stubs(connection, key, rev, attachments, wanted)
    return doc


def gathered_document(connection: apsw.Connection, doc_id: str, value: Any) -> Document:
    """What :func:`marked` stands for: the winner's document, with attachments as stubs, and with its conflicts where
    these were asked for."""
    if type(value) is not dict:
        stored = StoredDocument.find(connection, doc_id)
        assert stored is not None, "it is of the same snapshot"
        doc = document(connection, doc_id, stored.key, stored.rev, stored.flags, stored.body)
        stored.conflict_fields(doc, value != 0, False)
        return doc
    doc = value
    if "_attachments" in doc:
        doc["_attachments"] = attachment_stubs(connection, doc["_attachments"], doc["_rev"], False)
    if doc.pop("_conflicts", None) is not None:
        add_conflicts(connection, doc)
    return doc


def weight(body: bytes, doc: Document | None) -> int:
    """Bytes of memory that a row with this document costs, roughly."""
    size = len(body)
    for item in ((doc or {}).get("_attachments") or {}).values():
        size += len(item.get("data", b""))
    return size


def attachment_stubs(
    connection: apsw.Connection,
    key: int,
    rev: str,
    mode: AttachmentMode,
    wanted: Callable[[int], bool] | None = None,
) -> dict[str, Any]:
    """The ``_attachments`` field of a revision."""
    result: dict[str, Any] = {}
    for name, content_type, digest, revpos, length, encoding, encoded_length, content in fetch(
        connection, _ATTACHMENTS_OF, (key, rev)
    ):
        item: dict[str, Any] = {"content_type": content_type, "revpos": revpos, "digest": digest}
        if mode and (wanted is None or wanted(revpos)):
            # Whoever asks for data gets it decoded, as CouchDB gives it.
            data = contents.read_all(connection, content, encoding)
            item["data"] = data if mode == "bytes" else base64.b64encode(data).decode("ascii")
        else:
            item["length"] = length
            if encoding is not None:
                item["encoding"] = encoding
                item["encoded_length"] = encoded_length
            item["stub"] = True
        result[name] = item
    return result


class StoredDocument:
    """One document with its tree, read from the file for whatever is asked of it."""

    def __init__(self, connection: apsw.Connection, row: Row) -> None:
        self.connection = connection
        self.seq, self.id, self.key, self.rev, self.flags, self.body, self._ancestry = row
        self._tree: RevTree | None = None
        self.bytes_read = 0

    @classmethod
    def find(cls, connection: apsw.Connection, doc_id: str) -> StoredDocument | None:
        row = fetch_one(connection, BY_ID, (doc_id,))
        return None if row is None else cls(connection, row)

    @property
    def deleted(self) -> bool:
        return bool(self.flags & DELETED)

    @property
    def tree(self) -> RevTree:
        if self._tree is None:
            try:
                self._tree = RevTree.load(revisions.split(self.rev), self.deleted, self._ancestry)
            except CorruptDatabase as error:
                raise CorruptDatabase(f"Document {self.id!r}: {error.reason}") from None
        return self._tree

    def read(
        self, rev: str, attachments: AttachmentMode = False, atts_since: Sequence[str] | None = None
    ) -> Document | None:
        """The document of a revision, or ``None`` when its body is not here (any more)."""
        if rev == self.rev:
            flags, body = self.flags, self.body
        else:
            found = fetch_one(
                self.connection, "SELECT flags, body FROM revs WHERE key = ? AND rev = ?", (self.key, rev)
            )
            # What was stemmed away may keep its body until compaction, but is no revision of the document any more.
            if found is None or revisions.parse(rev) not in self.tree:
                return None
            flags, body = found
        wanted = None
        if attachments and atts_since is not None and flags & ATTACHMENTS:
            wanted = self._newer_than(rev, atts_since)
        doc = document(self.connection, self.id, self.key, rev, flags, body, attachments, wanted)
        self.bytes_read += weight(body, doc)
        return doc

    def _newer_than(self, rev: str, known: Sequence[str]) -> Callable[[int], bool]:
        """Which attachments a reader lacks that has these ancestors: those added after the newest of them."""
        ancestors = set(map(revisions.format, self.tree.path(revisions.parse(rev))))
        newest = max((revisions.generation(item) for item in known if item in ancestors), default=0)
        return lambda revpos: revpos > newest

    def history(self, rev: Rev) -> dict[str, Any]:
        """The ``_revisions`` field of a revision."""
        if is_line(self._ancestry) and revisions.format(rev) == self.rev:
            # Nearly every revision that replication reads: no tree is needed to tell a line's history.
            ancestors = self._ancestry.split(",") if self._ancestry else []
            return {"start": rev[0], "ids": [rev[1], *ancestors]}
        return revisions.format_history(self.tree.path(rev))

    def revs_info(self, rev: Rev) -> list[dict[str, str]]:
        """The ``_revs_info`` field: which ancestors can still be read."""
        kept = dict(fetch(self.connection, "SELECT rev, flags FROM revs WHERE key = ?", (self.key,)))
        kept[self.rev] = self.flags
        info = []
        for item in map(revisions.format, self.tree.path(rev)):
            flags = kept.get(item)
            status = "missing" if flags is None else "deleted" if flags & DELETED else "available"
            info.append({"rev": item, "status": status})
        return info

    def leaf_revs(self) -> list[str]:
        """All leaves, winner first."""
        if is_line(self._ancestry):
            return [self.rev]
        return [revisions.format(leaf.rev) for leaf in self.tree.leaves]

    def conflict_fields(self, doc: Document, conflicts: bool, deleted_conflicts: bool) -> None:
        """Add ``_conflicts`` and ``_deleted_conflicts`` to a document, where there are any."""
        if not self.flags & BRANCHED:
            return
        if conflicts and (found := self.tree.conflicts):
            doc["_conflicts"] = [revisions.format(rev) for rev in found]
        if deleted_conflicts and (found := self.tree.deleted_conflicts):
            doc["_deleted_conflicts"] = [revisions.format(rev) for rev in found]

    def revisions_asked(
        self,
        revs: Iterable[str],
        *,
        latest: bool,
        with_revisions: bool,
        attachments: AttachmentMode,
        atts_since: Sequence[str] | None,
    ) -> list[RevisionResult]:
        """One result for each revision asked for, or with ``latest`` for each leaf that descends from it."""
        results: list[RevisionResult] = []
        seen: set[str] = set()
        for asked in revs:
            targets = [asked]
            if latest and not (asked == self.rev and is_line(self._ancestry)):
                parsed = revisions.parse(asked)
                above = self.tree.leaves_above(parsed) if parsed in self.tree else []
                targets = [revisions.format(leaf.rev) for leaf in above] or [asked]
            for rev in targets:
                if rev in seen:
                    continue
                seen.add(rev)
                doc = self.read(rev, attachments, atts_since)
                if doc is None:
                    results.append(RevisionResult(self.id, rev, None, NotFound("missing")))
                    continue
                if with_revisions:
                    doc["_revisions"] = self.history(revisions.parse(rev))
                results.append(RevisionResult(self.id, rev, doc))
        return results


def add_conflicts(connection: apsw.Connection, doc: Document) -> None:
    """Add ``_conflicts`` to the document of a winner, where there are any."""
    stored = StoredDocument.find(connection, doc["_id"])
    if stored is not None:
        stored.conflict_fields(doc, True, False)
