"""Writing to a database that is seen through a selector.

The rules, judged inside the write transaction:

1. What is written matches the selector, unless it is a deletion.
2. The leaf that it extends is visible. A revision that extends no leaf of a document that exists makes a conflict, and
   might win: the owner's winner must be visible then.
3. A stub stands for an attachment of a visible leaf.

They are judged before the transaction too, for documents of which nothing is visible. This makes the answer for them
one and the same, whatever was guessed about them: without it storage would say ``conflict`` for a wrong revision and
``missing_stub`` for a wrong digest before the guard is asked, and would take a revision that it has for written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from peerpouch.access.leaves import aclose
from peerpouch.access.selection import Selection
from peerpouch.core import revisions
from peerpouch.errors import Conflict, Forbidden, MissingStub, PeerPouchError
from peerpouch.ports import Database, Document, Guard, Proposal, RevisionRequest, WriteFailure, WriteResult, Written

HIDDEN: Final = "A document with this id can't be written by you."
UNMATCHED: Final = "This document is not one of those that are shared with you."

_PART: Final = 500
"""Documents written in one transaction: a replicator's batch. Of the leaves that they join only what is said of
attachments is held in memory."""

_Stubs = Mapping[str, Any]
"""What a document says of attachments, by their names."""


class Writer:
    """Writes what a visitor may write."""

    def __init__(self, database: Database, selection: Selection) -> None:
        self._database = database
        self._selection = selection

    async def write(self, docs: Sequence[Document], *, new_edits: bool, guard: Guard | None) -> list[WriteResult]:
        """See :meth:`peerpouch.ports.Documents.bulk_docs`."""
        results: list[WriteResult | None] = [None] * len(docs)
        waiting = list(range(len(docs)))
        while waiting:
            # A round has each id once, so that what is judged before the transaction is true in it.
            seen: set[object] = set()
            now: list[int] = []
            later: list[int] = []
            for place in waiting:
                doc_id = _id_of(docs[place])
                full = len(now) >= _PART or (doc_id is not None and doc_id in seen)
                (later if full else now).append(place)
                seen.add(doc_id)
            for place, result in zip(now, await self._round([docs[n] for n in now], new_edits, guard), strict=True):
                results[place] = result
            waiting = later
        return [result for result in results if result is not None]

    async def _round(self, docs: list[Document], new_edits: bool, guard: Guard | None) -> list[WriteResult]:
        await self._selection.refresh()
        ids = [doc_id for doc_id in map(_id_of, docs) if doc_id is not None]
        members = await self._selection.members(ids)
        results: list[WriteResult | None] = [None] * len(docs)
        visible = await self._visible(ids, members)
        passed: list[int] = []
        for place, doc in enumerate(docs):
            refusal = _refusal(doc, visible)
            if refusal is None:
                passed.append(place)
            else:
                results[place] = WriteFailure(_id_of(doc) or "", refusal, None if new_edits else doc.get("_rev"))
        if passed:
            asked = [docs[place] for place in passed]
            judge = _Judge(self._selection, members, {_id_of(doc): _stubs(doc) for doc in asked}, new_edits, guard)
            written = await self._database.bulk_docs(asked, new_edits=new_edits, guard=judge)
            for place, result in zip(passed, written, strict=True):
                results[place] = result
        await self._record(docs, results, members)
        return [result for result in results if result is not None]

    async def _visible(self, ids: list[str], members: set[str]) -> dict[str, list[_Stubs]]:
        """What the visible leaves of those documents that exist say of attachments."""
        found: dict[str, list[_Stubs]] = {}
        results = self._database.bulk_get([RevisionRequest(doc_id) for doc_id in ids])
        try:
            async for result in results:
                if result.doc is not None:
                    visible = found.setdefault(result.id, [])
                    for leaf in self._selection.visible([result.doc], member=result.id in members):
                        visible.append(leaf.get("_attachments") or {})
        finally:
            await aclose(results)
        return found

    async def _record(self, docs: Sequence[Document], results: Sequence[WriteResult | None], members: set[str]) -> None:
        """Whoever deleted what nobody had seen shall see its own deletion, or it could never write that id again."""
        gone = [
            result.id
            for doc, result in zip(docs, results, strict=True)
            if isinstance(result, Written) and doc.get("_deleted") and result.id not in members
        ]
        if gone:
            await self._selection.record(list(dict.fromkeys(gone)))


class _Judge:
    """The guard of one round."""

    def __init__(
        self,
        selection: Selection,
        members: set[str],
        stubs: Mapping[str | None, _Stubs],
        new_edits: bool,
        guard: Guard | None,
    ) -> None:
        self._selection = selection
        self._members = members
        self._stubs = stubs
        self._new_edits = new_edits
        self._guard = guard

    def __call__(self, proposal: Proposal) -> None:
        new = proposal.new
        leaves = proposal.leaves()
        visible = self._selection.visible(leaves, member=new["_id"] in self._members)
        if leaves:
            if not visible:
                raise Forbidden(HIDDEN)
            if self._new_edits:
                self._check_parent(proposal, visible)
            else:
                _check_history(new, leaves, visible)
        if not new.get("_deleted") and not self._selection.matches(new):
            raise Forbidden(UNMATCHED)
        asked = self._stubs.get(new["_id"])
        if asked:
            kept = {name: item for name, item in (new.get("_attachments") or {}).items() if name in asked}
            _check_stubs(new["_id"], kept, [leaf.get("_attachments") or {} for leaf in visible])
        if self._guard is not None:
            self._guard(replace(proposal, leaves=lambda: visible))

    def _check_parent(self, proposal: Proposal, visible: list[Document]) -> None:
        """A parent that can't be seen is as wrong as one that does not exist."""
        if proposal.parent not in [leaf["_rev"] for leaf in visible]:
            raise Conflict


def _check_history(new: Document, leaves: list[Document], visible: list[Document]) -> None:
    path = {revisions.format(rev) for rev in revisions.parse_history(new["_revisions"])}
    shown = {leaf["_rev"] for leaf in visible}
    extended = [leaf["_rev"] for leaf in leaves if leaf["_rev"] in path]
    # The first leaf is the winner.
    if not shown.issuperset(extended or [leaves[0]["_rev"]]):
        raise Forbidden(HIDDEN)


def _refusal(doc: Document, visible: Mapping[str, list[_Stubs]]) -> PeerPouchError | None:
    """What is wrong with a document whatever else it says; see the module."""
    doc_id = _id_of(doc)
    if doc_id is None:
        return None
    there = visible.get(doc_id)
    if there is not None and not there:
        return Forbidden(HIDDEN)
    try:
        _check_stubs(doc_id, _stubs(doc), there or [])
    except MissingStub as error:
        return error
    return None


def _check_stubs(doc_id: str, stubs: _Stubs, visible: list[_Stubs]) -> None:
    for name, stub in stubs.items():
        digest = stub.get("digest")
        here = [item for leaf in visible if (item := leaf.get(name)) is not None]
        if not any(digest in (None, item["digest"]) for item in here):
            # In storage's words, so that nothing tells which of the two it was.
            raise MissingStub(f"Document {doc_id!r} has no attachment {name!r} that the stub could stand for.")


def _stubs(doc: Any) -> dict[str, Any]:
    """The attachments of a document as given that come without their content."""
    attachments = doc.get("_attachments") if isinstance(doc, dict) else None
    if not isinstance(attachments, dict):
        return {}
    return {name: item for name, item in attachments.items() if _is_stub(item)}


def _is_stub(item: Any) -> bool:
    """As storage takes it."""
    return isinstance(item, dict) and "data" not in item and (item.get("stub") is True or item.get("follows") is True)


def _id_of(doc: Any) -> str | None:
    doc_id = doc.get("_id") if isinstance(doc, dict) else None
    return doc_id if isinstance(doc_id, str) else None
