"""The registry behind the channels: shares, for the peers that were let in to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from weakref import WeakSet

from peerpouch.access.gate import GatedDatabase
from peerpouch.core.policy import Access
from peerpouch.errors import Forbidden, ShareNotFound
from peerpouch.identity.keys import PublicKey
from peerpouch.ports import Database, Peer, Principal, Registry


class Served:
    """A database that is served as a share.

    Attributes:
        share_id: The name under which peers reach it.
        database: The owner's.
        access: What peers may do.
    """

    def __init__(self, share_id: str, database: Database, access: Access) -> None:
        self.share_id = share_id
        self.database = database
        self.access = access
        self._gates: WeakSet[GatedDatabase] = WeakSet()

    def gate(self, peer: Peer) -> GatedDatabase:
        """The database as a peer may see it."""
        gate = GatedDatabase(self.database, peer, self.access, name=self.share_id)
        self._gates.add(gate)
        return gate

    def revoke(self, reason: str) -> None:
        """End what is under way through every gate."""
        for gate in list(self._gates):
            gate.revoke(reason)


class ShareRegistry(Registry):
    """Shares by id. To a peer that was not let in to one, it does not exist.

    Args:
        key: The owner's; the registry's uuid is made of it.
        admitted: Whether a peer was let in to a share.
    """

    def __init__(self, key: PublicKey, admitted: Callable[[Peer, str], bool]) -> None:
        self._uuid = hashlib.sha256(b"peerpouch server 1\0" + key.raw).hexdigest()[:32]
        self._admitted = admitted
        self._served: dict[str, Served] = {}

    @property
    def uuid(self) -> str:
        return self._uuid

    def add(self, served: Served) -> None:
        """Serve a share, in place of what was served under its id."""
        self._served[served.share_id] = served

    def remove(self, share_id: str) -> Served | None:
        """Serve a share no more. Gives what was served."""
        return self._served.pop(share_id, None)

    async def open(self, name: str, principal: Principal) -> Database:
        served = self._served.get(name)
        if served is None or not isinstance(principal, Peer) or not self._admitted(principal, name):
            raise ShareNotFound("There is no such share, or it is not open to you.")
        return served.gate(principal)

    async def names(self, principal: Principal) -> list[str]:
        if not isinstance(principal, Peer):
            return []
        return sorted(name for name in self._served if self._admitted(principal, name))

    async def create(self, name: str, principal: Principal) -> None:
        raise Forbidden("Databases are not made over a peer's channel.")

    async def delete(self, name: str, principal: Principal) -> None:
        raise Forbidden("Only the owner of a database may delete it.")
