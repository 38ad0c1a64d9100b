"""The client's side of a link: an Exchange that sends its requests over the data channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress

import httpx2

from peerpouch.errors import PeerPouchError, PeerUnreachable, ProtocolError, TooLarge, TooManyRequests
from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response
from peerpouch.wire import Code, RequestHead, ResponseHead, StreamReset
from peerpouch.wire.coding import packed, request_may_be_packed

from ..asgi import end_to_end
from .streams import StreamEnd, Streams


class ChannelExchange(Exchange):
    """Sends requests to the peer of a link. The host in a request's URL means nothing here.

    A request ends in a response or an error, also when the link ends. Closing it closes nothing: the link does.
    """

    def __init__(self, link: Streams) -> None:
        self._link = link

    async def handle_async_request(self, request: Request) -> Response:
        """Send a request; returns when the response's head is there, while both bodies may still flow.

        Raises:
            PeerUnreachable: The link ended, or does so before the response has begun.
            TooLarge: URL and headers are larger than the peer takes.
            ProtocolError: The peer broke the protocol on this stream.
        """
        headers = tuple((name, value) for name, value in end_to_end(request.headers.raw) if name != b"host")
        head = RequestHead(request.method.encode(), request.url.raw_path, headers)
        body = _whole_body(request)
        call = Call(self._link)
        await self._link.slot()
        if body != b"" and self._link.peer_takes_gzip and request_may_be_packed(head):
            call.packer = self._link.packer()
            if call.packer is not None:
                head = RequestHead(head.method, head.path, packed(headers))
        self._link.open(call, head, bodiless=body == b"")
        try:
            if body and call.packer is None:
                # All of it is in memory already, so there is nothing to gain from waiting for room.
                self._link.send(call.stream, body, end=True)
            elif body != b"":
                call.task = asyncio.create_task(call.send_body(request, body), name="request body")
            response = await call.response()
        except BaseException:
            call.abandon()
            raise
        return Response(response.status, headers=list(response.headers), stream=_Body(call), request=request)


class Call(StreamEnd):
    """One request of this side."""

    def __init__(self, link: Streams) -> None:
        super().__init__(link)
        self._head: asyncio.Future[ResponseHead] = asyncio.get_running_loop().create_future()

    async def response(self) -> ResponseHead:
        """Wait for the head of the response."""
        return await self._head

    async def send_body(self, request: Request, whole: bytes | None) -> None:
        """Send a body that is made, or compressed, while it is sent."""
        try:
            if whole is not None:
                await self.send(whole, end=True)
                return
            if not isinstance(request.stream, AsyncIterable):
                raise TypeError("The body of a request over a data channel must be asynchronous.")
            async for chunk in request.stream:
                if chunk:
                    await self.send(chunk, end=False)
            await self.send(b"", end=True)
        except asyncio.CancelledError:
            raise
        except PeerPouchError as error:
            self._fail_with(error)
        except Exception as error:  # noqa: BLE001 - what the caller's own body raised is the caller's to see
            if not self._head.done():
                self._head.set_exception(error)
            self._fail_with(PeerPouchError(f"The body of the request could not be made: {error!r}"))

    def _fail_with(self, error: PeerPouchError) -> None:
        if self._error is None and not self._ended:
            self.link.reset(self, Code.CANCELLED, "The body of the request could not be made.")
            self._finish(error)

    def on_head(self, head: ResponseHead, ended: bool) -> None:
        self._ended = ended
        if not self._head.done():
            self._head.set_result(head)

    def on_reset(self, event: StreamReset) -> None:
        if event.code == Code.NONE and self._ended:
            self._stop_sending()
            return
        self.link.release(self)
        self._finish(_error_of(event))

    def on_lost(self, error: PeerPouchError) -> None:
        if self._ended and self._head.done():
            # The whole response is here; it can be read after the end of the link.
            self._stop_sending()
            return
        self.link.reset(self, Code.CANCELLED)
        self._finish(error)

    def _finish(self, error: PeerPouchError) -> None:
        if not self._head.done():
            self._head.set_exception(error)
        self.fail(error)
        self._stop_sending()

    def _stop_sending(self) -> None:
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    def abandon(self) -> None:
        """Nobody wants the response, or the rest of it."""
        if self._head.done() and not self._head.cancelled():
            self._head.exception()  # it was seen, or nobody is left to see it
        self._stop_sending()
        self._chunks.clear()
        self.link.reset(self, Code.CANCELLED)
        if self._error is None:
            self._error = PeerUnreachable("The response was closed before it was read.")

    async def read(self) -> bytes | None:
        chunk = await super().read()
        if chunk is None:
            self.link.release(self)
        return chunk


class _Body(AsyncByteStream):
    def __init__(self, call: Call) -> None:
        self._call = call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (chunk := await self._call.read()) is not None:
            yield chunk

    async def aclose(self) -> None:
        self._call.abandon()


def _whole_body(request: Request) -> bytes | None:
    """The body, where it is in memory as a whole; ``None`` where it is a stream."""
    with suppress(httpx2.RequestNotRead):
        return request.content
    if isinstance(request.stream, httpx2.ByteStream):
        return b"".join(request.stream)
    return None


_ERRORS: dict[int, tuple[type[PeerPouchError], str]] = {
    Code.CANCELLED: (PeerUnreachable, "The peer gave up the request"),
    Code.REFUSED: (PeerUnreachable, "The peer takes no more requests"),
    Code.INTERNAL: (PeerPouchError, "The peer failed while it answered"),
    Code.PROTOCOL: (ProtocolError, "The channel protocol was broken"),
    Code.FLOW: (ProtocolError, "The channel protocol's credit was exceeded"),
    Code.TOO_LARGE: (TooLarge, "The URL and the headers are too large"),
    Code.EXCESS: (TooManyRequests, "The peer is asked too much"),
}


def _error_of(event: StreamReset) -> PeerPouchError:
    cls, text = _ERRORS.get(event.code, (PeerPouchError, "The peer broke off its answer"))
    return cls(f"{text}: {event.reason}" if event.reason else f"{text}.")
