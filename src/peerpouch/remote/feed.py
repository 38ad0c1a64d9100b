"""The changes feed: pages until it has caught up, then one endless request that says what happens.

A live feed keeps one continuous request open, on which the server sends heartbeats. When nothing comes for several of
them the connection is taken for dead. A server without continuous feeds is asked by long polling.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from peerpouch.core import jsonio
from peerpouch.core.selector import compile_selector
from peerpouch.errors import (
    BadRequest,
    ConnectionFailed,
    MethodNotAllowed,
    NotSupported,
    PeerPouchError,
    ProtocolError,
)
from peerpouch.ports import AttachmentMode, Change, ChangesPage, Document, Seq
from peerpouch.remote.ahead import AHEAD, Ahead
from peerpouch.remote.client import MAX_ANSWER, MAX_SINGLE, AnswerTooLarge, Client, cut_off, error_of
from peerpouch.remote.pacing import Pacer
from peerpouch.remote.values import received

HEARTBEAT = 30.0
"""Seconds between the heartbeats of a feed for which nobody named a time. Well below the minute or two after which
proxies and network address translators forget an idle connection."""

_T = TypeVar("_T")

MISSED = 3
"""Heartbeats that may fail to come before a feed counts as dead: one may be late, two may be lost in a hiccup."""

_PAUSE = 1.0
# Seconds between two requests when the server ends a feed at once and without news, so that this never spins.


@dataclass(slots=True)
class Feed:
    """What is asked of the feed.

    Attributes:
        params: Parameters that every request has.
        body: The body of a POST, when ids or a selector are given.
        accept: Judges a document here, when the filter is a Python function.
        keep_docs: Whether the documents are wanted, or were only fetched to be judged.
        ahead: Takes the documents that a live feed brings along, where they will be asked for.
    """

    client: Client
    params: dict[str, Any]
    body: dict[str, Any] | None
    since: Seq
    limit: int | None
    live: bool
    descending: bool
    batch_size: int
    heartbeat: float | None
    timeout: float | None
    attachments: AttachmentMode
    accept: Callable[[Document], bool] | None
    keep_docs: bool
    ahead: Ahead | None = None

    async def pages(self) -> AsyncGenerator[ChangesPage, None]:
        """The pages of the port's ``changes``."""
        pending: int | None = None
        if self.body is not None and "selector" in self.body and await self._must_judge():
            self.accept = compile_selector(self.body["selector"])
            self.params = {**self.params, "filter": None, "include_docs": True}
            self.body = None
        async with aclosing(self._catch_up()) as pages:
            async for page in pages:
                pending = page.pending
                yield page
                if self.limit == 0:
                    return
        if not self.live or self.descending:
            return
        yield ChangesPage([], self.since, pending)
        async with aclosing(self._follow()) as pages:
            async for page in pages:
                yield page

    async def _must_judge(self) -> bool:
        """Whether the server can't filter by a selector: a pouchdb-server ends when a live feed asks it to."""
        try:
            welcome = await self.client.json("GET", "", url=self.client.root)
        except PeerPouchError as error:
            if error.status >= 500 or error.status in (408, 429):
                raise
            return False  # servers may hide their welcome; those that are meant do not
        return isinstance(welcome, dict) and "express-pouchdb" in welcome

    def _judge(self, rows: Any) -> list[Change]:
        """The rows of an answer that are wanted; moves ``since`` past all of them, and counts down ``limit``."""
        wanted: list[Change] = []
        for row in rows:
            if row.get("seq") is not None:
                self.since = text_seq(row["seq"])
                row["seq"] = self.since
            doc = row.get("doc")
            if self.accept is not None and (doc is None or not self.accept(doc)):
                continue
            if doc is not None and not self.keep_docs:
                del row["doc"]
            elif doc is not None and self.attachments:
                row["doc"] = received(doc, self.attachments)
            if not isinstance(row["id"], str) or not isinstance(row["changes"], list):
                raise TypeError("a row of the changes feed has no id or no changes")
            wanted.append(row)
            if self.limit is not None:
                self.limit -= 1
                if self.limit == 0:
                    break
        return wanted

    async def _fetch(self, params: dict[str, Any], limit: int) -> tuple[Any, int]:
        method = "GET" if self.body is None else "POST"
        return await self.client.sized_json(
            method, "/_changes", params={**self.params, **params}, body=self.body, limit=limit
        )

    async def _catch_up(self) -> AsyncGenerator[ChangesPage, None]:
        pacer = Pacer(self.batch_size, self.batch_size)
        while True:
            size = None if self.descending else pacer.size
            if self.accept is None and self.limit is not None:
                size = self.limit if size is None else min(size, self.limit)
            try:
                # Descending, a sequence is where the feed ends and not where it begins: there is but one page.
                limit = MAX_SINGLE if self.descending else pacer.limit
                answer, length = await self._fetch({"since": self.since, "limit": size}, limit)
            except AnswerTooLarge:
                if pacer.size == 1 or self.descending:
                    raise
                pacer.shrink()
                continue
            with self.client.shape():
                rows = answer["results"]
                pacer.seen(len(rows), length)
                wanted = self._judge(rows)
                pending = _pending(answer)
                if self.limit != 0 or pending is None or not wanted:
                    self.since = text_seq(answer["last_seq"])
            yield ChangesPage(wanted, self.since, pending)
            if self.limit == 0 or self.descending or size is None or len(rows) < size or pending == 0:
                return

    async def _follow(self) -> AsyncGenerator[ChangesPage, None]:
        """Changes as they happen, until the time limit or the limit of their number."""
        loop = asyncio.get_running_loop()
        ends = None if self.timeout is None else loop.time() + self.timeout
        step = self._continuous
        while True:
            began, news = loop.time(), False
            try:
                async with aclosing(step(ends)) as pages:
                    async for page in pages:
                        if page.results:
                            news = True
                            ends = None if self.timeout is None else loop.time() + self.timeout
                        if page.results or self.heartbeat is not None:
                            yield page
                        if self.limit == 0:
                            return
            except (NotSupported, MethodNotAllowed, BadRequest):
                if step == self._longpoll:
                    raise
                step = self._longpoll
                continue
            except TimeoutError:
                return
            if ends is not None and loop.time() >= ends:
                return
            if not news and loop.time() - began < _PAUSE:
                await asyncio.sleep(_PAUSE)

    def _beat(self) -> float:
        return self.heartbeat or HEARTBEAT

    async def _continuous(self, ends: float | None) -> AsyncGenerator[ChangesPage, None]:
        params = {"feed": "continuous", "since": self.since, "heartbeat": max(1, round(self._beat() * 1000))}
        if self.ahead is not None and "ahead" not in self.params:  # which would be a filter function's own
            params["ahead"] = AHEAD
        # What a server compresses it may hold back until there is more of it.
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        content = None if self.body is None else jsonio.dumps(self.body)
        method = "GET" if self.body is None else "POST"
        sent = self.client.send(
            method,
            "/_changes",
            params={**self.params, **params, "limit": None if self.accept else self.limit},
            content=content,
            headers=headers,
            endless=True,
        )
        response = await self._living(sent, ends)
        buffer = b""
        async with aclosing(self.client.chunks(response)) as chunks:
            while True:
                chunk = await self._living(anext(chunks, None), ends)
                if chunk is None:
                    raise cut_off(self.client.shown)
                *lines, buffer = (buffer + chunk).split(b"\n")
                if len(buffer) > MAX_ANSWER:
                    raise ProtocolError(f"A row of the changes feed of {self.client.shown} is too long.")
                before = self.since
                page, done = self._lines(lines)
                for part in self._parts(before, page, None):
                    yield part
                if page and self.timeout is not None:
                    ends = asyncio.get_running_loop().time() + self.timeout
                if done or self.limit == 0:
                    return

    async def _living(self, step: Awaitable[_T], ends: float | None) -> _T:
        """What comes next of an answer on which there are heartbeats.

        Raises:
            TimeoutError: at ``ends``.
            ConnectionFailed: when the heartbeats fail to come.
        """
        dead = asyncio.get_running_loop().time() + MISSED * self._beat()
        try:
            async with asyncio.timeout_at(dead if ends is None else min(dead, ends)):
                return await step
        except TimeoutError:
            if ends is not None and ends <= dead:
                raise
            raise ConnectionFailed(f"The changes feed of {self.client.shown} fell silent.") from None

    def _lines(self, lines: list[bytes]) -> tuple[list[Change], bool]:
        rows, done = [], False
        with self.client.shape():
            for line in lines:
                if not line.strip():
                    continue
                row = self.client.parse(line)
                if self.ahead is not None:
                    self.ahead.put(row, len(line))
                if "id" in row:
                    rows.append(row)
                elif "last_seq" in row:
                    done = True
                elif "error" in row:
                    raise error_of(row)
            return self._judge(rows), done

    async def _longpoll(self, ends: float | None) -> AsyncGenerator[ChangesPage, None]:
        """One long poll. Whoever asked for heartbeats gets them from here, since the answer comes in one piece."""
        params = {"feed": "longpoll", "since": self.since, "heartbeat": max(1, round(self._beat() * 1000))}
        if self.accept is None and self.limit is not None:
            params["limit"] = self.limit
        request = asyncio.ensure_future(self._fetch(params, MAX_ANSWER))
        loop = asyncio.get_running_loop()
        try:
            while not request.done():
                beat = loop.time() + self._beat()
                wait = (beat if ends is None else min(beat, ends)) - loop.time()
                await asyncio.wait((request,), timeout=max(wait, 0))
                if not request.done():
                    if ends is not None and loop.time() >= ends:
                        raise TimeoutError
                    yield ChangesPage([], self.since, None)
            answer, _ = request.result()
        finally:
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)
        before = self.since
        with self.client.shape():
            wanted = self._judge(answer["results"])
            if self.limit != 0:
                self.since = text_seq(answer["last_seq"])
        for part in self._parts(before, wanted, _pending(answer)):
            yield part

    def _parts(self, before: Seq, rows: list[Any], pending: int | None) -> Iterator[ChangesPage]:
        """Rows that came together, in pages no larger than was asked for.

        Only the last page is as far as ``since``: who stops between two must not believe that he has seen the second.
        """
        for at in range(0, max(len(rows), 1), self.batch_size):
            part = rows[at : at + self.batch_size]
            if at + self.batch_size >= len(rows):
                before = self.since
            else:
                before = next((row["seq"] for row in reversed(part) if row["seq"] is not None), before)
            yield ChangesPage(part, before, pending)


def _pending(answer: Any) -> int | None:
    """How many changes are still to come, where the answer tells: it is added up and shown, so that anything else would
    end whoever does so."""
    pending = answer.get("pending")
    return pending if type(pending) is int and 0 <= pending < 2**63 else None


def text_seq(value: Any) -> Seq:
    """A sequence of an answer: CouchDB 1 and PouchDB have numbers, some servers arrays, all of them opaque."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    if value is None:
        raise TypeError("a sequence is null")
    return jsonio.dumps(value).decode()
