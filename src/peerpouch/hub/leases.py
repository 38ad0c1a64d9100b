"""Which shares are alive, by clocks that may be wrong. Pure: both times are arguments.

Two judgements, and the first is the stronger:

* A renewal that was *witnessed* (the counter of a session grew while we looked) proves that the owner lived when it
  came. From then on only our own monotonic clock counts: alive until the lease has passed without another.
* What was seen once only is judged by the wall clocks, with 15 minutes of tolerance, and lives no longer than one lease
  by our monotonic clock.

So a machine without a clock sees every share as soon as it is renewed, at most 30 seconds later. A hub that repeats an
older document of the same session changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from peerpouch.hub.shares import Share

TOLERANCE: Final = 15 * 60
"""Seconds by which two clocks may differ. A laptop that slept or a board that never asked the network is off by more;
a machine that keeps time at all by less."""

MAX_SHARES: Final = 5_000
"""Shares remembered of one hub: with the largest ``info``, 40 MiB. What comes beyond is not listed."""


class Verdict(Enum):
    """What is known of a share's life."""

    ALIVE = "alive"
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from the future"
    """Renewed at a time that has not come yet by our clock: one of both clocks is wrong, and no renewal was seen."""


@dataclass(slots=True)
class _Record:
    share: Share
    seen: float
    witnessed: bool


class Leases:
    """The shares seen so far, each with the moment at which its newest renewal was first seen."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def __len__(self) -> int:
        return len(self._records)

    def observe(self, share: Share, monotonic: float, *, wanted: bool = False) -> bool:
        """Note a verified share.

        Args:
            share: As its document says.
            monotonic: Now.
            wanted: Whether it was asked for by its id: then another one goes when the table is full.

        Returns:
            Whether it is remembered: not if it is older than what is known of its session, or the table is full.
        """
        record = self._records.get(share.id)
        if record is None:
            if len(self._records) >= MAX_SHARES:
                if not wanted:
                    return False
                del self._records[next(iter(self._records))]
            self._records[share.id] = _Record(share, monotonic, witnessed=False)
            return True
        if record.share.session != share.session or record.share.key != share.key:
            self._records[share.id] = _Record(share, monotonic, witnessed=False)
            return True
        if share.renewal < record.share.renewal:
            return False
        if share.renewal > record.share.renewal:
            self._records[share.id] = _Record(share, monotonic, witnessed=True)
        return True

    def ids(self) -> set[str]:
        """The ids of all shares remembered, alive or not."""
        return set(self._records)

    def forget(self, share_id: str) -> Share | None:
        """The share is gone from the hub. Gives what was known of it."""
        record = self._records.pop(share_id, None)
        return None if record is None else record.share

    def get(self, share_id: str) -> Share | None:
        """What is known of a share, alive or not."""
        record = self._records.get(share_id)
        return None if record is None else record.share

    def judge(self, share_id: str, *, monotonic: float, now: float) -> Verdict | None:
        """Whether a share is alive; None if it was never seen. ``now`` is in seconds since 1970."""
        record = self._records.get(share_id)
        return None if record is None else _judge(record, monotonic, now)

    def alive(self, *, monotonic: float, now: float) -> Iterator[Share]:
        """The shares that are alive, in the order of their ids."""
        for share_id in sorted(self._records):
            record = self._records[share_id]
            if _judge(record, monotonic, now) is Verdict.ALIVE:
                yield record.share

    def drop_expired(self, *, monotonic: float) -> None:
        """Forget what ran out long ago, so that the table holds what the hub holds."""
        for share_id, record in list(self._records.items()):
            if monotonic - record.seen > record.share.lease + TOLERANCE:
                del self._records[share_id]

    def owners_time(self, share_id: str, *, monotonic: float, now: float) -> int:
        """The time for an offer to this share, in milliseconds since 1970.

        Ours, if the owner's clock agrees with it within the tolerance; otherwise the owner's, counted on from its last
        renewal. So neither side needs a clock that is right.
        """
        record = self._records[share_id]
        owners = record.share.renewed / 1000 + (monotonic - record.seen)
        return round(1000 * (now if abs(now - owners) <= TOLERANCE else owners))


def _judge(record: _Record, monotonic: float, now: float) -> Verdict:
    if monotonic - record.seen > record.share.lease:
        return Verdict.EXPIRED
    if record.witnessed:
        return Verdict.ALIVE
    age = now - record.share.renewed / 1000
    if age > record.share.lease + TOLERANCE:
        return Verdict.EXPIRED
    return Verdict.FROM_THE_FUTURE if age < -TOLERANCE else Verdict.ALIVE
