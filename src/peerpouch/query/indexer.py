"""Bringing indexes up to date from the changes feed.

An index is as of a sequence. To bring it up to date, the changes since then are read in batches; each batch's documents
are mapped to rows, off the event loop, and the rows of a few batches are written together with the sequence up to which
they go, in one transaction. So a crash, or a cancelled caller, loses at most the batches in hand. While documents are
mapped, by a process of its own perhaps, the next ones are read, and the rows of those before are written.

Other processes may bring the same index up to date at the same time. A batch is written only if the index is still
where its changes were read from, so rows of an older state never replace those of a newer one; who was slower reads
again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Self
from weakref import WeakValueDictionary

from peerpouch.ports import Changes, ChangesPage, Document, Documents, IndexStore, Seq

BATCH: Final = 2000
"""Documents mapped at a time. With documents of the largest size the feed's own limit of bytes ends a page earlier."""

WRITTEN: Final = 10_000
"""Documents whose rows are written at a time. Keys come in any order, so the rows of some thousand documents are spread
over all pages of a large index: each write copies most of it to the WAL and back. With 2,000 that was 300 MB for an
index over 100,000 documents, with 10,000 it is 130 MB. More would keep other writers waiting for too long: these take a
tenth of a second."""

WRITTEN_BYTES: Final = 4 * 1024 * 1024
"""Bytes of keys and values beyond which nothing more is gathered. As much again may be on its way to the file."""

Rows = Sequence[tuple[bytes, bytes | None]]
MapDocuments = Callable[[list[Document]], Awaitable[Sequence[Rows]]]
"""Gives the rows of each document, in order."""


@dataclass(slots=True)
class Progress:
    """How far an index is.

    Attributes:
        design: The design document that defines it.
        done, total: Changes that were mapped, and those that there were, since it was last up to date.
        started: Seconds since the epoch.
    """

    design: str
    done: int
    total: int
    started: float = field(default_factory=time.time)


class Indexer:
    """Brings the indexes of one database up to date, each by one task at a time."""

    def __init__(self, documents: Documents, store: IndexStore) -> None:
        self._documents = documents
        self._store = store
        self._running: dict[str, Progress] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @property
    def running(self) -> list[Progress]:
        """How far those indexes are that are being brought up to date."""
        return list(self._running.values())

    async def refresh(
        self,
        index: str,
        map_documents: MapDocuments,
        design: str = "",
        *,
        design_docs: bool = False,
        conflicts: bool = False,
    ) -> Seq:
        """Bring an index up to date, or make it. Gives the sequence that it is at.

        Args:
            map_documents: What makes its rows. The index's name must change when this does.
            design: The design document that defines it, which is what its progress is told under.
            design_docs: Whether design documents are in it.
            conflicts: Whether documents are mapped with their ``_conflicts``.
        """
        newest, known = await self._store.newest_seq(), await self._store.index_state(index)
        if known is not None and known.seq == newest:
            return newest
        lock = self._locks.setdefault(index, asyncio.Lock())
        async with lock:
            try:
                while True:
                    state = await self._store.index_state(index)
                    since = None if state is None else state.seq
                    feed = self._documents.changes(
                        since=since or "0", include_docs=True, conflicts=conflicts, batch_size=BATCH
                    )
                    reached = await self._catch_up(index, since, feed, map_documents, design, design_docs)
                    if reached is not None:
                        return reached
            finally:
                self._running.pop(index, None)

    async def _catch_up(
        self,
        index: str,
        since: Seq | None,
        changes: Changes,
        map_documents: MapDocuments,
        design: str,
        design_docs: bool,
    ) -> Seq | None:
        """Go on from ``since``; ``None`` when somebody else moved the index meanwhile."""
        done = 0
        reached, gathered = since, _Gathered()
        async with changes as feed, _Writing(self._store, index, since) as writing, aclosing(_ahead(feed)) as pages:
            async for page in pages:
                if page.last_seq == reached or (reached is not None and not page.results and not page.pending):
                    # Nothing new: writing the sequence alone would cost a transaction for each query.
                    continue
                progress = self._running.setdefault(index, Progress(design, 0, 0))
                progress.done, progress.total = done, done + len(page.results) + (page.pending or 0)
                done += len(page.results)
                gathered.add({change["id"]: () for change in page.results})
                docs: list[Document] = []
                for change in page.results:
                    if "doc" in change and not change.get("deleted") and _wanted(change["id"], design_docs):
                        docs.append(change["doc"])
                gathered.add(await _map(docs, map_documents))
                reached = page.last_seq
                if gathered.full or not page.pending:
                    if not await writing.begin(gathered.rows, reached):
                        return None
                    gathered = _Gathered()
            if reached is None or reached != writing.upto:
                reached = reached or "0"
                if not await writing.begin(gathered.rows, reached):
                    return None
            return reached if await writing.end() else None


async def _ahead(feed: Changes) -> AsyncGenerator[ChangesPage, None]:
    """The pages of a feed; while one is worked on, the next is read, and no more than that one."""
    async with aclosing(feed.pages()) as pages:

        async def step() -> ChangesPage | None:
            return await anext(pages, None)

        reading = asyncio.create_task(step())
        try:
            while (page := await reading) is not None:
                reading = asyncio.create_task(step())
                yield page
        finally:
            reading.cancel()
            await _ended(reading)


class _Writing:
    """Writes rows while the next are gathered: one write at a time, each from where the one before ended."""

    def __init__(self, store: IndexStore, index: str, since: Seq | None) -> None:
        self._store = store
        self._index = index
        self._task: asyncio.Task[bool] | None = None
        self.upto = since
        """As of which sequence the index is when what was begun has ended."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._task is not None:
            if kind is not None and issubclass(kind, asyncio.CancelledError):
                self._task.cancel()
            await _ended(self._task)  # after an error, too: what was gathered before it is not lost

    async def begin(self, rows: Mapping[str, Rows], upto: Seq) -> bool:
        """Begin to write, when the write before has ended; whether that one found the index where it was to begin."""
        went_well = await self.end()
        if went_well:
            self._task = asyncio.create_task(self._store.update_index(self._index, rows, since=self.upto, upto=upto))
            self.upto = upto
        return went_well

    async def end(self) -> bool:
        """Wait until all is written; whether it is."""
        return self._task is None or await self._task


async def _ended(task: asyncio.Task[Any]) -> None:
    """Wait until a task has ended; how, whoever awaited it knows."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


class _Gathered:
    """The rows that are to be written next."""

    def __init__(self) -> None:
        self.rows: dict[str, Rows] = {}
        self._bytes = 0

    @property
    def full(self) -> bool:
        return len(self.rows) >= WRITTEN or self._bytes >= WRITTEN_BYTES

    def add(self, rows: Mapping[str, Rows]) -> None:
        """Add those of these documents; of one that changed again, they replace what was to be written."""
        self.rows.update(rows)
        self._bytes += sum([len(key) + len(value or b"") for pairs in rows.values() for key, value in pairs])


def _wanted(doc_id: str, design_docs: bool) -> bool:
    return design_docs or not doc_id.startswith("_design/")


async def _map(docs: list[Document], map_documents: MapDocuments) -> Mapping[str, Rows]:
    if not docs:
        return {}
    mapped = await map_documents(docs)
    return {doc["_id"]: rows for doc, rows in zip(docs, mapped, strict=True)}


def in_thread(rows_of: Callable[[Document], Rows]) -> MapDocuments:
    """Map with a plain function, in a thread."""

    def run(docs: list[Document]) -> list[Rows]:
        return [rows_of(doc) for doc in docs]

    async def map_documents(docs: list[Document]) -> Sequence[Rows]:
        return await asyncio.to_thread(run, docs)

    return map_documents
