"""The server's side of a link: each request of the peer runs the ASGI application in a task of its own."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from peerpouch.errors import PeerPouchError, TooLarge
from peerpouch.ports import ASGIApp, Peer
from peerpouch.wire import Code, RequestReceived, ResponseHead, StreamReset
from peerpouch.wire.coding import packed, response_may_be_packed

from ..asgi import ClientGone, http_scope, response_body, response_start
from .streams import StreamEnd, Streams

log = logging.getLogger(__name__)


class Serving(StreamEnd):
    """One request of the peer. The task is cancelled when the peer resets the stream or is lost."""

    def __init__(self, link: Streams, event: RequestReceived, app: ASGIApp, peer: Peer) -> None:
        super().__init__(link)
        self.stream = event.stream
        self._ended = event.ended
        self._told_end = False
        self._started = False
        self._complete = False
        self._gone = asyncio.Event()
        self._request = event.head
        method, target = event.head.method.decode(), event.head.path
        scope = http_scope(method, target, event.head.headers, peer, scheme="https")
        self.task = asyncio.create_task(self._run(app, scope), name=f"{method} {scope['path']}")

    async def _run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
            if not self._complete and not self._gone.is_set():
                log.error("The application left %s %s without a whole answer.", scope["method"], scope["path"])
                self._break_off(PeerPouchError())
        except asyncio.CancelledError:
            if not self._gone.is_set():
                self._break_off(PeerPouchError("The request was cancelled."))
            raise
        except ClientGone:
            pass
        except PeerPouchError as error:
            self._break_off(error)
        except Exception:
            # What went wrong inside is for this side's log; the peer learns that something did.
            log.exception("The application failed on %s %s.", scope["method"], scope["path"])
            self._break_off(PeerPouchError())
        finally:
            self._gone.set()
            self._chunks.clear()
            self.link.release(self)

    def _break_off(self, error: PeerPouchError) -> None:
        if self._gone.is_set() or self._complete or self.link.closed:
            return
        if self._started:
            self.link.reset(self, Code.INTERNAL, error.reason)
            return
        body = json.dumps(error.as_json()).encode()
        self.link.respond(self, ResponseHead(error.status, ((b"content-type", b"application/json"),)))
        self.link.send(self.stream, body, end=True)

    async def _receive(self) -> dict[str, Any]:
        if self._told_end or self._gone.is_set():
            await self._gone.wait()
            return {"type": "http.disconnect"}
        try:
            chunk = await self.read()
        except PeerPouchError:
            return {"type": "http.disconnect"}
        self._told_end = self._ended and not self._chunks
        return {"type": "http.request", "body": chunk or b"", "more_body": not self._told_end}

    async def _send(self, message: dict[str, Any]) -> None:
        if self._gone.is_set():
            raise ClientGone("The peer does not wait for the response any more.")
        if not self._started:
            status, headers = response_start(message)
            head = ResponseHead(status, headers)
            if response_may_be_packed(self._request, head):
                self.packer = self.link.packer()
                if self.packer is not None:
                    head = ResponseHead(status, packed(headers))
            try:
                self.link.respond(self, head)
            except TooLarge as error:
                raise PeerPouchError(f"The head of a response is too large: {error.reason}") from error
            self._started = True
            return
        data, more = response_body(message)
        if more and not data:
            return
        self._complete = not more
        await self.send(bytes(data), end=not more)

    def on_head(self, head: ResponseHead, ended: bool) -> None:
        raise AssertionError("the connection lets no response through on the peer's own stream")

    def on_reset(self, event: StreamReset) -> None:
        self._leave()

    def on_lost(self, error: PeerPouchError) -> None:
        if not self._complete:
            self.link.reset(self, Code.CANCELLED, error.reason)
        self._leave()

    def _leave(self) -> None:
        self._gone.set()
        self.fail(PeerPouchError("The peer does not wait for the response any more."))
        if self.task is not None:
            self.task.cancel()
