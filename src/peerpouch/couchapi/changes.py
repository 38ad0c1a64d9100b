"""Handlers of the changes feed: normal, longpoll, continuous and eventsource."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from peerpouch.core import jsonio
from peerpouch.couchapi.bulk import closing_results
from peerpouch.couchapi.exporting import export
from peerpouch.couchapi.params import Params
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Stream, error_fields, gather, json_stream
from peerpouch.errors import BadRequest, InvalidQuery, PeerPouchError
from peerpouch.ports import Change, Changes, ChangesPage, Database, Document, RevisionRequest

DEFAULT_TIMEOUT = 60.0
"""Seconds after which an idle feed without heartbeats ends: CouchDB's ``changes_timeout``."""

DEFAULT_HEARTBEAT = 60.0
"""Seconds between heartbeats that were asked for without a number."""

PATIENCE = 1.0
"""Seconds to wait for the first page of a live feed before the status is sent. Most have one at once."""

AHEAD = 4 * 1024
"""Bytes of a document that a row brings along at most. One that its listener has already, since it came from there,
costs a slow link (1 Mbit/s) some 30 ms."""

_AHEAD_REVISIONS = 8
# Revisions that a page's rows bring along at most. In a burst they are better asked for together.

_ROWS = 100
"""Rows that are joined before they are sent on: without their documents about 10 KB."""

_FEEDS = ("normal", "longpoll", "continuous", "live", "eventsource")


class _Asked:
    """What a request asks of the feed: the options of the port, and how to write the rows."""

    def __init__(self, params: Params, last_event_id: str | None) -> None:
        self.feed = params.text("feed", "normal") or "normal"
        if self.feed not in _FEEDS:
            raise BadRequest("Supported `feed` types: normal, continuous, live, longpoll, eventsource")
        self.encoding_info = params.boolean("att_encoding_info")
        resumes = last_event_id is not None and self.feed == "eventsource"
        since = _unquoted(last_event_id or "0") if resumes else _since(params)
        limit = params.integer("limit")
        style = params.text("style", "main_only")
        if style not in ("main_only", "all_docs"):
            raise BadRequest("`style` must be main_only or all_docs")
        self.options: dict[str, Any] = {
            "since": since,
            "limit": None if limit is None else max(limit, 1),  # as CouchDB documents
            "style": style,
            "descending": params.boolean("descending"),
            "include_docs": params.boolean("include_docs"),
            "conflicts": params.boolean("conflicts"),
            "attachments": params.boolean("attachments"),
            "seq_interval": params.integer("seq_interval", least=1),
            **_filter(params),
        }
        self.ahead = _ahead_bytes(params)
        self.heartbeat = _heartbeat(params)
        timeout = params.integer("timeout")
        self.timeout = None if self.heartbeat else DEFAULT_TIMEOUT if timeout is None else timeout / 1000

    def open(self, database: Database) -> Changes:
        return database.changes(**self.options)

    def open_live(self, database: Database, **more: Any) -> Changes:
        options = {**self.options, "descending": False, **more}
        return database.changes(live=True, heartbeat=self.heartbeat, timeout=self.timeout, **options)

    def encode(self, change: Change, ahead: list[Document] | None = None) -> bytes:
        doc = change.get("doc")
        if doc is not None and "_attachments" in doc:
            change["doc"] = export(doc, encoding_info=self.encoding_info)
        return jsonio.dumps_trusted({**change, "ahead": ahead} if ahead else change)


def _since(params: Params) -> str:
    if "since" not in params:
        return "0"
    try:
        value = params.text("since", "0") or "0"
    except InvalidQuery:
        value = str(params.integer("since", 0))
    return _unquoted(value)


def _unquoted(seq: str) -> str:
    # Clients that take a sequence for JSON send it back with its quotes.
    return seq[1:-1] if len(seq) > 1 and seq[0] == seq[-1] == '"' else seq


def _ahead_bytes(params: Params) -> int:
    try:
        return min(params.integer("ahead", 0) or 0, AHEAD)
    except InvalidQuery:  # a filter function's own parameter, which happens to have this name
        return 0


def _heartbeat(params: Params) -> float | None:
    value = params.text("heartbeat") if "heartbeat" in params and _is_word(params) else None
    if value == "true":
        return DEFAULT_HEARTBEAT
    if value == "false":
        return None
    try:
        milliseconds = params.integer("heartbeat", least=1)
    except InvalidQuery as error:
        if "non-negative" in error.reason or "positive" in error.reason:
            raise BadRequest("The heartbeat value should be a positive integer (in milliseconds).") from None
        reason = "Invalid heartbeat value. Expecting a positive integer value (in milliseconds)."
        raise BadRequest(reason) from None
    return None if milliseconds is None else milliseconds / 1000


def _is_word(params: Params) -> bool:
    try:
        return params.text("heartbeat") in ("true", "false")
    except InvalidQuery:
        return False


def _filter(params: Params) -> dict[str, Any]:
    name = params.text("filter")
    if name is None:
        return {}
    if name == "_doc_ids":
        doc_ids = params.strings("doc_ids")
        if doc_ids is None:
            raise BadRequest("`doc_ids` filter parameter is not a list.")
        return {"doc_ids": doc_ids}
    if name == "_selector":
        selector = params.json("selector")
        if not isinstance(selector, dict):
            raise BadRequest("`selector` must be a JSON object")
        return {"selector": selector}
    if name == "_design":
        return {"filter": _is_design}
    return {"filter": name, "query": params.raw_query()}


def _is_design(doc: Document) -> bool:
    return bool(doc["_id"].startswith("_design/"))


class _Pages:
    """The pages of a feed, of which the first is asked for before the status is sent.

    What is wrong with the request shows then, and has a status. A live feed that has nothing to say yet is not waited
    for longer than :data:`PATIENCE`.
    """

    def __init__(self, feed: Changes) -> None:
        self.feed = feed
        self._pages = feed.pages()
        self._first: asyncio.Task[ChangesPage | None] | None = asyncio.create_task(self._next())

    async def _next(self) -> ChangesPage | None:
        return await anext(self._pages, None)

    async def begin(self) -> None:
        """Wait for the first page, or raise what is wrong."""
        assert self._first is not None
        try:
            await asyncio.wait((self._first,), timeout=PATIENCE)
            if self._first.done():
                self._first.result()
        except BaseException:
            await self.aclose()
            raise

    async def __aiter__(self) -> AsyncGenerator[ChangesPage, None]:
        if self._first is not None:
            page = await self._first
            self._first = None
            while page is not None:
                yield page
                page = await self._next()

    async def aclose(self) -> None:
        if self._first is not None:
            self._first.cancel()
            await asyncio.gather(self._first, return_exceptions=True)
            self._first = None
        await self._pages.aclose()


async def changes(request: Request) -> Stream:
    """``GET`` and ``POST /db/_changes``."""
    params = request.params
    if request.method == "POST":
        request.require_json()
        params = params.with_body(await request.json_object(required=False))
    asked = _Asked(params, request.header(b"last-event-id") or params.text("last-event-id"))
    database = await request.database()
    live = asked.feed not in ("normal", "longpoll")
    pages = _Pages(asked.open_live(database) if live else asked.open(database))
    await pages.begin()
    if asked.feed == "normal":
        return Stream(json_stream(_results(asked, pages)), on_close=pages.aclose)
    if asked.feed == "longpoll":
        return Stream(json_stream(_longpoll(asked, pages, database)), on_close=pages.aclose)
    if asked.feed == "eventsource":
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        return Stream(_eventsource(asked, pages), headers=headers, on_close=pages.aclose)
    return Stream(gather(_lines(asked, pages, database)), on_close=pages.aclose)


async def _rows(asked: _Asked, pages: _Pages) -> AsyncGenerator[bytes, None]:
    """The rows of a page at a time, with what separates them from those before."""
    separator = b""
    async for page in pages:
        rows = list(map(asked.encode, page.results))
        for at in range(0, len(rows), _ROWS):
            yield separator + b",\n".join(rows[at : at + _ROWS])
            separator = b",\n"


async def _results(asked: _Asked, pages: _Pages) -> AsyncGenerator[bytes, None]:
    yield b'{"results":[\n'
    async for row in _rows(asked, pages):
        yield row
    yield _end(pages.feed.last_seq or asked.options["since"], pages.feed.pending)


def _end(last_seq: str, pending: int | None) -> bytes:
    fields: dict[str, Any] = {"last_seq": last_seq}
    if pending is not None:
        fields["pending"] = pending
    return b"\n],\n" + jsonio.dumps(fields)[1:] + b"\n"


async def _longpoll(asked: _Asked, pages: _Pages, database: Database) -> AsyncGenerator[bytes, None]:
    """What there is; if there is nothing, what comes next, after line breaks as heartbeats."""
    yield b'{"results":[\n'
    found = False
    async for row in _rows(asked, pages):
        found = True
        yield row
    last_seq, pending = pages.feed.last_seq or asked.options["since"], pages.feed.pending
    if not found:
        yield b"\n"
        yield b""
        async with aclosing(asked.open_live(database, since=last_seq)) as feed, aclosing(feed.pages()) as live:
            async for page in live:
                last_seq, pending = page.last_seq, page.pending
                if page.results:
                    yield b",\n".join(asked.encode(change) for change in page.results)
                    break
                yield b"\n"
                yield b""
    yield _end(last_seq, pending)


async def _ahead(asked: _Asked, page: ChangesPage, database: Database) -> dict[str, list[Document]]:
    """The revisions that the rows of a page name, by document, as ``_bulk_get`` gives them: those that are small."""
    wanted = [RevisionRequest(row["id"], change["rev"]) for row in page.results for change in row["changes"]]
    # While more is pending, there is no hurry.
    if not asked.ahead or page.pending or not 0 < len(wanted) <= _AHEAD_REVISIONS:
        return {}
    brought: dict[str, list[Document]] = {}
    async with closing_results(database.bulk_get(wanted, revs=True)) as results:
        async for result in results:
            doc = result.doc
            if doc is not None and "_attachments" not in doc and (result.size or _size(doc)) <= asked.ahead:
                brought.setdefault(result.id, []).append(doc)
    return brought


def _size(doc: Document) -> int:
    return len(jsonio.dumps_trusted(doc))


async def _lines(asked: _Asked, pages: _Pages, database: Database) -> AsyncGenerator[bytes, None]:
    """A row to a line, an empty line as heartbeat, and the last sequence, or the error, in the last line."""
    try:
        async for page in pages:
            ahead = await _ahead(asked, page, database)
            for change in page.results:
                yield asked.encode(change, ahead.get(change["id"])) + b"\n"
            if not page.results:
                yield b"\n"
            yield b""
    except PeerPouchError as error:
        yield jsonio.dumps(error_fields(error)) + b"\n"
        return
    feed = pages.feed
    yield jsonio.dumps({"last_seq": feed.last_seq or asked.options["since"], "pending": feed.pending or 0}) + b"\n"


async def _eventsource(asked: _Asked, pages: _Pages) -> AsyncGenerator[bytes, None]:
    yield b"\n"  # the headers are of use to a browser at once
    async for page in pages:
        rows = [
            b"data: " + asked.encode(change) + b"\nid: " + jsonio.dumps(change["seq"]) + b"\n\n"
            for change in page.results
        ]
        yield b"".join(rows) or b"event: heartbeat\ndata: \n\n"
