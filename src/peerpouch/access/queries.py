"""The gate in front of queries."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from peerpouch.core.policy import Access, Action
from peerpouch.ports import (
    AttachmentMode,
    Database,
    Document,
    FindResult,
    MapFunction,
    Queries,
    ReduceFunction,
    Updated,
    ViewResult,
)

QUERY_METHODS: Final[Mapping[str, Action]] = {
    "find": Action.QUERY,
    "explain": Action.QUERY,
    "create_index": Action.ADMIN,
    "get_indexes": Action.QUERY,
    "delete_index": Action.ADMIN,
    "query": Action.QUERY,
    "run_update": Action.WRITE,
    "view_cleanup": Action.ADMIN,
}


class GatedQueries(Queries):
    """The half of :class:`~peerpouch.access.gate.GatedDatabase` that implements ``Queries``."""

    _inner: Database
    _access: Access
    _name: str

    @abstractmethod
    def _require(self, action: Action) -> None:
        """Raise unless the visit is still on and this kind of thing is allowed."""

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
        self._require(QUERY_METHODS["find"])
        self._access.require_query("_find")
        return await self._inner.find(
            selector,
            fields=fields,
            sort=sort,
            limit=limit,
            skip=skip,
            use_index=use_index,
            bookmark=bookmark,
            conflicts=conflicts,
            execution_stats=execution_stats,
        )

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
        self._require(QUERY_METHODS["explain"])
        self._access.require_query("_find")
        plan = await self._inner.explain(
            selector, fields=fields, sort=sort, limit=limit, skip=skip, use_index=use_index, conflicts=conflicts
        )
        if plan and "dbname" in plan:  # which may be a path of the owner's
            plan["dbname"] = self._name
        return plan

    async def create_index(
        self,
        fields: Sequence[str | Mapping[str, str]],
        *,
        name: str | None = None,
        ddoc: str | None = None,
        partial_filter_selector: Mapping[str, Any] | None = None,
    ) -> Document:
        self._require(QUERY_METHODS["create_index"])
        return await self._inner.create_index(
            fields, name=name, ddoc=ddoc, partial_filter_selector=partial_filter_selector
        )

    async def get_indexes(self) -> Document:
        self._require(QUERY_METHODS["get_indexes"])
        return await self._inner.get_indexes()

    async def delete_index(self, ddoc: str, name: str) -> None:
        self._require(QUERY_METHODS["delete_index"])
        await self._inner.delete_index(ddoc, name)

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
        self._require(QUERY_METHODS["query"])
        if isinstance(view, str):
            self._access.require_query(view)
        return await self._inner.query(
            view,
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

    async def run_update(self, function: str, doc: Document | None, request: Mapping[str, Any]) -> Updated:
        self._require(QUERY_METHODS["run_update"])
        return await self._inner.run_update(function, doc, request)

    async def view_cleanup(self) -> None:
        self._require(QUERY_METHODS["view_cleanup"])
        await self._inner.view_cleanup()
