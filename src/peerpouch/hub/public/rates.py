"""How often somebody may come: token buckets, as many as are worth remembering. Pure: the time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

MOST: Final = 10_000
"""Addresses remembered, about 2 MB. Who is forgotten has a full bucket again; what all may do together is bounded apart
from it."""


class Rates:
    """A bucket for each key: full at first, refilled steadily.

    Args:
        rate: Tokens a second.
        burst: Tokens that a full bucket holds.
        most: Keys remembered; the one that was seen least recently is forgotten.
    """

    def __init__(self, rate: float, burst: float, most: int = MOST) -> None:
        self._rate = rate
        self._burst = burst
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, tokens: float, now: float) -> float:
        """Take tokens out of a bucket.

        Args:
            now: Seconds of a monotonic clock.

        Returns:
            Nought when they were there; else the seconds until they will be, and nothing was taken.
        """
        held, since = self._buckets.pop(key, (self._burst, now))
        held = min(self._burst, held + (now - since) * self._rate)
        wait = max(0.0, (min(tokens, self._burst) - held) / self._rate)
        self._buckets[key] = (held if wait else held - tokens, now)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait


def origin(address: str) -> str:
    """What counts as one address: an IPv4 address, or the first 64 bits of an IPv6 address, of which one household has
    all that begin so."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64)) + "/64"
    return str(parsed)
