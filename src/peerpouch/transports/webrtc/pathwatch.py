"""Whether a link's path seems to be broken, and there is a reason to look for another one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

SILENCE: Final = 6.0
"""Seconds of silence, in which a ping was not answered. A third of the time until the peer is given up is left."""
ANSWER_WITHIN: Final = 1.5
"""Seconds that a peer has to answer a ping after this machine's addresses have changed: a slow path's round trip and a
few retransmissions."""


class PathWatch:
    """The judgement of one link; ``now`` is monotonic seconds.

    Args:
        addresses: This machine's addresses when the link was made.
    """

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        self._changed: float | None = None
        #: Set while the path seems to be broken.
        self.trouble = asyncio.Event()

    @property
    def soon(self) -> float:
        """Seconds until :meth:`check` is to be called at the latest."""
        return ANSWER_WITHIN if self._changed is not None else SILENCE

    def heard(self) -> None:
        """Something arrived, so the path works."""
        self._changed = None
        self.trouble.clear()

    def check(self, now: float, silence: float, addresses: Callable[[], tuple[str, ...]]) -> bool:
        """Judge; gives whether the peer is to be asked for a sign of life at once.

        Args:
            silence: Seconds since something arrived.
            addresses: Gives this machine's addresses.
        """
        current = addresses()
        # Without any network there is no other path either: the change is that one comes back.
        news = bool(current) and current != self._addresses
        if news:
            self._addresses, self._changed = current, now
        moved = self._changed is not None and now - self._changed >= ANSWER_WITHIN
        if current and (moved or silence >= SILENCE):
            self.trouble.set()
        return news
