"""Handlers of one attachment: GET with ranges, PUT, DELETE; all streamed."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from peerpouch.core.multipart import closing, part_head
from peerpouch.couchapi.checks import check_rev
from peerpouch.couchapi.documents import created, document_id, revision, write
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import (
    Header,
    Response,
    Stream,
    error_response,
    etag,
    gather,
    header,
    json_response,
)
from peerpouch.errors import BadRequest, Conflict, DigestMismatch, NotFound, RangeNotSatisfiable, UnsupportedMediaType
from peerpouch.ports import Attachment, Document

_RANGE = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")
_ALL = "0-"  # which CouchDB gives as what it is

MOST_RANGES: Final = 9
"""Ranges in one request, as many as CouchDB takes."""

_MD5 = "md5-"
_SHA256 = "sha256-"


def attachment_name(request: Request) -> str:
    return request.values["attachment"]


async def get(request: Request) -> Response | Stream:
    database = await request.database()
    doc_id, name = document_id(request), attachment_name(request)
    rev = request.params.text("rev")
    asked: dict[str, Any] = {
        "rev": None if rev is None else check_rev(rev),
        "encoded": request.accepts_encoding("gzip"),
    }
    attachment = await database.get_attachment(doc_id, name, **asked)
    tag = attachment.digest.removeprefix(_MD5)
    if _unmodified(request, tag):
        await attachment.aclose()
        return Response(status=304, headers=[etag(tag)])
    headers = _describe(attachment, tag)
    raw_range = request.header(b"range")
    spans: list[tuple[int, int]] = []
    if raw_range is not None and _if_range(request, tag):
        try:
            spans = parse_ranges(raw_range, attachment.length)
        except RangeNotSatisfiable as error:
            await attachment.aclose()
            return error_response(error, headers=[header("content-range", f"bytes */{attachment.length}")])
    if not spans:
        body = _read(attachment)
        return Stream(body, headers=headers, length=attachment.length, on_close=attachment.aclose)
    await attachment.aclose()

    async def part(start: int, end: int) -> Attachment:
        found = await database.get_attachment(doc_id, name, start=start, end=end, **asked)
        if found.digest != attachment.digest or found.length != attachment.length:
            await found.aclose()
            raise Conflict("The attachment was changed meanwhile.")
        return found

    if len(spans) > 1:
        return _several(attachment, headers, spans, part)
    ((start, end),) = spans
    single = await part(start, end)
    headers.append(header("content-range", _content_range(start, end, attachment.length)))
    return Stream(_read(single), status=206, headers=headers, length=end - start, on_close=single.aclose)


def _several(
    attachment: Attachment,
    headers: list[Header],
    spans: list[tuple[int, int]],
    part: Callable[[int, int], Awaitable[Attachment]],
) -> Stream:
    """``multipart/byteranges`` (RFC 9110, section 14.6): the ranges in the order in which they were asked for."""
    boundary = secrets.token_hex(16)
    heads = [
        part_head(
            boundary,
            {
                "Content-Type": attachment.content_type,
                "Content-Range": _content_range(start, end, attachment.length),
            },
            first=n == 0,
        )
        for n, (start, end) in enumerate(spans)
    ]
    end_of_all = closing(boundary)

    async def body() -> AsyncGenerator[bytes, None]:
        for head, (start, end) in zip(heads, spans, strict=True):
            found = await part(start, end)
            try:
                yield head
                async for data in found:
                    yield data
            finally:
                await found.aclose()
        yield end_of_all

    kind = header("content-type", f'multipart/byteranges; boundary="{boundary}"')
    kept = [kind if name == b"content-type" else (name, value) for name, value in headers]
    length = sum(map(len, heads)) + sum(end - start for start, end in spans) + len(end_of_all)
    return Stream(gather(body()), status=206, headers=kept, length=length)


def _content_range(start: int, end: int, length: int) -> str:
    return f"bytes {start}-{end - 1}/{length}"


async def _read(attachment: Attachment) -> AsyncGenerator[bytes, None]:
    async for data in attachment:
        yield data


def _describe(attachment: Attachment, tag: str) -> list[Header]:
    headers = [
        etag(tag),
        header("content-type", attachment.content_type),
        (b"cache-control", b"must-revalidate"),
        # A page that somebody attached must not run with the rights of this server's own pages.
        (b"content-security-policy", b"sandbox"),
        (b"accept-ranges", b"bytes"),
    ]
    for check in attachment.checks:
        # Of the whole content as it is sent, also beside a part of it (RFC 9530, section 3; RFC 1864).
        if check.startswith(_SHA256):
            headers.append(header("repr-digest", f"sha-256=:{check.removeprefix(_SHA256)}:"))
        elif check.startswith(_MD5):
            headers.append(header("content-md5", check.removeprefix(_MD5)))
    if attachment.encoding:
        headers.append(header("content-encoding", attachment.encoding))
    return headers


def _unmodified(request: Request, tag: str) -> bool:
    known = request.header(b"if-none-match")
    if known is None:
        return False
    return any(item.strip().removeprefix("W/") in (f'"{tag}"', "*") for item in known.split(","))


def _if_range(request: Request, tag: str) -> bool:
    # RFC 9110, section 13.1.5: with another entity than the client has begun to fetch, it gets all of it.
    condition = request.header(b"if-range")
    return condition is None or condition.strip() == f'"{tag}"'


def parse_ranges(value: str, length: int) -> list[tuple[int, int]]:
    """The ranges of bytes that a Range header asks for, each as first and one past the last (RFC 9110, section 14.1.2).

    None when the header is to be ignored: of another unit, malformed, or with more ranges than CouchDB takes, or longer
    ones together than all that there is, as nobody needs and attackers ask for (section 17.15).

    Raises:
        RangeNotSatisfiable: when no byte of any of them exists.
    """
    unit, _, listed = value.replace(" ", "").partition("=")
    pieces = listed.split(",", MOST_RANGES)
    matches = [_RANGE.fullmatch(piece) for piece in pieces]
    if unit != "bytes" or len(pieces) > MOST_RANGES or not all(match and match.group() != "-" for match in matches):
        return []
    if pieces == [_ALL]:
        return []
    spans = [span for match in matches if match and (span := _span(match[1], match[2], length)) is not None]
    if not spans:
        raise RangeNotSatisfiable
    return spans if sum(end - start for start, end in spans) <= length else []


def _span(first: str, last: str, length: int) -> tuple[int, int] | None:
    """The bytes of one range; ``None`` if there are none."""
    if not first:
        start, end = max(0, length - int(last)), length
    else:
        start, end = int(first), min(int(last) + 1, length) if last else length
    return (start, end) if start < end else None


async def put(request: Request) -> Response:
    """Add or replace an attachment; the body is its content, as it comes."""
    database = await request.database()
    doc_id, name, rev = document_id(request), attachment_name(request), revision(request)
    content_type = request.header(b"content-type") or "application/octet-stream"
    encoding = (request.header(b"content-encoding") or "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise UnsupportedMediaType("Only gzip and identity content-encodings are supported")
    if doc_id.startswith("_local/"):
        raise BadRequest("_local documents do not accept attachments.")
    doc = await _parent(request, doc_id, rev)
    entry: Document = {"content_type": content_type, "data": _checked(request)}
    if encoding == "gzip":
        entry["encoding"] = encoding
    doc.setdefault("_attachments", {})[name] = entry
    return created(request, await write(database, doc), attachment=name)


async def _checked(request: Request) -> AsyncGenerator[bytes, None]:
    """The body, which must have the digest that Content-MD5 announces (RFC 1864), if it does."""
    announced = request.header(b"content-md5")
    md5 = None if announced is None else hashlib.md5(usedforsecurity=False)
    async for data in request.stream():
        if md5 is not None:
            md5.update(data)
        yield data
    if md5 is not None and announced is not None and base64.b64encode(md5.digest()).decode() != announced.strip():
        raise DigestMismatch


async def _parent(request: Request, doc_id: str, rev: str | None) -> Document:
    database = await request.database()
    try:
        doc = await database.get(doc_id, rev=rev)
    except NotFound:
        if rev is not None:
            raise Conflict from None
        return {"_id": doc_id}
    if rev is None:
        raise Conflict
    return doc


async def delete(request: Request) -> Response:
    database = await request.database()
    doc_id, name, rev = document_id(request), attachment_name(request), revision(request)
    if rev is None:
        doc = await database.get(doc_id)
        if name not in doc.get("_attachments", {}):
            raise NotFound("Document is missing attachment")
        raise Conflict
    try:
        await database.get(doc_id, rev=rev)
    except NotFound:
        return json_response({"error": "not_found", "reason": "missing_rev"}, status=409)
    return created(request, await database.remove_attachment(doc_id, name, rev), status=200)
