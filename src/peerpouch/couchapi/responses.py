"""Responses: JSON at once, or a stream of bytes; and the one place where an error becomes a response."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any

from peerpouch.core import jsonio
from peerpouch.errors import DatabaseNotFound, InvalidJSON, PeerPouchError

log = logging.getLogger("peerpouch.couchapi")

Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")
NO_CACHE: Header = (b"cache-control", b"must-revalidate")

CHUNK = 64 * 1024
"""Bytes that a streamed response gathers before it sends: large enough that the cost of a message does not count,
small enough that a thousand slow readers hold little."""


class Response:
    """A response whose body is at hand."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: bytes = b"", *, status: int = 200, headers: Iterable[Header] = ()) -> None:
        self.body = body
        self.status = status
        self.headers: list[Header] = [*headers]


class Stream:
    """A response whose body is made while it is sent.

    Args:
        body: Closed when the client goes away.
        length: Bytes of the body, where known.
        on_close: Frees what the body was to be made of; called in any case, also when the body never began.
        soon: Whether its first chunk is a matter of one read: it is waited for then, and an answer that is no longer
            goes out in one piece.
    """

    __slots__ = ("body", "headers", "length", "on_close", "soon", "status")

    def __init__(
        self,
        body: AsyncGenerator[bytes, None],
        *,
        status: int = 200,
        headers: Iterable[Header] = (JSON_TYPE, NO_CACHE),
        length: int | None = None,
        on_close: Callable[[], Awaitable[None]] | None = None,
        soon: bool = False,
    ) -> None:
        self.body = body
        self.status = status
        self.headers: list[Header] = [*headers]
        self.length = length
        self.on_close = on_close
        self.soon = soon


def json_response(value: Any, *, status: int = 200, headers: Iterable[Header] = ()) -> Response:
    """A JSON response, with the line break at the end that CouchDB writes."""
    return Response(jsonio.dumps(value) + b"\n", status=status, headers=(JSON_TYPE, NO_CACHE, *headers))


def header(name: str, value: str) -> Header:
    """A header. What does not fit into one (line breaks, other than Latin-1) is left out of the value."""
    clean = value.replace("\r", " ").replace("\n", " ")
    return name.encode("latin-1"), clean.encode("latin-1", "ignore")


def etag(value: str) -> Header:
    """An entity tag, quoted."""
    return header("etag", f'"{value}"')


def error_fields(error: PeerPouchError) -> dict[str, str]:
    """``error`` and ``reason`` as CouchDB names them; the same for a response and for one document of many.

    Two classes are finer than CouchDB's names: a client of CouchDB expects the coarser ones, and peerpouch's own
    tells them apart by the reason.
    """
    fields = error.as_json()
    if isinstance(error, DatabaseNotFound):
        fields = {"error": "not_found", "reason": DatabaseNotFound.default_reason}
    elif isinstance(error, InvalidJSON):
        fields = {"error": "bad_request", "reason": InvalidJSON.default_reason}
    return fields


def error_response(error: PeerPouchError, *, headers: Iterable[Header] = ()) -> Response:
    """The response that stands for an error."""
    if error.retry_after is not None:
        headers = [*headers, header("retry-after", str(max(1, math.ceil(error.retry_after))))]
    return json_response(error_fields(error), status=error.status, headers=headers)


def internal_error(error: Exception) -> Response:
    """The response for an error that nobody foresaw: it is logged in full, and tells the client nothing."""
    log.error("A request failed unexpectedly", exc_info=error)
    return error_response(PeerPouchError())


async def gather(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Join small pieces into chunks of about :data:`CHUNK` bytes.

    An empty piece means: send what there is now, since nothing may come for a while.
    """
    held: list[bytes] = []
    size = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            if chunk:
                held.append(chunk)
                size += len(chunk)
            if held and (size >= CHUNK or not chunk):
                yield b"".join(held)
                held.clear()
                size = 0
    if held:
        yield b"".join(held)


async def json_stream(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """A JSON body in chunks of a good size. When it fails in the middle, the error follows in a line of its own.

    The status was sent long ago, and what was sent is not valid JSON, so no client can take half a listing for a
    whole one; one that looks finds the reason in the last line. CouchDB does the same.
    """
    body = gather(chunks)
    async with aclosing(body):
        try:
            async for chunk in body:
                yield chunk
        except Exception as error:  # whatever it is, the client must learn that the listing is not complete
            known = error if isinstance(error, PeerPouchError) else PeerPouchError()
            if known is not error:
                log.error("A listing failed unexpectedly", exc_info=error)
            yield b"\n\n" + jsonio.dumps(error_fields(known)) + b"\n"
