"""One replication that was asked for: opened, run, and begun again when it broke off."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, NamedTuple

from peerpouch.errors import BadRequest, PeerPouchError
from peerpouch.jobs.requests import Endpoint, JobRequest
from peerpouch.ports import Clock, Database, Replication, ReplicationProgress, Replicator

OpenEndpoint = Callable[[Endpoint, bool], AbstractAsyncContextManager[Database]]
"""Opens an endpoint, and makes it first if the second argument is true and it is not there."""

_HISTORY: Final = 20
"""Events remembered of a job, CouchDB's default."""

_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
"""Seconds before a job that broke off begins again: doubled each time, less up to half by chance."""

_LOG = logging.getLogger("peerpouch.jobs")


class Event(NamedTuple):
    """Something that happened to a job: ``added``, ``started``, ``crashed``, ``completed``, ``failed``."""

    time: float
    type: str
    reason: str | None = None


class Job:
    """A replication and what became of it. It runs as a task from :meth:`start` on.

    Args:
        request: What is wanted.
        retry: Begin again after an error, however often.
        user: Who asked.
        doc_id: The document of ``_replicator`` that asked.
        bounded: Whether ``open_endpoint`` opens no more than the user may reach, who is no administrator.
    """

    def __init__(
        self,
        request: JobRequest,
        replicator: Replicator,
        open_endpoint: OpenEndpoint,
        clock: Clock,
        *,
        retry: bool,
        user: str | None = None,
        doc_id: str | None = None,
        bounded: bool = False,
    ) -> None:
        self.request = request
        self.user = user
        self.bounded = bounded
        self.doc_id = doc_id
        self.session = secrets.token_hex(16)
        self.history: deque[Event] = deque(maxlen=_HISTORY)
        self.errors = 0
        self.state = "pending"
        self._replicator = replicator
        self._open = open_endpoint
        self._clock = clock
        self._retry = retry
        self._run: Replication | None = None
        self._last = ReplicationProgress()
        self._task: asyncio.Task[ReplicationProgress] | None = None
        self._note("added")

    @property
    def started(self) -> float:
        """When it was added, in seconds since 1970."""
        return self.history[0].time

    @property
    def progress(self) -> ReplicationProgress:
        """What the current run has done; of the last one if none is under way."""
        return self._last if self._run is None else self._run.progress

    def _note(self, type: str, error: PeerPouchError | None = None) -> None:
        self.history.append(Event(self._clock.now(), type, None if error is None else error.reason))

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._work(), name=f"peerpouch job {self.request.id}")

    async def wait(self) -> ReplicationProgress:
        """Wait for the end; raises what ended it. Cancelling the waiting leaves the job alone."""
        assert self._task is not None
        await asyncio.wait({self._task})
        return self._task.result()

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self._task is not None and self._task.done()

    async def cancel(self) -> None:
        """End it after the batch in hand, with its checkpoint written."""
        run, task = self._run, self._task
        self._retry = False
        if task is None or task.done():
            return
        if run is not None:
            await run.cancel()
        else:
            task.cancel()
        await asyncio.wait({task})

    async def _work(self) -> ReplicationProgress:
        wait = _FIRST_WAIT
        while True:
            began = self._clock.monotonic()
            try:
                result = await self._once()
            except PeerPouchError as error:
                self.errors += 1
                if not self._retry or isinstance(error, BadRequest):
                    self.state = "failed"
                    self._note("failed", error)
                    raise
                self.state = "crashing"
                self._note("crashed", error)
                _LOG.info("The replication %s broke off: %s", self.request.id, error.reason)
            else:
                self.state = "completed"
                self._note("completed")
                return result
            if self._clock.monotonic() - began > _LONGEST_WAIT:
                wait = _FIRST_WAIT
            await self._clock.sleep(wait * (1 - secrets.randbelow(500) / 1000))
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _once(self) -> ReplicationProgress:
        request = self.request
        async with (
            self._open(request.source, False) as source,
            self._open(request.target, request.create_target) as target,
        ):
            self._note("started")
            self.state = "running"
            run = self._run = self._replicator.replicate(source, target, request.options)
            try:
                result: ReplicationProgress = await run
                return result
            finally:
                self._last, self._run = run.progress, None

    def __repr__(self) -> str:
        return f"<Job {self.request.id} {self.state}>"

    def info(self) -> dict[str, Any]:
        """Counters, as ``_scheduler`` shows them."""
        progress = self.progress
        return {
            "revisions_checked": progress.missing_checked,
            "missing_revisions_found": progress.missing_found,
            "docs_read": progress.docs_read,
            "docs_written": progress.docs_written,
            "changes_pending": progress.pending,
            "doc_write_failures": progress.docs_failed,
            "checkpointed_source_seq": progress.last_seq,
            "source_seq": progress.last_seq,
        }
