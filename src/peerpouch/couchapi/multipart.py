"""Documents with their attachments as multipart bodies, in both directions, as streams.

A body that comes in is read by one task, the one that writes the document: the storage consumes the attachments one
after another, in the order of the document's ``_attachments``, which is the order of the parts. So nothing is held but
what a network read brought.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Any, Protocol

from peerpouch.core import jsonio
from peerpouch.core.multipart import (
    MultipartEvent,
    MultipartParser,
    PartBegin,
    PartData,
    PartEnd,
    boundary_of,
    closing,
    part_head,
)
from peerpouch.couchapi.checks import check_document
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.responses import Header, Stream, error_fields, gather
from peerpouch.errors import BadRequest, NotFound, TooLarge
from peerpouch.ports import Attachment, Database, Document, RevisionResult, WriteFailure, Written


class Incoming(Protocol):
    """What is needed of a request to read a document from it."""

    limits: Limits

    def header(self, name: bytes) -> str | None: ...

    def stream(self) -> AsyncGenerator[bytes, None]: ...

    async def hold(self, size: int) -> None: ...


class Parts:
    """The parts of a request's body, one after another."""

    def __init__(self, request: Incoming, content_type: str) -> None:
        self._parser = MultipartParser(boundary_of(content_type))
        self._body = request.stream()
        self._events: list[MultipartEvent] = []
        self._begun = 0

    async def aclose(self) -> None:
        """Stop reading; what was not read is dropped."""
        await self._body.aclose()

    async def _next(self) -> MultipartEvent | None:
        while not self._events:
            if self._parser.done:
                return None
            data = await anext(self._body, None)
            if data is None:
                self._parser.close()
                return None
            # Reversed, so that the next one is taken from the end.
            self._events = self._parser.feed(data)[::-1]
        return self._events.pop()

    async def begin(self, number: int) -> PartBegin:
        """Go to a part by its number, past what was not consumed of those before it.

        Raises:
            BadRequest: when the body has fewer parts.
        """
        while (event := await self._next()) is not None:
            if isinstance(event, PartBegin):
                self._begun += 1
                if self._begun > number:
                    return event
        raise BadRequest("The multipart body has fewer parts than the document has attachments that follow.")

    async def content(self) -> AsyncGenerator[bytes, None]:
        """The content of the part that was begun."""
        while (event := await self._next()) is not None:
            if isinstance(event, PartData):
                yield event.data
            elif isinstance(event, PartEnd):
                return
        raise BadRequest("The multipart body ended in the middle of a part.")

    async def finish(self) -> None:
        """Read to the closing boundary."""
        while await self._next() is not None:
            pass


class _PartStream:
    """The content of one part, as the storage consumes it; checks that its length is what the document says."""

    def __init__(self, parts: Parts, number: int, name: str, length: int | None) -> None:
        self._parts = parts
        self._number = number
        self._name = name
        self._length = length

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._read()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        head = await self._parts.begin(self._number)
        _check_disposition(head, self._name)
        size = 0
        async for data in self._parts.content():
            size += len(data)
            yield data
        if self._length is not None and size != self._length:
            raise BadRequest(f"The attachment {self._name!r} has {size} bytes, and not {self._length} as it says.")


def _check_disposition(head: PartBegin, name: str) -> None:
    # Parts go by their order. A file name, where there is one, must not contradict it.
    disposition = head.headers.get("content-disposition", "")
    _, found, rest = disposition.partition('filename="')
    if found and rest.rpartition('"')[0] != name and rest.isascii() and "\\" not in rest and "%" not in rest:
        raise BadRequest(f"The part of the attachment {name!r} is out of order.")


async def put_multipart(
    request: Incoming, database: Database, doc_id: str, *, rev: str | None, new_edits: bool
) -> Written:
    """Write a document that comes as ``multipart/related``.

    Raises:
        BadRequest: when the body is malformed, cut off, or does not fit the document.
    """
    parts = Parts(request, request.header(b"content-type") or "")
    try:
        await parts.begin(0)
        body = bytearray()
        async for data in parts.content():
            body += data
            await request.hold(len(body))
            if len(body) > request.limits.json_body:
                raise TooLarge(f"The document is larger than the limit of {request.limits.json_body} bytes.")
        doc = _with_streams(jsonio.loads(body), parts)
        doc["_id"] = doc_id
        if rev is not None:
            if doc.get("_rev", rev) != rev:
                raise BadRequest("Document rev from request body and query string have different values")
            doc["_rev"] = rev
        (result,) = await database.bulk_docs([doc], new_edits=new_edits)
        if isinstance(result, WriteFailure):
            raise result.error
        await parts.finish()
        return result
    finally:
        await parts.aclose()


def _with_streams(value: Any, parts: Parts) -> Document:
    if isinstance(value, dict) and isinstance(value.get("_attachments"), dict):
        number = 0
        for name, entry in value["_attachments"].items():
            if isinstance(entry, dict) and entry.pop("follows", None):
                number += 1
                entry["data"] = _PartStream(parts, number, name, _expected_length(entry, name))
    return check_document(value)


def _expected_length(entry: dict[str, Any], name: str) -> int | None:
    length = entry.get("encoded_length" if entry.get("encoding") else "length")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 0):
        raise BadRequest(f"The length of the attachment {name!r} is not a number of bytes.")
    return length


def following(doc: Document, atts_since: Sequence[str] | None) -> list[str]:
    """The attachments of a revision which its reader lacks, who has the revisions ``atts_since``.

    An attachment is lacking when it was added after the newest of those that this revision descends from. Without
    its history in the document nothing is known of that, and all follow.
    """
    entries = doc.get("_attachments") or {}
    history = doc.get("_revisions")
    if not atts_since or history is None:
        return list(entries)
    path = {f"{history['start'] - n}-{hash_}" for n, hash_ in enumerate(history["ids"])}
    newest = max((int(rev.partition("-")[0]) for rev in atts_since if rev in path), default=0)
    return [name for name, entry in entries.items() if entry.get("revpos", newest + 1) > newest]


async def _related(
    database: Database, doc: Document, boundary: str, atts_since: Sequence[str] | None
) -> AsyncGenerator[bytes, None]:
    names = following(doc, atts_since)
    entries = {name: dict(entry) for name, entry in doc["_attachments"].items()}
    for name in names:
        entries[name].pop("stub", None)
        entries[name]["follows"] = True
    yield part_head(boundary, {"Content-Type": "application/json"}, first=True)
    yield jsonio.dumps_trusted({**doc, "_attachments": entries})
    for name in names:
        attachment = await database.get_attachment(doc["_id"], name, rev=doc["_rev"], encoded=True)
        try:
            yield part_head(boundary, attachment_headers(attachment))
            async for data in attachment:
                yield data
        finally:
            await attachment.aclose()
    yield closing(boundary)


def attachment_headers(attachment: Attachment) -> dict[str, str]:
    """The headers of an attachment's part."""
    escaped = attachment.name.replace("\\", "\\\\").replace('"', '\\"')
    headers = {
        "Content-Disposition": f'attachment; filename="{escaped}"',
        "Content-Type": attachment.content_type,
        "Content-Length": str(attachment.length),
    }
    if attachment.encoding:
        headers["Content-Encoding"] = attachment.encoding
    return headers


async def send_document(
    database: Database, doc: Document, *, atts_since: Sequence[str] | None, headers: Iterable[Header]
) -> Stream:
    """One document and its attachments as ``multipart/related``."""
    boundary = secrets.token_hex(16)
    content_type = (b"content-type", f'multipart/related; boundary="{boundary}"'.encode())
    return Stream(gather(_related(database, doc, boundary, atts_since)), headers=[content_type, *headers])


def send_revisions(
    database: Database, results: Iterable[RevisionResult], *, atts_since: Sequence[str] | None
) -> Stream:
    """Revisions as ``multipart/mixed``: JSON, or a ``multipart/related`` of its own where attachments follow."""
    outer = secrets.token_hex(16)

    async def body() -> AsyncGenerator[bytes, None]:
        first = True
        for result in results:
            async for data in revision_part(database, result, outer, first=first, atts_since=atts_since):
                yield data
            first = False
        yield b"--" + outer.encode() + b"--" if first else closing(outer)

    content_type = (b"content-type", f'multipart/mixed; boundary="{outer}"'.encode())
    return Stream(gather(body()), headers=[content_type])


async def revision_part(
    database: Database,
    result: RevisionResult,
    outer: str,
    *,
    first: bool,
    atts_since: Sequence[str] | None,
    attachments: bool = True,
    headers: dict[str, str] | None = None,
) -> AsyncGenerator[bytes, None]:
    """One revision, or its error, as a part of a ``multipart/mixed`` body."""
    head = headers or {}
    doc = result.doc
    if doc is None:
        yield part_head(outer, {**head, "Content-Type": 'application/json; error="true"'}, first=first)
        if result.error is None or isinstance(result.error, NotFound):
            yield jsonio.dumps({"missing": result.rev})
        else:
            yield jsonio.dumps({"rev": result.rev, **error_fields(result.error)})
    elif attachments and following(doc, atts_since):
        inner = secrets.token_hex(16)
        yield part_head(outer, {**head, "Content-Type": f'multipart/related; boundary="{inner}"'}, first=first)
        async for data in _related(database, doc, inner, atts_since):
            yield data
    else:
        yield part_head(outer, {**head, "Content-Type": "application/json"}, first=first)
        yield jsonio.dumps_trusted(doc)
