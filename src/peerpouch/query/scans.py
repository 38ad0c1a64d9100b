"""Documents in the order of an index, or of their ids, a batch at a time; each batch is a short read of its own."""

from __future__ import annotations

import base64
import binascii
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import InvalidBookmark, InvalidDocument, InvalidJSON
from peerpouch.ports import Document, Documents, IndexPosition, IndexRow, IndexStore
from peerpouch.query.definitions import DESIGN
from peerpouch.query.planner import Plan

Batch = list[tuple[Any, Document]]
"""Documents, each with what a bookmark has to remember of its place."""


_LOOKED_AT: Final = 4
"""Documents that are looked at for each that is wanted: looking costs little, and a turn of a thread more."""


class Scan(ABC):
    """Reads the range of a plan from its beginning, or from behind a bookmark, to its end."""

    keys_examined = 0
    docs_examined = 0

    @abstractmethod
    async def read(self, size: int) -> Batch | None:
        """The next documents, about ``size`` of them; ``None`` at the end."""

    @abstractmethod
    def bookmark(self, place: Any) -> str:
        """What :func:`open_scan` takes to go on behind a document."""


def open_scan(
    documents: Documents,
    store: IndexStore,
    selector: Mapping[str, Any],
    plan: Plan,
    bookmark: str | None,
    *,
    conflicts: bool = False,
) -> Scan:
    """A scan of the plan's range.

    Args:
        conflicts: Whether the documents have ``_conflicts``.

    Raises:
        InvalidBookmark: when it is malformed, or of another index.
    """
    place = None if bookmark in (None, "", "nil") else _decode(bookmark)
    name = "" if plan.index.primary else plan.index.store_name
    if place is not None and place[0] != name:
        raise InvalidBookmark("The bookmark is of a query that used another index.")
    fetch = partial(_fetch, documents, conflicts)
    if plan.points is not None:
        return _PointScan(fetch, plan.points, plan.descending, place)
    if plan.index.primary:
        return _IdScan(documents, store, selector, plan, place, conflicts)
    return _IndexScan(fetch, store, plan, place, conflicts)


def _encode(*place: str) -> str:
    return base64.urlsafe_b64encode(jsonio.dumps(place)).decode()


def _show(bookmark: Any) -> str:
    try:
        return jsonio.dumps(bookmark).decode()[:80]
    except InvalidDocument:
        return "not JSON"


def _decode(bookmark: Any) -> list[str]:
    try:
        place = jsonio.loads(base64.b64decode(bookmark.encode(), altchars=b"-_", validate=True))
    except (AttributeError, UnicodeEncodeError, binascii.Error, InvalidJSON):
        place = None
    if type(place) is not list or len(place) not in (2, 3) or not all(type(part) is str for part in place):
        raise InvalidBookmark(f"Invalid bookmark value: {_show(bookmark)}")
    # The primary index has no name, and a bookmark of it no key.
    if (len(place) == 2) != (not place[0]):
        raise InvalidBookmark(f"Invalid bookmark value: {_show(bookmark)}")
    return place


class _IdScan(Scan):
    """By document id, without design documents."""

    def __init__(
        self,
        documents: Documents,
        store: IndexStore,
        selector: Mapping[str, Any],
        plan: Plan,
        place: list[str] | None,
        conflicts: bool,
    ) -> None:
        self._documents = documents
        self._store = store
        self._selector = selector
        self._conflicts = conflicts
        self._plan = plan
        self._after = None if place is None else place[1]
        self._done = plan.empty
        low, high = plan.ids
        self._first, self._last = (high, low) if plan.descending else (low, high)

    async def read(self, size: int) -> Batch | None:
        if self._done:
            return None
        page = await self._store.scan_docs(
            self._selector,
            after=self._after,
            startkey=self._first,
            endkey=self._last,
            descending=self._plan.descending,
            limit=size * _LOOKED_AT,
            conflicts=self._conflicts,
        )
        if page is None:
            return await self._listed(size)
        self._after, self._done = page.after, page.after is None
        self.keys_examined += page.examined
        self.docs_examined += page.examined
        return [(doc["_id"], doc) for doc in page.docs]

    async def _listed(self, size: int) -> Batch:
        after = self._after
        # all_docs has no exclusive beginning: the last document of before comes once more.
        limit = size if after is None else size + 1
        listing = self._documents.all_docs(
            startkey=self._first if after is None else after,
            endkey=self._last,
            descending=self._plan.descending,
            limit=limit,
            include_docs=True,
            conflicts=self._conflicts,
        )
        batch: Batch = []
        seen = 0
        async for page in listing.pages():
            for row in page:
                seen += 1
                self._after = doc_id = row["id"]
                doc = row.get("doc")
                if doc is not None and doc_id != after and not doc_id.startswith(DESIGN):
                    batch.append((doc_id, doc))
        self._done = seen < limit
        self.keys_examined += seen
        self.docs_examined += len(batch)
        return batch

    def bookmark(self, place: Any) -> str:
        return _encode("", place)


Fetch = Callable[[list[str]], Awaitable[dict[str, Document]]]


async def _fetch(documents: Documents, conflicts: bool, ids: list[str]) -> dict[str, Document]:
    """The documents of these ids that are there."""
    found: dict[str, Document] = {}
    if ids:
        async for page in documents.all_docs(keys=ids, include_docs=True, conflicts=conflicts).pages():
            for row in page:
                doc = row.get("doc")
                if doc is not None:
                    found[row["key"]] = doc
    return found


class _PointScan(Scan):
    """Some documents by their ids."""

    def __init__(self, fetch: Fetch, points: frozenset[str], descending: bool, place: list[str] | None) -> None:
        self._fetch = fetch
        ids = sorted((point for point in points if not point.startswith(DESIGN)), reverse=descending)
        if place is not None:
            after = place[1]
            ids = [doc_id for doc_id in ids if (doc_id < after if descending else doc_id > after)]
        self._ids = ids

    async def read(self, size: int) -> Batch | None:
        ids, self._ids = self._ids[:size], self._ids[size:]
        if not ids:
            return None
        docs = await self._fetch(ids)
        self.keys_examined += len(ids)
        self.docs_examined += len(docs)
        return [(doc_id, docs[doc_id]) for doc_id in ids if doc_id in docs]

    def bookmark(self, place: Any) -> str:
        return _encode("", place)


class _IndexScan(Scan):
    """By an index's keys. Documents that were deleted since the rows were read are left out."""

    def __init__(self, fetch: Fetch, store: IndexStore, plan: Plan, place: list[str] | None, conflicts: bool) -> None:
        self._conflicts = conflicts
        self._fetch = fetch
        self._store = store
        self._name = plan.index.store_name
        self._descending = plan.descending
        self._start, self._end = IndexPosition(plan.start), IndexPosition(plan.end)
        if place is not None:
            try:
                self._go_behind(IndexPosition(bytes.fromhex(place[1]), place[2]))
            except ValueError:
                raise InvalidBookmark("The bookmark is damaged.") from None

    def _go_behind(self, position: IndexPosition) -> None:
        # A document has one row in an index of this kind, with the ordinal 0.
        if self._descending:
            self._end = min(self._end, position)
        else:
            self._start = max(self._start, position._replace(ordinal=1))

    async def read(self, size: int) -> Batch | None:
        if self._start >= self._end:
            return None
        start, end, descending = self._start, self._end, self._descending
        found = await self._store.read_index_docs(
            self._name, start=start, end=end, descending=descending, limit=size, conflicts=self._conflicts
        )
        if found is None:
            rows = await self._store.read_index(self._name, start=start, end=end, descending=descending, limit=size)
            docs = await self._fetch([row.doc_id for row in rows])
            found = [(row, docs.get(row.doc_id)) for row in rows]
        self.keys_examined += len(found)
        if len(found) < size:
            self._end = self._start
        else:
            last = found[-1][0]
            self._go_behind(IndexPosition(last.key, last.doc_id))
        batch: Batch = [(row, doc) for row, doc in found if doc is not None]
        self.docs_examined += len(batch)
        return batch

    def bookmark(self, place: Any) -> str:
        row: IndexRow = place
        return _encode(self._name, row.key.hex(), row.doc_id)
