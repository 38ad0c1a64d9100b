"""Mango queries over a database's documents and its stored indexes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from peerpouch.core.mango import All, conditions, finds_nothing, has_patterns
from peerpouch.core.selector import Matcher, compile_selector
from peerpouch.errors import BadRequest, Conflict, NotFound
from peerpouch.ports import Document, Documents, FindResult, IndexStore, Seq
from peerpouch.query.definitions import DESIGN, LANGUAGE, PRIMARY, MangoIndex, design_id, indexes_of, new_index
from peerpouch.query.explaining import explanation
from peerpouch.query.indexer import Indexer, in_thread
from peerpouch.query.planner import Plan, rank
from peerpouch.query.questions import Query
from peerpouch.query.scans import Batch, Scan, open_scan

_FIRST_BATCH: Final = 50
_LARGEST_BATCH: Final = 1000
# Up to so many conditions are tried where the caller runs: going to a thread and back costs as much.
_MATCH_HERE: Final = 400
_TRIES: Final = 5


class MangoQueries:
    """Queries and indexes of one database."""

    def __init__(self, documents: Documents, store: IndexStore, indexer: Indexer) -> None:
        self._documents = documents
        self._store = store
        self._indexer = indexer
        self._known: tuple[Seq, list[MangoIndex]] | None = None

    async def find(self, query: Query, bookmark: str | None, execution_stats: bool) -> FindResult:
        """See :meth:`peerpouch.ports.Queries.find`."""
        started = time.perf_counter()
        plan = await self._plan(query)
        scan = open_scan(self._documents, self._store, query.selector, plan, bookmark, conflicts=query.conflicts)
        if not plan.index.primary:
            await self._refresh(plan.index)
        docs, last = await self._collect(query, plan, scan)
        # A page behind the last document keeps the bookmark, as CouchDB does: "nil" would start over.
        result: FindResult = {"docs": docs, "bookmark": last or bookmark or "nil"}
        if plan.warning is not None:
            result["warning"] = plan.warning
        if execution_stats:
            result["execution_stats"] = {
                "total_keys_examined": scan.keys_examined,
                "total_docs_examined": scan.docs_examined,
                "total_quorum_docs_examined": 0,
                "results_returned": len(docs),
                "execution_time_ms": round((time.perf_counter() - started) * 1000, 3),
            }
        return result

    async def _collect(self, query: Query, plan: Plan, scan: Scan) -> tuple[list[Document], str | None]:
        matches = compile_selector(All((query.node, plan.condition)))
        project = query.project
        patterns = has_patterns(query.node) or has_patterns(plan.condition)
        here = 0 if patterns else _MATCH_HERE // (1 + conditions(query.node) + conditions(plan.condition))
        skip, left = query.skip, 0 if finds_nothing(query.selector) else query.limit
        docs: list[Document] = []
        last: Any = None
        size = _LARGEST_BATCH if left is None else min(max(left + skip, _FIRST_BATCH), _LARGEST_BATCH)
        while left != 0:
            batch = await self._read(scan, size, plan.index)
            if batch is None:
                break
            found = await _matching(batch, matches, here)
            if skip:
                found, skip = found[skip:], max(0, skip - len(found))
            if left is not None:
                found = found[:left]
                left -= len(found)
            if found:
                last = found[-1][0]
                docs += [doc if project is None else project(doc) for _, doc in found]
            size = min(size * 2, _LARGEST_BATCH)
        return docs, None if last is None else scan.bookmark(last)

    async def _read(self, scan: Scan, size: int, index: MangoIndex) -> Batch | None:
        try:
            return await scan.read(size)
        except NotFound:
            # The index was dropped since it was brought up to date: view_cleanup, by somebody who saw no use for it.
            await self._refresh(index)
            return await scan.read(size)

    async def explain(self, query: Query) -> Document:
        """See :meth:`peerpouch.ports.Queries.explain`."""
        ranking = rank(query.node, query.sort, await self.indexes(), query.use_index)
        return explanation(self._documents.name, query, ranking)

    async def create_index(
        self,
        fields: Sequence[str | Mapping[str, str]],
        name: str | None,
        ddoc: str | None,
        partial: Mapping[str, Any] | None,
    ) -> Document:
        """See :meth:`peerpouch.ports.Queries.create_index`."""
        index = new_index(fields, name, ddoc, partial)
        assert index.ddoc is not None
        result = {"result": "created", "id": index.ddoc, "name": index.name}
        for attempt in range(_TRIES):
            doc = await self._design_doc(index.ddoc)
            if doc.setdefault("language", LANGUAGE) != LANGUAGE:
                raise BadRequest(
                    f"{index.ddoc} is of the language {doc['language']!r}: give the index a design document of its own."
                )
            views = doc.setdefault("views", {})
            same = [other for other in indexes_of([doc]) if other.name == index.name]
            if same and same[0].store_name == index.store_name:
                return {**result, "result": "exists"}
            views[index.name] = index.as_view()
            if await self._put(doc, attempt):
                return result
        raise Conflict(f"{index.ddoc} is being changed by others all the time.")

    async def get_indexes(self) -> Document:
        """See :meth:`peerpouch.ports.Queries.get_indexes`."""
        indexes = [PRIMARY, *await self.indexes()]
        return {"total_rows": len(indexes), "indexes": [index.as_json() for index in indexes]}

    async def delete_index(self, ddoc: str, name: str) -> None:
        """See :meth:`peerpouch.ports.Queries.delete_index`."""
        doc_id = design_id(ddoc)
        for attempt in range(_TRIES):
            doc = await self._design_doc(doc_id)
            views = doc.get("views")
            if doc.get("language") != LANGUAGE or type(views) is not dict or name not in views:
                raise NotFound(f"There is no index {name!r} in {doc_id}.")
            del views[name]
            if not views:
                doc = {"_id": doc_id, "_rev": doc["_rev"], "_deleted": True}
            if await self._put(doc, attempt):
                return
        raise Conflict(f"{doc_id} is being changed by others all the time.")

    async def indexes(self) -> list[MangoIndex]:
        """All json indexes of the database's design documents."""
        # As of before the design documents are read: what is written meanwhile makes the next query read them again.
        seq = await self._store.newest_seq()
        if self._known is None or self._known[0] != seq:
            self._known = seq, indexes_of(await self.design_docs())
        return self._known[1]

    async def design_docs(self) -> list[Document]:
        """All design documents."""
        docs: list[Document] = []
        async for row in self._documents.all_docs(startkey=DESIGN, endkey="_design0", include_docs=True):
            doc = row.get("doc")
            if doc is not None:
                docs.append(doc)
        return docs

    async def _plan(self, query: Query) -> Plan:
        return rank(query.node, query.sort, await self.indexes(), query.use_index).best

    async def _refresh(self, index: MangoIndex) -> None:
        await self._indexer.refresh(index.store_name, in_thread(index.rows_of()), index.ddoc or "")

    async def _design_doc(self, doc_id: str) -> Document:
        try:
            return await self._documents.get(doc_id)
        except NotFound:
            return {"_id": doc_id}

    async def _put(self, doc: Document, attempt: int) -> bool:
        """Whether it was written; on a conflict the caller reads again."""
        try:
            await self._documents.put(doc)
        except Conflict:
            return False
        return True


async def _matching(batch: Batch, matches: Matcher, here: int) -> Batch:
    def run() -> Batch:
        return [item for item in batch if matches(item[1])]

    return run() if len(batch) <= here else await asyncio.to_thread(run)
