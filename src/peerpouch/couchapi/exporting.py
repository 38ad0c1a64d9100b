"""Documents on their way to a client: what HTTP shows of attachments."""

from __future__ import annotations

from peerpouch.ports import Document


def export(doc: Document, *, encoding_info: bool) -> Document:
    """A document as a client is to see it.

    CouchDB shows ``encoding`` and ``encoded_length`` of a gzipped attachment only when asked to (the parameter
    ``att_encoding_info``). Entries that must change are copied; the rest is shared.
    """
    entries = doc.get("_attachments")
    if not entries or encoding_info or not any("encoding" in entry for entry in entries.values()):
        return doc
    shown = {
        name: {key: value for key, value in entry.items() if key not in ("encoding", "encoded_length")}
        for name, entry in entries.items()
    }
    return {**doc, "_attachments": shown}
