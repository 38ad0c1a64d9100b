"""Documents on their way in: checked, encoded, and given their revision, before any transaction begins."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from peerpouch.core import jsonio, revisions
from peerpouch.core.revisions import Rev
from peerpouch.core.special import DROPPED, KEPT_PREFIX
from peerpouch.errors import (
    BadRequest,
    DocumentTooLarge,
    InvalidDocument,
    InvalidDocumentId,
)
from peerpouch.storage.schema import ATTACHMENTS, DELETED, EXACT

MAX_DOCUMENT_SIZE = 8_000_000
"""CouchDB's default limit for a document without its attachments, in bytes of JSON."""

MAX_ID = 4096
"""Bytes of a document's id. Percent-encoded, each may become three; with the longest name of an attachment behind it,
it must fit the head of a request on a channel, which has 16 KiB: what can be written can be read there too."""

MAX_NAME = 1024
"""Bytes of an attachment's name, for the same reason."""


@dataclass(slots=True)
class NewAttachment:
    """Content that came with a document.

    Attributes:
        data: The bytes as they are stored; ``None`` when they were staged as ``content`` before.
        content: The staged content's number.
        sha256: Of the stored bytes.
        length: Of the decoded bytes.
        stored: How many bytes are stored.
        revpos: As received; ``None`` to use the new revision's generation.
    """

    content_type: str
    data: bytes | None
    content: int | None
    sha256: bytes
    digest: str
    length: int
    stored: int
    encoding: str | None = None
    revpos: int | None = None


@dataclass(slots=True)
class Stub:
    """Content that a revision of the same document has."""

    digest: str | None = None
    revpos: int | None = None


AttachmentEdit = NewAttachment | Stub


@dataclass(slots=True)
class Edit:
    """One document to be written.

    Attributes:
        parent: The revision that it extends; with ``new_edits`` false, the second of its path.
        rev: Its own revision; ``None`` until the attachments' digests are known.
        hashes: Those of its history, newest first, one for each generation, when ``new_edits`` is false.
        body: JSON without the ``_`` fields.
        canonical: Kept only while ``rev`` is not known.
    """

    id: str
    parent: str | None
    rev: str | None
    flags: int
    body: bytes
    hashes: list[str] | None = None
    canonical: bytes | None = None
    attachments: dict[str, AttachmentEdit] | None = None

    @property
    def deleted(self) -> bool:
        return bool(self.flags & DELETED)

    @property
    def path(self) -> list[Rev] | None:
        """Its history, newest first, when ``new_edits`` is false."""
        if self.hashes is None or self.rev is None:
            return None
        start = revisions.generation(self.rev)
        return [(start - n, item) for n, item in enumerate(self.hashes)]


@dataclass(slots=True)
class LocalEdit:
    """One ``_local`` document to be written."""

    id: str
    parent: str | None
    flags: int
    body: bytes


class IdMaker:
    """Ids for documents that come without one: a random part of this process, and a part that grows.

    Ids that follow each other are cheap to insert, unlike random ones (CouchDB's algorithm ``sequential``); they tell
    nothing of the time or the machine.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._prefix = secrets.token_hex(13)
        self._count = secrets.randbelow(0x1000)

    def __call__(self) -> str:
        self._count += 1 + secrets.randbelow(0xFFE)
        if self._count > 0xFFFFFF:
            self._begin()
        return f"{self._prefix}{self._count:06x}"


def check_id(doc_id: Any) -> str:
    """The id, if a document may have it.

    Raises:
        InvalidDocumentId
    """
    if type(doc_id) is not str:
        raise InvalidDocumentId("Document id must be a string")
    if not doc_id:
        raise InvalidDocumentId("A document id must not be empty.")
    if doc_id[0] == "_":
        for prefix in ("_design/", "_local/"):
            if doc_id.startswith(prefix) and len(doc_id) > len(prefix):
                break
        else:
            raise InvalidDocumentId("Only reserved document ids may start with underscore.")
    if not doc_id.isascii():
        try:
            doc_id.encode()
        except UnicodeEncodeError:
            raise InvalidDocumentId("A document id must be valid Unicode: it has a lone surrogate.") from None
    return doc_id


def check_new_id(doc_id: Any) -> str:
    """The id, if a document that is written may have it. One that is too long can still be read, in an older file.

    Raises:
        InvalidDocumentId
    """
    checked = check_id(doc_id)
    if len(checked) * 4 > MAX_ID and len(checked.encode()) > MAX_ID:
        raise InvalidDocumentId(f"A document id has at most {MAX_ID:,} bytes; {checked[:20]!r}… has more.")
    return checked


def prepare(
    doc: dict[str, Any],
    new_edits: bool,
    make_id: IdMaker,
    attachments: dict[str, AttachmentEdit] | None = None,
    max_size: int = MAX_DOCUMENT_SIZE,
) -> Edit | LocalEdit:
    """Check and encode one document.

    Args:
        attachments: The document's attachments, whose bytes were taken in already.

    Raises:
        InvalidDocument, InvalidDocumentId, DocumentTooLarge, BadRequest
    """
    if type(doc) is not dict:
        raise InvalidDocument(f"A document must be an object, not {type(doc).__name__}.")
    doc_id = make_id() if new_edits and "_id" not in doc else check_new_id(doc.get("_id"))
    body = doc.copy()
    body.pop("_id", None)
    body.pop("_attachments", None)
    parent = body.pop("_rev", None)
    given = None if new_edits else body.pop("_revisions", None)
    flags = 0
    encoded, exact = jsonio.encode(body)
    # Names are looked at one by one only where one may begin with "_": to search the text costs a third of it.
    if b'"_' in encoded:
        body = {name: value for name, value in body.items() if name[:1] != "_"}
        flags = _special_fields(doc, body)
        encoded, exact = jsonio.encode(body)
    if len(encoded) > max_size:
        raise DocumentTooLarge(
            f"Document {doc_id!r} has {len(encoded):,} bytes without its attachments, the limit is {max_size:,}."
        )
    if exact:
        flags |= EXACT
    if doc_id[0] == "_" and doc_id.startswith("_local/"):
        if attachments:
            raise InvalidDocument(f"{doc_id!r} can't have attachments: a _local document has none.")
        return LocalEdit(doc_id, _local_parent(parent), flags, encoded)
    if attachments:
        flags |= ATTACHMENTS
    if not new_edits:
        generation, hashes = history(given, parent)
        rev = f"{generation}-{hashes[0]}"
        ancestor = f"{generation - 1}-{hashes[1]}" if len(hashes) > 1 else None
        return Edit(doc_id, ancestor, rev, flags, encoded, hashes, None, attachments)
    if parent is not None:
        revisions.parse(parent)
    canonical = jsonio.canonical(body, checked=True)
    if attachments:
        return Edit(doc_id, parent, None, flags, encoded, None, canonical, attachments)
    rev = revisions.new_revision(parent, bool(flags & DELETED), canonical)
    return Edit(doc_id, parent, rev, flags, encoded)


def _special_fields(doc: dict[str, Any], body: dict[str, Any]) -> int:
    flags = 0
    for name, value in doc.items():
        if name[:1] != "_" or name in ("_id", "_rev", "_attachments", "_revisions"):
            continue
        if name == "_deleted":
            if type(value) is not bool:
                raise InvalidDocument("_deleted must be true or false.")
            if value:
                flags |= DELETED
        elif name.startswith(KEPT_PREFIX):
            body[name] = value
        elif name not in DROPPED:
            raise InvalidDocument(f"Bad special document member: {name}")
    return flags


def history(given: Any, rev: Any) -> tuple[int, list[str]]:
    """The generation of a revision that is written with its history, and the hashes of its path, newest first.

    Raises:
        BadRequest
    """
    if given is None:
        if rev is None:
            raise BadRequest("With new_edits=false a document needs its _rev.")
        generation, item = revisions.parse(rev)
        return generation, [item]
    generation, hashes = revisions.check_history(given)
    hashes = hashes.copy()  # the document stays the caller's, who may change it while this is written
    if rev is not None and rev != f"{generation}-{hashes[0]}":
        revisions.parse(rev)
        raise BadRequest("_rev and _revisions of a document contradict each other.")
    return generation, hashes


def _local_parent(rev: Any) -> str | None:
    if rev is None:
        return None
    if type(rev) is str and rev.startswith("0-") and rev[2:].isascii() and rev[2:].isdigit():
        return rev
    raise BadRequest("The revision of a _local document has the form 0-N.")
