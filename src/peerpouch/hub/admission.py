"""Which offers are looked at: none twice, and never too many at once. Pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from peerpouch.errors import TooManyRequests
from peerpouch.hub.leases import TOLERANCE

MAX_REMEMBERED: Final = 8_192
"""Nonces remembered: 4 a second over the half hour for which an offer's time can be valid, in about a megabyte."""
AHEAD: Final = 5.0
"""Seconds by which an offer's time may still be ahead of our clock while half of the places are taken."""

MAX_PENDING: Final = 64
"""Openings decided on at one time. Each may hold a peer connection in the making, which costs about a megabyte."""
MAX_PENDING_PER_KEY: Final = 16
"""Of one key: its holder opens several shares at once, from several processes, and leaves room for others."""
MAX_CALLS: Final = 8
"""Offers that one session has on their way to one owner; more wait their turn. Two processes of one person may both be
busy without meeting the owner's bound."""


class Replays:
    """Offers that were seen, so that none is taken twice.

    An offer is remembered while its time would let it pass. When there are too many, the oldest is forgotten and with
    it every offer as old: a flood makes offers from slow clocks fail, but lets no replay pass. So that a flood of
    offers with times from the future does not make all others look old, those get half of the places only. After a
    restart nothing needs to be remembered, because nothing sealed to the last session can be opened any more.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._by_time: list[tuple[int, str]] = []
        self._floor = -1

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, nonce: str, time: int, now: float) -> bool:
        """Whether this offer is new.

        Args:
            nonce: The offer's.
            time: The offer's, in milliseconds, checked against the clock before.
            now: Seconds since 1970, by the recipient's clock.

        Raises:
            TooManyRequests: if there are so many that offers from clocks that are ahead can't be looked at.
        """
        self._forget_before(round(1000 * (now - TOLERANCE)))
        if nonce in self._seen or time <= self._floor:
            return False
        if 2 * len(self._by_time) >= MAX_REMEMBERED and time > 1000 * (now + AHEAD):
            raise TooManyRequests("Too many openings at the moment, and the opener's clock is ahead; try again later.")
        self._seen.add(nonce)
        heapq.heappush(self._by_time, (time, nonce))
        while len(self._by_time) > MAX_REMEMBERED:
            self._forget_first()
        return True

    def _forget_before(self, time: int) -> None:
        while self._by_time and self._by_time[0][0] < time:
            self._forget_first()

    def _forget_first(self) -> None:
        # The floor stays: should the clock be set back, what was forgotten does not become new again.
        self._floor, nonce = heapq.heappop(self._by_time)
        self._seen.discard(nonce)


class Openings:
    """How many openings are being decided on, in all and for each key."""

    def __init__(self) -> None:
        self._by_key: Counter[bytes] = Counter()
        self._all = 0

    def __len__(self) -> int:
        return self._all

    @contextmanager
    def enter(self, key: bytes) -> Iterator[None]:
        """Count one opening while the context lasts.

        Raises:
            TooManyRequests: if there are too many already.
        """
        if self._all >= MAX_PENDING or self._by_key[key] >= MAX_PENDING_PER_KEY:
            raise TooManyRequests("Too many openings are pending; try again in a moment.")
        self._all += 1
        self._by_key[key] += 1
        try:
            yield
        finally:
            self._all -= 1
            self._by_key[key] -= 1
            if not self._by_key[key]:
                del self._by_key[key]
