"""The ``_local`` documents of visitors: each one's own, apart from the owner's and from every other visitor's.

A replicator writes its checkpoints as ``_local`` documents on both sides, so a visitor must be able to write some, also
where it may write nothing else. All of one visitor's are kept inside one ``_local`` document of the database, so
that a visitor costs a bounded amount and the owner can see and remove what it left::

    _local/peerpouch-guest-<32 digits>   {"docs": [{"id": …, "n": 3, "doc": {…}}, …]}   least recently written first
    _local/peerpouch-guests              {"guests": ["<32 digits>", …]}                 in the order of their arrival
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.core.policy import LOCAL_PREFIX
from peerpouch.errors import Conflict, InvalidDocument, InvalidDocumentId, NotFound, TooLarge
from peerpouch.ports import Anonymous, Document, Documents, Owner, Peer, Principal, User, Visitor, Written

MAX_DOCS: Final = 32
"""Documents of one visitor. A replication keeps one on each side; a different filter is a different replication."""

MAX_BYTES: Final = 64 * 1024
"""All of a visitor's documents as JSON. CouchDB's replicator keeps 50 sessions in one, which makes 17 kB."""

MAX_GUESTS: Final = 1000
"""Visitors remembered, so 64 MB at the very most, however many keys somebody makes. The first to come is the first to
go: it then replicates from the start, and loses nothing."""

_ATTEMPTS: Final = 8
"""Tries of a change that other writers of the same document get in the way of. Those are other processes' and other
sessions' of the same visitor only, so a second try is rare."""

_LEDGER: Final = "_local/peerpouch-guests"
_GUEST: Final = "_local/peerpouch-guest-"


class GuestDocs:
    """One visitor's ``_local`` documents.

    Args:
        database: The owner's.
        visitor: What the visitor and its policy are known by.
    """

    def __init__(self, database: Documents, visitor: bytes) -> None:
        self._database = database
        self._visitor = visitor

    @cached_property  # most requests ask for none
    def _guest(self) -> str:
        return hashlib.sha256(b"peerpouch guest 1\0" + self._visitor).hexdigest()[:32]

    async def get(self, doc_id: str, *, rev: str | None = None) -> Document:
        """The document, or NotFound."""
        for entry in _entries(await self._read(_GUEST + self._guest)):
            if entry["id"] == doc_id and rev in (None, _rev(entry)):
                return {**entry["doc"], "_id": doc_id, "_rev": _rev(entry)}
        raise NotFound

    async def all(self) -> list[Document]:
        """All documents, by id."""
        entries = _entries(await self._read(_GUEST + self._guest))
        docs = [{**entry["doc"], "_id": entry["id"], "_rev": _rev(entry)} for entry in entries]
        return sorted(docs, key=lambda doc: str(doc["_id"]))

    async def put(self, doc: Document) -> Written:
        """Write or (``_deleted``) delete a document; the least recently written make room for it.

        Raises:
            Conflict: if ``_rev`` is not the document's current one.
            TooLarge: if it is larger than all of a visitor's documents together may be.
        """
        doc_id = doc["_id"]
        body = _body(doc)
        written: list[int] = []

        def change(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
            old = next((entry for entry in entries if entry["id"] == doc_id), None)
            if (None if old is None else _rev(old)) != doc.get("_rev"):
                raise Conflict
            number = 1 if old is None else old["n"] + 1
            written[:] = [number]
            kept = [entry for entry in entries if entry["id"] != doc_id]
            if doc.get("_deleted"):
                return kept
            return _bounded([*kept, {"id": doc_id, "n": number, "doc": body}])

        is_new = await self._change(_GUEST + self._guest, "docs", change)
        if is_new:
            await self._arrive()
        return Written(doc_id, f"0-{0 if doc.get('_deleted') else written[0]}")

    async def _arrive(self) -> None:
        """Enter the ledger, and see off whom there is no more room for."""
        gone: list[str] = []

        def change(guests: list[Any]) -> list[Any]:
            present = [*(guest for guest in guests if guest != self._guest), self._guest]
            gone[:] = present[:-MAX_GUESTS]
            return present[-MAX_GUESTS:]

        await self._change(_LEDGER, "guests", change)
        for guest in gone:
            left = await self._read(_GUEST + guest)
            if left is not None:
                await self._database.remove(left["_id"], left["_rev"])

    async def _read(self, doc_id: str) -> Document | None:
        try:
            return await self._database.get(doc_id)
        except NotFound:
            return None

    async def _change(self, doc_id: str, field: str, change: Callable[[list[Any]], list[Any]]) -> bool:
        """Replace a list in a document of the owner's; whether the document was made for it."""
        for attempt in range(_ATTEMPTS):
            doc = await self._read(doc_id)
            there = doc.get(field) if doc is not None else None
            new: Document = {"_id": doc_id, field: change(list(there) if isinstance(there, list) else [])}
            if doc is not None:
                new["_rev"] = doc["_rev"]
            try:
                await self._database.put(new)
            except Conflict:
                if attempt + 1 == _ATTEMPTS:
                    raise
                continue
            return doc is None
        raise AssertionError("unreachable")


def _entries(doc: Document | None) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [] if doc is None else doc["docs"]
    return entries


def _rev(entry: dict[str, Any]) -> str:
    return f"0-{entry['n']}"


def _body(doc: Document) -> Document:
    for name in doc:
        if name.startswith("_") and name not in ("_id", "_rev", "_deleted", "_revisions"):
            raise InvalidDocument(f"A _local document can't have the field {name!r}.")
    if doc["_id"] == LOCAL_PREFIX:
        raise InvalidDocumentId("A _local document needs a name behind the slash.")
    body = {name: value for name, value in doc.items() if not name.startswith("_")}
    if len(jsonio.dumps(body)) > MAX_BYTES // 2:
        raise TooLarge(f"A _local document of a visitor has at most {MAX_BYTES // 2} bytes.")
    if len(str(doc["_id"])) > 1024:
        raise TooLarge("The id of a visitor's _local document has at most 1,024 characters.")
    return body


def _bounded(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The most recently written that there is room for."""
    entries = entries[-MAX_DOCS:]
    sizes = [len(jsonio.dumps(entry)) for entry in entries]
    while sum(sizes) > MAX_BYTES:
        del entries[0], sizes[0]
    return entries


def remembered_by(principal: Principal) -> bytes:
    """What a visitor is remembered by: for a peer its key, so that its next session finds what this one left."""
    match principal:
        case Peer(key=key):
            return b"peer\0" + key
        case User(name=name):
            return b"user\0" + name.encode() + b"\0"
        case Anonymous():
            return b"anonymous\0"
        case Owner():
            return b"owner\0"
        case Visitor():
            return b"visitor\0"
