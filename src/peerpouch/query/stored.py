"""The port Queries for a database that stores documents and indexes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from peerpouch.ports import Database, Document, FindResult, IndexStore
from peerpouch.query.indexer import Indexer
from peerpouch.query.mango import MangoQueries, parse_query


class StoredQueries(Database, IndexStore):
    """Queries over the documents and the index store of the class that this one is mixed into.

    ``class LocalDatabase(StoredQueries, Storage)``: this class first, so that its ``close`` runs before the file's.
    """

    @cached_property
    def _indexer(self) -> Indexer:
        return Indexer(self, self)

    @cached_property
    def _mango(self) -> MangoQueries:
        return MangoQueries(self, self, self._indexer)

    async def find(
        self,
        selector: Mapping[str, Any],
        *,
        fields: Sequence[str] | None = None,
        sort: Sequence[str | Mapping[str, str]] | None = None,
        limit: int | None = None,
        skip: int = 0,
        use_index: str | Sequence[str] | None = None,
        bookmark: str | None = None,
        execution_stats: bool = False,
    ) -> FindResult:
        query = parse_query(selector, fields, sort, limit, skip, use_index)
        return await self._mango.find(query, bookmark, execution_stats)

    async def explain(
        self,
        selector: Mapping[str, Any],
        *,
        fields: Sequence[str] | None = None,
        sort: Sequence[str | Mapping[str, str]] | None = None,
        limit: int | None = None,
        skip: int = 0,
        use_index: str | Sequence[str] | None = None,
    ) -> Document:
        return await self._mango.explain(parse_query(selector, fields, sort, limit, skip, use_index))

    async def create_index(
        self,
        fields: Sequence[str | Mapping[str, str]],
        *,
        name: str | None = None,
        ddoc: str | None = None,
        partial_filter_selector: Mapping[str, Any] | None = None,
    ) -> Document:
        return await self._mango.create_index(fields, name, ddoc, partial_filter_selector)

    async def get_indexes(self) -> Document:
        return await self._mango.get_indexes()

    async def delete_index(self, ddoc: str, name: str) -> None:
        await self._mango.delete_index(ddoc, name)
