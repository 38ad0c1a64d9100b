"""Room for large bodies: what everybody who asks at once can make this process hold.

A body of JSON is held whole while it is read and handled, and a limit for each does not bound all of them: one visitor
may have 64 requests under way, and a body that inflates costs it little. So only small bodies are held freely; a larger
one waits for a place, which it does without holding up others, since what is not read gives no credit to its sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

from peerpouch.errors import DeadlineExceeded

Message = MutableMapping[str, Any]

SMALL: Final = 256 * 1024
"""Bytes of a body that needs no place: 64 of them, which one connection can have, are 16 MiB."""

MEDIUM: Final = 4 * 1024 * 1024
"""Bytes of a body that needs a medium place. A replicator's batch has 1 MiB."""

MEDIUM_EACH: Final = 4
"""Medium places of each visitor, as many batches as a replicator has under way: 16 MiB."""

LARGE_EACH: Final = 1
LARGE_ALL: Final = 4
"""Places for bodies of any size up to the limit of JSON bodies, of each visitor and of all: 512 MiB."""

GRACE: Final = 30.0
SLOWEST: Final = 16 * 1024
"""Of a body with a place at least so many bytes come in a second, but for so many seconds in all; else it loses the
place, so that nobody keeps others out by sending slowly."""


@dataclass(slots=True)
class _Visitor:
    medium: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MEDIUM_EACH))
    large: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(LARGE_EACH))
    bodies: int = 0


class BodyRoom:
    """The places of one application."""

    def __init__(self) -> None:
        self.visitors: dict[Hashable, _Visitor] = {}
        self.large = asyncio.Semaphore(LARGE_ALL)

    def body(self, who: Hashable) -> Body:
        """A body of a visitor's, which is empty yet. It must be released."""
        return Body(self, who)


class Body:
    """One body that is being read, and the places that it has."""

    def __init__(self, room: BodyRoom, who: Hashable) -> None:
        self._room = room
        self._who = who
        self._visitor: _Visitor | None = None
        self._held: list[asyncio.Semaphore] = []
        self._patience = GRACE

    async def grow(self, size: int) -> None:
        """Go on to hold so many bytes: waits for the places that this takes.

        A body takes them in one order, and whoever has the last one waits for nobody, so that there is no circle.
        """
        if size > SMALL and not self._held:
            if self._visitor is None:
                self._visitor = self._room.visitors.setdefault(self._who, _Visitor())
                self._visitor.bodies += 1
            await self._take(self._visitor.medium)
        if size > MEDIUM and len(self._held) < 3 and self._visitor is not None:
            if len(self._held) == 1:
                await self._take(self._visitor.large)
            await self._take(self._room.large)

    async def _take(self, place: asyncio.Semaphore) -> None:
        await place.acquire()
        self._held.append(place)

    async def wait(self, more: Awaitable[Message]) -> Message:
        """The next part of it. Only waiting for its sender counts as slow, not what is done here meanwhile.

        Raises:
            DeadlineExceeded: others may want its place, and it comes too slowly.
        """
        if not self._held:
            return await more
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(max(0.0, self._patience)):
                message = await more
        except TimeoutError:
            raise DeadlineExceeded("The request's body came too slowly, and others wait.") from None
        self._patience += len(message.get("body", b"")) / SLOWEST - (loop.time() - began)
        return message

    def give_way(self) -> None:
        """Give back the place that others may wait for, and keep those that its own visitor alone may."""
        if self._room.large in self._held:
            self._held.remove(self._room.large)
            self._room.large.release()

    def release(self) -> None:
        """Nothing of it is held any more. Harmless when repeated."""
        while self._held:
            self._held.pop().release()
        visitor, self._visitor = self._visitor, None
        if visitor is not None:
            visitor.bodies -= 1
            if not visitor.bodies:
                self._room.visitors.pop(self._who, None)
