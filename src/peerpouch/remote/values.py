"""Documents of answers: attachments in the form that was asked for."""

from __future__ import annotations

import binascii
from collections.abc import Mapping, Sequence
from typing import Any, cast

from peerpouch.core import jsonio
from peerpouch.errors import ProtocolError
from peerpouch.ports import AttachmentMode, DatabaseInfo, Document


def attachment_params(mode: AttachmentMode) -> dict[str, Any]:
    """Parameters of a request for documents. Whether a stub is of encoded content is always asked for: who copies the
    document needs to know."""
    return {"attachments": bool(mode), "att_encoding_info": True}


def received(doc: Any, mode: AttachmentMode, *, doc_id: str | None = None) -> Document:
    """A document of an answer.

    Inline data come decoded, whatever they are stored as, so the entry loses what it says of an encoding; with
    ``"bytes"`` they become bytes.

    Raises:
        ProtocolError: when it is no document, or not the one that was asked for.
    """
    if not isinstance(doc, dict) or (doc_id is not None and doc.get("_id") != doc_id):
        raise ProtocolError(f"The server sent something else than the document {doc_id!r}.")
    entries = doc.get("_attachments")
    if entries and mode:
        for name, entry in entries.items():
            _inline(name, entry, mode)
    return doc


def _inline(name: str, entry: Any, mode: AttachmentMode) -> None:
    try:
        data = entry.get("data")
        if data is None:
            return
        entry.pop("encoding", None)
        entry.pop("encoded_length", None)
        if mode == "bytes":
            entry["data"] = binascii.a2b_base64(data)
    except (ValueError, TypeError, AttributeError):
        raise ProtocolError(f"The attachment {name!r} came as something else than base64 text.") from None


def revision_list(revs: Sequence[str] | None) -> str | None:
    """Revisions as a parameter."""
    return None if revs is None else jsonio.dumps(list(revs)).decode()


def json_param(value: Any) -> str | None:
    """A value as a parameter that is JSON."""
    return None if value is None else jsonio.dumps(value).decode()


def revision_of(doc: Mapping[str, Any]) -> str | None:
    """The revision that a document to be stored as given has."""
    rev = doc.get("_rev")
    if isinstance(rev, str):
        return rev
    history = doc.get("_revisions")
    if isinstance(history, dict) and history.get("ids"):
        return f"{history.get('start')}-{history['ids'][0]}"
    return None


def described(info: dict[str, Any]) -> DatabaseInfo:
    """A description of a database whose counts are numbers: they are shown and calculated with.

    Raises:
        TypeError: one is not.
    """
    if type(info["db_name"]) is not str or type(info["doc_count"]) is not int or type(info["doc_del_count"]) is not int:
        raise TypeError("a database has no name or no counts")
    sizes = info["sizes"]
    told = {name: sizes.get(name) for name in ("file", "active", "external")}
    info["sizes"] = {**sizes, **{name: size if type(size) is int else 0 for name, size in told.items()}}
    return cast(DatabaseInfo, info)
