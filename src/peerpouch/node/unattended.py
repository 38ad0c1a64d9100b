"""The replications of a server: what is open for them, and what is told of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, Self

from peerpouch.core.security import ADMIN_ROLE
from peerpouch.errors import DatabaseExists, from_response
from peerpouch.exchange import Request
from peerpouch.jobs import reports
from peerpouch.jobs.documents import ReplicatorDocuments
from peerpouch.jobs.requests import Endpoint
from peerpouch.jobs.scheduler import Scheduler
from peerpouch.node import entry, urls
from peerpouch.node.folder import REPLICATOR, FolderRegistry
from peerpouch.node.meeting import AnyIdentity
from peerpouch.node.remotes import upload_secret
from peerpouch.ports import Clock, Database, User
from peerpouch.remote import RemoteDatabase
from peerpouch.replication import PipelinedReplicator
from peerpouch.transports.network import NetworkExchange

_SERVER = User("", frozenset((ADMIN_ROLE,)))


class Unattended:
    """Runs what ``_replicate`` and ``_replicator`` ask for. Use it in ``async with``.

    Args:
        registry: The server's databases.
        identity: In whose name shares are opened.
        clock: For waits and times.
    """

    def __init__(self, registry: FolderRegistry, identity: AnyIdentity, clock: Clock) -> None:
        self._registry = registry
        self._identity = identity
        self._clock = clock
        self.scheduler = Scheduler(PipelinedReplicator(), self._open, clock)
        self._documents = ReplicatorDocuments(self._hold_documents, self.scheduler, clock)

    async def __aenter__(self) -> Self:
        self._documents.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._documents.close()
        await self.scheduler.close()

    def _hold_documents(self) -> AbstractAsyncContextManager[Database]:
        return self._registry.hold(REPLICATOR)

    @asynccontextmanager
    async def _open(self, endpoint: Endpoint, create: bool) -> AsyncIterator[Database]:
        if endpoint.is_name:
            if create and not await self._registry.exists(endpoint.address):
                with suppress(DatabaseExists):
                    await self._registry.create(endpoint.address, _SERVER)
            async with self._registry.hold(endpoint.address) as local:
                yield local
        elif endpoint.is_url:
            exchange = NetworkExchange(endpoint.address)
            if create:
                await _create(exchange, endpoint)
            async with RemoteDatabase(
                exchange,
                endpoint.address,
                headers=endpoint.headers,
                timeout=urls.REQUEST_TIMEOUT,
                on_close=exchange.aclose,
                secret=partial(upload_secret, self._identity),
            ) as remote:
                yield remote
        else:
            async with entry.open(endpoint.address, identity=self._identity) as share:
                yield share

    async def replicate(self, fields: Mapping[str, Any], user: str | None) -> tuple[int, dict[str, Any]]:
        """See :class:`~peerpouch.couchapi.replications.Replications`."""
        return await self.scheduler.replicate(fields, user)

    async def replicate_for(self, fields: Mapping[str, Any], user: User) -> tuple[int, dict[str, Any]]:
        """See :class:`~peerpouch.couchapi.replications.Replications`."""

        @asynccontextmanager
        async def open_endpoint(endpoint: Endpoint, create: bool) -> AsyncIterator[Database]:
            # The registry knows names only, and hands out what this user may do with one.
            yield await self._registry.open(endpoint.address, user)

        return await self.scheduler.replicate_for(fields, user.name, open_endpoint)

    def active_tasks(self) -> list[dict[str, Any]]:
        """See :class:`~peerpouch.couchapi.replications.Replications`."""
        now = self._clock.now()
        tasks = [reports.active_task(job, now) for job in self.scheduler.jobs]
        for name, index in self._registry.indexing:
            tasks.append(reports.indexer_task(name, index.design, index.done, index.total, index.started, now))
        return tasks

    def scheduler_jobs(self) -> list[dict[str, Any]]:
        """See :class:`~peerpouch.couchapi.replications.Replications`."""
        return [reports.scheduler_job(job) for job in self.scheduler.jobs]

    async def scheduler_docs(
        self, states: Collection[str] | None, skip: int, limit: int | None
    ) -> tuple[int, list[dict[str, Any]]]:
        """See :class:`~peerpouch.couchapi.replications.Replications`."""
        return await self._documents.page(states, skip, limit)

    async def scheduler_doc(self, doc_id: str) -> dict[str, Any] | None:
        """See :class:`~peerpouch.couchapi.replications.Replications`."""
        return await self._documents.row(doc_id)


async def _create(exchange: NetworkExchange, endpoint: Endpoint) -> None:
    """Make a database at another server; that it is there already is fine."""
    response = await exchange.handle_async_request(Request("PUT", exchange.url, headers=dict(endpoint.headers)))
    try:
        if response.status_code not in (201, 202, 412):
            reason = f"{endpoint.shown} can't be made: the server answers with status {response.status_code}."
            raise from_response(response.status_code, None, reason)
    finally:
        await response.aclose()
