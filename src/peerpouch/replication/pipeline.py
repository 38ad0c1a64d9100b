"""One attempt at a replication, from a sequence of the source on: the stages and how they end.

Rules:

* A batch keeps its ticket's place in every lane, so writes begin in the feed's order.
* The frontier moves only over batches whose every document is written or counted as refused.
* Whatever ends the attempt, the checkpoint of what the frontier covers is written last.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from peerpouch.core import replication_plan as plan
from peerpouch.errors import ConnectionFailed, MissingStub, PeerPouchError, ProtocolError
from peerpouch.ports import Changes, ChangesPage, Clock, Database, ReplicationOptions, RevsDiff
from peerpouch.replication.checkpoints import Checkpointer
from peerpouch.replication.fetch import Fetcher, Portion
from peerpouch.replication.known import UNASKED, Guess, Known
from peerpouch.replication.lanes import Lane
from peerpouch.replication.progress import Meter
from peerpouch.replication.transfers import Transfers
from peerpouch.replication.write import Refetch, Writer

IN_FLIGHT = 10
"""Batches between the feed and the frontier. With :data:`~peerpouch.replication.fetch.PORTION` it bounds the memory: a
batch that has its documents holds at most one portion of them. Enough to keep all lanes full."""

WIDTH = 4
"""Batches inside each lane at once. At 500 documents a batch and 50 ms a round trip that is 40,000 documents/s, more
than one connection carries; more would only make the portions held larger."""

FEED_BATCHES = 4
"""Batches' worth of changes that are asked for at once. A feed is read page after page, a round trip each: at 50 ms and
500 documents a batch these are 40,000 changes/s. A row takes about a kilobyte of memory."""

HEARTBEAT = 30.0
"""Seconds after which an idle live feed says that it is alive: routers forget connections idle for a minute."""

GRACE = 5.0
"""Seconds that a failed or cancelled replication gives its last checkpoint: losing it only costs comparing again."""

LOST_GRACE = 0.5
"""The same after the connection to a side was lost: time for a new one to a side that is there, and no more, since the
user waits to be told."""

_T = TypeVar("_T")


class _Stopped(Exception):
    """A batch was given up between two writes because the pipeline is being stopped."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """When checkpoints are written: after so many changes, or seconds after the first that is not recorded.

    Each costs a write on both sides, and what it saves after a cut is only to compare revisions again.
    """

    checkpoint_changes: int = 10_000
    checkpoint_seconds: float = 5.0


@dataclass(slots=True)
class _Batch:
    """Revisions on their way.

    Attributes:
        ticket: Its place in every lane.
        revs: What the feed named, by document.
        place: Its place in the frontier.
        size: Revisions in it.
        writing: Whether a write is under way that :meth:`Pipeline.stop` is to let finish.
    """

    ticket: int
    revs: dict[str, list[str]]
    place: list[Any]
    size: int
    writing: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Pipeline:
    """One attempt. Call :meth:`run` once; :meth:`stop` ends it early and in order."""

    def __init__(
        self,
        source: Database,
        target: Database,
        options: ReplicationOptions,
        *,
        design_docs: bool,
        checkpointer: Checkpointer | None,
        meter: Meter,
        clock: Clock,
        chance: Callable[[], float],
        tuning: Tuning,
        transfers: Transfers[Refetch],
        source_has: Known | None,
        target_has: Known,
    ) -> None:
        self._source = source
        self._target = target
        self._source_has, self._target_has = source_has, target_has
        self._guess = Guess()
        # Where asking costs a round trip, and reading does not.
        self._may_guess = options.live and "://" in target.name and "://" not in source.name
        self._options = options
        self._design_docs = design_docs
        self._only = None if options.doc_ids is None else frozenset(options.doc_ids)
        self._checkpointer = checkpointer
        self._meter = meter
        self._clock = clock
        self._tuning = tuning
        self._fetcher = Fetcher(source, target, meter, clock, chance, patient=options.live or options.retry)
        self._writer = Writer(target, meter, transfers)
        self._batch_size = max(1, options.batch_size)
        self._page_size = FEED_BATCHES * self._batch_size
        # Rows that are read and in no batch yet: at most two batches and a page.
        self._rows: deque[tuple[str, list[str], str]] = deque()
        self._queued = "0"  # the last place in them
        self._feed: Changes | None = None
        self._fed = False
        self._caught_up = False
        self._stopping = False
        self._wake = asyncio.Event()  # something happened that the dispatcher or the reader may wait for
        self._room = asyncio.Event()
        self._batches: dict[int, _Batch] = {}
        self._tickets = 0
        self._diffing = 0
        self._diff, self._fetch, self._write = Lane(WIDTH), Lane(WIDTH), Lane(WIDTH)
        self._frontier = plan.Frontier("0")
        self._unrecorded = 0
        self._moved = asyncio.Event()
        self._many = asyncio.Event()

    @property
    def seq(self) -> str:
        """The source's sequence up to which the target has everything."""
        return self._frontier.seq

    async def run(self, since: str) -> None:
        """Replicate what comes after ``since``; returns when the feed has ended and all is written.

        Raises:
            PeerPouchError: the first error of any stage, when the others have been stopped.
        """
        self._frontier = plan.Frontier(since)
        self._queued = self._meter.last_seq = since
        try:
            async with asyncio.TaskGroup() as group:
                helpers = [group.create_task(self._read(since)), group.create_task(self._keep_checkpoints())]
                await self._dispatch(group)
                while self._batches:
                    self._wake.clear()
                    await self._wake.wait()
                for helper in helpers:
                    helper.cancel()
        except BaseExceptionGroup as errors:
            error = _first(errors)
            await self._save_in_time(LOST_GRACE if isinstance(error, ConnectionFailed) else GRACE)
            raise error from None
        if self._stopping:
            await self._save_in_time(GRACE)
        else:
            await self._save()

    def stop(self) -> None:
        """End soon: nothing new is begun, writes that have begun are finished, attachments on their way are dropped."""
        self._stopping = True
        self._rows.clear()
        if self._feed is not None:
            self._feed.cancel()
        for batch in self._batches.values():
            if not batch.writing and batch.task is not None:
                batch.task.cancel()
        self._wake.set()
        self._room.set()

    # changes -> rows

    async def _read(self, since: str) -> None:
        options = self._options
        self._feed = self._source.changes(
            since=since,
            live=options.live,
            style="all_docs",
            doc_ids=options.doc_ids,
            selector=options.selector,
            filter=options.filter,
            query=options.query,
            batch_size=self._page_size,
            heartbeat=HEARTBEAT if options.live else None,
        )
        async with self._feed as feed:
            async for page in feed.pages():
                self._take_in(page)
                while len(self._rows) >= 2 * self._batch_size and not self._stopping:
                    self._room.clear()
                    await self._room.wait()
                if self._stopping:
                    break
        if options.live and not self._stopping:
            raise ConnectionFailed("The source's live changes feed has ended.")
        self._fed = True
        self._wake.set()

    def _take_in(self, page: ChangesPage) -> None:
        """Check a page's rows, and queue those that are to be replicated."""
        if len(page.results) > self._page_size:
            raise ProtocolError(f"The source sent {len(page.results)} changes in a page of {self._page_size}.")
        if type(page.last_seq) is not str:
            raise ProtocolError("The source sent a page of changes without a sequence.")
        queued = self._queued
        for row in page.results:
            doc_id, revs, seq = plan.read_change(row)
            if self._only is not None and doc_id not in self._only:
                raise ProtocolError(f"The source sent a change of {doc_id!r}, which was not asked for.")
            if self._source_has is not None:
                self._source_has.add(doc_id, revs)
            if self._design_docs or not doc_id.startswith("_design/"):
                self._rows.append((doc_id, revs, seq))
                queued = seq
        if page.last_seq != queued:
            # A place without work, so that a checkpoint can pass what is not replicated.
            self._rows.append(("", [], page.last_seq))
            queued = page.last_seq
        self._queued = queued
        self._meter.changes_read += len(page.results)
        # An empty page says that the feed has caught up; a live one then gives all it has, and need not say so again.
        self._meter.pending = page.pending if page.results else page.pending or 0
        self._caught_up = self._caught_up or not page.results or page.pending == 0
        self._meter.enter(self._state())
        self._wake.set()

    def _state(self) -> str:
        idle = self._options.live and self._caught_up and not self._rows and not self._batches
        return "idle" if idle else "active"

    # rows -> batches

    async def _dispatch(self, group: asyncio.TaskGroup) -> None:
        """Form batches and send each on its way."""
        while not self._stopping:
            if self._may_begin():
                self._begin(group)
            elif self._fed and not self._rows:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _may_begin(self) -> bool:
        """A small batch sets out only while no other is being compared: alone at once, under load together."""
        if not self._rows or len(self._batches) >= IN_FLIGHT:
            return False
        return len(self._rows) >= self._batch_size or not self._diffing or self._fed

    def _begin(self, group: asyncio.TaskGroup) -> None:
        revs: dict[str, list[str]] = {}
        size, seq = 0, ""
        while self._rows and size < self._batch_size:
            doc_id, leaves, seq = self._rows.popleft()
            if leaves:
                known = revs.setdefault(doc_id, [])
                known.extend(rev for rev in leaves if rev not in known) if known else known.extend(leaves)
                size += len(leaves)
        self._room.set()
        batch = _Batch(self._tickets, revs, self._frontier.begin(seq), size)
        if not revs:
            self._finish(batch)
            return
        self._tickets += 1
        self._diffing += 1
        self._batches[batch.ticket] = batch
        batch.task = group.create_task(self._carry(batch))
        batch.task.add_done_callback(lambda _: self._gone(batch))

    # batches -> diff -> fetch -> write

    async def _carry(self, batch: _Batch) -> None:
        try:
            unasked = await self._unasked(batch)
            wanted = {} if unasked else await self._compare(batch)
            if wanted:
                await self._move(batch, wanted)
            else:
                self._fetch.skip(batch.ticket)
                await self._send_unasked(batch, unasked)
        except _Stopped:
            return
        del self._batches[batch.ticket]  # first, for `_finish` to see whether all is done
        self._finish(batch)

    def _gone(self, batch: _Batch) -> None:
        # A callback, because a task that is cancelled before its first step never reaches a `finally`.
        self._batches.pop(batch.ticket, None)
        self._wake.set()

    async def _unasked(self, batch: _Batch) -> Portion | None:
        """The documents of a batch that may be sent without a comparison; see :mod:`~peerpouch.replication.known`."""
        # Only one that is alone: a burst is to gather while one before it is compared.
        if not self._may_guess or len(self._batches) > 1:
            return None
        revs = self._target_has.lacking(batch.revs)
        if not revs or not self._guess.take(revs):
            return None
        portion = await self._fetcher.small(revs, UNASKED)
        if portion is not None:
            self._diff.skip(batch.ticket)
            self._compared(batch, sum(map(len, revs.values())))
        return portion

    async def _send_unasked(self, batch: _Batch, portion: Portion | None) -> None:
        if portion is None:
            self._write.skip(batch.ticket)
            return
        await self._write.enter(batch.ticket)
        try:
            await self._put(batch, portion)
        finally:
            self._write.leave()

    async def _compare(self, batch: _Batch) -> dict[str, RevsDiff]:
        await self._diff.enter(batch.ticket)
        wanted: dict[str, RevsDiff] = {}
        try:
            offered = self._target_has.lacking(batch.revs)
            if offered:
                wanted = await self._target.revs_diff(offered)
        finally:
            self._diff.leave()
        found = 0
        try:
            for doc_id, diff in wanted.items():
                missing = diff["missing"]
                asked = offered[doc_id]
                if missing != asked and not set(missing).issubset(asked):
                    raise ProtocolError(f"The target misses revisions of {doc_id!r} that nobody offered.")
                found += len(missing)
        except (TypeError, KeyError, AttributeError):
            raise ProtocolError("The target gave a malformed comparison of revisions.") from None
        self._guess.compared(offered, wanted)
        self._compared(batch, found)
        return wanted

    def _compared(self, batch: _Batch, found: int) -> None:
        self._diffing -= 1
        self._wake.set()
        self._meter.missing_checked += batch.size
        self._meter.missing_found += found
        self._meter.bell.ring()

    async def _move(self, batch: _Batch, wanted: dict[str, RevsDiff]) -> None:
        """Fetch and write, portion by portion: the next is fetched before one is written, so that both go on at once.

        A batch enters the write lane with its first portion and stays; it leaves the fetch lane when it has all.
        """
        again: Refetch = {}
        fetching, turn = False, False
        try:
            await self._fetch.enter(batch.ticket)
            fetching = True
            async with aclosing(self._fetcher.portions(wanted)) as portions:
                portion = await anext(portions, None)
                while portion is not None:
                    following = await anext(portions, None)
                    if following is None:
                        self._fetch.leave()
                        fetching = False
                    if not turn:
                        await self._write.enter(batch.ticket)
                        turn = True
                    for doc_id, revs in (await self._put(batch, portion)).items():
                        again.setdefault(doc_id, []).extend(revs)
                    portion = following
            if again:
                await self._move_in_full(batch, again)
        finally:
            if fetching:
                self._fetch.leave()
            if turn:
                self._write.leave()
            else:
                self._write.skip(batch.ticket)

    async def _move_in_full(self, batch: _Batch, again: Refetch) -> None:
        """The target no longer has what a stub stood for: send these documents with all their attachments."""
        wanted: dict[str, RevsDiff] = {doc_id: {"missing": revs} for doc_id, revs in again.items()}
        self._meter.docs_read -= sum(map(len, again.values()))  # they are read twice, and count once
        async with aclosing(self._fetcher.portions(wanted, use_stubs=False)) as portions:
            async for portion in portions:
                for doc_id, revs in (await self._put(batch, portion)).items():
                    for rev in revs:
                        self._meter.refuse(doc_id, rev, MissingStub())

    async def _put(self, batch: _Batch, portion: Portion) -> Refetch:
        if self._stopping:
            raise _Stopped

        async def finish(write: Awaitable[_T], /) -> _T:
            batch.writing = True
            try:
                return await write
            finally:
                batch.writing = False

        return await self._writer.write(portion, finish)

    # frontier -> checkpoint

    def _finish(self, batch: _Batch) -> None:
        self._unrecorded += batch.size
        if self._frontier.finish(batch.place):
            self._meter.last_seq = self._frontier.seq
            self._moved.set()
            if self._unrecorded >= self._tuning.checkpoint_changes:
                self._many.set()
        self._meter.state = self._state()
        self._meter.bell.ring()

    async def _keep_checkpoints(self) -> None:
        while self._checkpointer is not None:
            await self._moved.wait()
            await _either(self._clock.sleep(self._tuning.checkpoint_seconds), self._many.wait())
            self._moved.clear()
            await self._save()

    async def _save(self) -> None:
        if self._checkpointer is not None:
            self._many.clear()
            self._unrecorded = 0
            meter = self._meter
            await self._checkpointer.save(self._frontier.seq, meter.counters(), changed=meter.changes_read > 0)

    async def _save_in_time(self, seconds: float) -> None:
        """The last checkpoint of an attempt that did not get through: as far as it can be had."""

        async def attempt() -> None:
            with contextlib.suppress(PeerPouchError):
                await self._save()

        await _either(attempt(), self._clock.sleep(seconds))


async def _either(*works: Awaitable[Any]) -> None:
    """Wait for the first to end, and cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to report: the first of ours, or else the first."""
    leaves: list[BaseException] = []
    for error in errors.exceptions:
        leaves.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in leaves if isinstance(error, PeerPouchError)), leaves[0])
