"""The port Documents, and the guard that judges writes."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

from peerpouch.errors import BadRequest, Conflict, InvalidDocument, NotFound
from peerpouch.ports.streams import AllDocs, Attachment, AttachmentData, Changes
from peerpouch.ports.values import (
    AttachmentMode,
    DatabaseInfo,
    Document,
    PlainRevisions,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    Seq,
    WriteFailure,
    WriteResult,
    Written,
)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A write that a guard judges, inside the write transaction.

    Attributes:
        new: The document as it would be stored: ``_id``, ``_rev``, ``_revisions``, ``_deleted``, attachments as stubs.
        leaves: Gives the document's current leaves, with bodies; empty when it is new. Called only if needed.
        parent: The revision that this write extends, or ``None``.
        before: Gives the nearest stored revision that this write comes from; ``None`` for a new document, and for one
            that is made anew after its deletion. Called only if needed.
    """

    new: Document
    leaves: Callable[[], list[Document]]
    parent: str | None
    before: Callable[[], Document | None] = lambda: None


Guard = Callable[[Proposal], None]
"""Raises :class:`~peerpouch.errors.Forbidden` or :class:`~peerpouch.errors.Unauthorized` to refuse one document; its
neighbours in the batch are not affected. It runs in the writer's thread: it must be quick, and must not write."""


def both_guards(first: Guard | None, second: Guard | None) -> Guard | None:
    """One guard after the other."""
    if first is None or second is None:
        return first or second

    def judge(proposal: Proposal) -> None:
        first(proposal)
        second(proposal)

    return judge


StandingGuard = Callable[[Sequence[Document], Document], Guard | None]
"""Makes the guard that judges a batch besides the caller's own, from the database's design documents and its security
object, as they are inside the write transaction before the batch; ``None`` where there is nothing to judge by."""

ChangesFilter = Callable[[Document], bool] | str
"""A Python predicate over the winning revision's document, or the name of a filter of a design document."""


class Documents(ABC):
    """Documents, their revisions and attachments, and the feed of their changes.

    ``_local/…`` and ``_design/…`` ids go through the same methods as others. ``_local`` documents have no history, are
    never listed, and are never replicated.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that this database is known by: a path, a URL or a share's ``dbname``."""

    @abstractmethod
    async def id(self) -> str:
        """What identifies this database, the same by whichever path it is reached. Checkpoints are derived from it."""

    @abstractmethod
    async def info(self) -> DatabaseInfo: ...

    @abstractmethod
    async def get(
        self,
        doc_id: str,
        *,
        rev: str | None = None,
        revs: bool = False,
        revs_info: bool = False,
        conflicts: bool = False,
        deleted_conflicts: bool = False,
        latest: bool = False,
        local_seq: bool = False,
        attachments: AttachmentMode = False,
        atts_since: Sequence[str] | None = None,
    ) -> Document:
        """The winning revision, or ``rev``.

        Raises:
            NotFound: reason ``"missing"``, or ``"deleted"`` when the winner is a deletion and no ``rev`` was given.
        """

    @abstractmethod
    async def open_revs(
        self,
        doc_id: str,
        revs: Sequence[str] | Literal["all"] = "all",
        *,
        latest: bool = False,
        with_revisions: bool = False,
        attachments: AttachmentMode = False,
        atts_since: Sequence[str] | None = None,
    ) -> list[RevisionResult]:
        """All leaves of a document, deleted ones too, or the revisions asked for.

        Raises:
            NotFound: for ``"all"``, when the document never existed.
        """

    @abstractmethod
    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        """Write documents; one result for each, in order.

        With ``new_edits`` a document's ``_rev`` must be a current leaf (or absent for a new or deleted document), and a
        new revision id is made. Without, documents are stored as given, with the history in ``_revisions``: that is
        how replication writes; a revision that is already there counts as written.

        Raises:
            StorageError: nothing of the batch was written, for example because the disk is full.
        """

    async def check_write(self, doc_id: str) -> None:  # noqa: B027 - whoever is no gate has nothing to say
        """Ask before much is sent whether whoever has this database may write documents with this id at all.

        Raises:
            Forbidden: a gate refuses it. Each document is judged again when it is written.
        """

    @abstractmethod
    def bulk_get(
        self,
        requests: Sequence[RevisionRequest],
        *,
        revs: bool = False,
        latest: bool = False,
        attachments: AttachmentMode = False,
    ) -> AsyncIterator[RevisionResult]:
        """Many revisions in one request; results in the order of the requests, memory bounded."""

    @abstractmethod
    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
        """Which of these revisions this database lacks. Documents that lack none are absent from the result."""

    @abstractmethod
    def all_docs(
        self,
        *,
        keys: Sequence[str] | None = None,
        startkey: str | None = None,
        endkey: str | None = None,
        inclusive_end: bool = True,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        update_seq: bool = False,
    ) -> AllDocs: ...

    @abstractmethod
    def changes(
        self,
        *,
        since: Seq | int = "0",
        limit: int | None = None,
        live: bool = False,
        descending: bool = False,
        style: Literal["main_only", "all_docs"] = "main_only",
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        doc_ids: Sequence[str] | None = None,
        selector: Mapping[str, Any] | None = None,
        filter: ChangesFilter | None = None,
        query: Mapping[str, str] | None = None,
        heartbeat: float | None = None,
        timeout: float | None = None,
        seq_interval: int | None = None,
        batch_size: int = 1000,
    ) -> Changes:
        """Each changed document once, at its newest sequence, in order.

        Args:
            since: A sequence of this database; one of another incarnation starts over from the beginning.
            live: Go on with what is written later. Misses nothing between catching up and waiting.
            heartbeat: Seconds; a live feed that is idle this long gives an empty page.
            timeout: Seconds; a live feed that is idle this long ends.
            batch_size: The most changes in one page.
        """

    @abstractmethod
    async def get_attachment(
        self,
        doc_id: str,
        name: str,
        *,
        rev: str | None = None,
        start: int = 0,
        end: int | None = None,
        encoded: bool = False,
    ) -> Attachment:
        """An attachment, or its bytes from ``start`` up to (not including) ``end``.

        Args:
            encoded: Give the bytes as they are stored, gzip included, as replication wants them.

        Raises:
            NotFound: when the document, revision or attachment is missing.
            RangeNotSatisfiable: when ``start`` is beyond the end.
        """

    @abstractmethod
    def local_docs(self, *, include_docs: bool = False) -> AllDocs: ...

    @abstractmethod
    async def get_security(self) -> Document: ...

    @abstractmethod
    async def put_security(self, security: Document) -> None: ...

    @abstractmethod
    async def get_revs_limit(self) -> int: ...

    @abstractmethod
    async def put_revs_limit(self, limit: int) -> None: ...

    @abstractmethod
    async def purge(self, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Forget leaves as if they had never been. Gives what was purged. Not replicated."""

    @abstractmethod
    async def compact(self) -> None:
        """Remove the bodies of old revisions and what nothing refers to. Safe while others read and write."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun and free the file or connection. Later calls raise ``DatabaseClosed``."""

    @abstractmethod
    async def destroy(self) -> None:
        """Delete the database with all its documents, and close it."""

    # What follows is made of the above. An implementation overrides one where it has a better way.

    async def read_plain(self, revs: Mapping[str, str]) -> PlainRevisions | None:
        """Those of these revisions (one by each id) that are plain, so that none is parsed on its way to another
        database; the others, missing ones too, are for ``bulk_get``. ``None``: this database has no way to do it.

        It gives what is stored, in the order of ``revs``: whoever writes it checks it.
        """
        return None

    async def write_plain(self, revisions: PlainRevisions) -> list[WriteFailure]:
        """Do what ``bulk_docs`` does with ``new_edits`` false, and give what was not written.

        What is no JSON, no id or no revision is refused, one by one: these may come from anywhere.
        """
        docs: list[Document] = []
        failures: list[WriteFailure] = []
        for doc_id, rev, ancestors, body in zip(*revisions, strict=True):
            try:
                fields = json.loads(body.decode())
                start, _, first = rev.partition("-")
                history = {"start": int(start), "ids": [first, *(ancestors.split(",") if ancestors else [])]}
                docs.append({**fields, "_id": doc_id, "_rev": rev, "_revisions": history})
            except (ValueError, TypeError, RecursionError):
                failures.append(WriteFailure(doc_id, InvalidDocument("A revision is damaged."), rev))
        written = await self.bulk_docs(docs, new_edits=False) if docs else []
        return failures + [result for result in written if isinstance(result, WriteFailure)]

    async def put(self, doc: Document) -> Written:
        """Write one document that has an ``_id``; raises what ``bulk_docs`` would report."""
        if type(doc) is not dict or "_id" not in doc:
            raise BadRequest("put needs a document with an _id; post makes one up.")
        return _one(await self.bulk_docs([doc]))

    async def post(self, doc: Document) -> Written:
        """Write one document; without an ``_id`` it gets a random one."""
        if type(doc) is not dict:
            raise BadRequest("A document is an object.")
        return _one(await self.bulk_docs([doc]))

    async def remove(self, doc_id: str, rev: str) -> Written:
        """Delete a document by a revision that has no content but its id."""
        return _one(await self.bulk_docs([{"_id": doc_id, "_rev": rev, "_deleted": True}]))

    async def missing_revs(self, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """``revs_diff`` without the ancestors."""
        return {doc_id: diff["missing"] for doc_id, diff in (await self.revs_diff(revs)).items()}

    async def put_attachment(
        self,
        doc_id: str,
        name: str,
        data: AttachmentData,
        content_type: str = "application/octet-stream",
        *,
        rev: str | None = None,
    ) -> Written:
        """Add or replace one attachment; a document that does not exist is created. ``str`` data is base64."""
        doc: Document
        try:
            doc = await self.get(doc_id, rev=rev)
        except NotFound:
            if rev is not None:
                raise
            doc = {"_id": doc_id}
        if rev is None and "_rev" in doc:
            raise Conflict("The document exists: give the revision that the attachment is added to.")
        doc.setdefault("_attachments", {})[name] = {"content_type": content_type, "data": data}
        return await self.put(doc)

    async def remove_attachment(self, doc_id: str, name: str, rev: str) -> Written:
        """Write a revision without this attachment."""
        doc = await self.get(doc_id, rev=rev)
        if doc.get("_attachments", {}).pop(name, None) is None:
            raise NotFound("Document is missing attachment")
        return await self.put(doc)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _one(results: list[WriteResult]) -> Written:
    (result,) = results
    if isinstance(result, WriteFailure):
        raise result.error
    return result
