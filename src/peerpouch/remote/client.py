"""Requests to a CouchDB API over an :class:`~peerpouch.exchange.Exchange`, and what their answers mean.

Everything that crosses the border is judged here: statuses become the errors of the tree, JSON that is cut off or is
not JSON becomes an error too, and no answer takes more memory than it was allowed to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from httpx2 import InvalidURL

from peerpouch.core import jsonio
from peerpouch.errors import (
    BadRequest,
    ConnectionFailed,
    DatabaseClosed,
    InvalidJSON,
    PeerPouchError,
    ProtocolError,
    from_response,
)
from peerpouch.exchange import AsyncByteStream, ByteStream, Exchange, Request, Response
from peerpouch.remote.decoding import decoded

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of an answer that may hold several documents. A request for many that runs into it is made again for fewer."""

MAX_SINGLE = 1024 * 1024 * 1024
"""Bytes of an answer that holds one document, its inline attachments included: it can't be asked for in pieces."""

MAX_RETRY_AFTER = 600
"""Seconds that a server can make us wait before we try again."""

PATIENCE = 15.0
"""Seconds that one request waits for a server that asks to come back later, before it fails: less than a caller's
patience, and enough for a burst to be over."""

_MAX_ERROR = 64 * 1024
_JSON_HEADERS = {"accept": "application/json", "accept-encoding": "gzip"}


class AnswerTooLarge(PeerPouchError):
    """An answer was larger than allowed; caught by whoever can ask for less at a time."""

    default_reason = "The server's answer is larger than can be held."


class Body(AsyncByteStream):
    """A request's body that is made while it is sent.

    What its source raises is the caller's own, and no matter of the connection: it is kept in ``error``, while the
    exchange learns that the body broke off.
    """

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = chunks
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._chunks:
                yield chunk
        except Exception as error:
            self.error = error
            raise ConnectionFailed("The request broke off: its body could not be read.") from error

    async def aclose(self) -> None:
        close = getattr(self._chunks, "aclose", None)
        if close is not None:
            await close()


def quote_part(text: str) -> str:
    """One part of a path. Dots are encoded where the part would otherwise mean "here" or "one up"."""
    return quote(text, safe="") if text not in (".", "..") else text.replace(".", "%2E")


def document_path(doc_id: str) -> str:
    """The path of a document below its database."""
    for prefix in ("_design/", "_local/"):
        if doc_id.startswith(prefix):
            return "/" + prefix + quote_part(doc_id[len(prefix) :])
    return "/" + quote_part(doc_id)


def query_string(params: Mapping[str, Any]) -> str:
    """A query of text, numbers and booleans; what is ``None`` or false is left out, as absent means the same."""
    pairs = []
    for name, value in params.items():
        if value is None or value is False:
            continue
        text = "true" if value is True else str(value)
        pairs.append(f"{quote(name, safe='')}={quote(text, safe='')}")
    return "&".join(pairs)


def without_credentials(url: str) -> str:
    """A URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


class Client:
    """Sends requests to one database.

    Args:
        exchange: Carries them.
        url: The database's URL. A name and password in it are left to the exchange.
        headers: Sent with every request.
        timeout: Seconds to wait for each step of an answer, feeds excepted; ``None`` for no limit. Honoured by
            exchanges over the network.
    """

    def __init__(
        self, exchange: Exchange, url: str, *, headers: Mapping[str, str] | None = None, timeout: float | None = 120.0
    ) -> None:
        parts = urlsplit(url)
        self.url = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
        self.root = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/").rpartition("/")[0] + "/", "", ""))
        self.shown = without_credentials(url)
        self._exchange = exchange
        self._headers = dict(headers or {})
        self._timeout = timeout
        self._open: set[Response] = set()
        self.closed = False

    async def close(self) -> None:
        """End what is under way. Later requests raise ``DatabaseClosed``."""
        self.closed = True
        for response in tuple(self._open):
            await response.aclose()
        self._open.clear()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        endless: bool = False,
        url: str | None = None,
    ) -> Response:
        """Send one request. The caller closes the response with :meth:`release`.

        Args:
            path: Below the database, beginning with a slash, or empty.
            endless: The answer is a feed that may be silent for long.
            url: Instead of the database's.

        Raises:
            PeerPouchError: what the status and the body of an error say; ``ConnectionFailed`` of the exchange.
        """
        if self.closed:
            raise DatabaseClosed(f"The connection to {self.shown} was closed.")
        query = query_string(params or {})
        request = self._request(method, (url or self.url) + path + (f"?{query}" if query else ""), content, headers)
        request.extensions["timeout"] = self._timeouts(endless)
        response = await self._patiently(request)
        self._open.add(response)
        if response.status_code < 300:
            return response
        try:
            raise await self._error(response)
        finally:
            await self.release(response)

    async def _patiently(self, request: Request) -> Response:
        """Send a request, and once more when the server says that nothing was done, and when to come back.

        That is 429, and 503 for what only reads; both with ``Retry-After``. What can't be sent twice is not.
        """
        again = (429, 503) if request.method in ("GET", "HEAD") else (429,)
        patience = PATIENCE if isinstance(request.stream, ByteStream) else 0.0
        while True:
            response = await self._exchanged(request)
            wait = _retry_after(response)
            if response.status_code not in again or wait is None or wait > patience or self.closed:
                return response
            patience -= max(wait, 1.0)
            await response.aclose()
            await asyncio.sleep(wait)

    async def _exchanged(self, request: Request) -> Response:
        body = request.stream
        try:
            response = await self._exchange.handle_async_request(request)
        except Exception:
            if isinstance(body, Body) and body.error is not None:
                raise body.error from None
            raise
        if isinstance(body, Body):
            await body.aclose()
            if body.error is not None:
                await response.aclose()
                raise body.error
        return response

    def _request(
        self, method: str, url: str, content: bytes | AsyncIterable[bytes] | None, headers: Mapping[str, str] | None
    ) -> Request:
        all_headers = {**_JSON_HEADERS, **self._headers, **(headers or {})}
        try:
            if content is None or isinstance(content, bytes):
                return Request(method, url, headers=all_headers, content=content)
            if "content-length" not in all_headers:
                all_headers["transfer-encoding"] = "chunked"
            host = urlsplit(url).netloc.rpartition("@")[2]
            return Request(method, url, headers={"host": host, **all_headers}, stream=Body(content))
        except InvalidURL as error:
            raise BadRequest(f"The request to {self.shown} has an id that is too long: {error}") from None

    def _timeouts(self, endless: bool) -> dict[str, float | None]:
        return {
            "connect": self._timeout,
            "read": None if endless else self._timeout,
            "write": self._timeout,
            "pool": self._timeout,
        }

    async def release(self, response: Response) -> None:
        """Close a response, read or not."""
        self._open.discard(response)
        await response.aclose()

    async def _error(self, response: Response) -> PeerPouchError:
        error = await self._told(response)
        if response.status_code in (429, 503):
            error.retry_after = _retry_after(response)
        return error

    async def _told(self, response: Response) -> PeerPouchError:
        status = response.status_code
        if status < 400:
            where = response.headers.get("location", "nowhere")
            return ProtocolError(f"{self.shown} answered with status {status}, pointing to {where}.")
        fields: Any = None
        data = b""
        try:
            data = await self.read(response, _MAX_ERROR)
            fields = jsonio.loads(data)
        except (AnswerTooLarge, InvalidJSON):
            pass
        if not isinstance(fields, dict):
            text = data[:200].decode("utf-8", "replace").strip()
            return from_response(status, None, text or f"{self.shown} answered with status {status}.")
        return error_of(fields, status)

    async def read(self, response: Response, limit: int) -> bytes:
        """The whole body.

        Raises:
            AnswerTooLarge
        """
        body: list[bytes] = []
        size = 0
        async with aclosing(decoded(response)) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise AnswerTooLarge(f"The answer of {self.shown} is larger than {limit} bytes.")
                body.append(chunk)
        return b"".join(body)

    async def read_json(self, response: Response, limit: int) -> tuple[Any, int]:
        """The body as JSON, and its size; closes the response."""
        try:
            data = await self.read(response, limit)
        finally:
            await self.release(response)
        return self.parse(data), len(data)

    async def json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        limit: int = MAX_SINGLE,
        headers: Mapping[str, str] | None = None,
        url: str | None = None,
    ) -> Any:
        """Send a request, with a JSON body if one is given, and read a JSON answer."""
        value, _ = await self.sized_json(method, path, params=params, body=body, limit=limit, headers=headers, url=url)
        return value

    async def sized_json(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        limit: int = MAX_SINGLE,
        headers: Mapping[str, str] | None = None,
        url: str | None = None,
    ) -> tuple[Any, int]:
        """:meth:`json`, and the bytes that the answer had."""
        content = None
        if body is not None or method == "POST":
            content = body if isinstance(body, bytes) else b"{}" if body is None else jsonio.dumps(body)
            headers = {"content-type": "application/json", **(headers or {})}
        response = await self.send(method, path, params=params, content=content, headers=headers, url=url)
        return await self.read_json(response, limit)

    def parse(self, data: bytes) -> Any:
        """JSON of an answer.

        Raises:
            PeerPouchError: the error that a body ends with which broke off in the middle.
            ProtocolError: when it is not JSON.
        """
        try:
            return jsonio.loads(data)
        except InvalidJSON as error:
            _, found, tail = data.rstrip().rpartition(b"\n")
            if found:
                fields = _object_or_none(tail)
                if fields is not None and "error" in fields:
                    raise error_of(fields, 500) from None
            raise ProtocolError(f"The answer of {self.shown} is not whole JSON: {error.reason[:200]}") from None

    @contextmanager
    def shape(self) -> Iterator[None]:
        """Inside, an answer that has not the documented form raises ``ProtocolError``."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ProtocolError(f"The answer of {self.shown} has not the documented form: {error!r}") from error

    async def chunks(self, response: Response) -> AsyncGenerator[bytes, None]:
        """The decoded body as it comes; closes the response at the end, or when closed."""
        try:
            async with aclosing(decoded(response)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if self.closed:
                raise DatabaseClosed(f"The connection to {self.shown} was closed.")
        finally:
            await self.release(response)


def _retry_after(response: Response) -> float | None:
    """Seconds that the server asks to wait. A date is compared with the date of the answer: both are the server's own,
    while its clock and ours need not agree."""
    after: str = response.headers.get("retry-after", "").strip()
    if after.isascii() and after.isdecimal() and len(after) < 10:
        return float(min(int(after), MAX_RETRY_AFTER))
    then, now = _http_date(after), _http_date(response.headers.get("date", ""))
    return None if then is None or now is None else min(max((then - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _http_date(text: str) -> datetime | None:
    """A date as HTTP writes it (RFC 9110, 5.6.7); such a date is in UTC."""
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC) if len(text) < 100 else None
    except (ValueError, TypeError, OverflowError):
        return None


def _object_or_none(data: bytes) -> dict[str, Any] | None:
    try:
        value = jsonio.loads(data)
    except InvalidJSON:
        return None
    return value if isinstance(value, dict) else None


def error_of(fields: Mapping[str, Any], status: int = 500) -> PeerPouchError:
    """The exception for ``error`` and ``reason`` of an answer, whatever their types are."""
    error, reason = fields.get("error"), fields.get("reason")
    if reason is not None and not isinstance(reason, str):
        reason = jsonio.dumps(reason).decode()
    return from_response(status, error if isinstance(error, str) else None, reason)


def cut_off(where: str) -> ConnectionFailed:
    """The error for a stream that ended before it should."""
    return ConnectionFailed(f"The stream from {where} was cut off.")
