"""One use of a share: an Exchange that outlives the connection under it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from peerpouch.errors import DatabaseClosed, DeadlineExceeded
from peerpouch.exchange import AsyncByteStream, ByteStream, Exchange, Request, Response
from peerpouch.peers.connection import Connection
from peerpouch.peers.control import is_closed
from peerpouch.peers.timing import outcome
from peerpouch.ports import Link, LinkStats, Peer

if TYPE_CHECKING:
    from peerpouch.peers.pool import Pool


SLOWEST: Final = 16 * 1024
"""Bytes per second that any path takes: an eighth of 1 Mbit/s. A body that is sent as a whole gives the response's head
so much more time."""


class Lease:
    """A share that was opened; :meth:`close` gives it back.

    Attributes:
        share_id: The share; its id is the first segment of every request's path.
        info: What the sharer says of it, as of the last time that it let us in.
        exchange: Sends requests to the sharer. When the connection is lost, the requests under way end in
            ``PeerUnreachable``, and the next one connects anew: the sharer is asked again, so it may also end in
            ``Forbidden`` or ``ShareNotFound``, and in no more than the time limit that the share was opened with.
    """

    def __init__(self, pool: Pool, share_id: str, own_info: Any, timeout: float) -> None:
        self.share_id = share_id
        self.info: Any = None
        self.exchange: Exchange = LeasedExchange(self)
        self._pool = pool
        self.own_info = own_info
        self.timeout = timeout
        self._connection: Connection | None = None
        self._reaching: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def peer(self) -> Peer:
        """The address that the share was last reached at."""
        if self._connection is None:
            raise DatabaseClosed("The share was closed.")
        return self._connection.address

    def uses(self, connection: Connection) -> bool:
        """Whether this is the connection that it goes over."""
        return self._connection is connection and not self._closed

    async def reach(self, *, ask: bool = False) -> Link:
        """The open link, over which the sharer has let us in.

        Args:
            ask: Ask the sharer even if it let us in over this link before.
        """
        connection = self._connection
        if connection is not None and not ask and self.share_id in connection.opened:
            link = connection.live()
            if link is not None:
                return link
        while True:
            if self._closed:
                raise DatabaseClosed("The share was closed.")
            if self._reaching is None:
                self._reaching = self._pool.tasks.spawn(self._reach(ask))
            # All requests that wait share one attempt, and its error: one after the other would each take the limit.
            await outcome(self._reaching)
            connection = self._connection
            link = None if connection is None else connection.live()
            if link is not None:
                return link
            ask = False

    async def _reach(self, ask: bool) -> None:
        try:
            connection, info = await self._pool.reach(self.share_id, self.own_info, self.timeout, ask=ask)
            old, self._connection, self.info = self._connection, connection, info
            if old is not None:
                self._pool.leave(old, self.share_id)
        finally:
            self._reaching = None

    def forget(self) -> None:
        """The sharer says that we are not let in: ask it again before the next request."""
        if self._connection is not None:
            self._connection.opened.pop(self.share_id, None)

    async def stats(self) -> LinkStats | None:
        """What is known of the connection; ``None`` while there is none."""
        link = None if self._connection is None else self._connection.live()
        return None if link is None else await link.stats()

    async def close(self) -> None:
        """Give the share back. The connection stays for others, and closes when nobody has used it for a while."""
        if self._closed:
            return
        self._closed = True
        if self._reaching is not None:
            self._reaching.cancel()
            await asyncio.gather(self._reaching, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.leave(connection, self.share_id)
        self._pool.forget(self)


class LeasedExchange(Exchange):
    """The Exchange of a :class:`Lease`.

    A peer that is there and does not answer is given up after the request's ``read`` timeout, as a server would be: for
    each step of the request's body that it does not take, for the head of the response, and for each step of its body.
    Without one, as feeds have none, only the end of the connection ends the wait.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def handle_async_request(self, request: Request) -> Response:
        limit = request.extensions.get("timeout", {}).get("read")
        is_whole = isinstance(request.stream, ByteStream)
        response = await self._send(request, limit)
        if is_closed(response):
            self._lease.forget()
            # Nothing was done for such a request, so it can be sent again, unless its body is a stream that is spent.
            if is_whole:
                await response.aclose()
                response = await self._send(request, limit)
        if limit is not None and isinstance(response.stream, AsyncByteStream):
            response.stream = _TimedBody(response.stream, limit)
        return response

    async def _send(self, request: Request, limit: float | None) -> Response:
        link = await self._lease.reach()  # which has a limit of its own
        body: _TimedUpload | None = None
        if limit is None or isinstance(request.stream, ByteStream):
            size = int(request.headers.get("content-length", 0))
            allowed = None if limit is None else limit + size / SLOWEST
        else:
            allowed = limit
            request.stream = body = _TimedUpload(request.stream, limit)
        try:
            async with asyncio.timeout(allowed) as deadline:
                if body is not None:
                    body.deadline = deadline
                return await link.exchange.handle_async_request(request)
        except TimeoutError:
            raise _too_late(allowed) from None
        finally:
            if body is not None:
                body.deadline = None

    async def aclose(self) -> None:
        await self._lease.close()


class _TimedUpload(AsyncByteStream):
    """A request's body, each step of which the peer must take in time. How long its maker takes does not count.

    Attributes:
        deadline: Ends the wait for the peer, as long as there is one.
    """

    def __init__(self, stream: object, limit: float) -> None:
        self._stream = stream
        self._limit = limit
        self.deadline: asyncio.Timeout | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not isinstance(self._stream, AsyncIterable):
            raise TypeError("The body of a request over a data channel must be asynchronous.")
        self._wait(None)
        async for chunk in self._stream:
            self._wait(self._limit)
            yield chunk
            self._wait(None)
        self._wait(self._limit)

    def _wait(self, limit: float | None) -> None:
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(None if limit is None else asyncio.get_running_loop().time() + limit)

    async def aclose(self) -> None:
        if isinstance(self._stream, AsyncByteStream):
            await self._stream.aclose()


class _TimedBody(AsyncByteStream):
    """A response's body, each step of which must come in time. How long its reader takes does not count."""

    def __init__(self, stream: AsyncByteStream, limit: float) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._stream)
        while True:
            try:
                async with asyncio.timeout(self._limit):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise _too_late(self._limit) from None
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _too_late(limit: float | None) -> DeadlineExceeded:
    return DeadlineExceeded(f"The peer is connected, and did not answer within {limit:g} seconds.")
