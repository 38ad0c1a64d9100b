"""Databases that break, and databases that lie: wrappers around :class:`MemoryDatabase`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from peerpouch.errors import ConnectionFailed
from peerpouch.ports import Attachment, Changes, ChangesPage, RevisionResult
from tests.replication.memory import MemoryDatabase


class Breaking:
    """Loses the connection at the ``nth`` thing that is asked of it, and works again afterwards.

    Every call counts, and every step of a stream. ``after``: the request was carried out and only its answer was lost.
    """

    def __init__(self, db: MemoryDatabase, nth: int, *, after: bool = False, times: int = 1) -> None:
        self._db = db
        self._nth = nth
        self._after = after
        self._left = times
        self.count = 0
        self.name = db.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def _broken(self) -> bool:
        self.count += 1
        if self.count >= self._nth and self._left:
            self._left -= 1
            return True
        return False

    async def _call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if not self._broken():
            return await work()
        if self._after:
            await work()
        raise ConnectionFailed(f"lost at {self.count}")

    async def _stream(self, stream: AsyncIterator[Any]) -> AsyncIterator[Any]:
        if self._broken():
            raise ConnectionFailed(f"lost at {self.count}")
        async for item in stream:
            yield item
            if self._broken():
                raise ConnectionFailed(f"lost at {self.count}")

    async def id(self) -> Any:
        return await self._call(self._db.id)

    async def get(self, doc_id: str, **options: Any) -> Any:
        return await self._call(lambda: self._db.get(doc_id, **options))

    async def put(self, doc: Any) -> Any:
        return await self._call(lambda: self._db.put(doc))

    async def bulk_docs(self, docs: Any, **options: Any) -> Any:
        return await self._call(lambda: self._db.bulk_docs(docs, **options))

    async def revs_diff(self, revs: Any) -> Any:
        return await self._call(lambda: self._db.revs_diff(revs))

    async def read_plain(self, revs: Any) -> Any:
        return await self._call(lambda: self._db.read_plain(revs)) if self._db.plain else None

    async def write_plain(self, revisions: Any) -> Any:
        return await self._call(lambda: self._db.write_plain(revisions))

    def bulk_get(self, requests: Any, **options: Any) -> AsyncIterator[RevisionResult]:
        return self._stream(self._db.bulk_get(requests, **options))

    def changes(self, **options: Any) -> Changes:
        feed = self._db.changes(**options)
        return Changes(lambda: self._stream(feed.pages()))

    async def get_attachment(self, doc_id: str, name: str, **options: Any) -> Attachment:
        found: Attachment = await self._call(lambda: self._db.get_attachment(doc_id, name, **options))
        return Attachment(
            found.name,
            found.content_type,
            found.length,
            found.digest,
            lambda: self._stream(aiter(found)),
            start=found.start,
        )


class Lying:
    """Passes what it gives through functions that a test hands in.

    Args:
        page: Changes a page of the feed.
        result: Changes one result of ``bulk_get`` into any number of results; gets the attachments mode too.
    """

    def __init__(
        self,
        db: MemoryDatabase,
        *,
        page: Callable[[ChangesPage], Any] = lambda page: page,
        result: Callable[[RevisionResult, Any], list[Any]] = lambda result, mode: [result],
        attachment: Callable[[Attachment], Attachment] = lambda attachment: attachment,
    ) -> None:
        self._db = db
        self._page = page
        self._result = result
        self._attachment = attachment
        self.name = db.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def changes(self, **options: Any) -> Changes:
        async def pages() -> AsyncIterator[ChangesPage]:
            async for page in self._db.changes(**options).pages():
                yield self._page(page)

        return Changes(pages)

    async def bulk_get(self, requests: Any, **options: Any) -> AsyncIterator[Any]:
        async for result in self._db.bulk_get(requests, **options):
            for item in self._result(result, options["attachments"]):
                yield item

    async def get_attachment(self, doc_id: str, name: str, **options: Any) -> Attachment:
        return self._attachment(await self._db.get_attachment(doc_id, name, **options))
