"""Queries of a database that is seen through a selector.

Mango queries are asked with the share's selector before the visitor's own, so that no operator of the latter ever sees
a hidden document. A view's rows are made by a function of the owner's from whole documents, hidden ones too, and are
kept in an index: a row is given only if the document that it was made of is the one that is visible now. So a query
is made between two looks at the changes feed, and what changed in between is asked again.

A reduction is computed from an index that holds hidden documents too, so it is refused for stored views; for a
Python function, which is given visible documents only, it is computed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Literal

from peerpouch.access.leaves import LeafReader, with_conflicts
from peerpouch.access.selection import Selection
from peerpouch.core.mango import All, AnyOf, Node, Not, finds_nothing, parse_selector
from peerpouch.core.selector import conjunction
from peerpouch.errors import BadRequest, Forbidden, NotFound
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
    ViewRow,
)

_FIRST: Final = 200
_LARGEST: Final = 5000
"""Rows of a view read in one step: doubling from the first, so that skipping what was read costs little in all."""

_TRIES: Final = 5
"""Queries that documents change under are made again; in the end the rows of those documents are left out."""

_REFUSED: Final = "Only the owner of a database may administer it."
_REDUCE: Final = (
    "Only a part of this database is shared with you, and reductions are computed from all of it: "
    "ask with reduce=false, or replicate and query the copy."
)
_CONFLICTS: Final = (
    "Only a part of this database is shared with you, and a query by conflicts would tell of all of it: "
    "get a document with conflicts=true, or replicate and query the copy."
)
_HEAD: Final = re.compile(r"\s*(?:function(?:\s+[\w$]+)?\s*\(|\(?)\s*([A-Za-z_$][\w$]*)\s*(?:\)|=>)")
"""A function of one parameter; another one could stand for the first, as ``arguments`` does."""
_INDIRECT: Final = re.compile(r"_conflicts|\barguments\b|\beval\b|\\u")
_NOTHING: Final[Mapping[str, Any]] = {"_id": {"$in": []}}
_ALL_DOCS: Final = {"ddoc": None, "name": "_all_docs", "type": "special", "def": {"fields": [{"_id": "asc"}]}}


class LimitedQueries(Queries):
    """The half of :class:`~peerpouch.access.limited.LimitedDatabase` that implements ``Queries``."""

    _inner: Database
    _selection: Selection
    _reader: LeafReader

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
        if conflicts:
            raise Forbidden(_CONFLICTS)
        selector = _NOTHING if finds_nothing(selector) else await self._among_members(selector)
        wanted = None if fields is None else [*fields, *(() if "_id" in fields else ("_id",))]
        found = await self._inner.find(
            self._both(selector), fields=wanted, sort=sort, limit=limit, skip=skip, bookmark=bookmark
        )
        # After the query, so that a document that was written before it is a member by now.
        await self._selection.refresh()
        members = await self._selection.members([doc["_id"] for doc in found["docs"]])
        docs = [doc for doc in found["docs"] if doc["_id"] in members]
        if fields is not None and "_id" not in fields:
            for doc in docs:
                del doc["_id"]
        result: FindResult = {"docs": docs, "bookmark": found["bookmark"]}
        if execution_stats:
            # What it took depends on documents that can't be seen.
            result["execution_stats"] = {"results_returned": len(docs)}
        return result

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
        if conflicts:
            raise Forbidden(_CONFLICTS)
        plan = await self._inner.explain(self._both(selector), fields=fields, sort=sort, limit=limit, skip=skip)
        shown: Document = {name: plan[name] for name in ("dbname", "limit", "skip", "fields", "opts") if name in plan}
        return {**shown, "selector": dict(selector), "index": _ALL_DOCS}

    async def _among_members(self, selector: Mapping[str, Any]) -> Mapping[str, Any]:
        """A selector that names its documents, for those of them that may be read: what can't be seen is not even
        looked up, so that it costs no more than what is not there."""
        pinned = _pinned(parse_selector(selector))
        if pinned is None:
            return selector
        await self._selection.refresh()
        members = await self._selection.members(sorted(pinned))
        return conjunction({"_id": {"$in": sorted(members)}}, selector) if members else _NOTHING

    def _both(self, selector: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(selector, Mapping):
            raise BadRequest("A selector is a mapping.")
        # In this order: the second part is tried on documents that the first let through, and on no others.
        return conjunction(self._selection.select, selector)

    async def get_indexes(self) -> Document:
        return {"total_rows": 1, "indexes": [dict(_ALL_DOCS)]}

    async def create_index(
        self,
        fields: Sequence[str | Mapping[str, str]],
        *,
        name: str | None = None,
        ddoc: str | None = None,
        partial_filter_selector: Mapping[str, Any] | None = None,
    ) -> Document:
        raise Forbidden(_REFUSED)

    async def delete_index(self, ddoc: str, name: str) -> None:
        raise Forbidden(_REFUSED)

    async def run_update(self, function: str, doc: Document | None, request: Mapping[str, Any]) -> Updated:
        await self._selection.refresh()
        leaves = await self._reader.of("_design/" + function.partition("/")[0].removeprefix("_design/"))
        if not leaves or leaves[0].get("_deleted"):
            raise NotFound
        return await self._inner.run_update(function, doc, request)

    async def view_cleanup(self) -> None:
        raise Forbidden(_REFUSED)

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
        asked: dict[str, Any] = {
            "key": key,
            "keys": keys,
            "startkey": startkey,
            "endkey": endkey,
            "startkey_docid": startkey_docid,
            "endkey_docid": endkey_docid,
            "inclusive_end": inclusive_end,
            "descending": descending,
        }
        if skip < 0 or (limit is not None and limit < 0):
            raise BadRequest("skip and limit must not be negative.")
        await self._selection.refresh()
        seq = self._selection.format_seq(self._selection.counter)
        if callable(view):
            result = await self._of_function(view, reduce, group, group_level, skip, limit, asked)
        else:
            if not isinstance(view, str):
                raise BadRequest("A view is named by text, or given as a Python function.")
            if reduce or group or group_level is not None or (reduce is None and await self._reduces(view)):
                raise Forbidden(_REDUCE)
            result = {"rows": await self._rows(view, asked, skip, limit)}
        if include_docs:
            result["rows"] = await self._with_docs(result["rows"], conflicts, attachments)
        if update_seq:
            result["update_seq"] = seq
        return result

    async def _reduces(self, view: str) -> bool:
        """Whether a stored view has a reduce function. Raises NotFound for one that is not there."""
        return bool((await self._definition(view)).get("reduce"))

    async def _definition(self, view: str) -> Document:
        ddoc, _, name = view.removeprefix("_design/").partition("/")
        doc = await self._inner.get(f"_design/{ddoc}")
        views = doc.get("views")
        found = views.get(name or ddoc) if isinstance(views, dict) else None
        if not isinstance(found, dict):
            raise NotFound("missing_named_view")
        return found

    async def _of_function(
        self,
        view: MapFunction,
        reduce: Any,
        group: bool,
        group_level: int | None,
        skip: int,
        limit: int | None,
        asked: dict[str, Any],
    ) -> ViewResult:
        def visible_only(doc: Document, emit: Any) -> None:
            if self._selection.matches(doc):
                # Its conflicts may be hidden.
                view({name: value for name, value in doc.items() if name != "_conflicts"}, emit)

        result = await self._inner.query(
            visible_only, reduce=reduce, group=group, group_level=group_level, skip=skip, limit=limit, **asked
        )
        if reduce:
            return {"rows": result["rows"]}
        await self._selection.refresh()
        members = await self._selection.members([row["id"] for row in result["rows"]])
        return {"rows": [row for row in result["rows"] if row["id"] in members]}

    async def _rows(self, view: str, asked: dict[str, Any], skip: int, limit: int | None) -> list[ViewRow]:
        attempt = 0
        while True:
            before = (await self._inner.info())["update_seq"]
            rows = await self._visible_rows(view, asked, None if limit is None else skip + limit)
            changed = await self._changed_since(before)
            attempt += 1
            if attempt == _TRIES or not any(row["id"] in changed for row in rows):
                break
        rows = [row for row in rows if row["id"] not in changed]
        return rows[skip:] if limit is None else rows[skip : skip + limit]

    async def _visible_rows(self, view: str, asked: dict[str, Any], most: int | None) -> list[ViewRow]:
        """The first rows that are visible: so many, or all."""
        rows: list[ViewRow] = []
        at, size = 0, _FIRST
        plain = not await self._looks_at_conflicts(view)
        while most is None or len(rows) < most:
            page = (await self._inner.query(view, reduce=False, skip=at, limit=size, **asked))["rows"]
            judged = await self._judged(list(dict.fromkeys(row["id"] for row in page)), plain)
            rows += [row for row in page if row["id"] in judged]
            if len(page) < size:
                break
            at, size = at + size, min(size * 2, _LARGEST)
        return rows

    async def _looks_at_conflicts(self, view: str) -> bool:
        """Whether a view's rows may tell of a document's other leaves. Raises NotFound for one that is not there."""
        return not _plain(str((await self._definition(view)).get("map")))

    async def _judged(self, doc_ids: list[str], plain: bool) -> set[str]:
        """Those whose winner, which is what a view is made of, is visible; unless ``plain`` also its conflicts."""
        visible: set[str] = set()
        members = list(await self._selection.members(doc_ids))
        for at in range(0, len(members), _FIRST):
            part = members[at : at + _FIRST]
            listing = self._inner.all_docs(keys=part, include_docs=True, conflicts=not plain)
            others: dict[str, set[str]] = {}
            async with aclosing(listing):
                async for row in listing:
                    doc = row.get("doc")
                    if doc is None:
                        continue
                    conflicts = doc.pop("_conflicts", None)
                    if self._selection.matches(doc):
                        visible.add(row["key"])
                        if conflicts:
                            others[row["key"]] = set(conflicts)
            if others:
                async with aclosing(self._reader.many(list(others))) as found:
                    async for doc_id, leaves, _ in found:
                        if not others[doc_id] <= {leaf["_rev"] for leaf in leaves}:
                            visible.discard(doc_id)
        return visible

    async def _changed_since(self, since: str) -> set[str]:
        changed: set[str] = set()
        async with aclosing(self._inner.changes(since=since)) as feed:
            async for change in feed:
                changed.add(change["id"])
        return changed

    async def _with_docs(self, rows: list[ViewRow], conflicts: bool, attachments: AttachmentMode) -> list[ViewRow]:
        """The rows with their documents, or those that their values link to, as far as they are visible."""
        links = [_link(row) for row in rows]
        docs: dict[tuple[str, str | None], Document] = {}
        wanted: dict[str, set[str | None]] = {}
        for doc_id, rev in links:
            wanted.setdefault(doc_id, set()).add(rev)
        async with aclosing(self._reader.many(list(wanted))) as found:
            async for doc_id, leaves, _ in found:
                for rev in wanted[doc_id]:
                    leaf = next((leaf for leaf in leaves if rev in (None, leaf["_rev"])), None)
                    if leaf is None or (leaf.get("_deleted") and rev is None):
                        continue
                    doc = await self._reader.full(leaf, attachments)
                    doc.pop("_revisions", None)
                    with_conflicts(doc, leaves, conflicts, False)
                    docs[doc_id, rev] = doc
        return [{**row, "doc": docs.get(link)} for row, link in zip(rows, links, strict=True)]


def _plain(map_source: str) -> bool:
    """Whether all that a map function does with its document is to read fields by name, ``_conflicts`` not among them.

    What is handed on as a whole (``emit(doc._id, doc)``) has the ``_conflicts`` in it. In doubt, which a comment
    that mentions the document leaves too, it isn't plain.
    """
    head = _HEAD.match(map_source)
    if head is None or _INDIRECT.search(map_source):
        return False
    bare = rf"(?<![\w$]){re.escape(head[1])}(?![\w$])(?!\s*\.\s*[A-Za-z_$])"
    return re.search(bare, map_source[head.end() :]) is None


def _pinned(node: Node) -> set[str] | None:
    """The ids of the only documents that a selector can match; ``None`` if it does not name them."""
    if isinstance(node, AnyOf):
        found = [_pinned(part) for part in node.parts]
        return set().union(*(ids for ids in found if ids is not None)) if None not in found else None
    if isinstance(node, All):
        named = [ids for part in node.parts if (ids := _pinned(part)) is not None]
        return set.intersection(*named) if named else None
    if isinstance(node, Not) or node.path != ("_id",) or node.negated or node.operator not in ("$eq", "$in"):
        return None
    return {value for value in (node.operand if node.operator == "$in" else [node.operand]) if isinstance(value, str)}


def _link(row: ViewRow) -> tuple[str, str | None]:
    value = row["value"]
    if isinstance(value, dict) and isinstance(value.get("_id"), str):
        rev = value.get("_rev")
        return value["_id"], rev if isinstance(rev, str) else None
    return row["id"], None
