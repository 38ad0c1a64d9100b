"""Databases in files."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from peerpouch.errors import NotSupported
from peerpouch.js.blocking import QuickJSBlockingRunner
from peerpouch.js.runner import QuickJSRunner
from peerpouch.ports import (
    BlockingRunner,
    Document,
    Guard,
    StandingGuard,
    WriteResult,
    acting_principal,
)
from peerpouch.query.stored import StoredQueries
from peerpouch.query.validation import DocumentValidation
from peerpouch.storage import Durability, Storage

MAX_DOCUMENT_SIZE: Final = 8_000_000
"""CouchDB's default limit for a document without its attachments, in bytes of JSON."""


class LocalDatabase(StoredQueries, Storage):
    """A database in a file, or in memory."""

    _validation: DocumentValidation | None = None
    _guard_runner: BlockingRunner | None = None

    async def validate(self, runner: BlockingRunner) -> None:
        """From now on, let ``validate_doc_update`` of the database's design documents judge what is written through
        this object, by whomever.

        Args:
            runner: Is closed with the database.
        """
        self._guard_runner = runner
        self._validation = DocumentValidation(runner, self.known_as or self.name)
        listing = self.all_docs(startkey="_design/", endkey="_design0", include_docs=True)
        await self._start_worker([doc async for row in listing if (doc := row.get("doc")) is not None])

    async def _start_worker(self, design_docs: Sequence[Document]) -> None:
        """Start the worker of these design documents' functions, so that it is there before a write needs it."""
        if self._validation is not None:
            with suppress(NotSupported):  # a write will say so
                await asyncio.to_thread(self._validation.prepare, design_docs)

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        docs = list(docs)
        results = await super().bulk_docs(docs, new_edits=new_edits, guard=guard)
        if self._validation is not None and any("validate_doc_update" in doc for doc in docs):
            await self._start_worker(docs)
        return results

    def _standing_guard(self) -> StandingGuard | None:
        return None if self._validation is None else self._validation.guard_for(acting_principal())

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            if self._guard_runner is not None:
                await asyncio.to_thread(self._guard_runner.close)
            if self.function_runner is not None:
                await self.function_runner.close()


async def open_file(
    path: str,
    *,
    create: bool = True,
    durability: Durability = "full",
    auto_compaction: bool = False,
    max_document_size: int = MAX_DOCUMENT_SIZE,
    validate: bool = False,
    name: str | None = None,
) -> LocalDatabase:
    """Open a database file, ``":memory:"`` for one in memory; errors as :meth:`peerpouch.storage.Storage.open`.

    Functions of design documents run in worker processes, which are started when the first of them is needed.

    Args:
        validate: Let ``validate_doc_update`` of its design documents judge all writes.
        name: What functions of design documents are told that the database is called; by default its path.
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
    database.known_as = name
    if validate:
        await database.validate(QuickJSBlockingRunner())
    return database
