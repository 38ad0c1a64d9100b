"""The ports: what the parts of peerpouch ask of each other.

``storage`` implements :class:`Documents` on SQLite, ``query`` implements :class:`Queries`, ``remote`` implements both
over HTTP semantics, ``access`` wraps either for somebody else's eyes. Replication, the server and the hub see a
:class:`Database` and never learn which.

Values have CouchDB's JSON shapes wherever CouchDB has one (documents, rows, changes, ``info``), as plain
dictionaries, so that they cross HTTP and a data channel unchanged. Everything else is a small frozen class.

Three rules hold for every implementation:

* Methods that fail raise a class of :mod:`peerpouch.errors`; the same failure raises the same class whether the
  database is local, behind HTTP or behind a data channel.
* A cancelled call leaves the database usable. A cancelled write was either done or not done, never half.
* An asynchronous iterator may be abandoned at any time; ``aclose()``, or leaving ``async with``, frees what it holds.
"""

from __future__ import annotations

from peerpouch.ports.clock import Clock, SystemClock
from peerpouch.ports.documents import ChangesFilter, Documents, Guard, Proposal, StandingGuard, both_guards
from peerpouch.ports.peers import ASGIApp, Link, LinkStats, PeerTransport, PendingLink, SignalChannel
from peerpouch.ports.principals import (
    Anonymous,
    Owner,
    Peer,
    Principal,
    Registry,
    User,
    Visitor,
    acting_for,
    acting_principal,
    user_context,
)
from peerpouch.ports.queries import (
    BlockingRunner,
    Database,
    FindResult,
    FunctionRunner,
    IndexGroup,
    IndexPosition,
    IndexRow,
    IndexState,
    IndexStore,
    MapFunction,
    Queries,
    ReduceFunction,
    ScanPage,
    Updated,
    ViewResult,
    ViewRow,
)
from peerpouch.ports.replication import (
    DocumentRefused,
    Replication,
    ReplicationOptions,
    ReplicationProgress,
    Replicator,
    Sync,
    SyncProgress,
)
from peerpouch.ports.streams import (
    AllDocs,
    AllDocsHead,
    AllDocsResult,
    Attachment,
    AttachmentData,
    Changes,
    ChangesPage,
    ChangesResult,
)
from peerpouch.ports.values import (
    AllDocsRow,
    AttachmentMode,
    Change,
    ChangeRev,
    DatabaseInfo,
    Document,
    PlainRevisions,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    Seq,
    Sizes,
    WriteFailure,
    WriteResult,
    Written,
)

__all__ = [
    "ASGIApp",
    "AllDocs",
    "AllDocsHead",
    "AllDocsResult",
    "AllDocsRow",
    "Anonymous",
    "Attachment",
    "AttachmentData",
    "AttachmentMode",
    "BlockingRunner",
    "Change",
    "ChangeRev",
    "Changes",
    "ChangesFilter",
    "ChangesPage",
    "ChangesResult",
    "Clock",
    "Database",
    "DatabaseInfo",
    "Document",
    "DocumentRefused",
    "Documents",
    "FindResult",
    "FunctionRunner",
    "Guard",
    "IndexGroup",
    "IndexPosition",
    "IndexRow",
    "IndexState",
    "IndexStore",
    "Link",
    "LinkStats",
    "MapFunction",
    "Owner",
    "Peer",
    "PeerTransport",
    "PendingLink",
    "PlainRevisions",
    "Principal",
    "Proposal",
    "Queries",
    "ReduceFunction",
    "Registry",
    "Replication",
    "ReplicationOptions",
    "ReplicationProgress",
    "Replicator",
    "RevisionRequest",
    "RevisionResult",
    "RevsDiff",
    "ScanPage",
    "Seq",
    "SignalChannel",
    "Sizes",
    "StandingGuard",
    "Sync",
    "SyncProgress",
    "SystemClock",
    "Updated",
    "User",
    "ViewResult",
    "ViewRow",
    "Visitor",
    "WriteFailure",
    "WriteResult",
    "Written",
    "acting_for",
    "acting_principal",
    "both_guards",
    "user_context",
]
