"""A database as a stream of lines."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from peerpouch.archive import lines
from peerpouch.errors import Forbidden, NotFound, NotSupported, ProtocolError, Unauthorized
from peerpouch.ports import Database, Document, RevisionRequest

PAGE = 500
"""Documents whose leaves are read at a time."""

INLINE = 64 << 10
"""Bytes of the largest attachment that stands inside its document's line."""

INLINE_DOCUMENT = 1 << 20
"""Bytes of all attachments in a document's line; the rest follows it."""

PIECE = 192 << 10
"""Bytes of an attachment in one line of data: a multiple of 3, so that base64 needs no padding in between."""

BLOCK = 256 << 10
"""Bytes of lines that are handed out together: fewer steps, without holding much."""


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export is: documents and leaves written, attachments among them, and documents still to come."""

    documents: int = 0
    revisions: int = 0
    attachments: int = 0
    bytes: int = 0
    pending: int | None = None


async def export_database(
    database: Database, *, on_progress: Callable[[ExportProgress], None] | None = None
) -> AsyncGenerator[bytes, None]:
    """The database as lines of JSON: all documents with all leaves (conflicts and deletions too), their histories and
    their attachments. :func:`import_database` makes an equal database of it.

    ``_local`` documents are no part of it: checkpoints of replications, mostly, which mean nothing elsewhere. What is
    written meanwhile may or may not be in it.

    Args:
        on_progress: Called after each page of documents.

    Yields:
        Blocks of whole lines, of about 256 kB.

    Raises:
        PeerPouchError: reading failed. What was yielded before is then no whole export, and lacks the last line.
    """
    export = _Export(database, on_progress)
    async with aclosing(_blocks(export.lines())) as blocks:
        async for block in blocks:
            yield block


class _Export:
    def __init__(self, database: Database, on_progress: Callable[[ExportProgress], None] | None) -> None:
        self._database = database
        self._on_progress = on_progress
        self._documents = self._revisions = self._attachments = self._bytes = 0

    async def lines(self) -> AsyncGenerator[bytes, None]:
        yield lines.encode({lines.HEADER: await self._header()})
        changes = self._database.changes(style="all_docs", batch_size=PAGE)
        async with aclosing(changes.pages()) as pages:
            async for page in pages:
                wanted = [
                    RevisionRequest(change["id"], leaf["rev"]) for change in page.results for leaf in change["changes"]
                ]
                async with aclosing(self._leaves(wanted)) as leaves:
                    async for doc in leaves:
                        async for line in self._document(doc):
                            self._bytes += len(line)
                            yield line
                        self._revisions += 1
                self._documents += len(page.results)
                self._report(page.pending)
        yield lines.encode({lines.END: {"documents": self._documents, "revisions": self._revisions}})

    async def _header(self) -> dict[str, Any]:
        header: dict[str, Any] = {"format": lines.FORMAT}
        # Somebody else's share need not tell how it is governed.
        with suppress(Forbidden, Unauthorized, NotFound, NotSupported):
            header["security"] = await self._database.get_security()
            header["revs_limit"] = await self._database.get_revs_limit()
        return header

    def _report(self, pending: int | None) -> None:
        if self._on_progress is not None:
            self._on_progress(ExportProgress(self._documents, self._revisions, self._attachments, self._bytes, pending))

    async def _leaves(self, wanted: list[RevisionRequest]) -> AsyncGenerator[Document, None]:
        """The leaves; where one was superseded since the feed told of it, the leaves that came of it."""
        results = self._database.bulk_get(wanted, revs=True, latest=True)
        try:
            async for result in results:
                if result.doc is not None:
                    yield result.doc
                elif not isinstance(result.error, NotFound):  # a leaf that is gone was purged meanwhile
                    raise result.error or ProtocolError(f"The source sent neither {result.id!r} nor an error.")
        finally:
            await _close(results)

    async def _document(self, doc: Document) -> AsyncIterator[bytes]:
        attachments: dict[str, dict[str, Any]] = doc.get("_attachments") or {}
        following: list[str] = []
        inside = 0
        for name, entry in attachments.items():
            self._attachments += 1
            entry.pop("stub", None)
            length = lines.stored_length(entry)
            if length is None or length > INLINE or inside + length > INLINE_DOCUMENT or following:
                # Once one follows, all later ones do: the order of the streams is then that of the entries.
                entry["follows"] = True
                following.append(name)
                if length is None:
                    raise ProtocolError(f"Attachment {name!r} of {doc['_id']!r} has no length.")
            else:
                inside += length
                data = b"".join([piece async for piece in self._content(doc, name, entry)])
                entry["data"] = base64.b64encode(data).decode("ascii")
        yield lines.encode(doc)
        for name in following:
            async for piece in self._content(doc, name, attachments[name]):
                yield b'{"' + lines.DATA.encode() + b'":"' + base64.b64encode(piece) + b'"}\n'

    async def _content(self, doc: Document, name: str, entry: dict[str, Any]) -> AsyncIterator[bytes]:
        """The stored bytes, in pieces of one size but for the last."""
        where = f"Attachment {name!r} of {doc['_id']!r} {doc['_rev']}"
        expected = lines.stored_length(entry)
        attachment = await self._database.get_attachment(
            doc["_id"], name, rev=doc["_rev"], encoded=entry.get("encoding") is not None
        )
        read = 0
        held = bytearray()
        stream = aiter(attachment)
        try:
            if attachment.encoding != entry.get("encoding"):
                raise ProtocolError(f"{where} has another encoding than its document says.")
            async for chunk in stream:
                read += len(chunk)
                held += chunk
                while len(held) >= PIECE:
                    yield bytes(held[:PIECE])
                    del held[:PIECE]
        finally:
            await _close(stream)
            await attachment.aclose()
        if held:
            yield bytes(held)
        if read != expected:
            raise ProtocolError(f"{where} has {read:,} bytes, and not {expected:,} as its document says.")


async def _blocks(source: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Lines, many at a time."""
    held: list[bytes] = []
    size = 0
    async with aclosing(source):
        async for line in source:
            held.append(line)
            size += len(line)
            if size >= BLOCK:
                yield b"".join(held)
                held, size = [], 0
    if held:
        yield b"".join(held)


async def _close(stream: object) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()
