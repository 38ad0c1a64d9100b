"""The changes feed over time: pages until it has caught up, and then, when it is live, what comes later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import apsw

from peerpouch.core import jsonio
from peerpouch.core.modules import modules_of, view_modules_of
from peerpouch.errors import BadRequest, NotFound, NotSupported, PeerPouchError
from peerpouch.ports import Change, ChangesFilter, ChangesPage, Document, FunctionRunner, Principal, Seq, user_context
from peerpouch.storage import feed, reading
from peerpouch.storage.connections import fetch_one
from peerpouch.storage.engine import Engine
from peerpouch.storage.feed import FeedOptions, FeedPage, format_seq
from peerpouch.storage.watch import FileWatch, Signal


@dataclass(frozen=True, slots=True)
class FeedSource:
    """What a feed reads from, and what wakes it."""

    engine: Engine
    signal: Signal
    watch: FileWatch | None
    runner: FunctionRunner | None
    name: str


@dataclass(frozen=True, slots=True)
class FeedRequest:
    """How a feed goes on; see :meth:`peerpouch.ports.Documents.changes`. ``who`` asked for it."""

    since: Seq | int
    limit: int | None
    live: bool
    filter: ChangesFilter | None
    query: dict[str, str]
    who: Principal
    heartbeat: float | None
    timeout: float | None
    batch_size: int


_Found = list[tuple[int, Change, Document | None]]


async def follow(source: FeedSource, options: FeedOptions, request: FeedRequest) -> AsyncIterator[ChangesPage]:
    """The pages of a feed."""
    accept = await _filter(source, request)
    position, newest = await _start(source, options, request)
    left = request.limit
    told: int | None = None
    before: int | None = None
    with source.watch if request.live and source.watch is not None else nullcontext():
        waiting = _Waiting(source.signal, request)
        while True:
            # Taken before the read, so that a write between the read and the wait ends the wait at once.
            version = source.signal.version
            if newest == position and not options.descending and not request.live:
                # Nothing is new. (A live feed looks again, now that it would hear of what other processes write.)
                page = FeedPage([], position, False, 0)
            else:
                page = await _read(source, options, request, position, left, before, accept)
            newest = None
            if page.changes:
                told = page.last
                yield _page(page, options)
                waiting.restart()
            if left is not None:
                left -= len(page.changes)
                if left <= 0:
                    return
            if options.descending:
                before = page.last
            else:
                position = page.last
            if page.more:
                continue
            if told != page.last or (request.live and not waiting.caught_up):
                told = page.last
                yield _page(page._replace(changes=[]), options)
            if not request.live:
                return
            waiting.caught_up = True
            while not await waiting.wait(version):
                yield _page(FeedPage([], position, False, 0), options)
                if waiting.over:
                    return


class _Waiting:
    """A live feed's waits: how long each may last, and when the feed ends."""

    def __init__(self, signal: Signal, request: FeedRequest) -> None:
        self._signal = signal
        self._heartbeat = request.heartbeat
        self._timeout = request.timeout
        self._now = asyncio.get_running_loop().time
        self._idle_since = self._now()
        self.caught_up = False
        self.over = False

    def restart(self) -> None:
        """Say that the feed gave something."""
        self._idle_since = self._now()

    async def wait(self, version: int) -> bool:
        """Whether there may be something new; ``False`` when it is time for a heartbeat, or the feed is over."""
        limits = [] if self._heartbeat is None else [self._heartbeat]
        if self._timeout is not None:
            limits.append(max(0.0, self._idle_since + self._timeout - self._now()))
        woken = await self._signal.wait(version, min(limits, default=None))
        if not woken and self._timeout is not None:
            self.over = self._now() >= self._idle_since + self._timeout - 0.001
        return woken


async def _start(source: FeedSource, options: FeedOptions, request: FeedRequest) -> tuple[int, int | None]:
    """Where the feed begins, and the newest sequence."""

    def newest(connection: apsw.Connection) -> int:
        (update_seq,) = fetch_one(connection, "SELECT update_seq FROM state")
        return int(update_seq)

    done, found = source.engine.read_now(newest)
    update_seq = found if done and found is not None else await source.engine.read(newest)
    return feed.parse_since(request.since, options.incarnation, update_seq), update_seq


async def _read(
    source: FeedSource,
    options: FeedOptions,
    request: FeedRequest,
    position: int,
    left: int | None,
    before: int | None,
    accept: Callable[[list[Document]], Awaitable[list[bool]]] | None,
) -> FeedPage:
    selects = accept is not None or options.matches is not None or options.doc_ids is not None
    limit = request.batch_size if left is None or selects else min(request.batch_size, left)
    page: FeedPage | None = None
    if request.live:
        # A hop to a thread and back takes longer than to read what a live feed wakes up for.
        few = partial(feed.few, options=options, position=position, limit=limit)
        _, page = source.engine.read_now(few, snapshot=True)
    if page is None:
        read = partial(feed.page, options=options, position=position, limit=limit, before=before)
        page = await source.engine.read(read)
    changes: _Found = page.changes
    if accept is not None and changes:
        verdicts = await accept([doc or {} for _, _, doc in changes])
        changes = [item for item, verdict in zip(changes, verdicts, strict=True) if verdict]
    if left is not None and len(changes) >= left and (page.more or len(changes) > left):
        # The feed ends here: what was read beyond counts as pending.
        changes = changes[:left]
        last = changes[-1][0]
        pending = 0 if options.descending else await source.engine.read(partial(feed.count_after, seq=last))
        return FeedPage(changes, last, True, pending)
    return page._replace(changes=changes)


def _page(page: FeedPage, options: FeedOptions) -> ChangesPage:
    return ChangesPage(
        [change for _, change, _ in page.changes], format_seq(page.last, options.incarnation), page.pending
    )


async def _filter(source: FeedSource, request: FeedRequest) -> Callable[[list[Document]], Awaitable[list[bool]]] | None:
    wanted = request.filter
    if wanted is None:
        return None
    if callable(wanted):
        predicate = wanted

        async def judge(docs: list[Document]) -> list[bool]:
            # In the event loop's thread, where the caller's own state may be used.
            return [bool(predicate(doc)) for doc in docs]

        return judge
    if wanted == "_design":

        async def is_design(docs: list[Document]) -> list[bool]:
            return [doc["_id"].startswith("_design/") for doc in docs]

        return is_design
    if wanted == "_view":
        return await _view_filter(source, request.query)
    return await _function_filter(source, wanted, request)


async def _function_filter(
    source: FeedSource, wanted: str, request: FeedRequest
) -> Callable[[list[Document]], Awaitable[list[bool]]]:
    ddoc, slash, name = wanted.partition("/")
    if not slash:
        raise BadRequest(f"A filter is named 'designdoc/filter', not {wanted!r}.")
    runner = _runner(source)
    design = await _design(source, ddoc)
    filters: Any = design.get("filters")
    code = filters.get(name) if isinstance(filters, dict) else None
    if not isinstance(code, str):
        raise NotFound(f"_design/{ddoc} has no filter {name!r}.")
    (security,) = await source.engine.read(lambda c: fetch_one(c, "SELECT value FROM meta WHERE name = 'security'"))
    asked = {
        "query": request.query,
        "userCtx": user_context(request.who, source.name),
        "secObj": jsonio.loads(security),
    }
    function, modules = code, modules_of(code, design)

    async def call(docs: list[Document]) -> list[bool]:
        verdicts = await runner.call_each(function, [(doc, asked) for doc in docs], modules=modules)
        for verdict in verdicts:
            if isinstance(verdict, PeerPouchError):
                raise verdict
        return [_truth(verdict) for verdict in verdicts]

    return call


async def _view_filter(source: FeedSource, query: dict[str, str]) -> Callable[[list[Document]], Awaitable[list[bool]]]:
    """Those documents pass for which the map function of a view emits anything."""
    ddoc, slash, name = query.get("view", "").partition("/")
    if not slash:
        raise BadRequest("filter=_view needs view=designdoc/view.")
    runner = _runner(source)
    design = await _design(source, ddoc)
    views: Any = design.get("views")
    view = views.get(name) if isinstance(views, dict) else None
    code = view.get("map") if isinstance(view, dict) else None
    if not isinstance(code, str):
        raise NotFound(f"_design/{ddoc} has no view {name!r}.")
    function, modules = code, view_modules_of(code, design)

    async def emits(docs: list[Document]) -> list[bool]:
        # A document that the function fails on has no rows, as in the view itself.
        return [isinstance(rows, list) and bool(rows) for rows in await runner.map(function, docs, modules=modules)]

    return emits


def _runner(source: FeedSource) -> FunctionRunner:
    if source.runner is None:
        raise NotSupported("Filter functions of design documents need the extra 'js': pip install 'peerpouch[js]'.")
    return source.runner


async def _design(source: FeedSource, name: str) -> Document:
    options = reading.GetOptions()
    return await source.engine.read(partial(reading.get, doc_id=f"_design/{name}", options=options, incarnation=""))


def _truth(value: Any) -> bool:
    """As JavaScript has it: empty arrays and objects are true."""
    return bool(value) or isinstance(value, (list, dict))
