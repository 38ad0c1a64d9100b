"""A request: its path, its parameters, its headers, and its body as a stream that has a limit."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from peerpouch.core import jsonio
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.params import Params, parse_query, unquote
from peerpouch.couchapi.room import SMALL, Body
from peerpouch.errors import BadRequest, ConnectionFailed, TooLarge, UnsupportedMediaType
from peerpouch.ports import Anonymous, Database, Peer, Principal, Registry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# A gzip member, with its header (zlib's manual, inflateInit2: 16 is added to the window size).
_GZIP = 16 + zlib.MAX_WBITS
_METHODS = frozenset(("GET", "HEAD", "PUT", "DELETE", "COPY"))

# What one step of decompression may give: bounds the memory that a bomb takes before the limit is noticed.
_INFLATE_STEP = 256 * 1024


class Request:
    """One HTTP request to the API.

    Attributes:
        segments: The decoded parts of the path, empty ones dropped, as CouchDB does.
        values: The path's variables, set by the router.
        params: The query's parameters.
    """

    __slots__ = (
        "_body",
        "_headers",
        "_holding",
        "_receive",
        "limits",
        "method",
        "params",
        "registry",
        "scope",
        "segments",
        "values",
    )

    def __init__(self, scope: Scope, receive: Receive, registry: Registry, limits: Limits) -> None:
        self.scope = scope
        self._headers: dict[bytes, bytes] | None = None
        self.registry = registry
        self.limits: Limits = scope.get("peerpouch.limits", limits)
        self.method: str = scope["method"]
        if self.method == "POST":  # for clients that know no other methods, as CouchDB has it
            override = (self.header(b"x-http-method-override") or "").strip().upper()
            self.method = override if override in _METHODS else "POST"
        self.segments = split_path(scope)
        self.values: dict[str, str] = {}
        raw_query = scope.get("query_string", b"")
        if len(raw_query) > self.limits.query_string:
            raise TooLarge("The query string is too long; send the parameters in the body of a POST.")
        self.params = Params(parse_query(raw_query) if raw_query else {})
        self._receive = receive
        self._body: bytes | None = None
        self._holding: Body | None = None

    @property
    def principal(self) -> Principal:
        """Who asks: set by whatever brought the request here."""
        principal: Principal = self.scope.get("peerpouch.principal") or Anonymous()
        return principal

    async def database(self) -> Database:
        """The database that the path names, as the principal may see it."""
        return await self.registry.open(self.values["db"], self.principal)

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def accepts(self, media_type: str, *, wildcard: bool) -> bool:
        """Whether the Accept header names this type, or, with ``wildcard``, is absent or takes everything."""
        header = self.header(b"accept")
        if header is None:
            return wildcard
        offered = {item.partition(";")[0].strip().lower() for item in header.split(",")}
        return media_type in offered or (wildcard and "*/*" in offered)

    def accepts_encoding(self, encoding: str) -> bool:
        """Whether the Accept-Encoding header names this encoding with a weight above nought."""
        for item in (self.header(b"accept-encoding") or "").split(","):
            name, _, weight = item.partition(";")
            if name.strip().lower() == encoding:
                return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
        return False

    def url(self, *segments: str) -> str:
        """The absolute URL of a path on this server."""
        path = "/" + "/".join(quote(part, safe="_-$()!~*'") for part in segments)
        host = self.header(b"host")
        root = self.scope.get("root_path", "")
        return f"{self.scope.get('scheme', 'http')}://{host}{root}{path}" if host else root + path

    async def stream(self, limit: int | None = None) -> AsyncGenerator[bytes, None]:
        """The body as it comes.

        Raises:
            TooLarge: as soon as more than ``limit`` bytes came, or were announced.
            ConnectionFailed: when the client went away before the end.
        """
        if limit is not None and self.content_length() > limit:
            raise TooLarge(f"The request's body is larger than the limit of {limit} bytes.")
        size = 0
        while True:
            message = await (self._receive() if self._holding is None else self._holding.wait(self._receive()))
            if message["type"] == "http.disconnect":
                raise ConnectionFailed("The client went away before its request was complete.")
            data = message.get("body", b"")
            size += len(data)
            if limit is not None and size > limit:
                raise TooLarge(f"The request's body is larger than the limit of {limit} bytes.")
            if data:
                yield data
            if not message.get("more_body", False):
                return

    async def hold(self, size: int) -> None:
        """Say that so many bytes of the body are held now; waits where that takes room that others have.

        Raises:
            DeadlineExceeded: later, from the stream, if the body comes too slowly to keep others waiting.
        """
        room = self.limits.room
        if room is None or size <= SMALL:
            return
        if self._holding is None:
            who = self.principal
            self._holding = room.body(who.key if isinstance(who, Peer) else who)
        await self._holding.grow(size)

    def give_way(self) -> None:
        """Keep others from their room no more, while the answer is sent, which may be read slowly."""
        if self._holding is not None:
            self._holding.give_way()

    def release(self) -> None:
        """Give the body up, and its room. It can't be read again."""
        self._body = None
        if self._holding is not None:
            self._holding.release()

    def content_length(self) -> int:
        """Bytes of the body as announced; nought when it is not."""
        header = self.header(b"content-length")
        if header is None:
            return 0
        if not header.isdecimal():
            raise BadRequest("The Content-Length header is not a number.")
        return int(header)

    async def read(self) -> bytes:
        """The whole body, decompressed, within the limit of JSON bodies. It can be read again."""
        if self._body is None:
            self._body = await self._read()
        return self._body

    async def _read(self) -> bytes:
        limit = self.limits.json_body
        encoding = (self.header(b"content-encoding") or "identity").strip().lower()
        if encoding == "identity":
            plain = bytearray()
            async for data in self.stream(limit):
                plain += data
                await self.hold(len(plain))
            return bytes(plain)
        if encoding != "gzip":
            raise UnsupportedMediaType(f"A body of the encoding {encoding[:40]!r} can't be read; gzip can.")
        return await self._read_gzip(limit)

    async def _read_gzip(self, limit: int) -> bytes:
        inflate = zlib.decompressobj(_GZIP)
        body = bytearray()
        try:
            async for data in self.stream(limit):
                while data:
                    body += inflate.decompress(data, _INFLATE_STEP)
                    if len(body) > limit:
                        raise TooLarge(f"The request's body is larger than the limit of {limit} bytes.")
                    data = inflate.unconsumed_tail
                    await self.hold(len(body))
        except zlib.error:
            raise BadRequest("The request's body is not valid gzip.") from None
        if not inflate.eof:
            raise BadRequest("The request's gzip body ended too early.")
        return bytes(body)

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            InvalidJSON, TooLarge
        """
        return jsonio.loads(await self.read())

    async def json_object(self, *, required: bool = True) -> dict[str, Any]:
        """The body as a JSON object; with ``required`` false a missing body is an empty one."""
        data = await self.read()
        if not data and not required:
            return {}
        value = jsonio.loads(data)
        if not isinstance(value, dict):
            raise BadRequest("Request body must be a JSON object")
        return value

    def require_json(self) -> None:
        """Check the content type, as CouchDB does for POST (which keeps plain HTML forms of other sites out).

        Raises:
            UnsupportedMediaType
        """
        header = self.header(b"content-type") or ""
        if header.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType("Content-Type must be application/json")


def split_path(scope: Scope) -> list[str]:
    """The decoded parts of the path.

    It is split before it is decoded, since a document's id may contain an encoded slash. ``_design%2Fx`` and
    ``_local%2Fx`` are made two parts, as CouchDB takes both spellings. A ``+`` in the database's name is a plus, as
    a space can't be in one; elsewhere it is a space, which is CouchDB's default.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        raw = quote(scope["path"], safe="/%").encode()
    root = scope.get("root_path", "").encode()
    if root and raw.startswith(root):
        raw = raw[len(root) :]
    parts = [part for part in raw.split(b"/") if part]
    segments = [unquote(part, plus=n > 0) for n, part in enumerate(parts)]
    if len(segments) > 1:
        prefix, slash, name = segments[1].partition("/")
        if slash and name and prefix in ("_design", "_local"):
            segments[1:2] = [prefix, name]
    return segments
