"""A share that was opened."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final

from peerpouch.identity.keys import Identity, PublicKey
from peerpouch.peers.lease import Lease
from peerpouch.ports import LinkStats
from peerpouch.remote import RemoteDatabase

ORIGIN: Final = "http://peer/"
"""What stands before a share's id in the URLs of its requests; a channel has no host."""


REQUEST_TIMEOUT: Final = 120.0
"""Seconds that a peer which is connected has for each step of an answer: a view may have to be indexed first."""


def upload_secret(identity: Identity | str | os.PathLike[str] | None) -> bytes:
    """What a user's uploads are named by: it is known to nobody who does not have the identity's key. May block.

    Args:
        identity: As users give it; by default the user's own, which is made if there is none.

    Raises:
        InvalidIdentity
    """
    own = identity if isinstance(identity, Identity) else Identity.load(identity)
    return own.sign(b"", purpose="uploads")


class RemoteShare(RemoteDatabase):
    """Somebody else's database, reached peer to peer.

    When the connection is lost, the requests under way raise PeerUnreachable, and the next one connects anew. Closing
    it gives the connection back; it ends when nobody has used it for a while.
    """

    def __init__(
        self, lease: Lease, dbname: str, timeout: float | None = None, *, secret: Callable[[], bytes] | None = None
    ) -> None:
        super().__init__(
            lease.exchange,
            ORIGIN + lease.share_id,
            name=dbname,
            timeout=REQUEST_TIMEOUT if timeout is None else timeout,
            on_close=self._closed,
            secret=secret,
        )
        self._lease = lease
        self._afterwards: list[Callable[[], Awaitable[None]]] = []

    @property
    def share_info(self) -> Any:
        """The sharer's ``info``, as of the last time that it let us in."""
        return self._lease.info

    @property
    def owner(self) -> PublicKey:
        """The sharer's key, which was verified."""
        return PublicKey(self._lease.peer.key)

    async def stats(self) -> LinkStats | None:
        """What is known of the connection: path, round-trip time, bytes; ``None`` while there is none."""
        return await self._lease.stats()

    def on_close(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something after closing."""
        self._afterwards.append(work)

    async def _closed(self) -> None:
        try:
            await self._lease.close()
        finally:
            for work in self._afterwards:
                await work()
            self._afterwards.clear()
