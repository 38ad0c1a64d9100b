"""What is known of the connection to one address, and who uses it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from peerpouch.peers.limits import PoolLimits
from peerpouch.ports import Link, Peer


@dataclass(eq=False, slots=True)
class Attempt:
    """An offer that is under way: to open ``share_id`` with ``info``. The task's result is the sharer's info.

    ``restarting``: it was begun because the path of a link seemed to be broken, and nobody asked for it.
    """

    share_id: str
    info: Any = field(repr=False)  # there may be the token of an invite in it
    task: asyncio.Task[Any]
    restarting: bool = False


@dataclass(eq=False, slots=True)
class Connection:
    """The connection to one address: the open link, or what is being done to get one.

    Attributes:
        address: The other end.
        link: The open link; one that has ended stays only until its end was noticed.
        attempt: Our offer that is under way.
        answering: The other's offer that is under way: admitted, and waiting for its channel to open.
        deciding: How many of the other end's offers are being decided on, so that the entry is kept.
        users: How many leases and openers of ours use the connection, by share.
        opened: The shares of the other end that we were let in to over ``link``, and what it says of them.
        admitted: Our shares that the other end was let in to, over ``link`` or over what is becoming it.
        releases: Shares that the other end is being told we do not use any more.
        idle: Counts down while nobody uses the link.
    """

    address: Peer
    link: Link | None = None
    attempt: Attempt | None = None
    answering: asyncio.Task[None] | None = None
    deciding: int = 0
    users: Counter[str] = field(default_factory=Counter)
    opened: dict[str, Any] = field(default_factory=dict)
    admitted: set[str] = field(default_factory=set)
    releases: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    idle: asyncio.Task[None] | None = None
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def live(self) -> Link | None:
        """The link. One that has ended is dropped, with all that was open over it, even before its end was noticed."""
        if self.link is not None and self.link.closed:
            self.drop(self.link)
        return self.link

    @property
    def in_use(self) -> bool:
        """Whether either end has a use for the connection."""
        return bool(self.admitted or self.users)

    @property
    def pending(self) -> bool:
        """Whether a link is being made, by either end."""
        return self.attempt is not None or self.answering is not None

    def enter(self, share_id: str) -> None:
        """Count one more user of a share."""
        self.users[share_id] += 1

    def leave(self, share_id: str) -> bool:
        """Count one user less; whether it was the share's last."""
        self.users[share_id] -= 1
        if self.users[share_id] > 0:
            return False
        del self.users[share_id]
        return True

    def give_up_answering(self) -> None:
        """Cancel the answer that is under way. A task that is cancelled before its first step runs none of its code, so
        the entry can't be left to it."""
        task, self.answering = self.answering, None
        if task is not None:
            task.cancel()

    def install(self, link: Link) -> Link | None:
        """Take a new link into use, and give the one that it replaces. What was open over that is open no more."""
        old, self.link = self.link, link
        self.opened.clear()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()
        return old

    def drop(self, link: Link) -> bool:
        """Forget a link that has ended, with all that was open over it; whether it was still the one in use."""
        if self.link is not link:
            return False
        self.link = None
        self.opened.clear()
        self.admitted.clear()
        return True

    async def linked(self) -> None:
        """Wait until the next link is there."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)


def order(address: Peer) -> tuple[bytes, str]:
    """By which addresses are compared: of offers that cross, that of the lower one counts."""
    return address.key, address.session


def crowded(connections: Iterable[Connection], peer: Peer, limits: PoolLimits) -> bool:
    """Whether there is no room for one more connection, to this peer."""
    others = [entry for entry in connections if entry.address != peer]
    return (
        sum(entry.answering is not None for entry in others) >= limits.half_opens
        or len(others) >= limits.links
        or sum(entry.address.key == peer.key for entry in others) >= limits.links_per_key
    )
