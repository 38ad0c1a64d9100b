"""The table of jobs, and ``_replicate``."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import Conflict, Forbidden, NotFound, TooManyRequests
from peerpouch.jobs import reports
from peerpouch.jobs.job import Job, OpenEndpoint
from peerpouch.jobs.requests import JobRequest, cancelled_id, parse
from peerpouch.ports import Clock, Replicator

MAX_JOBS: Final = 500
"""Replications at once, CouchDB's default: each holds two feeds or connections, and some megabytes at work."""


_ADMINS_ONLY: Final = (
    "You are not a server admin: you may replicate between two databases of this server, given by their names, "
    "which are there already, and once."
)

MAX_OF_USERS: Final = 100
MAX_OF_USER: Final = 4
"""Replications at once of all those who are no administrators, and of one of them: where everybody may make an account,
nobody shall take the places of ``_replicator``."""


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

    def add(
        self,
        request: JobRequest,
        *,
        retry: bool,
        user: str | None = None,
        doc_id: str | None = None,
        open_endpoint: OpenEndpoint | None = None,
    ) -> Job:
        """Begin a job.

        Args:
            open_endpoint: In place of the scheduler's own, for a job with less rights.

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
        job = Job(
            request,
            self._replicator,
            open_endpoint or self._open,
            self._clock,
            retry=retry,
            user=user,
            doc_id=doc_id,
            bounded=open_endpoint is not None,
        )
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
        """``_replicate`` of an administrator: the status and the answer.

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
        job = self._jobs.get(request.id)
        began = job is None
        if job is None:
            job = self.add(request, retry=request.continuous, user=user)
        if request.continuous:
            return 202, {"ok": True, "_local_id": request.id}
        return 200, await self._result(job, began)

    async def replicate_for(
        self, fields: Mapping[str, Any], user: str, open_endpoint: OpenEndpoint
    ) -> tuple[int, dict[str, Any]]:
        """``_replicate`` of a user: between databases of this server, with the user's own rights, and to its end.

        Nothing is reached for users that they could not reach themselves: no other host, no share. Nothing goes on
        without them, so that whoever loses a right has no replication that still uses it.

        Args:
            user: Whose name is known.
            open_endpoint: Opens a database of this server as the user may.

        Raises:
            BadRequest: the request is malformed.
            Forbidden: it is more than users may ask for.
            TooManyRequests: there are too many.
            PeerPouchError: what ended it.
        """
        if cancelled_id(fields) is not None:
            raise Forbidden(_ADMINS_ONLY)
        request = parse(fields)
        local = request.source.is_name and request.target.is_name
        if not local or request.continuous or request.create_target or request.cancel:
            raise Forbidden(_ADMINS_ONLY)
        # Others' jobs are not this one, whatever they copy: they have others' rights.
        request = replace(request, id=f"{request.id}+{hashlib.sha256(user.encode()).hexdigest()[:32]}")
        job = self._jobs.get(request.id)
        began = job is None
        if job is None:
            theirs = [other.user for other in self._jobs.values() if other.bounded]
            if len(theirs) >= MAX_OF_USERS or theirs.count(user) >= MAX_OF_USER:
                raise TooManyRequests(
                    f"There are {theirs.count(user)} replications of yours, and {len(theirs)} in all."
                )
            job = self.add(request, retry=False, user=user, open_endpoint=open_endpoint)
        return 200, await self._result(job, began)

    async def _result(self, job: Job, began: bool) -> dict[str, Any]:
        """The answer at a job's end. If who began it goes away it is ended, others only stop to wait."""
        try:
            await job.wait()
        except asyncio.CancelledError:
            if began:
                await job.cancel()
            raise
        return reports.result(job)

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
