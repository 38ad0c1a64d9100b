"""Batches of documents on their way in.

Nearly all documents that come in batches have nothing that is to be looked at by itself: no attachments, no other field
of their own that begins with "_" than id, revision and history. These are prepared many at a time and kept as columns,
without an object for each, and where they are new, too, SQLite gets the columns as they are. An object for each, and a
look at each, cost more than all that SQLite does with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeVar, cast

from peerpouch.core import jsonbatch, revisions
from peerpouch.errors import PeerPouchError
from peerpouch.ports import Document, PlainRevisions, WriteFailure, Written
from peerpouch.storage import edits
from peerpouch.storage.edits import AttachmentEdit, Edit, IdMaker, LocalEdit

T = TypeVar("T")

# From so many documents on, looking at them together costs less.
_MANY = 8
# Looked at together: their texts should still be in the processor's cache when they are looked at again.
_TOGETHER = 128
# An id with so many characters may have too many bytes.
_SHORT_ID = edits.MAX_ID // 4

_written: Callable[[tuple[str, str]], Written] = partial(tuple.__new__, Written)
"""What ``Written._make`` does, without a call of a Python function for each."""

Single = Edit | LocalEdit | WriteFailure
"""A document by itself; a refused one is its own result."""


@dataclass(frozen=True, slots=True)
class Plain:
    """Documents that have nothing special, as columns.

    Attributes:
        bodies: JSON without the ``_`` fields.
        parents: The revisions that they extend; ``None`` if none extends any, or their histories tell.
        histories: The hashes of each one's history, newest first, when ``new_edits`` is false.
    """

    ids: list[str]
    revs: list[str]
    bodies: list[bytes]
    parents: list[str | None] | None
    histories: list[list[str]] | None

    def __len__(self) -> int:
        return len(self.ids)

    def singles(self) -> list[Single]:
        """The same, each by itself."""
        rows = zip(self.ids, self.revs, self.bodies, strict=True)
        if self.histories is not None:
            return [
                Edit(doc_id, _parent_of(rev, hashes), rev, 0, body, hashes)
                for (doc_id, rev, body), hashes in zip(rows, self.histories, strict=True)
            ]
        parents = self.parents or [None] * len(self)
        return [Edit(doc_id, parent, rev, 0, body) for (doc_id, rev, body), parent in zip(rows, parents, strict=True)]

    def written(self) -> list[Written]:
        """The results, if all are written as they are."""
        return list(map(_written, zip(self.ids, self.revs, strict=True)))


Prepared = Plain | list[Single]
"""A batch that can be written, in the order in which it came."""


def singles(batch: Prepared) -> list[Single]:
    """The documents of a batch, each by itself."""
    return batch.singles() if isinstance(batch, Plain) else batch


def joined(batches: Sequence[Prepared]) -> Prepared:
    """Batches that are written in the same way, as one."""
    plain = [batch for batch in batches if isinstance(batch, Plain)]
    if len(plain) < len(batches):
        return list(chain.from_iterable(map(singles, batches)))
    with_parents = any(batch.parents is not None for batch in plain)
    with_history = plain[0].histories is not None
    return Plain(
        _chained(batch.ids for batch in plain),
        _chained(batch.revs for batch in plain),
        _chained(batch.bodies for batch in plain),
        _chained(batch.parents or [None] * len(batch) for batch in plain) if with_parents else None,
        _chained(batch.histories or [] for batch in plain) if with_history else None,
    )


def prepare(
    docs: Sequence[Document],
    new_edits: bool,
    make_id: IdMaker,
    max_size: int,
    taken: Mapping[int, dict[str, AttachmentEdit] | PeerPouchError],
) -> Prepared:
    """Check and encode documents; one that can't be written becomes its own result.

    Args:
        taken: What became of the attachments of some, by their place.
    """

    def single(n: int) -> Single:
        return _single(docs[n], new_edits, make_id, taken.get(n), max_size)

    if len(docs) < _MANY or taken:
        return [single(n) for n in range(len(docs))]
    parts: list[Prepared] = []
    for start in range(0, len(docs), _TOGETHER):
        part = docs[start : start + _TOGETHER]
        plain, others = _Intake(new_edits, make_id, max_size).take(part)
        if others:
            rest = iter(plain.singles())
            parts.append([single(start + n) if n in others else next(rest) for n in range(len(part))])
        else:
            parts.append(plain)
    return joined(parts)


def taken_in(given: PlainRevisions, max_size: int) -> Plain | None:
    """Revisions as they can be written, each checked; ``None`` when one of them is to be looked at as a document.

    A body is stored as it came only if it is, byte by byte, what would be stored of the document that it stands for: no
    name twice, no number that reads back as another, nothing that nests too deeply.
    """
    histories: list[list[str]] = []
    try:
        for doc_id, rev, ancestors in zip(given.ids, given.revs, given.ancestors, strict=True):
            if type(doc_id) is not str or not doc_id.isascii() or len(doc_id) > _SHORT_ID or not doc_id:
                edits.check_new_id(doc_id)
            if doc_id[0] == "_":
                return None
            if ancestors:
                generation, item = revisions.parse(rev)
                history = {"start": generation, "ids": [item, *ancestors.split(",")]}
                histories.append(revisions.check_history(history)[1])
            else:
                histories.append([rev.partition("-")[2]])
        if not revisions.are_plain(given.revs):
            return None
        if max(map(len, given.bodies), default=0) > max_size:
            return None
        if not jsonbatch.are_stored(given.bodies):
            return None
    except (PeerPouchError, ValueError, TypeError, AttributeError):
        return None
    return Plain(given.ids, given.revs, given.bodies, None, histories)


class _Intake:
    """Takes in the plain ones of some documents, and tells which are not: what is wrong with one that can't be written
    shows when it is looked at by itself."""

    def __init__(self, new_edits: bool, make_id: IdMaker, max_size: int) -> None:
        self._new_edits = new_edits
        self._make_id = make_id
        self._max_size = max_size
        # Columns.
        self._places: list[int] = []
        self._ids: list[str] = []
        self._values: list[dict[str, Any]] = []
        self._revs: list[str | None] = []
        self._histories: list[list[str]] = []

    def take(self, docs: Sequence[Document]) -> tuple[Plain, set[int]]:
        """The columns of those that are plain, and the places of those that are not."""
        for n, doc in enumerate(docs):
            if type(doc) is dict:
                self._look(n, doc)
        encoded = jsonbatch.encode_many(self._values, canonical=self._new_edits)
        texts, canonical = encoded.texts, encoded.canonical
        kept = self._kept(encoded)
        if kept is not None:
            self._places, self._ids = _at(self._places, kept), _at(self._ids, kept)
            self._revs, self._histories = _at(self._revs, kept), _at(self._histories, kept)
            texts, canonical = _at(texts, kept), _at(canonical, kept)
        bodies = cast("list[bytes]", texts)
        others = set(range(len(docs))).difference(self._places) if len(bodies) < len(docs) else set()
        if not self._new_edits:
            return Plain(self._ids, cast("list[str]", self._revs), bodies, None, self._histories), others
        revs = revisions.new_revisions(self._revs, canonical)
        parents = self._revs if any(self._revs) else None
        return Plain(self._ids, revs, bodies, parents, None), others

    def _look(self, n: int, doc: Document) -> None:
        value = doc.copy()
        doc_id = value.pop("_id", None)
        rev = value.pop("_rev", None)
        try:
            if doc_id is None and self._new_edits and "_id" not in doc:
                doc_id = self._make_id()
            elif type(doc_id) is not str or not doc_id.isascii() or len(doc_id) > _SHORT_ID or not doc_id:
                edits.check_new_id(doc_id)
            if doc_id[0] == "_":
                return
            if not self._new_edits:
                generation, hashes = edits.history(value.pop("_revisions", None), rev)
                rev = f"{generation}-{hashes[0]}"
                self._histories.append(hashes)
            elif rev is not None:
                revisions.parse(rev)
        except PeerPouchError:
            return
        self._places.append(n)
        self._ids.append(doc_id)
        self._values.append(value)
        self._revs.append(rev)

    def _kept(self, encoded: jsonbatch.Encoded) -> list[int] | None:
        """The places of the plain ones in the columns, by their texts; ``None`` if all are."""
        texts = encoded.texts
        if not encoded.marked and max(map(len, cast("list[bytes]", texts)), default=0) <= self._max_size:
            return None
        kept = [
            n
            for n, text in enumerate(texts)
            if text is not None
            and len(text) <= self._max_size
            and not (b'"_' in text and any(name[:1] == "_" for name in self._values[n]))
        ]
        return None if len(kept) == len(texts) else kept


def _at(column: list[T], places: Sequence[int]) -> list[T]:
    return [column[n] for n in places] if column else column


def _chained(columns: Iterable[list[T]]) -> list[T]:
    return list(chain.from_iterable(columns))


def _parent_of(rev: str, hashes: Sequence[str]) -> str | None:
    return f"{revisions.generation(rev) - 1}-{hashes[1]}" if len(hashes) > 1 else None


def _single(
    doc: Document,
    new_edits: bool,
    make_id: IdMaker,
    attachments: dict[str, AttachmentEdit] | PeerPouchError | None,
    max_size: int,
) -> Single:
    try:
        if isinstance(attachments, PeerPouchError):
            raise attachments
        return edits.prepare(doc, new_edits, make_id, attachments, max_size)
    except PeerPouchError as error:
        given = doc if type(doc) is dict else {}
        doc_id, rev = given.get("_id"), given.get("_rev")
        return WriteFailure(
            doc_id if type(doc_id) is str else "", error, rev if type(rev) is str and not new_edits else None
        )
