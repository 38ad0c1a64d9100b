"""The changes feed of a database that is seen through a selector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, Self

from peerpouch.access.leaves import LeafReader, with_conflicts
from peerpouch.access.selection import END, Selection, numbered, read_summary
from peerpouch.core.selector import compile_selector
from peerpouch.errors import BadRequest, Forbidden
from peerpouch.ports import (
    AttachmentMode,
    Change,
    ChangesFilter,
    ChangesPage,
    Database,
    Document,
    IndexPosition,
    IndexRow,
    Seq,
)

_PAGE: Final = 200
"""Changes of a page at most when they come with documents, which are held in memory together."""


_TOGETHER: Final = 50
"""Documents that a selector is tried on in one turn of a thread, and that are held in memory for it."""


class _Shown(NamedTuple):
    """A document of a page: its row, its visible leaves, and what is shown of the first."""

    row: IndexRow
    leaves: list[Document]
    doc: Document


def _is_design(doc: Document) -> bool:
    return str(doc["_id"]).startswith("_design/")


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """What ``changes`` was asked for; see :meth:`peerpouch.ports.Documents.changes`."""

    since: Seq | int
    limit: int | None
    live: bool
    descending: bool
    style: Literal["main_only", "all_docs"]
    include_docs: bool
    conflicts: bool
    attachments: AttachmentMode
    doc_ids: frozenset[str] | None
    accepts: Callable[[Document], bool] | None
    matches: Callable[[Document], bool] | None
    heartbeat: float | None
    timeout: float | None
    size: int

    @classmethod
    def of(
        cls,
        *,
        limit: int | None,
        live: bool,
        descending: bool,
        doc_ids: Sequence[str] | None,
        selector: Mapping[str, Any] | None,
        filter: ChangesFilter | None,
        include_docs: bool,
        batch_size: int,
        **rest: Any,
    ) -> Self:
        """Check the options of ``changes``.

        Raises:
            BadRequest, InvalidSelector: they are malformed.
            Forbidden: the filter is a function of a design document. It would be given documents as they are, and by
                its ``query`` somebody could ask about what they can't see.
        """
        if limit is not None and limit < 0:
            raise BadRequest("limit must not be negative.")
        if live and descending:
            raise BadRequest("A live feed can't be descending.")
        accepts: Callable[[Document], bool] | None = None
        if filter == "_design":
            accepts = _is_design
        elif callable(filter):
            accepts = filter
        elif filter is not None:
            raise Forbidden("Only a part of this database is shared with you: filter it by ids or a selector.")
        needs_docs = include_docs or accepts is not None or selector is not None
        return cls(
            limit=None if limit is None else max(limit, 1),  # as in CouchDB, a limit of 0 means 1
            live=live,
            descending=descending,
            doc_ids=None if doc_ids is None else frozenset(doc_ids),
            accepts=accepts,
            matches=None if selector is None else compile_selector(selector),
            include_docs=include_docs,
            size=min(max(1, batch_size), _PAGE) if needs_docs else max(1, batch_size),
            **rest,
        )


async def follow(
    database: Database, selection: Selection, reader: LeafReader, request: FeedRequest
) -> AsyncGenerator[ChangesPage, None]:
    """The pages of a feed."""
    await selection.refresh()
    feed = _Feed(selection, reader, request, selection.parse_seq(request.since))
    waiting = _Waiting(database, request) if request.live else None
    try:
        while True:
            async with aclosing(feed.pages()) as pages:
                async for page in pages:
                    yield page
                    if waiting is not None:
                        waiting.restart()
            if waiting is None or feed.ended:
                return
            while not await waiting.wait(selection.upto):
                yield feed.heartbeat()
                if waiting.over:
                    return
            await selection.refresh()
    finally:
        if waiting is not None:
            await waiting.aclose()


class _Feed:
    """Reads the index from where it stopped."""

    def __init__(self, selection: Selection, reader: LeafReader, request: FeedRequest, since: int) -> None:
        self._selection = selection
        self._reader = reader
        self._request = request
        self._origin = selection.origin
        self._since = since
        self._position = since
        self._before: int | None = None
        self._left = request.limit
        self._told: int | None = None
        self._caught_up = False
        self.ended = False

    def heartbeat(self) -> ChangesPage:
        return ChangesPage([], self._selection.format_seq(self._position), 0)

    async def pages(self) -> AsyncGenerator[ChangesPage, None]:
        """What there is now; at the end an empty page that says so, unless nothing is new."""
        counter = self._selection.counter
        while True:
            size = self._request.size
            rows = await self._rows(size)
            if self._selection.origin != self._origin:
                # The index was made anew, with other numbers: which of its changes were given can't be told.
                self._origin, counter = self._selection.origin, self._selection.counter
                self._since = self._position = 0
                self._before = self._told = None
                continue
            if rows and not self._request.descending:
                self._selection.read_on(self._position, _number(rows[-1]), len(rows))
            changes = await self._changes(rows)
            last = _number(rows[-1]) if rows else None
            if self._left is not None and len(changes) >= self._left:
                changes = changes[: self._left]
                if changes:
                    last = int(changes[-1]["seq"].partition("-")[0])
            if last is not None:
                if self._request.descending:
                    self._before = last
                else:
                    self._position = last
            if changes:
                self._told = last
                yield await self._page(changes, last or 0)
            if self._left is not None:
                self._left -= len(changes)
                self.ended = self._left <= 0
            if self.ended:
                return
            if len(rows) < size:
                break
        if not self._request.descending:
            self._position = max(self._position, counter)
        end = self._before if self._request.descending and self._before is not None else self._position
        if self._told != end or (self._request.live and not self._caught_up):
            self._told = end
            yield ChangesPage([], self._selection.format_seq(end), 0)
        self._caught_up = True

    async def _rows(self, size: int) -> list[IndexRow]:
        start = IndexPosition(numbered((self._since if self._request.descending else self._position) + 1))
        end = END if self._before is None else IndexPosition(numbered(self._before))
        return await self._selection.rows(start, end, descending=self._request.descending, limit=size)

    async def _page(self, changes: list[Change], last: int) -> ChangesPage:
        pending = 0
        if not self._request.descending:
            pending = await self._selection.pending(last)
        return ChangesPage(changes, self._selection.format_seq(last), pending)

    async def _changes(self, rows: list[IndexRow]) -> list[Change]:
        request = self._request
        if request.doc_ids is not None:
            rows = [row for row in rows if row.doc_id in request.doc_ids]
        if not request.include_docs and request.accepts is None and request.matches is None:
            return [self._change(row, *read_summary(row.value or b"")) for row in rows]
        by_id = {row.doc_id: row for row in rows}
        changes: list[Change] = []
        async with aclosing(self._reader.many(list(by_id))) as found:
            part: list[_Shown] = []
            async for doc_id, leaves, _ in found:
                if not leaves:  # hidden since
                    continue
                shown = {name: value for name, value in leaves[0].items() if name != "_revisions"}
                if request.accepts is None or request.accepts(dict(shown)):
                    part.append(_Shown(by_id[doc_id], leaves, shown))
                if len(part) == _TOGETHER:
                    changes += await self._chosen(part)
                    part = []
            return changes + await self._chosen(part)

    async def _chosen(self, part: list[_Shown]) -> list[Change]:
        """The changes of those documents that the visitor's selector lets through."""
        request, matches = self._request, self._request.matches
        if matches is not None and part:
            # In a thread: it is a stranger's, and may be costly.
            verdicts = await asyncio.to_thread(lambda: [matches(item.doc) for item in part])
            part = [item for item, verdict in zip(part, verdicts, strict=True) if verdict]
        changes: list[Change] = []
        for row, leaves, shown in part:
            winner = leaves[0]
            change = self._change(row, bool(winner.get("_deleted")), [leaf["_rev"] for leaf in leaves])
            if request.include_docs:
                doc = shown
                if request.attachments:
                    doc = await self._reader.full(winner, request.attachments)
                    doc.pop("_revisions", None)
                with_conflicts(doc, leaves, request.conflicts, False)
                change["doc"] = doc
            changes.append(change)
        return changes

    def _change(self, row: IndexRow, deleted: bool, revs: list[str]) -> Change:
        wanted = revs if self._request.style == "all_docs" else revs[:1]
        change: Change = {
            "seq": self._selection.format_seq(_number(row)),
            "id": row.doc_id,
            "changes": [{"rev": rev} for rev in wanted],
        }
        if deleted:
            change["deleted"] = True
        return change


class _Waiting:
    """A live feed's waits: for any change of the database, visible or not, and with limits by what is visible."""

    def __init__(self, database: Database, request: FeedRequest) -> None:
        self._database = database
        self._heartbeat = request.heartbeat
        self._timeout = request.timeout
        self._now = asyncio.get_running_loop().time
        self._idle_since = self._beaten = self._now()
        self._pages: AsyncIterator[ChangesPage] | None = None
        self._next: asyncio.Future[ChangesPage] | None = None
        self.over = False

    def restart(self) -> None:
        """Say that the feed gave something."""
        self._idle_since = self._beaten = self._now()

    async def wait(self, upto: Seq) -> bool:
        """Whether the database changed after ``upto``; ``False`` when it is time for a heartbeat, or it is over."""
        if self._pages is None:
            # From where the index is, so that no write between its last look and now is missed.
            self._pages = self._database.changes(since=upto, live=True).pages()
        limits: list[float] = []
        if self._heartbeat is not None:
            limits.append(self._beaten + self._heartbeat - self._now())
        if self._timeout is not None:
            limits.append(self._idle_since + self._timeout - self._now())
        if self._next is None:
            self._next = asyncio.ensure_future(_step(self._pages))
        done, _ = await asyncio.wait({self._next}, timeout=max(0.0, min(limits)) if limits else None)
        if done:
            task, self._next = self._next, None
            task.result()
            return True
        self._beaten = self._now()
        if self._timeout is not None:
            self.over = self._now() >= self._idle_since + self._timeout - 0.001
        return False

    async def aclose(self) -> None:
        """Stop waiting, and free the feed that is waited for."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        close = getattr(self._pages, "aclose", None)
        if close is not None:
            await close()


async def _step(pages: AsyncIterator[ChangesPage]) -> ChangesPage:
    return await anext(pages)


def _number(row: IndexRow) -> int:
    return int.from_bytes(row.key[1:], "big")
