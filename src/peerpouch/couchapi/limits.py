"""How much a request may bring."""

from __future__ import annotations

from dataclasses import dataclass

from peerpouch.couchapi.room import BodyRoom
from peerpouch.couchapi.staging import Uploads


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what one request may make the server hold or do.

    Attributes:
        json_body: Bytes of a JSON body, decompressed. It is apart from the limit on a document, because PouchDB
            sends attachments as base64 inside ``_bulk_docs``: 100 documents of 1 MB fit.
        query_string: Bytes of a URL's query.
        room: Bounds what all bodies together hold; ``None``: nothing does.
        uploads: Where uploads are that may break off and go on; ``None``: there are none.
        uuids: The most that ``_uuids`` makes up at once, CouchDB's own limit.
    """

    json_body: int = 128 * 1024 * 1024
    query_string: int = 64 * 1024
    uuids: int = 1000
    room: BodyRoom | None = None
    uploads: Uploads | None = None
