"""Reading the visible leaves of documents."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, NamedTuple

from peerpouch.access.selection import Selection
from peerpouch.core import revisions
from peerpouch.errors import NotFound
from peerpouch.ports import AttachmentMode, Database, Document, RevisionRequest, RevisionResult

_PART: Final = 500
"""Ids looked up in one step."""


class Seen(NamedTuple):
    """The visible leaves of a document, the winner first, with their histories, attachments as stubs.

    Attributes:
        size: About how many bytes each is as JSON; 0 where that is not known.
    """

    id: str
    leaves: list[Document]
    size: int


class LeafReader:
    """Reads what is visible of documents, by way of their membership. Refresh the selection before."""

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._selection = selection

    async def of(self, doc_id: str) -> list[Document]:
        """The visible leaves of one document, the winner first, with their histories, attachments as stubs."""
        async for seen in self.many([doc_id]):
            return seen.leaves
        return []

    async def many(self, doc_ids: Sequence[str]) -> AsyncGenerator[Seen, None]:
        """The visible leaves of documents, each named once; in order, empty where there are none."""
        for at in range(0, len(doc_ids), _PART):
            part = doc_ids[at : at + _PART]
            members = await self._selection.members(part)
            results = self._database.bulk_get(
                [RevisionRequest(doc_id) for doc_id in part if doc_id in members], revs=True
            )
            told, leaves, size = 0, list[Document](), 0
            try:
                async for result in results:
                    while part[told] != result.id:  # what came before belongs to the documents before this one
                        yield Seen(part[told], self._selection.visible(leaves, member=True), size)
                        told, leaves, size = told + 1, [], 0
                    if result.doc is not None:
                        leaves.append(result.doc)
                        size = result.size
            finally:
                await aclose(results)
            for doc_id in part[told:]:
                yield Seen(doc_id, self._selection.visible(leaves, member=True), size)
                leaves, size = [], 0

    async def full(
        self, leaf: Document, attachments: AttachmentMode, atts_since: Sequence[str] | None = None
    ) -> Document:
        """A visible leaf with its attachments; a copy, so that who gets it may change it."""
        if not attachments or not leaf.get("_attachments"):
            return dict(leaf)
        request = RevisionRequest(leaf["_id"], leaf["_rev"], atts_since)
        results = self._database.bulk_get([request], revs=True, attachments=attachments)
        try:
            async for result in results:
                if result.doc is not None:
                    return result.doc
        finally:
            await aclose(results)
        raise NotFound("missing")  # compacted away since


def ancestry(leaf: Document) -> list[str]:
    """A leaf's revision and its ancestors, newest first."""
    return [revisions.format(rev) for rev in revisions.parse_history(leaf["_revisions"])]


def cited(doc_id: str, leaves: list[Document], revs: Sequence[str] | None, *, latest: bool) -> list[RevisionResult]:
    """The visible leaves, or a result for each revision asked for, as :meth:`Documents.open_revs` gives them."""
    if revs is None:
        if not leaves:
            return [RevisionResult(doc_id, None, None, NotFound("missing"))]
        return [RevisionResult(doc_id, leaf["_rev"], leaf) for leaf in leaves]
    results: list[RevisionResult] = []
    seen: set[str] = set()
    for rev in revs:
        found = [leaf for leaf in leaves if leaf["_rev"] == rev or (latest and rev in ancestry(leaf))]
        for target in [leaf["_rev"] for leaf in found] or [rev]:
            if target in seen:
                continue
            seen.add(target)
            doc = next((leaf for leaf in found if leaf["_rev"] == target), None)
            results.append(RevisionResult(doc_id, target, doc, NotFound("missing") if doc is None else None))
    return results


def with_conflicts(doc: Document, leaves: list[Document], conflicts: bool, deleted_conflicts: bool) -> None:
    """Add ``_conflicts`` and ``_deleted_conflicts``, of what is visible, where there are any."""
    others = [leaf for leaf in leaves if leaf["_rev"] != leaves[0]["_rev"]]
    live = [leaf["_rev"] for leaf in others if not leaf.get("_deleted")]
    gone = [leaf["_rev"] for leaf in others if leaf.get("_deleted")]
    if conflicts and live:
        doc["_conflicts"] = live
    if deleted_conflicts and gone:
        doc["_deleted_conflicts"] = gone


async def aclose(stream: AsyncIterator[object]) -> None:
    """Close an iterator that need not be a generator."""
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
