"""Results that are streamed: listings, changes feeds and attachments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Generator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, NamedTuple, NotRequired, Self, TypedDict

from peerpouch.ports.values import AllDocsRow, Change, Seq


class AllDocsHead(NamedTuple):
    """What stands before the rows: documents in all, rows skipped before the first, and the sequence if asked for."""

    total_rows: int
    offset: int | None
    update_seq: Seq | None = None


class AllDocsResult(TypedDict):
    total_rows: int
    offset: int | None
    rows: list[AllDocsRow]
    update_seq: NotRequired[Seq]


class _Closing:
    """``async with`` and ``aclose`` over a stream of pages that is opened at most once."""

    def __init__(self) -> None:
        self._open: AsyncIterator[Any] | None = None

    async def aclose(self) -> None:
        """Free what the stream holds. Harmless when it has ended."""
        stream, self._open = self._open, None
        close = getattr(stream, "aclose", None)
        if close is not None:
            await close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class AllDocs(_Closing):
    """A listing that was asked for: iterate it (memory stays bounded), or await it (a dictionary with all rows).

    Args:
        head: Called once, before the first page.
        pages: Called once; gives lists of rows, in order.
    """

    def __init__(
        self,
        head: Callable[[], Awaitable[AllDocsHead]],
        pages: Callable[[], AsyncIterator[list[AllDocsRow]]],
    ) -> None:
        super().__init__()
        self.head = head
        self._pages = pages

    async def pages(self) -> AsyncGenerator[list[AllDocsRow], None]:
        """The rows, as many at a time as the source has at hand."""
        stream = self._open = self._pages()
        try:
            async for page in stream:
                yield page
        finally:
            await self.aclose()

    async def __aiter__(self) -> AsyncIterator[AllDocsRow]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for row in page:
                    yield row

    def __await__(self) -> Generator[Any, None, AllDocsResult]:
        return self._collect().__await__()

    async def _collect(self) -> AllDocsResult:
        head = await self.head()
        result: AllDocsResult = {"total_rows": head.total_rows, "offset": head.offset, "rows": []}
        if head.update_seq is not None:
            result["update_seq"] = head.update_seq
        async for page in self.pages():
            result["rows"].extend(page)
        return result


class ChangesPage(NamedTuple):
    """Changes that arrived together. An empty page is a heartbeat, or says that a live feed has caught up.

    ``pending`` is the number of changes after ``last_seq`` that the source knows of, or ``None`` where it can't tell.
    """

    results: list[Change]
    last_seq: Seq
    pending: int | None


class ChangesResult(TypedDict):
    results: list[Change]
    last_seq: Seq
    pending: int | None


class Changes(_Closing):
    """A changes feed that was asked for: iterate it, or await it (not when live).

    ``last_seq`` and ``pending`` follow the iteration. A live feed ends when its ``timeout`` runs out, or with an error;
    ``cancel()`` ends it from any task of the same event loop.
    """

    def __init__(self, pages: Callable[[], AsyncIterator[ChangesPage]]) -> None:
        super().__init__()
        self._pages = pages
        self._waiting: asyncio.Task[ChangesPage] | None = None
        self._cancelled = False
        self.last_seq: Seq | None = None
        self.pending: int | None = None

    def cancel(self) -> None:
        """End the feed: a waiting iteration stops as if the feed had ended."""
        self._cancelled = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def pages(self) -> AsyncGenerator[ChangesPage, None]:
        """The changes, as many at a time as the source has at hand."""
        stream = self._open = self._pages()
        try:
            while not self._cancelled:
                page = await self._next(stream)
                if page is None:
                    return
                self.last_seq, self.pending = page.last_seq, page.pending
                yield page
        finally:
            await self.aclose()

    async def _next(self, stream: AsyncIterator[ChangesPage]) -> ChangesPage | None:
        async def step() -> ChangesPage:
            return await anext(stream)

        # A task of its own, so that `cancel` can end the wait without cancelling the consumer.
        self._waiting = asyncio.ensure_future(step())
        try:
            return await asyncio.shield(self._waiting)
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            waiting = self._waiting
            if self._cancelled and waiting.cancelled():
                return None
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            raise
        finally:
            self._waiting = None

    async def __aiter__(self) -> AsyncIterator[Change]:
        async with aclosing(self.pages()) as pages:
            async for page in pages:
                for change in page.results:
                    yield change

    def __await__(self) -> Generator[Any, None, ChangesResult]:
        return self._collect().__await__()

    async def _collect(self) -> ChangesResult:
        results: list[Change] = []
        async for page in self.pages():
            results.extend(page.results)
        return {"results": results, "last_seq": self.last_seq or "0", "pending": self.pending}


class Attachment(AsyncIterable[bytes]):
    """An attachment's metadata, and its bytes as a stream that can be consumed once.

    Attributes:
        name: Its name in the document.
        content_type: A MIME type.
        length: Bytes of the whole content as served: encoded bytes when ``encoding`` is set.
        digest: ``md5-…``, ``sha256-…``, as the revision has it. It tells contents apart; what it was made of is not
            said: CouchDB's is of gzipped bytes for text, and of whatever its first writer said.
        checks: Digests of exactly the ``length`` bytes of the whole content, the best first: ``sha256-…``, ``md5-…``,
            each with its base64. Empty where none is known, as of what is stored gzipped and served decoded.
        encoding: ``"gzip"`` when the stream gives encoded bytes, else ``None``.
        start: The first byte that the stream gives.
        end: One past the last byte that the stream gives.
    """

    def __init__(
        self,
        name: str,
        content_type: str,
        length: int,
        digest: str,
        stream: Callable[[], AsyncIterator[bytes]],
        *,
        revpos: int | None = None,
        encoding: str | None = None,
        start: int = 0,
        end: int | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
        checks: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.content_type = content_type
        self.length = length
        self.digest = digest
        self.revpos = revpos
        self.encoding = encoding
        self.start = start
        self.end = length if end is None else end
        self.checks = tuple(checks)
        self._stream = stream
        self._on_close = on_close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream()

    async def aclose(self) -> None:
        """Free what an attachment holds whose bytes were not read to the end, such as a connection."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            await on_close()

    async def read(self) -> bytes:
        """All bytes at once."""
        return b"".join([chunk async for chunk in self])


AttachmentData = bytes | str | AsyncIterable[bytes]
