"""One use of a share: an Exchange that outlives the connection under it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from peerpouch.errors import DatabaseClosed
from peerpouch.exchange import ByteStream, Exchange, Request, Response
from peerpouch.peers.connection import Connection
from peerpouch.peers.control import is_closed
from peerpouch.peers.timing import outcome
from peerpouch.ports import Link, LinkStats, Peer

if TYPE_CHECKING:
    from peerpouch.peers.pool import Pool


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
        self._own_info = own_info
        self._timeout = timeout
        self._connection: Connection | None = None
        self._reaching: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def peer(self) -> Peer:
        """The address that the share was last reached at."""
        if self._connection is None:
            raise DatabaseClosed("The share was closed.")
        return self._connection.address

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
                self._reaching = self._pool.spawn(self._reach(ask))
            # All requests that wait share one attempt, and its error: one after the other would each take the limit.
            await outcome(self._reaching)
            connection = self._connection
            link = None if connection is None else connection.live()
            if link is not None:
                return link
            ask = False

    async def _reach(self, ask: bool) -> None:
        try:
            connection, info = await self._pool.reach(self.share_id, self._own_info, self._timeout, ask=ask)
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
    """The Exchange of a :class:`Lease`."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def handle_async_request(self, request: Request) -> Response:
        link = await self._lease.reach()
        response = await link.exchange.handle_async_request(request)
        if is_closed(response):
            self._lease.forget()
            # Nothing was done for such a request, so it can be sent again, unless its body is a stream that is spent.
            if isinstance(request.stream, ByteStream):
                await response.aclose()
                link = await self._lease.reach()
                response = await link.exchange.handle_async_request(request)
        return response

    async def aclose(self) -> None:
        await self._lease.close()
