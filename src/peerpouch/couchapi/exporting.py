"""Documents on their way to a client: what HTTP shows of attachments.

Within peerpouch an attachment that arrived gzipped is one whose entry has ``encoding: "gzip"`` and whose data are the
encoded bytes. CouchDB shows ``encoding`` and ``encoded_length`` only when asked to (``att_encoding_info``), and inline
data are always decoded.
"""

from __future__ import annotations

import base64
import zlib

from peerpouch.errors import BadRequest, TooLarge
from peerpouch.ports import Document

MAX_INLINE = 256 * 1024 * 1024
"""Decoded bytes of a gzipped attachment that is asked for inline: above it, a client must fetch it by itself, where it
is a stream. A small upload that unpacks to terabytes must not take the server's memory."""

_GZIP = 16 + zlib.MAX_WBITS


def export(doc: Document, *, encoding_info: bool) -> Document:
    """A document as a client is to see it. Entries that must change are copied; the rest is shared."""
    entries = doc.get("_attachments")
    if not entries:
        return doc
    shown = {}
    for name, entry in entries.items():
        if "encoding" in entry:
            entry = dict(entry)
            if "data" in entry and entry["encoding"] == "gzip":
                entry["data"] = base64.b64encode(_gunzip(base64.b64decode(entry["data"]), name)).decode()
            if not encoding_info:
                del entry["encoding"]
                entry.pop("encoded_length", None)
        shown[name] = entry
    return {**doc, "_attachments": shown}


def _gunzip(data: bytes, name: str) -> bytes:
    inflate = zlib.decompressobj(_GZIP)
    try:
        plain = inflate.decompress(data, MAX_INLINE)
    except zlib.error:
        raise BadRequest(f"The attachment {name!r} is marked as gzip and is not.") from None
    if inflate.unconsumed_tail:
        raise TooLarge(f"The attachment {name!r} is too large to be sent inline; fetch it by its own URL.")
    return plain
