"""The gate: a database as somebody else may see it.

Every method of the port is classified in :data:`METHODS`; a test fails for one that is not, so a method that is added
to the port can't be reachable from outside by oversight. Methods that the port builds of others (``put``,
``remove_attachment`` and so on) are inherited, so they pass through the gated ones.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

from peerpouch.access.guests import GuestDocs, remembered_by
from peerpouch.access.leaves import aclose
from peerpouch.access.limited import LimitedDatabase, select_from
from peerpouch.access.queries import QUERY_METHODS, GatedQueries
from peerpouch.access.selection import Selection
from peerpouch.access.validation import Validation
from peerpouch.core.policy import LOCAL_PREFIX, Access, Action
from peerpouch.errors import DatabaseClosed, Forbidden, NotFound, PeerPouchError
from peerpouch.ports import (
    AllDocs,
    AllDocsHead,
    AllDocsRow,
    Attachment,
    AttachmentMode,
    Changes,
    ChangesFilter,
    ChangesPage,
    Database,
    DatabaseInfo,
    Document,
    Guard,
    PlainRevisions,
    Principal,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    Seq,
    WriteFailure,
    WriteResult,
    acting_for,
    both_guards,
)

METHODS: Final[Mapping[str, Action]] = {
    "name": Action.OWN,
    "id": Action.DESCRIBE,
    "info": Action.DESCRIBE,
    "get": Action.READ,
    "open_revs": Action.READ,
    "bulk_docs": Action.WRITE,
    "check_write": Action.WRITE,
    "bulk_get": Action.READ,
    "read_plain": Action.READ,
    "revs_diff": Action.DESCRIBE,
    "missing_revs": Action.DESCRIBE,
    "all_docs": Action.READ,
    "changes": Action.READ,
    "get_attachment": Action.READ,
    "local_docs": Action.OWN,
    "get_security": Action.ADMIN,
    "put_security": Action.ADMIN,
    "get_revs_limit": Action.DESCRIBE,
    "put_revs_limit": Action.ADMIN,
    "purge": Action.ADMIN,
    "compact": Action.ADMIN,
    "close": Action.OWN,
    "destroy": Action.ADMIN,
    "write_plain": Action.WRITE,
    "put": Action.WRITE,
    "post": Action.WRITE,
    "remove": Action.WRITE,
    "put_attachment": Action.WRITE,
    "remove_attachment": Action.WRITE,
    **QUERY_METHODS,
}
"""What each public method of the port ``Database`` does, for documents that are not ``_local``: those are the
visitor's own (``Action.OWN``), whatever the method."""


class GatedDatabase(GatedQueries, Database):
    """A database that does only what ``access`` allows.

    Refused documents of a batch are ``forbidden`` one by one, so that a replicator goes on with their neighbours; all
    else that is refused raises :class:`~peerpouch.errors.Forbidden`.

    Args:
        database: The owner's. Closing the gate never closes it.
        principal: On whose behalf: its ``_local`` documents are kept apart from everybody else's.
        access: What is allowed.
        name: What the visitor knows the database by. The owner's name for it may be a path, which is nobody's business.
        selection: What the selector of ``access`` lets through, where several gates share one.
        visitor: What the ``validate`` of ``access`` is told of who writes; by default the principal.
        guest: Its ``_local`` documents, where they are kept in another way.

    Raises:
        NotSupported: ``access`` has a selector, and the database is not in a file here.
    """

    def __init__(
        self,
        database: Database,
        principal: Principal,
        access: Access,
        *,
        name: str,
        selection: Selection | None = None,
        visitor: Any = None,
        guest: GuestDocs | None = None,
    ) -> None:
        self._inner = database
        if access.select is not None:
            self._inner = LimitedDatabase(database, selection or select_from(database, access.select))
        self._access = access
        self._principal = principal
        self._judge = None if access.validate is None else Validation(access.validate, visitor or principal)
        self._name = name
        self._guest = guest or GuestDocs(database, remembered_by(principal) + bytes.fromhex(access.fingerprint))
        self._feeds: set[Changes] = set()
        self._ended: type[PeerPouchError] = DatabaseClosed
        self._reason: str | None = None
        self._open = True

    @property
    def name(self) -> str:
        return self._name

    @property
    def principal(self) -> Principal:
        """On whose behalf."""
        return self._principal

    def revoke(
        self, reason: str = "This database is no longer shared with you.", error: type[PeerPouchError] = Forbidden
    ) -> None:
        """End the visit: live feeds stop, and all that is called later raises this error with this reason."""
        self._ended, self._reason = error, reason
        self._shut()

    async def close(self) -> None:
        """End the visit. The owner's database stays open."""
        self._shut()

    def _shut(self) -> None:
        self._open = False
        for feed in list(self._feeds):
            feed.cancel()

    def _require(self, action: Action) -> None:
        if not self._open:
            raise self._ended(self._reason)
        self._access.require(action)

    async def id(self) -> str:
        self._require(METHODS["id"])
        return await self._inner.id()

    async def info(self) -> DatabaseInfo:
        self._require(METHODS["info"])
        info = await self._inner.info()
        info["db_name"] = self._name
        return info

    # Reading

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
        if doc_id.startswith(LOCAL_PREFIX):
            self._require(Action.OWN)
            return await self._guest.get(doc_id, rev=rev)
        self._require(METHODS["get"])
        return await self._inner.get(
            doc_id,
            rev=rev,
            revs=revs,
            revs_info=revs_info,
            conflicts=conflicts,
            deleted_conflicts=deleted_conflicts,
            latest=latest,
            local_seq=local_seq,
            attachments=attachments,
            atts_since=atts_since,
        )

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
        self._require(METHODS["open_revs"])
        _not_local(doc_id)
        return await self._inner.open_revs(
            doc_id,
            revs,
            latest=latest,
            with_revisions=with_revisions,
            attachments=attachments,
            atts_since=atts_since,
        )

    async def bulk_get(
        self,
        requests: Sequence[RevisionRequest],
        *,
        revs: bool = False,
        latest: bool = False,
        attachments: AttachmentMode = False,
    ) -> AsyncIterator[RevisionResult]:
        self._require(METHODS["bulk_get"])
        start = 0
        for end in [*(at for at, each in enumerate(requests) if each.id.startswith(LOCAL_PREFIX)), len(requests)]:
            if end > start:
                found = self._inner.bulk_get(requests[start:end], revs=revs, latest=latest, attachments=attachments)
                try:
                    async for result in found:
                        yield result
                        if not self._open:
                            raise self._ended(self._reason)
                finally:
                    await aclose(found)
            if end < len(requests):
                yield RevisionResult(requests[end].id, requests[end].rev, None, NotFound())
            start = end + 1

    async def read_plain(self, revs: Mapping[str, str]) -> PlainRevisions | None:
        self._require(METHODS["read_plain"])
        asked = {doc_id: rev for doc_id, rev in revs.items() if not doc_id.startswith(LOCAL_PREFIX)}
        found = await self._inner.read_plain(asked)
        self._require(METHODS["read_plain"])
        return found

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
        self._require(METHODS["revs_diff"])
        others = {doc_id: wanted for doc_id, wanted in revs.items() if not doc_id.startswith(LOCAL_PREFIX)}
        return await self._inner.revs_diff(others)

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
    ) -> AllDocs:
        inner = self._inner.all_docs(
            keys=keys,
            startkey=startkey,
            endkey=endkey,
            inclusive_end=inclusive_end,
            descending=descending,
            skip=skip,
            limit=limit,
            include_docs=include_docs,
            conflicts=conflicts,
            attachments=attachments,
            update_seq=update_seq,
        )

        def check() -> None:
            self._require(METHODS["all_docs"])
            if keys is not None and any(key.startswith(LOCAL_PREFIX) for key in keys):
                raise Forbidden("_local documents are not listed; get them one by one.")

        async def head() -> AllDocsHead:
            check()
            return await inner.head()

        async def pages() -> AsyncGenerator[list[AllDocsRow], None]:
            check()
            async with aclosing(inner.pages()) as stream:
                async for page in stream:
                    check()
                    yield page

        return AllDocs(head, pages)

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
        with acting_for(self._principal):
            inner = self._inner.changes(
                since=since,
                limit=limit,
                live=live,
                descending=descending,
                style=style,
                include_docs=include_docs,
                conflicts=conflicts,
                attachments=attachments,
                doc_ids=doc_ids,
                selector=selector,
                filter=filter,
                query=query,
                heartbeat=heartbeat,
                timeout=timeout,
                seq_interval=seq_interval,
                batch_size=batch_size,
            )

        async def pages() -> AsyncGenerator[ChangesPage, None]:
            self._require(METHODS["changes"])
            self._feeds.add(inner)
            try:
                async with aclosing(inner.pages()) as stream:
                    async for page in stream:
                        self._require(METHODS["changes"])
                        yield page
            finally:
                self._feeds.discard(inner)
            # A feed that was stopped by revoke() must not look as if it had come to its end.
            self._require(METHODS["changes"])

        return Changes(pages)

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
        self._require(METHODS["get_attachment"])
        _not_local(doc_id)
        found = await self._inner.get_attachment(doc_id, name, rev=rev, start=start, end=end, encoded=encoded)

        async def stream() -> AsyncGenerator[bytes, None]:
            chunks = aiter(found)
            try:
                async for chunk in chunks:
                    self._require(METHODS["get_attachment"])
                    yield chunk
            finally:
                await aclose(chunks)

        return Attachment(
            found.name,
            found.content_type,
            found.length,
            found.digest,
            stream,
            revpos=found.revpos,
            encoding=found.encoding,
            start=found.start,
            end=found.end,
            checks=found.checks,
        )

    def local_docs(self, *, include_docs: bool = False) -> AllDocs:
        async def rows() -> list[AllDocsRow]:
            self._require(METHODS["local_docs"])
            docs = await self._guest.all()
            listed: list[AllDocsRow] = []
            for doc in docs:
                row: AllDocsRow = {"id": doc["_id"], "key": doc["_id"], "value": {"rev": doc["_rev"]}}
                if include_docs:
                    row["doc"] = doc
                listed.append(row)
            return listed

        async def head() -> AllDocsHead:
            return AllDocsHead(len(await rows()), 0)

        async def pages() -> AsyncGenerator[list[AllDocsRow], None]:
            yield await rows()

        return AllDocs(head, pages)

    # Writing

    async def check_write(self, doc_id: str) -> None:
        self._require(Action.OWN)
        refusal = self._access.refusal(doc_id)
        if refusal is not None:
            raise refusal

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        self._require(Action.OWN)
        if self._access.allows(Action.WRITE) and all(map(_is_plain, docs)):  # as nearly all batches are
            return await self._write(docs, new_edits, guard)
        results: list[WriteResult | None] = [None] * len(docs)
        passed: list[int] = []
        for place, doc in enumerate(docs):
            # What is no object is refused by the database, which says so.
            doc_id = _field(doc, "_id")
            if isinstance(doc_id, str) and doc_id.startswith(LOCAL_PREFIX):
                results[place] = await self._put_local(doc)
                continue
            refusal = self._access.refusal(doc_id)
            if refusal is None:
                passed.append(place)
            else:
                results[place] = WriteFailure(str(doc_id or ""), refusal, None if new_edits else _field(doc, "_rev"))
        if passed:
            written = await self._write([docs[place] for place in passed], new_edits, guard)
            for place, result in zip(passed, written, strict=True):
                results[place] = result
        return [result for result in results if result is not None]

    async def _write(self, docs: Sequence[Document], new_edits: bool, guard: Guard | None) -> list[WriteResult]:
        with acting_for(self._principal):
            return await self._inner.bulk_docs(docs, new_edits=new_edits, guard=both_guards(guard, self._judge))

    async def _put_local(self, doc: Document) -> WriteResult:
        try:
            return await self._guest.put(doc)
        except PeerPouchError as error:
            return WriteFailure(doc["_id"], error)

    # Administration

    async def get_security(self) -> Document:
        self._require(METHODS["get_security"])
        return await self._inner.get_security()

    async def put_security(self, security: Document) -> None:
        self._require(METHODS["put_security"])
        await self._inner.put_security(security)

    async def get_revs_limit(self) -> int:
        self._require(METHODS["get_revs_limit"])
        return await self._inner.get_revs_limit()

    async def put_revs_limit(self, limit: int) -> None:
        self._require(METHODS["put_revs_limit"])
        await self._inner.put_revs_limit(limit)

    async def purge(self, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        self._require(METHODS["purge"])
        return await self._inner.purge(revs)

    async def compact(self) -> None:
        self._require(METHODS["compact"])
        await self._inner.compact()

    async def destroy(self) -> None:
        self._require(METHODS["destroy"])
        await self._inner.destroy()


def _is_plain(doc: object) -> bool:
    """Whether a document has an id that needs no more than that documents may be written."""
    return type(doc) is dict and type(doc_id := doc.get("_id")) is str and doc_id[:1] != "_"


def _field(doc: object, name: str) -> Any:
    return doc.get(name) if isinstance(doc, dict) else None


def _not_local(doc_id: str) -> None:
    if doc_id.startswith(LOCAL_PREFIX):
        raise NotFound
