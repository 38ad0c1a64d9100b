"""What stands between an HTTP server and the application: the access log, CORS, and the guard of an admin party.

Each is ASGI middleware, and none of them is on the way of a peer's requests.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

from peerpouch.couchapi.requests import Message, Receive, Scope, Send
from peerpouch.couchapi.responses import Header, error_response, header
from peerpouch.errors import Forbidden
from peerpouch.ports import User

App = Callable[[Scope, Receive, Send], Awaitable[None]]

access_log = logging.getLogger("peerpouch.access")

_EXPOSED: Final = (
    "content-type, cache-control, accept-ranges, etag, server, x-couch-request-id, content-length, "
    "peerpouch-hub, retry-after"
)
_ALLOWED_HEADERS: Final = (
    "accept, authorization, content-type, content-encoding, origin, referer, if-none-match, if-match, range, "
    "destination, x-couch-full-commit, x-requested-with, last-event-id, peerpouch-session, peerpouch-reply"
)
_METHODS: Final = "GET, HEAD, PUT, POST, DELETE, COPY, OPTIONS"
_MAX_AGE: Final = "600"
"""Seconds that a browser remembers the answer to a preflight: CouchDB's default."""


class AccessLog:
    """One line for each request, when it has ended: address, user, request line, status, bytes, milliseconds.

    The query is not logged: it may hold documents' keys, and is of unbounded length.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not access_log.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        began, status, size = time.monotonic(), 0, 0

        async def counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            principal = scope.get("peerpouch.principal")
            user = principal.name if isinstance(principal, User) and principal.name else "-"
            client = scope.get("client") or ("-",)
            path = (scope.get("raw_path") or b"").decode("latin-1")
            access_log.info(
                "%s %s %s %s %s %d %.0f ms",
                client[0],
                _printable(user),
                scope["method"],
                _printable(path),
                status or "-",
                size,
                (time.monotonic() - began) * 1000,
            )


def _printable(text: str) -> str:
    """One word that can't forge a line of the log."""
    if text.isprintable() and " " not in text and len(text) <= 500:
        return text  # as nearly all are
    return "".join(each if each.isprintable() and each != " " else f"\\x{ord(each):02x}" for each in text[:500])


class CORS:
    """Lets web pages of named origins use the API, with their users' cookies.

    Args:
        origins: Such as ``https://app.example``; ``"*"`` for all, which then get no cookies.
    """

    def __init__(self, app: App, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    def _headers(self, origin: str) -> list[Header] | None:
        if origin.lower() in self._origins:
            return [
                header("access-control-allow-origin", origin),
                header("access-control-allow-credentials", "true"),
                header("vary", "Origin"),
            ]
        return [header("access-control-allow-origin", "*")] if "*" in self._origins else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = _header(scope, b"origin") if scope["type"] == "http" else None
        headers = None if origin is None else self._headers(origin)
        if headers is None:
            await self._app(scope, receive, send)
            return
        allowed = headers
        if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None:
            preflight = [
                *allowed,
                header("access-control-allow-methods", _METHODS),
                header("access-control-allow-headers", _ALLOWED_HEADERS),
                header("access-control-max-age", _MAX_AGE),
                header("content-length", "0"),
            ]
            await send({"type": "http.response.start", "status": 204, "headers": preflight})
            await send({"type": "http.response.body", "body": b""})
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                exposed = header("access-control-expose-headers", _EXPOSED)
                message = {**message, "headers": [*message["headers"], *allowed, exposed]}
            await send(message)

        await self._app(scope, receive, answer)


class LoopbackOnly:
    """Refuses requests that name another host than this machine, while a server has no administrator.

    Everybody is one then, so a web page that gives its own name this machine's address ("DNS rebinding") could else use
    a browser here to do everything with the databases.
    """

    def __init__(self, app: App, applies: Callable[[], bool]) -> None:
        self._app = app
        self._applies = applies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._applies() and not is_loopback(_host(scope)):
            refusal = error_response(
                Forbidden("This server has no administrator, so it answers requests to this machine's own names only.")
            )
            await send({"type": "http.response.start", "status": refusal.status, "headers": refusal.headers})
            await send({"type": "http.response.body", "body": refusal.body})
            return
        await self._app(scope, receive, send)


def _host(scope: Scope) -> str:
    """The host of the request, without the port."""
    host = _header(scope, b"host") or ""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


@lru_cache(64)  # the names that a machine is asked by; it costs as much as reading a document
def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine, as seen from itself."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return None
