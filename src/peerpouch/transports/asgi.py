"""What every way of running an ASGI application has in common: the scope, and the check of what it sends."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from peerpouch.errors import PeerPouchError
from peerpouch.ports import Principal

Header = tuple[bytes, bytes]

#: What concerns one hop of HTTP/1.1 (RFC 9110, section 7.6.1), and means nothing without a TCP connection.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


class ClientGone(OSError):
    """Raised by ``send`` when nobody waits for the response any more (ASGI 2.4)."""


class BadApplication(PeerPouchError):
    """The application broke the ASGI protocol; a defect of this program."""


def end_to_end(headers: Iterable[Header]) -> tuple[Header, ...]:
    """Headers with lower case names, without those that concern one hop of HTTP/1.1."""
    lowered = ((name.lower(), value) for name, value in headers)
    return tuple((name, value) for name, value in lowered if name not in HOP_BY_HOP)


def http_scope(
    method: str, target: bytes, headers: Iterable[Header], principal: Principal, *, scheme: str
) -> dict[str, Any]:
    """The scope of a request (ASGI 3, HTTP 2.4), with the principal under ``"peerpouch.principal"``.

    Args:
        method: In upper case.
        target: Percent-encoded path and query.
        headers: With lower case names.
        principal: On whose behalf the request runs.
        scheme: For the URLs that the application makes.
    """
    raw_path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": unquote_to_bytes(raw_path).decode("utf-8", "replace"),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": list(headers),
        "client": None,
        "server": None,
        "state": {},
        "extensions": {},
        "peerpouch.principal": principal,
    }


def response_start(message: dict[str, Any]) -> tuple[int, tuple[Header, ...]]:
    """Status and headers of a ``http.response.start``."""
    if message["type"] != "http.response.start":
        raise BadApplication(f"The application sent {message['type']} before http.response.start.")
    headers = end_to_end((bytes(name), bytes(value)) for name, value in message.get("headers", ()))
    return int(message["status"]), headers


def response_body(message: dict[str, Any]) -> tuple[bytes, bool]:
    """Bytes of a ``http.response.body``, and whether more follow."""
    if message["type"] != "http.response.body":
        raise BadApplication(f"The application sent {message['type']} after http.response.start.")
    return message.get("body", b""), bool(message.get("more_body", False))
