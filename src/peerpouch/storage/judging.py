"""What guards judge, and what a standing one is made from: design documents and security, as they are inside the write
transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw

from peerpouch.core import jsonio, revisions
from peerpouch.core.revtree import RevTree
from peerpouch.ports import Document, Guard, Proposal, StandingGuard
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.edits import Edit, NewAttachment
from peerpouch.storage.rows import Head, Row, StoredDocument, document, read_json
from peerpouch.storage.schema import DELETED

_RANGE = "id >= '_design/' AND id < '_design0'"

MakeGuard = Callable[[apsw.Connection], Guard | None]


class DesignDocuments:
    """The design documents of a database, read again when one of them has changed. For the writer's thread."""

    def __init__(self) -> None:
        self._known: list[tuple[int, str]] | None = None
        self._docs: list[Document] = []

    def read(self, connection: apsw.Connection) -> list[Document]:
        """Those that are not deleted, in the order of their ids."""
        # By revision too: a transaction that was rolled back gives its sequences away again.
        heads = [(row[0], row[1]) for row in fetch(connection, f"SELECT seq, rev FROM docs WHERE {_RANGE} ORDER BY id")]
        if heads != self._known:
            rows: list[Row] = fetch(
                connection,
                f"SELECT seq, id, key, rev, flags, body, ancestry FROM docs WHERE {_RANGE} ORDER BY id",
            )
            self._docs = [
                document(connection, doc_id, key, rev, flags, body)
                for _, doc_id, key, rev, flags, body, _ in rows
                if not flags & DELETED
            ]
            self._known = heads
        return self._docs


def standing(guard: StandingGuard, design: DesignDocuments) -> MakeGuard:
    """What asks a standing guard inside a transaction."""

    def make(connection: apsw.Connection) -> Guard | None:
        docs = design.read(connection)
        if not docs:
            return None
        (security,) = fetch_one(connection, "SELECT value FROM meta WHERE name = 'security'")
        return guard(docs, jsonio.loads(security))

    return make


def proposal(connection: apsw.Connection, edit: Edit, head: Head | None, extends: bool) -> Proposal:
    """What guards judge, inside the transaction that writes it.

    Args:
        extends: Whether the edit tells what it extends.
    """
    assert edit.rev is not None
    new: Document = {"_id": edit.id, "_rev": edit.rev}
    if edit.deleted:
        new["_deleted"] = True
    new["_revisions"] = _history(edit, head)
    new.update(read_json(edit.body, edit.flags))
    if edit.attachments:
        generation = revisions.generation(edit.rev)
        new["_attachments"] = {
            name: {
                "content_type": item.content_type,
                "revpos": generation if item.revpos is None else item.revpos,
                "digest": item.digest,
                "length": item.length,
                "stub": True,
            }
            for name, item in edit.attachments.items()
            if isinstance(item, NewAttachment)
        }

    def leaves() -> list[Document]:
        # A round has each id once, so a document that had no row when it began has none yet.
        stored = None if head is None else StoredDocument.find(connection, edit.id)
        if stored is None:
            return []
        return [doc for rev in stored.leaf_revs() if (doc := stored.read(rev)) is not None]

    def before() -> Document | None:
        stored = StoredDocument.find(connection, edit.id) if head is not None and extends else None
        if stored is None:
            return None
        start, ids = new["_revisions"]["start"], new["_revisions"]["ids"]
        ancestors = (stored.read(f"{start - n}-{ids[n]}") for n in range(1, len(ids)))
        return next((doc for doc in ancestors if doc is not None), None)

    return Proposal(new, leaves, edit.parent, before)


def _history(edit: Edit, head: Head | None) -> dict[str, Any]:
    assert edit.rev is not None
    if edit.hashes is not None:
        return {"start": revisions.generation(edit.rev), "ids": edit.hashes.copy()}
    path = [revisions.split(edit.rev)]
    if head is not None and edit.parent is not None:
        tree = RevTree.load(revisions.split(head[3]), bool(head[4] & DELETED), head[5])
        path += tree.path(revisions.split(edit.parent))
    return revisions.format_history(path)
