"""A database with queries, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from peerpouch.query.stored import StoredQueries
from peerpouch.storage import Storage


class LocalDatabase(StoredQueries, Storage):
    """What an application opens, without what it does not need here."""


@asynccontextmanager
async def database(docs: Iterable[dict[str, Any]] = (), path: str = ":memory:") -> AsyncIterator[LocalDatabase]:
    async with await LocalDatabase.open(path, durability="normal") as db:
        await db.bulk_docs(list(docs))
        yield db


def ids(docs: Iterable[dict[str, Any]]) -> list[str]:
    return [doc["_id"] for doc in docs]
