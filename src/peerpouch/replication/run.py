"""A running replication: attempts, back-off, cancelling, and how it is told of."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from peerpouch.core import replication_plan as plan
from peerpouch.errors import BadRequest, DatabaseClosed, Forbidden, NotFound, PeerPouchError, ReplicationFailed
from peerpouch.ports import Clock, Database, Replication, ReplicationOptions, ReplicationProgress
from peerpouch.replication.checkpoints import Checkpointer
from peerpouch.replication.known import Known
from peerpouch.replication.pipeline import GRACE, Pipeline, Tuning
from peerpouch.replication.progress import Meter
from peerpouch.replication.transfers import Transfers
from peerpouch.replication.write import Refetch

_SHARE = "webrtc://"


class PipelinedReplication(Replication):
    """Runs as a task from its making on; see :class:`~peerpouch.ports.Replication`."""

    def __init__(
        self,
        source: Database,
        target: Database,
        options: ReplicationOptions,
        clock: Clock,
        chance: Callable[[], float],
        tuning: Tuning,
        known: tuple[Known | None, Known] | None = None,
    ) -> None:
        if sum(choice is not None for choice in (options.doc_ids, options.selector, options.filter)) > 1:
            raise BadRequest("Choose documents by doc_ids, by a selector or by a filter, not by several of them.")
        self._source = source
        self._target = target
        self._options = options
        self._clock = clock
        self._chance = chance
        self._tuning = tuning
        # What the source and the target are known to have; a sync lets its two directions learn from each other.
        self._known = known or (None, Known())
        self._design_docs = options.design_docs
        if self._design_docs is None:
            self._design_docs = not (source.name.startswith(_SHARE) or target.name.startswith(_SHARE))
        self._meter = Meter(clock.now())
        self._pipeline: Pipeline | None = None
        self._pausing = False
        self._cancelled = asyncio.Event()
        self._error: BaseException | None = None
        self._ids: tuple[str, str] | None = None
        self._checkpointer: Checkpointer | None = None
        self._seq: str | None = options.since
        self._transfers: Transfers[Refetch] = Transfers()
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"replicate {source.name} {target.name}")

    @property
    def meter(self) -> Meter:
        """The counters, for who wants to be told of more than one replication at once."""
        return self._meter

    @property
    def progress(self) -> ReplicationProgress:
        """The state of this moment."""
        return self._meter.snapshot()

    def __await__(self) -> Generator[Any, None, ReplicationProgress]:
        return self._finished().__await__()

    def __aiter__(self) -> AsyncGenerator[ReplicationProgress, None]:
        return self._meter.bell.follow(self._meter.snapshot)

    async def cancel(self) -> None:
        """Stop after the batch in hand, and write the checkpoint; takes a few seconds at the most."""
        self._cancelled.set()
        if self._pipeline is not None:
            self._pipeline.stop()
        elif not self._pausing:
            self._task.cancel()  # nothing is begun yet that would have to be finished
        patience = asyncio.ensure_future(self._clock.sleep(2 * GRACE))
        try:
            await asyncio.wait([self._task, patience], return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.cancel()
            if not self._task.done():
                self._task.cancel()
            await asyncio.gather(self._task, patience, return_exceptions=True)
            if self._meter.ended is None:  # cancelled before its first step
                self._end("cancelled")

    async def _finished(self) -> ReplicationProgress:
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            await self.cancel()
            raise
        if self._error is not None:
            raise self._error
        return self._meter.snapshot()

    # The task.

    async def _run(self) -> None:
        """Never raises but for being cancelled: an error waits for who awaits the replication."""
        try:
            await self._attempts()
        except asyncio.CancelledError:
            self._end("cancelled")
            raise
        except PeerPouchError as error:
            self._error = self._meter.error = error
            self._end("failed")
        except Exception as error:  # noqa: BLE001 - a task that nobody may await must not lose it
            self._error = error
            self._meter.error = ReplicationFailed(f"The replication failed unexpectedly: {error!r}")
            self._end("failed")
        else:
            self._meter.error = None
            self._end("cancelled" if self._cancelled.is_set() else "complete")

    def _end(self, state: str) -> None:
        self._meter.state = state
        if self._checkpointer is not None:
            self._meter.history = self._checkpointer.history
        self._meter.ended = self._clock.now()
        self._meter.bell.end()

    async def _attempts(self) -> None:
        try:
            await self._attempt_until_done()
        finally:
            await self._transfers.close()

    async def _attempt_until_done(self) -> None:
        failures = 0
        while not self._cancelled.is_set():
            before = self._meter.changes_read + self._meter.docs_written + self._meter.bytes
            try:
                await self._attempt()
                return
            except PeerPouchError as error:
                if self._cancelled.is_set():
                    return
                if not (self._options.live or self._options.retry) or not await self._may_pass(error):
                    raise
                moved = self._meter.changes_read + self._meter.docs_written + self._meter.bytes > before
                failures = 1 if moved else failures + 1
                self._meter.error = error
                self._meter.enter("waiting")
                asked = error.retry_after or 0.0
            await self._pause(max(asked, plan.backoff(failures, self._chance())))

    async def _attempt(self) -> None:
        ids = await asyncio.gather(self._source.id(), self._target.id())
        if self._ids is None:
            self._ids = (ids[0], ids[1])
            self._checkpointer = await self._make_checkpointer(*ids)
        elif self._ids != (ids[0], ids[1]):
            raise ReplicationFailed("Another database has taken the place of one of the two; start a new replication.")
        if self._checkpointer is not None:
            since = await self._checkpointer.load()
        else:
            since = self._seq if self._seq is not None else "0"
        if self._cancelled.is_set():
            return
        for each in self._known:
            if each is not None:
                each.forget()
        self._meter.error = None
        self._meter.enter("active")
        self._pipeline = Pipeline(
            self._source,
            self._target,
            self._options,
            design_docs=bool(self._design_docs),
            checkpointer=self._checkpointer,
            meter=self._meter,
            clock=self._clock,
            chance=self._chance,
            tuning=self._tuning,
            transfers=self._transfers,
            source_has=self._known[0],
            target_has=self._known[1],
        )
        try:
            await self._pipeline.run(since)
        finally:
            self._seq = self._pipeline.seq
            self._pipeline = None

    async def _make_checkpointer(self, source: str, target: str) -> Checkpointer | None:
        """``None`` where a checkpoint would be wrong: it says that everything *before* it has been replicated."""
        options = self._options
        if not options.checkpoint or options.since is not None:
            return None
        selection = plan.selection(
            doc_ids=options.doc_ids,
            selector=options.selector,
            filter=options.filter,
            filter_code=await self._filter_code(),
            query=options.query,
            design_docs=bool(self._design_docs),
        )
        if selection is None:
            return None
        replication_id = plan.replication_id(source, target, selection)
        return Checkpointer(self._source, self._target, replication_id, self._clock, lambda: secrets.token_hex(16))

    async def _filter_code(self) -> str | None:
        """The text of a design document's filter, so that an edited filter starts over."""
        if not isinstance(self._options.filter, str):
            return None
        design, _, name = self._options.filter.partition("/")
        with contextlib.suppress(
            NotFound, Forbidden
        ):  # the source says better what is wrong when it is asked to filter
            filters = (await self._source.get(f"_design/{design}")).get("filters")
            code = filters.get(name) if isinstance(filters, dict) else None
            return code if isinstance(code, str) else None
        return None

    async def _may_pass(self, error: PeerPouchError) -> bool:
        """Whether trying again makes sense. A closed database opens again only if it is somebody else's."""
        if not isinstance(error, DatabaseClosed):
            return plan.is_transient(error)
        for db in (self._source, self._target):
            if "://" not in db.name:
                try:
                    await db.info()
                except DatabaseClosed:
                    return False
                except PeerPouchError:
                    continue
        return "://" in self._source.name or "://" in self._target.name

    async def _pause(self, seconds: float) -> None:
        self._pausing = True
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(self._cancelled.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._pausing = False
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
