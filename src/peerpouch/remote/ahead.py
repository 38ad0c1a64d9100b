"""Documents that a live feed brings along with their changes, so that a replicator need not ask for them.

A replicator that hears of a change asks for the revision: a round trip, most of what a small live change takes.
A feed that is asked with ``ahead=BYTES`` therefore carries small revisions in the rows that name them, each exactly as
``_bulk_get`` with ``revs=true`` would give it (``docs/protocol/live-changes.md``); other servers leave them out. They
are kept here until they are asked for, and a revision that is not here is asked for as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peerpouch.ports import RevisionRequest, RevisionResult

AHEAD = 4 * 1024
"""Bytes of a document that a row may bring."""

_ROW = 8 * AHEAD
# Bytes of a row from which documents are taken: of a document in conflict it names, and may bring, several revisions.

_KEPT = 32
# Documents that are kept: what comes in a burst is asked for together. At most a megabyte of JSON.


class Ahead:
    """What came with the feeds of one database, and was not asked for yet."""

    def __init__(self) -> None:
        self._docs: dict[tuple[str, str], tuple[dict[str, Any], int]] = {}

    def put(self, row: dict[str, Any], size: int) -> None:
        """Take out of a row the documents that it brings, ``size`` being the bytes of all of it."""
        brought = row.pop("ahead", None)
        if not isinstance(brought, list) or size > _ROW:
            return
        for doc in brought:
            # That it is what it is taken for is for those to check who write it, as with all that they fetch.
            if isinstance(doc, dict) and doc.get("_id") == row.get("id") and isinstance(doc.get("_rev"), str):
                self._docs.pop((doc["_id"], doc["_rev"]), None)
                self._docs[doc["_id"], doc["_rev"]] = (doc, size)
        while len(self._docs) > _KEPT:
            del self._docs[next(iter(self._docs))]

    def take(self, requests: Sequence[RevisionRequest]) -> list[RevisionResult] | None:
        """The revisions asked for, if all of them are here; each is given once."""
        if not self._docs or len(requests) > _KEPT:
            return None
        keys = [(request.id, request.rev or "") for request in requests]
        if not all(key in self._docs for key in keys) or len(set(keys)) < len(keys):
            return None
        found = []
        for doc_id, rev in keys:
            doc, size = self._docs.pop((doc_id, rev))
            found.append(RevisionResult(doc_id, rev, doc, None, size))
        return found
