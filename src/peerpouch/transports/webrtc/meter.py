"""How fast bytes flow over a link, lately. Pure."""

from __future__ import annotations

from collections import deque
from typing import Final

SPAN: Final = 3.0
"""Seconds that a rate is averaged over."""
_APART: Final = 0.25
"""Seconds between two samples that are kept: a dozen of them at a time."""


class Meter:
    """Takes totals, gives bytes per second over about :data:`SPAN` seconds; ``now`` is monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._samples: deque[tuple[float, int, int]] = deque(((now, 0, 0),))

    def note(self, now: float, sent: int, received: int) -> None:
        """The totals at this time."""
        samples = self._samples
        if now - samples[-1][0] >= _APART:
            samples.append((now, sent, received))
        while len(samples) > 2 and now - samples[1][0] >= SPAN:
            samples.popleft()

    def rates(self, now: float, sent: int, received: int) -> tuple[float, float]:
        """Bytes per second, sent and received, given the totals at this time."""
        self.note(now, sent, received)
        began, before_sent, before_received = self._samples[0]
        seconds = max(now - began, _APART)
        return (sent - before_sent) / seconds, (received - before_received) / seconds
