"""An Exchange over the network: HTTP/1.1 to a CouchDB, or to anything that speaks its API."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import AsyncIterator, Mapping
from urllib.parse import unquote

import httpx2

from peerpouch.errors import BadRequest, ConnectionFailed, DeadlineExceeded, PeerPouchError, ProtocolError
from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response

#: Seconds. Reading waits longer than CouchDB's heartbeat of 60, so a live feed that is idle is not cut.
_TIMEOUT = {"connect": 10.0, "read": 90.0, "write": 60.0, "pool": 60.0}
#: A replication has ten requests going and a live feed; several may share one exchange. CouchDB takes 2,048.
_LIMITS = httpx2.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=30.0)

#: What a header's name and value may be made of (RFC 9110, 5.1 and 5.5): no line can begin within one.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
#: They say where a message ends and to whom it goes, which the request itself knows.
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "expect"})

#: Requests made for one, at most: a server that sends from http to https, and from there to a path, needs three.
_REDIRECTIONS = 6

#: Seconds. When a machine changes its network, or a router forgets a connection, this does not end: it falls silent.
#: What was sent and is not acknowledged for so long is lost, and a connection that is idle is asked whether it lives.
#: Short enough for a live feed and for whoever waits for an answer, and longer than a phone's change of cells.
_UNACKNOWLEDGED = 15
_IDLE, _INTERVAL, _PROBES = 15, 5, 3


def _socket_options() -> list[tuple[int, int, int]]:
    """As far as the platform has them; TCP_KEEPALIVE is macOS's name for the first."""
    wanted = {
        "TCP_KEEPIDLE": _IDLE,
        "TCP_KEEPALIVE": _IDLE,
        "TCP_KEEPINTVL": _INTERVAL,
        "TCP_KEEPCNT": _PROBES,
        "TCP_USER_TIMEOUT": _UNACKNOWLEDGED * 1000,
    }
    found = [(getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)]
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), *((socket.IPPROTO_TCP, *option) for option in found)]


class NetworkExchange(Exchange):
    """Sends requests over TCP, and TLS for ``https``.

    Bodies pass through as they are; ``Response`` decodes ``Content-Encoding`` where its ``aiter_bytes`` is used.
    A request without a ``timeout`` extension has limits of 10 seconds to connect and 90 between two reads.

    Args:
        url: ``http://`` or ``https://``; user and password in it are sent as basic authentication to this host only.
        headers: Sent with every request to this host, and to no other: a bearer token, or what a proxy wants.
        ca_file: A file of certificates to trust instead of the system's.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None, ca_file: str | None = None) -> None:
        parsed = httpx2.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise BadRequest(f"{_without_password(parsed)} is not an http:// or https:// URL.")
        #: The URL without user and password, for requests and for messages.
        self.url = parsed.copy_with(userinfo=b"")
        self._origin = (parsed.scheme, parsed.host, parsed.port)
        self._authorization: str | None = None
        if parsed.userinfo:
            user = f"{unquote(parsed.username)}:{unquote(parsed.password)}"
            self._authorization = "Basic " + base64.b64encode(user.encode()).decode()
        self._headers = _checked(headers or {})
        verify = httpx2.create_ssl_context(verify=ca_file) if ca_file else True
        self._transport = httpx2.AsyncHTTPTransport(
            verify=verify, limits=_LIMITS, trust_env=True, socket_options=_socket_options()
        )

    async def handle_async_request(self, request: Request) -> Response:
        """Send a request; returns when the response's head is there. Redirections are followed where that is safe.

        Raises:
            ConnectionFailed: The server can't be reached or broke off.
            DeadlineExceeded: A time limit ran out.
            ProtocolError: What came is not HTTP, or leads in circles.
        """
        for _ in range(_REDIRECTIONS):
            response = await self._send(request)
            following = self._redirected(request, response)
            if following is None:
                return response
            await response.aclose()
            request = following
        raise ProtocolError(f"{self.url} leads from one address to the next without end.")

    def _redirected(self, request: Request, response: Response) -> Request | None:
        """The request to make instead, if the response is a redirection that may be followed.

        What is not only read goes on to another address only where the server says that it is the same there (307 and
        308), and the body can be sent again.
        """
        location = response.headers.get("location")
        status = response.status_code
        reading = request.method in ("GET", "HEAD")
        if location is None or status not in ((301, 302, 303, 307, 308) if reading else (307, 308)):
            return None
        if not isinstance(request.stream, httpx2.ByteStream):
            return None
        try:
            url = request.url.join(location)
        except httpx2.InvalidURL:
            return None
        if url.scheme not in ("http", "https") or (request.url.scheme == "https" and url.scheme == "http"):
            return None
        headers = request.headers.copy()
        headers["host"] = url.netloc.decode("ascii")
        if not self._is_ours(url):
            for name in ("authorization", "cookie", *self._headers):
                headers.pop(name, None)
        return Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)

    def _is_ours(self, url: httpx2.URL) -> bool:
        """Whether credentials may be sent there: to the same server, or to it by HTTPS."""
        scheme, host, port = self._origin
        if (url.scheme, url.host, url.port) == self._origin:
            return True
        return (scheme, url.scheme) == ("http", "https") and host == url.host and (port, url.port) == (None, None)

    async def _send(self, request: Request) -> Response:
        ours = self._is_ours(request.url)
        if ours:
            for name, value in self._headers.items():
                request.headers.setdefault(name, value)
        if ours and self._authorization is not None and "authorization" not in request.headers:
            request.headers["authorization"] = self._authorization
        request.extensions.setdefault("timeout", _TIMEOUT)
        try:
            response = await self._transport.handle_async_request(request)
        except httpx2.RequestError as error:
            raise _translated(error, request) from error
        response.request = request
        if isinstance(response.stream, AsyncByteStream):
            response.stream = _Body(response.stream, request)
        return response

    async def aclose(self) -> None:
        await self._transport.aclose()


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by their names in lower case. No error shows a value: it may be a secret."""
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if _HEADER_NAME.fullmatch(name) is None:
            raise BadRequest(f"{name!r} is no name of a header.")
        if name.lower() in _FRAMING:
            raise BadRequest(f"The header {name} is the request's own.")
        if _HEADER_VALUE.fullmatch(value) is None:
            raise BadRequest(f"The value of the header {name} must be printable ASCII text.")
        checked[name.lower()] = value
    return checked


class _Body(AsyncByteStream):
    """A body whose failures are this library's."""

    def __init__(self, stream: AsyncByteStream, request: Request) -> None:
        self._stream = stream
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except httpx2.RequestError as error:
            raise _translated(error, self._request) from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def _without_password(url: httpx2.URL) -> str:
    return str(url.copy_with(userinfo=b"") if url.userinfo else url)


def _translated(error: httpx2.RequestError, request: Request) -> PeerPouchError:
    server = f"{request.url.scheme}://{request.url.netloc.decode()}"
    what = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        return DeadlineExceeded(f"{server} did not answer in time ({type(error).__name__}).")
    # The library has one class for garbage and for a connection that was cut; only its words tell them apart.
    cut = "disconnected" in what or "closed connection" in what
    if isinstance(error, (httpx2.RemoteProtocolError, httpx2.DecodingError)) and not cut:
        return ProtocolError(f"{server} does not speak HTTP as expected: {what}")
    return ConnectionFailed(f"{server} can't be reached, or broke off: {what}")
