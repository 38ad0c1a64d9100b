"""A hub's database as one visitor may use it.

Only what the protocol allows is there. Reads go to the database with what the visitor may see as a selector or a range,
writes go to the hub, which judges them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Final, Literal

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, NotFound, TooLarge
from peerpouch.hub import shares
from peerpouch.hub.public import rules
from peerpouch.hub.public.limits import PublicLimits
from peerpouch.hub.public.refusing import RefusingDatabase, refuse
from peerpouch.ports import (
    AllDocs,
    AllDocsHead,
    AllDocsRow,
    AttachmentMode,
    Changes,
    ChangesFilter,
    ChangesPage,
    Database,
    DatabaseInfo,
    Document,
    Guard,
    Seq,
    Visitor,
    WriteResult,
)


class Host(ABC):
    """What a visit needs of the hub."""

    limits: PublicLimits

    @property
    @abstractmethod
    def share_count(self) -> int:
        """Living shares."""

    @abstractmethod
    def feeding(self, visitor: Visitor) -> AbstractContextManager[None]:
        """Count a live feed while it lasts; entering raises TooManyRequests."""

    @abstractmethod
    async def write(self, visitor: Visitor, docs: Sequence[Document]) -> list[WriteResult]:
        """Write what the rules allow."""


class Visit(RefusingDatabase):
    """The hub, to one visitor.

    Args:
        database: The hub's database.
        visitor: Who asks, and what was proved.
        host: The hub.
        name: What the database is called.
    """

    def __init__(self, database: Database, visitor: Visitor, host: Host, *, name: str) -> None:
        self._database = database
        self._visitor = visitor
        self._host = host
        self._name = name
        self._feeds: set[Changes] = set()

    @property
    def name(self) -> str:
        return self._name

    def end_feeds(self) -> None:
        """Let live feeds come to their end, as if their time were up."""
        for feed in list(self._feeds):
            feed.cancel()

    async def info(self) -> DatabaseInfo:
        info = await self._database.info()
        info["db_name"] = self._name
        info["doc_count"], info["doc_del_count"] = self._host.share_count, 0
        info["sizes"] = {"file": 0, "active": 0, "external": 0}
        return info

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
        if not rules.is_share(doc_id) and rules.session_of(doc_id) is None:
            raise NotFound
        doc = await self._database.get(doc_id, rev=rev, revs=revs, latest=latest, local_seq=local_seq)
        if not rules.may_see(self._visitor, doc_id, doc):
            raise NotFound
        return doc

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        if not new_edits or guard is not None:
            refuse()
        return await self._host.write(self._visitor, docs)

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
        if keys is not None:
            if len(keys) > self._host.limits.keys:
                raise TooLarge(f"At most {self._host.limits.keys} keys at a time.")
            # What is not a share must look as if it were not there, at its place in the order.
            masks = {f"{shares.PREFIX}?{n}": key for n, key in enumerate(keys) if not rules.is_share(key)}
            masked = [key if rules.is_share(key) else f"{shares.PREFIX}?{n}" for n, key in enumerate(keys)]
            options: dict[str, Any] = {"keys": masked}
        else:
            masks = {}
            options = _shares_between(startkey, endkey, inclusive_end=inclusive_end, descending=descending)
        inner = self._database.all_docs(
            **options,
            descending=descending,
            skip=skip,
            limit=limit,
            include_docs=include_docs,
            update_seq=update_seq,
        )

        async def head() -> AllDocsHead:
            return (await inner.head())._replace(total_rows=self._host.share_count, offset=None)

        async def pages() -> AsyncGenerator[list[AllDocsRow], None]:
            async with aclosing(inner.pages()) as stream:
                async for page in stream:
                    for row in page:
                        row["key"] = masks.get(row["key"], row["key"])
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
        if doc_ids is not None or filter is not None:
            refuse()
        inner = self._database.changes(
            since=since,
            limit=limit,
            live=live,
            descending=descending,
            style=style,
            include_docs=include_docs,
            selector=self._seen(selector),
            heartbeat=heartbeat,
            timeout=timeout,
            seq_interval=seq_interval,
            batch_size=min(batch_size, _PAGE),
        )

        async def pages() -> AsyncGenerator[ChangesPage, None]:
            with self._host.feeding(self._visitor) if live else nullcontext():
                self._feeds.add(inner)
                try:
                    async with aclosing(inner.pages()) as stream:
                        async for page in stream:
                            # How much is hidden is not told.
                            yield page._replace(pending=None if page.pending is None else 0)
                finally:
                    self._feeds.discard(inner)

        return Changes(pages)

    def _seen(self, selector: Mapping[str, Any] | None) -> Document:
        mine = rules.feed_selector(self._visitor)
        if selector is None:
            return mine
        if len(jsonio.dumps(dict(selector))) > self._host.limits.selector:
            raise BadRequest(f"A feed's selector has at most {self._host.limits.selector} bytes at a public hub.")
        return {"$and": [mine, dict(selector)]}


_PAGE: Final = 200
"""Changes of a page: with their documents, some megabytes at most."""


def _shares_between(start: str | None, end: str | None, *, inclusive_end: bool, descending: bool) -> dict[str, Any]:
    """A range of ids, narrowed to those of shares."""
    first, last = (shares.LAST, shares.FIRST) if descending else (shares.FIRST, shares.LAST)
    inner, outer = (min, max) if descending else (max, min)
    startkey = first if start is None else inner(first, start)
    endkey = last if end is None else outer(last, end)
    return {"startkey": startkey, "endkey": endkey, "inclusive_end": inclusive_end or endkey != end}
