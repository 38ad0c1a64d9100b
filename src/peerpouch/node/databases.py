"""Databases in files and behind URLs."""

from __future__ import annotations

from typing import Final

from peerpouch.js.runner import QuickJSRunner
from peerpouch.query.stored import StoredQueries
from peerpouch.remote import RemoteDatabase
from peerpouch.storage import Durability, Storage
from peerpouch.transports.network import NetworkExchange

MAX_DOCUMENT_SIZE: Final = 8_000_000
"""CouchDB's default limit for a document without its attachments, in bytes of JSON."""

REQUEST_TIMEOUT: Final = 120.0
"""Seconds for each step of a request: a CouchDB that compacts, or builds a view, is silent for long."""


class LocalDatabase(StoredQueries, Storage):
    """A database in a file, or in memory."""

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            if self.function_runner is not None:
                await self.function_runner.close()


async def open_file(
    path: str,
    *,
    create: bool = True,
    durability: Durability = "full",
    auto_compaction: bool = False,
    max_document_size: int = MAX_DOCUMENT_SIZE,
) -> LocalDatabase:
    """Open a database file, ``":memory:"`` for one in memory; errors as :meth:`peerpouch.storage.Storage.open`.

    Functions of design documents run in a worker process, which is started when the first of them is needed.
    """
    runner = QuickJSRunner()
    database = await LocalDatabase.open(
        path,
        create=create,
        durability=durability,
        auto_compaction=auto_compaction,
        max_document_size=max_document_size,
        runner=runner,
    )
    database.function_runner = runner
    return database


async def open_url(url: str, *, timeout: float | None = None) -> RemoteDatabase:
    """A database behind an ``http(s)`` URL; a user name and password in it are sent as basic authentication.

    Nothing is sent before the first request.
    """
    exchange = NetworkExchange(url)
    limit = REQUEST_TIMEOUT if timeout is None else timeout
    return RemoteDatabase(exchange, url, timeout=limit, on_close=exchange.aclose)
