"""Values of requests, checked for their kind before they go anywhere."""

from __future__ import annotations

import binascii
import re
from typing import Any

from peerpouch.core.special import is_special
from peerpouch.errors import BadRequest, InvalidDocument, InvalidDocumentId
from peerpouch.ports import Document

_REVISION = re.compile(r"[0-9]{1,15}-[^\s]{1,200}")
_REV_LIKE = re.compile(r"[0-9]+-.")


def check_document(value: Any) -> Document:
    """A document of a request's body, with its inline attachments decoded.

    What else is wrong with a document, the database says, which may refuse it and write its neighbours.

    Raises:
        BadRequest: when it is not an object, or an attachment's data are not base64.
    """
    if not isinstance(value, dict):
        raise BadRequest("Document must be a JSON object")
    entries = value.get("_attachments")
    if isinstance(entries, dict):
        value["_attachments"] = {name: _check_entry(name, entry) for name, entry in entries.items()}
    return value


def _check_entry(name: str, entry: Any) -> Any:
    if not isinstance(entry, dict):
        return entry
    data = entry.get("data")
    if isinstance(data, str):
        # Inline data are the content itself, as CouchDB reads them; what an entry says of an encoding is stale.
        entry = {k: v for k, v in entry.items() if k not in ("encoding", "encoded_length", "stub", "follows")}
        entry["data"] = _decode(data, name)
    elif data is None and entry.get("follows"):
        raise BadRequest(f"The attachment {name!r} follows, and there is no multipart body for it to follow in")
    return entry


def _decode(data: str, name: str) -> bytes:
    for text in (data, "".join(data.split())):  # line breaks are rare, so they are looked for last
        if len(text) % 4:
            continue  # which the decoder takes when the excess is padding
        try:
            return binascii.a2b_base64(text, strict_mode=True) if text else b""
        except ValueError:
            continue
    raise BadRequest(f"The data of the attachment {name!r} are not valid base64")


def check_id(doc: Document) -> None:
    """Check the id of a document among many, as CouchDB does: one that no document can have fails the whole request.

    Raises:
        InvalidDocumentId
    """
    doc_id = doc.get("_id")
    if "_id" in doc and not isinstance(doc_id, str):
        raise InvalidDocumentId("Document id must be a string")
    if isinstance(doc_id, str) and doc_id.startswith("_") and not doc_id.startswith(("_design/", "_local/")):
        raise InvalidDocumentId("Only reserved document ids may start with underscore.")


def check_members(doc: Document, *, new_edits: bool) -> None:
    """Check what no document of any CouchDB has: of a document among many it fails the whole request, as there.

    Limits that only this server has fail the document alone, which a replicator survives.

    Raises:
        InvalidDocument: a member that begins with ``_`` and is none of the database's, or a ``_deleted`` that is no
            boolean.
        BadRequest: a ``_rev`` of another form, or none where the writer has to give it.
    """
    for name in doc:
        if name[:1] == "_" and not is_special(name):
            raise InvalidDocument(f"Bad special document member: {name}")
    if not isinstance(doc.get("_deleted", False), bool):
        raise InvalidDocument("_deleted must be true or false.")
    rev = doc.get("_rev")
    if rev is not None and (not isinstance(rev, str) or _REV_LIKE.match(rev) is None):
        raise BadRequest("Invalid rev format")
    if not new_edits and rev is None and doc.get("_revisions") is None and not is_local(doc):
        raise BadRequest("When `new_edits: false`, the document needs `_rev` or `_revisions`.")


def is_local(doc: Document) -> bool:
    """Whether this is a ``_local`` document, which has no history."""
    return str(doc.get("_id", "")).startswith("_local/")


def check_revs(value: dict[str, Any]) -> dict[str, list[str]]:
    """An object of lists of revisions, as ``_revs_diff`` and ``_purge`` take it.

    Raises:
        BadRequest
    """
    for revs in value.values():
        if not isinstance(revs, list):
            raise BadRequest("Each document's revisions must be an array")
        for rev in revs:
            check_rev(rev)
    return value


def check_rev(rev: Any) -> str:
    """A revision id that came from outside.

    Raises:
        BadRequest
    """
    if not isinstance(rev, str) or not _REVISION.fullmatch(rev):
        raise BadRequest("Invalid rev format")
    return rev
