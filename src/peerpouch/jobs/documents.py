"""Keeps jobs in step with the documents of ``_replicator``, across restarts.

As CouchDB's scheduler does, a document is told of its end only: ``_replication_state`` is ``completed`` or ``failed``.
One without either has a job, whenever the server runs. A document that says something else than before gets a new job;
one that is deleted, or marked as ended by somebody, has none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any, Final

from peerpouch.errors import BadRequest, Conflict, NotFound, PeerPouchError
from peerpouch.jobs import reports
from peerpouch.jobs.job import Job
from peerpouch.jobs.requests import parse
from peerpouch.jobs.scheduler import Scheduler
from peerpouch.ports import Clock, Database, Document

_ENDED: Final = ("completed", "failed")
_AGAIN: Final = 2.0
"""Seconds before the documents are looked at anew, after the database was deleted or could not be read."""

_ATTEMPTS: Final = 5

Row = dict[str, Any]
_LOG = logging.getLogger("peerpouch.jobs")


class ReplicatorDocuments:
    """Follows the documents.

    Args:
        hold: Opens the database ``_replicator``.
        scheduler: Runs the jobs.
        clock: For waits and times.
    """

    def __init__(
        self, hold: Callable[[], AbstractAsyncContextManager[Database]], scheduler: Scheduler, clock: Clock
    ) -> None:
        self._hold = hold
        self._scheduler = scheduler
        self._clock = clock
        self._jobs: dict[str, tuple[Document, Job]] = {}
        """By document: what it said, and the job."""
        self._failed: dict[str, dict[str, Any]] = {}
        """Rows of documents that could not get a job, for ``_scheduler/docs``."""
        self._watches: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin following."""
        self._task = asyncio.create_task(self._follow(), name="peerpouch _replicator")

    async def close(self) -> None:
        """Follow no more. The jobs are the scheduler's to end."""
        tasks = [task for task in (self._task, *self._watches) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def page(self, states: Collection[str] | None, skip: int, limit: int | None) -> tuple[int, list[Row]]:
        """Rows of ``_scheduler/docs``, by document: of those that have a job, and of those that ended.

        However many documents there are, no more than the rows that are asked for are held at once.

        Args:
            states: Only those that are in one of these states.
            skip, limit: Which of them.

        Returns:
            How many there are, and those that were asked for.
        """
        count = 0
        shown: list[Row] = []
        async with aclosing(self._rows()) as rows:
            async for row in rows:
                if states is not None and row["state"] not in states:
                    continue
                if count >= skip and (limit is None or len(shown) < limit):
                    shown.append(row)
                count += 1
        return count, shown

    async def row(self, doc_id: str) -> Row | None:
        """The row of one document; ``None`` if it has neither a job nor come to its end."""
        known = self._known(doc_id)
        if known is None and not doc_id.startswith("_"):
            with suppress(NotFound):
                async with self._hold() as database:
                    doc = await database.get(doc_id)
                    known = _ended_row(doc_id, doc) if doc.get("_replication_state") in _ENDED else None
        return known

    def _known(self, doc_id: str) -> Row | None:
        if doc_id in self._jobs:
            return reports.scheduler_doc(self._jobs[doc_id][1])
        return self._failed.get(doc_id)

    async def _rows(self) -> AsyncGenerator[Row, None]:
        # Mostly those are documents, too; but one may have just been deleted, or the database.
        waiting = deque(sorted({*self._jobs, *self._failed}))
        with suppress(NotFound):
            async with self._hold() as database, aclosing(database.all_docs(include_docs=True)) as listing:
                async for listed in listing:
                    doc_id, doc = listed["id"], listed.get("doc") or {}
                    while waiting and waiting[0] <= doc_id:
                        known = self._known(waiting.popleft())
                        if known is not None:
                            yield known
                    ended = doc.get("_replication_state") in _ENDED and not doc_id.startswith("_design/")
                    if ended and self._known(doc_id) is None:
                        yield _ended_row(doc_id, doc)
        for doc_id in waiting:
            known = self._known(doc_id)
            if known is not None:
                yield known

    async def _follow(self) -> None:
        while True:
            try:
                async with self._hold() as database, database.changes(live=True, include_docs=True) as feed:
                    async for change in feed:
                        await self._changed(database, change["id"], change.get("doc") or {})
            except PeerPouchError as error:
                _LOG.info("_replicator can't be followed: %s", error.reason)
                if isinstance(error, NotFound):
                    for doc_id in {*self._jobs, *self._failed}:
                        await self._drop(doc_id)
            await self._clock.sleep(_AGAIN)

    async def _changed(self, database: Database, doc_id: str, doc: Document) -> None:
        if doc_id.startswith("_design/"):
            return
        said = {name: value for name, value in doc.items() if not name.startswith("_")}
        before = self._jobs.get(doc_id)
        ended = doc.get("_replication_state") in _ENDED
        if before is not None and before[0] == said and not doc.get("_deleted") and not ended:
            return
        await self._drop(doc_id)
        if doc.get("_deleted") or ended:
            return
        try:
            job = self._scheduler.add(parse(said), retry=True, user=_user(said), doc_id=doc_id)
        except PeerPouchError as error:
            # One that is wrong is wrong for good; for the others there may be room, or an end, later.
            if isinstance(error, BadRequest):
                await self._mark(database, doc_id, said, "failed", error=error)
            else:
                self._failed[doc_id] = _row(doc_id, said, error, self._clock.now())
            return
        self._jobs[doc_id] = (said, job)
        watch = asyncio.create_task(self._watch(doc_id, said, job))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)

    async def _drop(self, doc_id: str) -> None:
        self._failed.pop(doc_id, None)
        before = self._jobs.pop(doc_id, None)
        if before is not None:
            await self._scheduler.end(before[1])

    async def _watch(self, doc_id: str, said: Document, job: Job) -> None:
        """Write the end of a job into its document."""
        error: PeerPouchError | None = None
        try:
            progress = await job.wait()
            if progress.state != "complete":
                return  # cancelled, by a change of the document or the end of the server
        except PeerPouchError as raised:
            error = raised
        except asyncio.CancelledError:
            if job.done:
                return
            raise
        if self._jobs.get(doc_id, (None, None))[1] is not job:
            return
        del self._jobs[doc_id]
        try:
            async with self._hold() as database:
                await self._mark(database, doc_id, said, "failed" if error else "completed", job=job, error=error)
        except PeerPouchError as failure:
            _LOG.warning("The end of the replication %s can't be noted: %s", doc_id, failure.reason)

    async def _mark(
        self,
        database: Database,
        doc_id: str,
        said: Document,
        state: str,
        *,
        job: Job | None = None,
        error: PeerPouchError | None = None,
    ) -> None:
        for _ in range(_ATTEMPTS):
            try:
                doc = await database.get(doc_id)
            except NotFound:
                return
            if {name: value for name, value in doc.items() if not name.startswith("_")} != said:
                return
            doc["_replication_state"] = state
            doc["_replication_state_time"] = reports.timestamp(self._clock.now())
            for field in ("_replication_state_reason", "_replication_stats"):
                doc.pop(field, None)
            if job is not None:
                doc["_replication_id"] = job.request.id
            if error is not None:
                doc["_replication_state_reason"] = error.reason
            elif job is not None:
                doc["_replication_stats"] = job.info()
            try:
                await database.put(doc)
                return
            except Conflict:
                continue


def _user(said: Document) -> str | None:
    context = said.get("user_ctx")
    name = context.get("name") if isinstance(context, dict) else None
    return name if isinstance(name, str) else None


def _ended_row(doc_id: str, doc: Document) -> dict[str, Any]:
    """The row of a document that tells of its end; what it tells may be anybody's words."""
    source: str | None = None
    target: str | None = None
    with suppress(PeerPouchError):
        request = parse({name: value for name, value in doc.items() if not name.startswith("_")})
        source, target = request.source.shown, request.target.shown
    failed = doc["_replication_state"] == "failed"
    ended = doc.get("_replication_state_time")
    return {
        "database": "_replicator",
        "doc_id": doc_id,
        "id": None,
        "node": reports.NODE,
        "source": source,
        "target": target,
        "state": doc["_replication_state"],
        "info": {"error": doc.get("_replication_state_reason")} if failed else doc.get("_replication_stats"),
        "error_count": int(failed),
        "start_time": ended,
        "last_updated": ended,
    }


def _row(doc_id: str, said: Document, error: PeerPouchError, now: float) -> dict[str, Any]:
    return {
        "database": "_replicator",
        "doc_id": doc_id,
        "id": None,
        "node": reports.NODE,
        "source": None,
        "target": None,
        "state": "failed",
        "info": {"error": error.reason},
        "error_count": 1,
        "start_time": reports.timestamp(now),
        "last_updated": reports.timestamp(now),
    }
