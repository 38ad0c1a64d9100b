"""The port Queries for a database that stores documents and indexes itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from peerpouch.ports import (
    AttachmentMode,
    Database,
    Document,
    FindResult,
    FunctionRunner,
    IndexStore,
    MapFunction,
    ReduceFunction,
    Updated,
    ViewResult,
)
from peerpouch.query import updates
from peerpouch.query.indexer import Indexer, Progress
from peerpouch.query.mango import MangoQueries
from peerpouch.query.questions import parse_query
from peerpouch.query.viewoptions import ViewOptions
from peerpouch.query.views import ViewQueries


class StoredQueries(Database, IndexStore):
    """Queries over the documents and the index store of the class that this one is mixed into.

    ``class LocalDatabase(StoredQueries, Storage)``.
    """

    function_runner: FunctionRunner | None = None
    """Runs the functions of stored JavaScript views; without one they raise ``NotSupported``."""

    @cached_property
    def _indexer(self) -> Indexer:
        return Indexer(self, self)

    @cached_property
    def _mango(self) -> MangoQueries:
        return MangoQueries(self, self, self._indexer)

    @cached_property
    def _views(self) -> ViewQueries:
        return ViewQueries(self, self, self._indexer, lambda: self.function_runner)

    @property
    def indexing(self) -> list[Progress]:
        """How far those indexes and views are that are being brought up to date."""
        return self._indexer.running

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
        conflicts: bool = False,
        execution_stats: bool = False,
    ) -> FindResult:
        query = parse_query(selector, fields, sort, limit, skip, use_index, conflicts)
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
        conflicts: bool = False,
    ) -> Document:
        return await self._mango.explain(parse_query(selector, fields, sort, limit, skip, use_index, conflicts))

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
        await self.view_cleanup()

    async def query(
        self,
        view: str | MapFunction,
        *,
        reduce: bool | str | ReduceFunction | None = None,
        key: Any = ...,
        keys: Sequence[Any] | None = None,
        startkey: Any = ...,
        endkey: Any = ...,
        startkey_docid: str | None = None,
        endkey_docid: str | None = None,
        inclusive_end: bool = True,
        group: bool = False,
        group_level: int | None = None,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        update: Literal["true", "false", "lazy"] = "true",
        update_seq: bool = False,
    ) -> ViewResult:
        return await self._views.query(
            ViewOptions(
                view=view,
                reduce=reduce,
                key=key,
                keys=keys,
                startkey=startkey,
                endkey=endkey,
                startkey_docid=startkey_docid,
                endkey_docid=endkey_docid,
                inclusive_end=inclusive_end,
                group=group,
                group_level=group_level,
                descending=descending,
                skip=skip,
                limit=limit,
                include_docs=include_docs,
                conflicts=conflicts,
                attachments=attachments,
                update=update,
                update_seq=update_seq,
            )
        )

    async def run_update(self, function: str, doc: Document | None, request: Mapping[str, Any]) -> Updated:
        return await updates.run_update(self, self.function_runner, function, doc, request)

    async def view_cleanup(self) -> None:
        await self._views.cleanup(await self._mango.design_docs())
