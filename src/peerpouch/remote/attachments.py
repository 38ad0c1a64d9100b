"""Attachments, streamed in and out."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Any

from peerpouch.errors import BadRequest, NotFound, ProtocolError, RangeNotSatisfiable
from peerpouch.exchange import Response
from peerpouch.ports import Attachment, AttachmentData, Written
from peerpouch.remote.client import Client, cut_off, document_path, quote_part
from peerpouch.remote.decoding import decoded

SMALL = 64 * 1024
"""Bytes that are read at once, so that the connection is free at once: reading them costs less than holding it."""

_REPR_DIGEST = re.compile(r"(?:^|[,\s])sha-256=:([A-Za-z0-9+/]{43}=):")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]+)-([0-9]+)/([0-9]+)")


def attachment_path(doc_id: str, name: str) -> str:
    """The path of an attachment below its database. Its slashes stay: that is how CouchDB's clients write them."""
    return document_path(doc_id) + "/" + "/".join(quote_part(part) for part in name.split("/"))


async def get_attachment(
    client: Client, doc_id: str, name: str, *, rev: str | None, start: int, end: int | None, encoded: bool
) -> Attachment:
    """The port's ``get_attachment``."""
    if start < 0 or (end is not None and end < 0):
        raise BadRequest("A byte range begins and ends at non-negative numbers.")
    empty = end is not None and end <= start
    headers = {"accept": "*/*", "accept-encoding": "gzip" if encoded else "identity"}
    if empty:
        headers["range"] = f"bytes={start}-{start}"
    elif start or end is not None:
        headers["range"] = f"bytes={start}-{'' if end is None else end - 1}"
    try:
        response = await client.send("GET", attachment_path(doc_id, name), params={"rev": rev}, headers=headers)
    except RangeNotSatisfiable:
        if start:
            raise
        # From its beginning even an empty attachment can be read, which has no first byte that HTTP could name.
        del headers["range"]
        response = await client.send("GET", attachment_path(doc_id, name), params={"rev": rev}, headers=headers)
    try:
        return await _attachment(client, response, doc_id, name, rev, start, end, encoded)
    except BaseException:
        await client.release(response)
        raise


async def _attachment(
    client: Client,
    response: Response,
    doc_id: str,
    name: str,
    rev: str | None,
    start: int,
    end: int | None,
    encoded: bool,
) -> Attachment:
    encoding = response.headers.get("content-encoding")
    encoding = None if encoding in (None, "", "identity") else encoding
    decode = encoding is not None and not encoded
    begin, length = _extent(client, response, name, decode)
    digest = _digest(response)
    if length is None or digest is None:
        # CouchDB does not always know the length of what it decodes; the document's stub has both.
        stub = await _stub(client, doc_id, name, rev)
        with client.shape():
            known = stub["length"] if encoding is None or decode else stub["encoded_length"]
            length = int(known) if length is None else length
            digest = digest or str(stub["digest"])
    upto = length if end is None else min(end, length)
    if start > length or (start == length and length and start):
        raise RangeNotSatisfiable(f"The attachment {name!r} has {length} bytes; {start} is beyond its end.")
    stop = max(start, upto)
    source = _clipped(client, response, begin, start, stop, decode)

    async def close() -> None:
        await source.aclose()
        await client.release(response)  # a stream that never began frees nothing by its own end

    return Attachment(
        name,
        response.headers.get("content-type", "application/octet-stream"),
        length,
        digest,
        await _prefetched(source) if stop - start <= SMALL else lambda: source,
        encoding=None if decode else encoding,
        start=start,
        end=stop,
        on_close=close,
        checks=() if decode else _checks(response),
    )


def _extent(client: Client, response: Response, name: str, decode: bool) -> tuple[int, int | None]:
    """The first byte that the response has, and the length of the whole content where it says so."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
        if match is None:
            raise ProtocolError(f"{client.shown} sent a part of {name!r} and did not say which.")
        return int(match[1]), int(match[3])
    announced = response.headers.get("content-length", "")
    return 0, int(announced) if announced.isdecimal() and not decode else None


async def _stub(client: Client, doc_id: str, name: str, rev: str | None) -> Any:
    doc = await client.json("GET", document_path(doc_id), params={"rev": rev, "att_encoding_info": True})
    with client.shape():
        stub = (doc.get("_attachments") or {}).get(name)
    if stub is None:
        raise NotFound("Document is missing attachment")
    return stub


def _digest(response: Response) -> str | None:
    tag: str = response.headers.get("etag", "").removeprefix("W/").strip('"')
    md5 = response.headers.get("content-md5")
    if md5:
        return "md5-" + md5
    if not tag or tag.startswith(("md5-", "sha256-")):
        return tag or None
    return "md5-" + tag


def _checks(response: Response) -> list[str]:
    """Digests of the whole content, as it is sent, by RFC 9530 and RFC 1864; CouchDB gives none where it decodes."""
    sha256 = _REPR_DIGEST.search(response.headers.get("repr-digest", ""))
    md5 = response.headers.get("content-md5")
    return [*(["sha256-" + sha256[1]] if sha256 else []), *(["md5-" + md5] if md5 else [])]


async def _clipped(
    client: Client, response: Response, begin: int, start: int, stop: int, decode: bool
) -> AsyncGenerator[bytes, None]:
    """The bytes from ``start`` up to ``stop`` of a body that begins at ``begin``."""
    at = begin
    try:
        if at < stop:
            async with aclosing(decoded(response) if decode else response.aiter_raw()) as chunks:
                async for chunk in chunks:
                    first, at = at, at + len(chunk)
                    if at > start:
                        yield chunk[max(0, start - first) : stop - first]
                    if at >= stop:
                        break
        if at < stop:
            raise cut_off(client.shown)
    finally:
        await client.release(response)


async def _prefetched(source: AsyncGenerator[bytes, None]) -> Any:
    chunks = [chunk async for chunk in source]

    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return stream


async def put_attachment(
    client: Client, doc_id: str, name: str, data: AttachmentData, content_type: str, *, rev: str | None
) -> Written:
    """The port's ``put_attachment``, in one request whose body is the content."""
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except ValueError:
            raise BadRequest(f"The data of the attachment {name!r} are not valid base64.") from None
    headers = {"content-type": content_type}
    if isinstance(data, Attachment):
        headers["content-length"] = str(data.end - data.start)
        if data.encoding:
            headers["content-encoding"] = data.encoding
    content: bytes | AsyncIterable[bytes] = data
    response = await client.send(
        "PUT", attachment_path(doc_id, name), params={"rev": rev}, content=content, headers=headers
    )
    return await _written(client, response)


async def remove_attachment(client: Client, doc_id: str, name: str, rev: str) -> Written:
    """The port's ``remove_attachment``."""
    response = await client.send("DELETE", attachment_path(doc_id, name), params={"rev": rev})
    return await _written(client, response)


async def _written(client: Client, response: Response) -> Written:
    row, _ = await client.read_json(response, SMALL)
    with client.shape():
        return Written(row["id"], row["rev"])
