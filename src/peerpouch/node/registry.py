"""The registry behind the channels: shares, for the peers that were let in to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from peerpouch.access.gate import GatedDatabase
from peerpouch.access.limited import select_from
from peerpouch.access.selection import Selection
from peerpouch.core import jsonio
from peerpouch.core.policy import Access
from peerpouch.errors import BadRequest, ConnectionFailed, Forbidden, ShareNotFound
from peerpouch.hub.admission import Openings
from peerpouch.hub.events import RemotePeer
from peerpouch.identity.keys import PublicKey, read_fingerprint
from peerpouch.node.doors import Door, Grant
from peerpouch.ports import Database, Peer, Principal, Registry

_CHANGED: Final = "The owner changed how this database is shared; ask again."

MAX_GRANTS: Final = 4096
"""Peers remembered as let in: far more than connections there can be at a time, of which none is forgotten. Every offer
costs a place, also one of which no connection comes."""

MAX_SELECTIONS: Final = 256
"""Selections kept in memory for one share: a function of the owner's may give every peer a selector of its own."""


@dataclass(eq=False, slots=True)
class _Decision:
    """Somebody whom the door is being asked about; ``refusal`` once it was revoked meanwhile."""

    key: bytes
    refusal: str | None = None


class Served:
    """A database that is served as a share.

    Attributes:
        share_id: The name under which peers reach it.
        database: The owner's.
        door: Who may come.

    Args:
        connected: Whether a peer that was let in is connected for a share, and so must not be forgotten.
    """

    def __init__(
        self, share_id: str, database: Database, door: Door, connected: Callable[[Peer, str], bool] = lambda *_: False
    ) -> None:
        self.share_id = share_id
        self._connected = connected
        self.database = database
        self.door = door
        self._deciding: set[_Decision] = set()
        self._grants: dict[Peer, Grant] = {}
        self._known: dict[Peer, Access] = {}
        self._selections: dict[bytes, Selection] = {}
        self._gates: WeakSet[GatedDatabase] = WeakSet()

    async def welcome(self, remote: RemotePeer, info: Any, token: bytes | None, openings: Openings) -> None:
        """Let somebody in, if the door does: which may ask a person, so that all may have changed when it says so.

        Args:
            openings: Bounds how many are decided on at a time, over whichever way they asked.

        Raises:
            Forbidden, Unauthorized, ShareNotFound, TooManyRequests: it is not let in, for a reason that it is told.
        """
        with openings.enter(remote.key.raw):
            decision = _Decision(remote.key.raw)
            self._deciding.add(decision)
            try:
                while True:
                    door = self.door
                    grant = await door.decide(remote, self.share_id, info, token)
                    # Nothing is awaited from here on: whoever is revoked later, is revoked as one who was let in.
                    if decision.refusal is not None:
                        raise Forbidden(decision.refusal)
                    if self.door is door:
                        self.let_in(remote.address, grant)
                        return
            finally:
                self._deciding.discard(decision)

    def let_in(self, peer: Peer, grant: Grant) -> None:
        """Somebody was let in, for this reason."""
        self._known.pop(peer, None)
        self._grants.pop(peer, None)
        self._grants[peer] = grant
        while len(self._grants) > MAX_GRANTS:
            others = (each for each in self._grants if each != peer and not self._connected(each, self.share_id))
            oldest = next(others, peer)
            del self._grants[oldest]
            self._known.pop(oldest, None)

    def take_over(self, before: Served) -> None:
        """Whoever was let in to what was served before stays in, under the rules of now."""
        self._grants = {**before._grants, **self._grants}

    async def gate(self, peer: Peer) -> GatedDatabase:
        """The database as a peer may see it now.

        Raises:
            Forbidden: not at all any more.
            ShareNotFound: it was not let in.
        """
        grant = self._grants.get(peer)
        if grant is None:
            raise ShareNotFound
        door = self.door
        access = self._known.get(peer)
        if access is None:
            access = await door.access_of(grant)
            if self._grants.get(peer) is not grant or self.door is not door:
                raise ConnectionFailed(_CHANGED)  # while the owner's function was asked
            self._known[peer] = access
        selection = None if access.select is None else self._selection(access.select)
        gate = GatedDatabase(self.database, peer, access, name=self.share_id, selection=selection, visitor=grant.remote)
        self._gates.add(gate)
        return gate

    def _selection(self, select: Mapping[str, Any]) -> Selection:
        key = jsonio.canonical(dict(select))
        found = self._selections.get(key)
        if found is None:
            if len(self._selections) >= MAX_SELECTIONS:
                del self._selections[next(iter(self._selections))]
            found = self._selections[key] = select_from(self.database, select)
        return found

    def change(self, door: Door) -> None:
        """Other rules, at once: what is under way ends, and may be asked for again under the new ones."""
        self.door = door
        self._known.clear()
        for gate in list(self._gates):
            gate.revoke(_CHANGED, ConnectionFailed)

    def find(self, text: str) -> PublicKey | None:
        """The key of somebody who was let in, by its fingerprint."""
        with suppress(BadRequest):
            wanted = read_fingerprint(text)
            return next(
                (grant.remote.key for grant in self._grants.values() if grant.remote.fingerprint == wanted), None
            )
        return None

    def revoke(self, reason: str, key: bytes | None = None) -> None:
        """End what is under way through every gate, or through those of one key, and let in nobody who asked before."""
        for decision in self._deciding:
            if key in (None, decision.key):
                decision.refusal = reason
        for peer in [peer for peer in self._grants if key in (None, peer.key)]:
            del self._grants[peer]
            self._known.pop(peer, None)
        for gate in list(self._gates):
            if key is None or (isinstance(gate.principal, Peer) and gate.principal.key == key):
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
        return await served.gate(principal)

    async def names(self, principal: Principal) -> list[str]:
        if not isinstance(principal, Peer):
            return []
        return sorted(name for name in self._served if self._admitted(principal, name))

    async def create(self, name: str, principal: Principal) -> None:
        raise Forbidden("Databases are not made over a peer's channel.")

    async def delete(self, name: str, principal: Principal) -> None:
        raise Forbidden("Only the owner of a database may delete it.")
