"""An Exchange over an ASGI application in the same process: no socket, streaming both ways.

Rules
    * The request's body is pulled when the application asks for it; the response's body waits in a buffer of at most
      ``BUFFER`` bytes (and one chunk) until the client has read it. So neither side runs ahead of the other.
    * An exception of the application before its response begins is raised to the caller as it is; one that comes
      later ends the response's stream.
    * A client that closes the response, or whose request is cancelled, gives the application ``http.disconnect``; its
      ``send`` raises, and after ``GRACE`` seconds it is cancelled.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response
from peerpouch.ports import ASGIApp, Principal

from .asgi import BadApplication, ClientGone, end_to_end, http_scope, response_body, response_start

#: Bytes of a response that wait for their reader: a few chunks, so that both sides work at once.
BUFFER = 256 * 1024
#: Seconds that an application has to end by itself after a disconnect.
GRACE = 1.0


class AppExchange(Exchange):
    """Sends requests to an ASGI application.

    Args:
        app: The application. Its lifespan is not run.
        principal: On whose behalf all requests run.
    """

    def __init__(self, app: ASGIApp, principal: Principal) -> None:
        self._app = app
        self._principal = principal
        self._runs: set[_Run] = set()

    async def handle_async_request(self, request: Request) -> Response:
        """Run the application; returns when its response has begun.

        Raises:
            Exception: What the application raised before that.
        """
        scope = http_scope(
            request.method,
            request.url.raw_path,
            end_to_end(request.headers.raw),
            self._principal,
            scheme=request.url.scheme or "http",
        )
        run = _Run(request)
        self._runs.add(run)
        run.task = asyncio.create_task(run.run(self._app, scope), name=f"{request.method} {scope['path']}")
        run.task.add_done_callback(lambda task: self._runs.discard(run))
        try:
            status, headers = await run.head
        except BaseException:
            await run.disconnect()
            raise
        return Response(status, headers=list(headers), stream=_Body(run), request=request)

    async def aclose(self) -> None:
        """Disconnect every request that still runs."""
        await asyncio.gather(*(run.disconnect() for run in list(self._runs)))


class _Run:
    """One request in the application."""

    def __init__(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        self.task: asyncio.Task[None] | None = None
        self.head: asyncio.Future[tuple[int, tuple[tuple[bytes, bytes], ...]]] = loop.create_future()
        self._request = _request_body(request)
        self._request_ended = False
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._ended = False
        self._error: BaseException | None = None
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
            if not self._ended and not self._gone.is_set():
                raise BadApplication("The application returned before its response was complete.")
        except asyncio.CancelledError as error:
            self._fail(error)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits for the response
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, asyncio.CancelledError):
            error = ClientGone("The request was cancelled.")
        if self._gone.is_set():
            self.head.cancel()
        elif not self.head.done():
            self.head.set_exception(error)
        elif not self._ended:
            self._error = error
        self._changed.set()

    async def _receive(self) -> dict[str, Any]:
        if self._request_ended or self._gone.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        chunk = await anext(self._request, None)
        if chunk is None:
            self._request_ended = True
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone.is_set():
            raise ClientGone("The client closed the response.")
        if not self.head.done():
            self.head.set_result(response_start(message))
            return
        data, more = response_body(message)
        if data:
            self._chunks.append(bytes(data))
            self._buffered += len(data)
        if not more:
            self._ended = True
            self._request_ended = True
        self._changed.set()
        while more and self._buffered >= BUFFER and not self._gone.is_set():
            self._room.clear()
            await self._room.wait()

    async def read(self) -> bytes | None:
        """The next chunk of the response, or nothing at its end."""
        while not self._chunks:
            if self._error is not None:
                error, self._error = self._error, None
                self._ended = True
                raise error
            if self._ended:
                # The response is complete for its client; the application is told that nobody waits any more.
                self._gone.set()
                return None
            self._changed.clear()
            await self._changed.wait()
        chunk = self._chunks.popleft()
        self._buffered -= len(chunk)
        self._room.set()
        return chunk

    async def disconnect(self) -> None:
        """Nobody waits for the response any more: end the application."""
        self._gone.set()
        self._room.set()
        self._chunks.clear()
        task = self.task
        if task is None or task.done() or task is asyncio.current_task():
            return
        done, _ = await asyncio.wait({task}, timeout=GRACE)
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE)


class _Body(AsyncByteStream):
    def __init__(self, run: _Run) -> None:
        self._run = run

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._run.read()) is not None:
            yield chunk

    async def aclose(self) -> None:
        await self._run.disconnect()


async def _request_body(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream
    if isinstance(stream, AsyncIterable):
        async for chunk in stream:
            if chunk:
                yield chunk
    else:
        for chunk in stream:
            if chunk:
                yield chunk
