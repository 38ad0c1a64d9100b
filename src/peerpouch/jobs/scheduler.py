"""The table of jobs, and ``_replicate``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import Conflict, NotFound, TooManyRequests
from peerpouch.jobs import reports
from peerpouch.jobs.job import Job, OpenEndpoint
from peerpouch.jobs.requests import JobRequest, cancelled_id, parse
from peerpouch.ports import Clock, Replicator

MAX_JOBS: Final = 500
"""Replications at once, CouchDB's default: each holds two feeds or connections, and some megabytes at work."""


class Scheduler:
    """Runs replications. Close it to end them in order.

    Args:
        replicator: Runs one.
        open_endpoint: Opens its sides.
        clock: For waits and times.
    """

    def __init__(self, replicator: Replicator, open_endpoint: OpenEndpoint, clock: Clock) -> None:
        self._replicator = replicator
        self._open = open_endpoint
        self._clock = clock
        self._jobs: dict[str, Job] = {}
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def jobs(self) -> list[Job]:
        """Those that run, or wait to begin again."""
        return list(self._jobs.values())

    def get(self, job_id: str) -> Job | None:
        """A job by its id."""
        return self._jobs.get(job_id)

    def add(self, request: JobRequest, *, retry: bool, user: str | None = None, doc_id: str | None = None) -> Job:
        """Begin a job.

        Raises:
            Conflict: the same replication runs already.
            TooManyRequests: there are too many.
        """
        there = self._jobs.get(request.id)
        if there is not None:
            where = f" for the document {there.doc_id}" if there.doc_id else ""
            raise Conflict(f"The same replication runs already{where}, as {request.id}.")
        if len(self._jobs) >= MAX_JOBS:
            raise TooManyRequests(f"There are {MAX_JOBS} replications already.")
        job = Job(request, self._replicator, self._open, self._clock, retry=retry, user=user, doc_id=doc_id)
        self._jobs[request.id] = job
        job.start()
        ending = asyncio.create_task(self._forget(job))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)
        return job

    async def _forget(self, job: Job) -> None:
        await asyncio.gather(job.wait(), return_exceptions=True)
        if self._jobs.get(job.request.id) is job:
            del self._jobs[job.request.id]

    async def replicate(self, fields: Mapping[str, Any], user: str | None) -> tuple[int, dict[str, Any]]:
        """``_replicate``: the status and the answer.

        Raises:
            BadRequest: the request is malformed.
            NotFound: there is no such job to cancel.
            PeerPouchError: what ended a replication that is not continuous.
        """
        job_id = cancelled_id(fields)
        if job_id is not None:
            return await self._cancel(job_id)
        request = parse(fields)
        if request.cancel:
            return await self._cancel(request.id)
        job = self._jobs.get(request.id) or self.add(request, retry=request.continuous, user=user)
        if request.continuous:
            return 202, {"ok": True, "_local_id": request.id}
        try:
            await job.wait()
        except asyncio.CancelledError:
            await job.cancel()
            raise
        return 200, reports.result(job)

    async def _cancel(self, job_id: str) -> tuple[int, dict[str, Any]]:
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(f"There is no replication {jsonio.dumps(job_id).decode()}.")
        await self.end(job)
        return 200, {"ok": True, "_local_id": job_id}

    async def end(self, job: Job) -> None:
        """End a job, after the batch in hand."""
        await job.cancel()
        if self._jobs.get(job.request.id) is job:
            del self._jobs[job.request.id]

    async def close(self) -> None:
        """End all jobs."""
        await asyncio.gather(*(job.cancel() for job in self.jobs))
        await asyncio.gather(*self._endings, return_exceptions=True)
