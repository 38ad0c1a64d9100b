"""Values that cross the ports: documents, results and rows, in CouchDB's JSON shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

from peerpouch.errors import PeerPouchError

Document = dict[str, Any]
"""A document as CouchDB's JSON has it: ``_id``, ``_rev``, ``_deleted``, ``_attachments``, and the user's own fields.

In a document that is written, an entry of ``_attachments`` has ``content_type`` and one of

* ``data``: base64 text, ``bytes``, or an asynchronous iterable of ``bytes`` (an :class:`Attachment` is one). Streams
  are consumed one after another, in the order of the document's ``_attachments``, before the write transaction begins.
* ``stub: True``: content that a revision of this very document has under this name (and ``digest``, where given).

and may have ``revpos``, ``digest``, ``length``, ``encoding`` and ``encoded_length``, kept as received when
``new_edits`` is false. With ``encoding: "gzip"``, ``data`` holds the encoded bytes.
"""

Seq = str
"""An update sequence: opaque text. ``"0"`` is before the first change; ``"now"`` is after the last."""

AttachmentMode = bool | Literal["bytes"]
"""Attachments in a document that is read: ``False`` stubs, ``True`` base64 text, ``"bytes"`` bytes in ``data``."""


class Written(NamedTuple):
    """A document that was written."""

    id: str
    rev: str


class WriteFailure(NamedTuple):
    """A document that was not written, and why. ``rev`` is set when ``new_edits`` was false."""

    id: str
    error: PeerPouchError
    rev: str | None = None


WriteResult = Written | WriteFailure


class RevisionRequest(NamedTuple):
    """One document that ``bulk_get`` is asked for; without a revision, all its leaves."""

    id: str
    rev: str | None = None
    atts_since: Sequence[str] | None = None


class RevisionResult(NamedTuple):
    """One revision that ``bulk_get`` or ``open_revs`` found, or the error in its place.

    Attributes:
        size: About how many bytes the document is as JSON, exact in the sum over many; 0 where that is not known.
    """

    id: str
    rev: str | None
    doc: Document | None
    error: PeerPouchError | None = None
    size: int = 0


class PlainRevisions(NamedTuple):
    """Revisions that have a body and a single line of history, and nothing else: no deletions, no attachments. Columns
    of one length, since an object for each of thousands costs more than all that is done with it.

    Attributes:
        ancestors: The hashes of what each comes from, newest first, with commas between; ``""`` for a first revision.
        bodies: The JSON of each, without the fields that begin with "_".
    """

    ids: list[str]
    revs: list[str]
    ancestors: list[str]
    bodies: list[bytes]

    def part(self, start: int, end: int) -> PlainRevisions:
        """Those from one place up to another."""
        span = slice(start, end)
        return PlainRevisions(self.ids[span], self.revs[span], self.ancestors[span], self.bodies[span])


class RevsDiff(TypedDict):
    """What ``revs_diff`` says of one document that lacks something."""

    missing: list[str]
    possible_ancestors: NotRequired[list[str]]


class ChangeRev(TypedDict):
    rev: str


class Change(TypedDict):
    """A row of the changes feed."""

    seq: Seq
    id: str
    changes: list[ChangeRev]
    deleted: NotRequired[bool]
    doc: NotRequired[Document]


class AllDocsRow(TypedDict):
    """A row of ``all_docs``. A key that was asked for and does not exist has ``key`` and ``error`` only."""

    key: str
    id: NotRequired[str]
    value: NotRequired[dict[str, Any]]
    doc: NotRequired[Document | None]
    error: NotRequired[str]


class Sizes(TypedDict):
    """Bytes: ``file`` on disk, ``active`` what compaction would keep, ``external`` the JSON and attachments."""

    file: int
    active: int
    external: int


class DatabaseInfo(TypedDict):
    """What ``info`` tells, as CouchDB's ``GET /db`` does. ``uuid`` and ``incarnation`` are peerpouch's own."""

    db_name: str
    doc_count: int
    doc_del_count: int
    update_seq: Seq
    purge_seq: Seq
    sizes: Sizes
    instance_start_time: str
    uuid: NotRequired[str]
    incarnation: NotRequired[str]
