"""Who uses the connections of one address, in both directions, and until when each is kept.

A connection is kept while one of its ends uses a share of the other, or a link of it is being made; then for the time
that ``PoolLimits.idle`` gives. :class:`~peerpouch.peers.pool.Pool` has the rules that hold throughout, and makes links.
"""

from __future__ import annotations

import asyncio
import logging

from peerpouch.errors import DatabaseClosed, PeerPouchError, TooManyRequests
from peerpouch.peers.connection import Connection, crowded
from peerpouch.peers.control import release_share
from peerpouch.peers.limits import PoolLimits
from peerpouch.peers.tasks import Tasks
from peerpouch.peers.timing import within
from peerpouch.ports import Clock, Link, Peer

_LOG = logging.getLogger("peerpouch.peers")


class ConnectionTable:
    """The connections of one address, by the address of the other end."""

    def __init__(self, clock: Clock, limits: PoolLimits) -> None:
        self._clock = clock
        self._limits = limits
        self.tasks = Tasks(clock)
        self._connections: dict[Peer, Connection] = {}
        self._closed = False

    # Whom we let in

    def admitted(self, peer: Peer, share_id: str) -> bool:
        """Whether a peer was let in to one of our shares, over a connection that lasts."""
        connection = self._connections.get(peer)
        if connection is not None:
            connection.live()  # what was let in over a link that has ended is out
        return connection is not None and share_id in connection.admitted

    def visitors(self, share_id: str) -> list[tuple[Peer, Link]]:
        """Who is let in to one of our shares, with the links."""
        live = [(connection.live(), connection) for connection in list(self._connections.values())]
        return [(each.address, link) for link, each in live if link is not None and share_id in each.admitted]

    def revoke(self, share_id: str, key: bytes | None = None) -> None:
        """Let nobody (or nobody with this key) use a share any more; close what was open for it alone."""
        for connection in list(self._connections.values()):
            if share_id not in connection.admitted or key not in (None, connection.address.key):
                continue
            connection.admitted.discard(share_id)
            if connection.in_use:
                continue
            connection.give_up_answering()
            if connection.link is not None:
                self._lose(connection, connection.link)
            self._settle_down(connection)

    def _released(self, peer: Peer, share_id: str) -> None:
        connection = self._connections.get(peer)
        if connection is not None:
            connection.admitted.discard(share_id)
            self._settle_down(connection)

    # Uses

    def _connection(self, address: Peer) -> Connection:
        return self._connections.setdefault(address, Connection(address))

    def _enter(self, address: Peer, share_id: str) -> Connection:
        connection = self._connection(address)
        connection.enter(share_id)
        self._settle_down(connection)
        return connection

    def leave(self, connection: Connection, share_id: str) -> None:
        """One user of a share less. Upon the last, its owner is told."""
        link = connection.live()
        if connection.leave(share_id) and share_id in connection.opened:
            del connection.opened[share_id]
            if link is not None and not self._closed:
                connection.releases[share_id] = self.tasks.spawn(self._release(connection, link, share_id))
        self._settle_down(connection)

    async def _release(self, connection: Connection, link: Link, share_id: str) -> None:
        try:
            await within(self._clock, self._limits.farewell, release_share(link.exchange, share_id))
        except (TimeoutError, PeerPouchError) as error:
            _LOG.debug("A peer was not told that its share is not used any more: %r", error)
        finally:
            if connection.releases.get(share_id) is asyncio.current_task():
                del connection.releases[share_id]

    def _settle_down(self, connection: Connection) -> None:
        """What follows from a change of a connection's link or uses: counting down, or forgetting it."""
        if connection.link is None and not connection.pending:
            connection.admitted.clear()
            if (
                not connection.users
                and not connection.deciding
                and self._connections.get(connection.address) is connection
            ):
                del self._connections[connection.address]
        wanted = connection.link is not None and not connection.in_use and not connection.pending and not self._closed
        if wanted and connection.idle is None:
            connection.idle = self.tasks.spawn(self._count_down(connection))
        elif not wanted and connection.idle is not None:
            connection.idle.cancel()
            connection.idle = None

    async def _count_down(self, connection: Connection) -> None:
        await self._clock.sleep(self._limits.idle)
        connection.idle = None
        if connection.link is not None:
            self._lose(connection, connection.link)
        self._settle_down(connection)

    def _lose(self, connection: Connection, link: Link) -> None:
        """Take a link out of use, and close it behind the scenes."""
        if connection.drop(link):
            self.tasks.spawn(self._farewell(link), ending=True)

    async def _farewell(self, link: Link) -> None:
        try:
            await within(self._clock, self._limits.farewell, link.close())
        except (TimeoutError, PeerPouchError) as error:
            _LOG.info("A connection was not closed in an orderly way: %r", error)

    # Checks

    def _check_open(self) -> None:
        if self._closed:
            raise DatabaseClosed("The hub was closed.")

    def _check_room(self, peer: Peer) -> None:
        self._check_open()
        if crowded(self._connections.values(), peer, self._limits):
            raise TooManyRequests("Too many connections are open or being made; try again later.")
