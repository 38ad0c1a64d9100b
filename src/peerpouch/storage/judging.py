"""What a standing guard is made from: design documents and security, as they are inside the write transaction."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from peerpouch.core import jsonio
from peerpouch.ports import Document, Guard, Proposal, StandingGuard
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.rows import Row, document
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


def both(first: Guard | None, second: Guard | None) -> Guard | None:
    """One guard after the other."""
    if first is None or second is None:
        return first or second

    def judge(proposal: Proposal) -> None:
        first(proposal)
        second(proposal)

    return judge
