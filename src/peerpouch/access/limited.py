"""A database as it looks through a selector: other documents are as if they were not there.

Everything is judged by :class:`~peerpouch.access.selection.Selection`. Listings and feeds are read from its index, so
they cost what is visible, and point reads ask it first, so a hidden document costs exactly what an absent one does.
What is then read of the documents is judged once more, since it may have changed meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal, NamedTuple

from peerpouch.access.feeds import FeedRequest, follow
from peerpouch.access.leaves import LeafReader, ancestry, cited, with_conflicts
from peerpouch.access.limitedqueries import LimitedQueries
from peerpouch.access.selection import DELETED, LIVE, Selection
from peerpouch.access.writes import Writer
from peerpouch.core import revisions
from peerpouch.errors import BadRequest, Forbidden, NotFound, NotSupported
from peerpouch.ports import (
    AllDocs,
    AllDocsHead,
    AllDocsRow,
    Attachment,
    AttachmentMode,
    Changes,
    ChangesFilter,
    Database,
    DatabaseInfo,
    Document,
    Guard,
    IndexPosition,
    IndexStore,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    Seq,
    WriteResult,
)

_PAGE: Final = 100
"""Documents of a page: they are held in memory together."""

_BATCH: Final = 500
"""Documents looked up together: a replicator's batch. They are read in pages that storage bounds by their bytes."""

_REFUSED: Final = "Only the owner of a database may administer it."


class _Listed(NamedTuple):
    """What the rows of a listing are made of; ``keyed`` if they answer keys that were asked for."""

    keyed: bool
    include_docs: bool
    conflicts: bool
    attachments: AttachmentMode


class LimitedDatabase(LimitedQueries, Database):
    """A database as it looks through a selector.

    Args:
        database: The owner's. Closing this never closes it.
        selection: What of it is visible.

    Raises:
        NotSupported: the database keeps no indexes, and takes no guard: it is not in a file here.
    """

    def __init__(self, database: Database, selection: Selection) -> None:
        self._inner = database
        self._selection = selection
        self._reader = LeafReader(database, selection)
        self._writer = Writer(database, selection)

    @property
    def name(self) -> str:
        return self._inner.name

    async def id(self) -> str:
        return await self._inner.id()

    async def info(self) -> DatabaseInfo:
        selection = self._selection
        await selection.refresh()
        info = await self._inner.info()
        info["doc_count"] = await _count(selection, LIVE)
        info["doc_del_count"] = await _count(selection, DELETED)
        info["update_seq"] = selection.format_seq(selection.counter)
        info["purge_seq"] = selection.format_seq(0)
        info["sizes"] = {"file": 0, "active": 0, "external": 0}
        info["incarnation"] = selection.origin
        return info

    # -- reading

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
        await self._selection.refresh()
        leaves = await self._reader.of(doc_id)
        leaf = _chosen(leaves, rev, latest=latest)
        doc = await self._reader.full(leaf, attachments, atts_since)
        history = doc.pop("_revisions")
        if revs:
            doc["_revisions"] = history
        if revs_info:
            doc["_revs_info"] = _revs_info(leaf)
        with_conflicts(doc, leaves, conflicts, deleted_conflicts)
        if local_seq:
            doc["_local_seq"] = self._selection.format_seq(await self._selection.number_of(doc_id))
        return doc

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
        await self._selection.refresh()
        leaves = await self._reader.of(doc_id)
        if revs == "all" and not leaves:
            raise NotFound("missing")
        found = cited(doc_id, leaves, None if revs == "all" else revs, latest=latest)
        results: list[RevisionResult] = []
        for result in found:
            if result.doc is not None:
                doc = await self._reader.full(result.doc, attachments, atts_since)
                if not with_revisions:
                    doc.pop("_revisions", None)
                result = result._replace(doc=doc)
            results.append(result)
        return results

    async def bulk_get(
        self,
        requests: Sequence[RevisionRequest],
        *,
        revs: bool = False,
        latest: bool = False,
        attachments: AttachmentMode = False,
    ) -> AsyncIterator[RevisionResult]:
        await self._selection.refresh()
        for part in _distinct(requests):
            async with aclosing(self._reader.many(list(part))) as found:
                async for doc_id, leaves, size in found:
                    asked = part[doc_id]
                    if len(asked) == len(leaves) == 1 and not attachments and asked[0].rev == leaves[0]["_rev"]:
                        if not revs:
                            del leaves[0]["_revisions"]
                        yield RevisionResult(doc_id, asked[0].rev, leaves[0], None, size)
                        continue
                    for request in asked:
                        wanted = None if request.rev is None else [request.rev]
                        for result in cited(doc_id, leaves, wanted, latest=latest):
                            if result.doc is not None:
                                doc = await self._reader.full(result.doc, attachments, request.atts_since)
                                if not revs:
                                    doc.pop("_revisions", None)
                                result = RevisionResult(doc_id, result.rev, doc, None, 0 if attachments else size)
                            yield result

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
        await self._selection.refresh()
        asked = {doc_id: list(dict.fromkeys(wanted)) for doc_id, wanted in revs.items()}
        for wanted in asked.values():
            for rev in wanted:
                revisions.parse(rev)
        result: dict[str, RevsDiff] = {}
        async with aclosing(self._reader.many(list(asked))) as found:
            async for doc_id, leaves, _ in found:
                if not leaves:
                    if asked[doc_id]:
                        result[doc_id] = {"missing": asked[doc_id]}
                    continue
                known = {rev for leaf in leaves for rev in ancestry(leaf)}
                missing = [rev for rev in asked[doc_id] if rev not in known]
                if missing:
                    diff: RevsDiff = {"missing": missing}
                    newest = max(map(revisions.generation, missing))
                    ancestors = [leaf["_rev"] for leaf in leaves if revisions.generation(leaf["_rev"]) < newest]
                    if ancestors:
                        diff["possible_ancestors"] = ancestors
                    result[doc_id] = diff
        return result

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
        await self._selection.refresh()
        leaf = _chosen(await self._reader.of(doc_id), rev)
        if name not in (leaf.get("_attachments") or {}):
            raise NotFound("Document is missing attachment")
        return await self._inner.get_attachment(doc_id, name, rev=leaf["_rev"], start=start, end=end, encoded=encoded)

    # -- listing

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
        selection = self._selection
        options = _Listed(keys is not None, include_docs, conflicts, attachments)

        async def head() -> AllDocsHead:
            _check_listing(keys, startkey, endkey, skip, limit)
            await selection.refresh()
            total = await _count(selection, LIVE)
            offset = None if keys is not None or startkey is not None else min(skip, total)
            return AllDocsHead(total, offset, selection.format_seq(selection.counter) if update_seq else None)

        async def pages() -> AsyncGenerator[list[AllDocsRow], None]:
            _check_listing(keys, startkey, endkey, skip, limit)
            await selection.refresh()
            ids = (
                self._live_ids(startkey, endkey, inclusive_end, descending, skip, limit)
                if keys is None
                else _keyed(keys, descending, skip, limit)
            )
            async with aclosing(ids):
                async for part in ids:
                    yield await self._listed(part, options)

        return AllDocs(head, pages)

    async def _live_ids(
        self,
        startkey: str | None,
        endkey: str | None,
        inclusive_end: bool,
        descending: bool,
        skip: int,
        limit: int | None,
    ) -> AsyncGenerator[list[str], None]:
        low, high = (endkey, startkey) if descending else (startkey, endkey)
        # The end of a range of the index is exclusive: "\0" makes the next text after an id.
        first = low if low is not None and (inclusive_end or not descending) else None if low is None else low + "\0"
        last = None if high is None else high + "\0" if descending or inclusive_end else high
        start = IndexPosition(LIVE, first or "")
        end = IndexPosition(LIVE + b"\0") if last is None else IndexPosition(LIVE, last)
        left = limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            rows = await self._selection.rows(start, end, descending=descending, skip=skip, limit=size)
            if rows:
                yield [row.doc_id for row in rows]
            if len(rows) < size:
                return
            skip, left = 0, None if left is None else left - len(rows)
            if descending:
                end = rows[-1].position
            else:
                start = IndexPosition(LIVE, rows[-1].doc_id + "\0")

    async def _listed(self, ids: list[str], options: _Listed) -> list[AllDocsRow]:
        found: dict[str, list[Document]] = {}
        async with aclosing(self._reader.many(list(dict.fromkeys(ids)))) as stream:
            async for doc_id, leaves, _ in stream:
                found[doc_id] = leaves
        rows: list[AllDocsRow] = []
        for doc_id in ids:
            leaves = found[doc_id]
            if options.keyed and not leaves:
                rows.append({"key": doc_id, "error": "not_found"})
            elif leaves and (options.keyed or not leaves[0].get("_deleted")):
                rows.append(await self._row(doc_id, leaves, options))
        return rows

    async def _row(self, doc_id: str, leaves: list[Document], options: _Listed) -> AllDocsRow:
        value: dict[str, Any] = {"rev": leaves[0]["_rev"]}
        row: AllDocsRow = {"id": doc_id, "key": doc_id, "value": value}
        if leaves[0].get("_deleted"):
            value["deleted"] = True
            if options.include_docs:
                row["doc"] = None
        elif options.include_docs:
            doc = await self._reader.full(leaves[0], options.attachments)
            doc.pop("_revisions", None)
            with_conflicts(doc, leaves, options.conflicts, False)
            row["doc"] = doc
        return row

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
        request = FeedRequest.of(
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
            heartbeat=heartbeat,
            timeout=timeout,
            batch_size=batch_size,
        )
        return Changes(lambda: follow(self._inner, self._selection, self._reader, request))

    # -- writing

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        return await self._writer.write(docs, new_edits=new_edits, guard=guard)

    # -- the owner's alone

    def local_docs(self, *, include_docs: bool = False) -> AllDocs:
        raise Forbidden(_REFUSED)

    async def get_security(self) -> Document:
        raise Forbidden(_REFUSED)

    async def put_security(self, security: Document) -> None:
        raise Forbidden(_REFUSED)

    async def get_revs_limit(self) -> int:
        return await self._inner.get_revs_limit()

    async def put_revs_limit(self, limit: int) -> None:
        raise Forbidden(_REFUSED)

    async def purge(self, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        raise Forbidden(_REFUSED)

    async def compact(self) -> None:
        raise Forbidden(_REFUSED)

    async def close(self) -> None:
        """The owner's database stays open."""

    async def destroy(self) -> None:
        raise Forbidden(_REFUSED)


def _distinct(requests: Sequence[RevisionRequest]) -> Iterator[dict[str, list[RevisionRequest]]]:
    """Parts of the requests, in order, by document: one that is asked for more than once in a row is read once."""
    part: dict[str, list[RevisionRequest]] = {}
    last = None
    for request in requests:
        if request.id == last:
            part[request.id].append(request)
            continue
        if request.id in part or len(part) >= _BATCH:
            yield part
            part = {}
        part[request.id] = [request]
        last = request.id
    if part:
        yield part


def select_from(database: Database, select: Mapping[str, Any]) -> Selection:
    """What a selector lets through of a database.

    Raises:
        NotSupported: the database is not in a file here, so that what a visitor may see and write can't be judged
            where it is read and written.
    """
    if not isinstance(database, IndexStore):
        raise NotSupported(
            "A share limited by a selector needs a database in a file of this machine; replicate it into one, and "
            "share that."
        )
    return Selection(database, database, select)


async def _count(selection: Selection, kind: bytes) -> int:
    return await selection.count(IndexPosition(kind), IndexPosition(kind + b"\0"))


def _chosen(leaves: list[Document], rev: str | None, *, latest: bool = False) -> Document:
    if rev is None:
        if not leaves:
            raise NotFound("missing")
        if leaves[0].get("_deleted"):
            raise NotFound("deleted")
        return leaves[0]
    revisions.parse(rev)
    for leaf in leaves:
        if leaf["_rev"] == rev or (latest and rev in ancestry(leaf)):
            return leaf
    raise NotFound("missing")


def _revs_info(leaf: Document) -> list[dict[str, str]]:
    own, *ancestors = ancestry(leaf)
    status = "deleted" if leaf.get("_deleted") else "available"
    return [{"rev": own, "status": status}, *({"rev": rev, "status": "missing"} for rev in ancestors)]


def _check_listing(
    keys: Sequence[str] | None, startkey: str | None, endkey: str | None, skip: int, limit: int | None
) -> None:
    if skip < 0 or (limit is not None and limit < 0):
        raise BadRequest("skip and limit must not be negative.")
    if keys is not None and (startkey is not None or endkey is not None):
        raise BadRequest("keys can't be combined with startkey, endkey or key.")
    for text in (startkey, endkey, *(keys or ())):
        if text is not None and type(text) is not str:
            raise BadRequest(f"Document ids are text: {text!r} can't be a key.")


async def _keyed(
    keys: Sequence[str], descending: bool, skip: int, limit: int | None
) -> AsyncGenerator[list[str], None]:
    wanted = list(reversed(keys)) if descending else list(keys)
    wanted = wanted[skip:] if limit is None else wanted[skip : skip + limit]
    for at in range(0, len(wanted), _PAGE):
        yield wanted[at : at + _PAGE]
