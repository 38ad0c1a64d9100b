"""How much to queue in the engine, and in which portions, learned from how fast the queue drains.

The engine's queue is first in, first out: what is in it stands before every urgent frame. It should hold no
more than the path takes in 50 milliseconds, and no less than keeps the path busy until this end runs again.
"""

from __future__ import annotations

from .limits import KIB, LARGEST_MESSAGE, MIB, PORTABLE_MESSAGE, SMALLEST_BULK

#: Seconds of draining that may stand before an urgent frame.
DELAY = 0.05
#: Seconds of draining in one message, so that turns are short on a slow path.
TURN = 0.01
#: Where the queue starts, before anything is known: 130 ms at 1 Mbit/s, and a fast path doubles it in no time.
_FIRST_MARK = 16 * KIB
#: Two messages of the smallest size: one on its way, one behind it.
_LEAST_MARK = 2 * SMALLEST_BULK
#: More brought no speed in either engine at 50 ms round trip, and wrtc raises at 16 MiB.
_LARGEST_MARK = 1 * MIB
#: Seconds over which the rate is measured at least; round trips, because acknowledgements come in bursts.
_WINDOW = 0.05
_ROUND_TRIPS = 2
#: Seconds after which a rate says nothing any more: the path may be another one.
_STALE = 30.0


class Pacer:
    """The marks of one channel; ``now`` is monotonic seconds, sizes are bytes."""

    def __init__(self) -> None:
        self.mark = _FIRST_MARK
        self.turn = PORTABLE_MESSAGE
        #: Bytes per second that the path took when it was busy; nothing until it was.
        self.rate: float | None = None
        self.round_trip = 0.0
        self._measured = 0.0
        self._sent = 0
        self._since: tuple[float, int] | None = None
        self._full = False

    def sent(self, size: int) -> None:
        """So many bytes were put into the engine's queue."""
        self._sent += size

    def room(self, now: float, buffered: int) -> int:
        """How large the next message's bodies may be; 0 to wait until the queue is down to :attr:`low`.

        Args:
            now: Monotonic seconds.
            buffered: Bytes in the engine's queue.
        """
        self._learn(now, buffered)
        room = self.mark - buffered
        if room < SMALLEST_BULK:
            self._full = True
            return 0
        return min(room, self.turn)

    def recent_rate(self, now: float) -> float | None:
        """:attr:`rate`, unless it was measured long ago."""
        return self.rate if now - self._measured <= _STALE else None

    @property
    def low(self) -> int:
        """The queue's size at which to fill it again."""
        return self.mark // 2

    def _learn(self, now: float, buffered: int) -> None:
        drained = self._sent - buffered
        if buffered <= 0 or self._since is None:
            # Dry although it was filled to the mark: the mark was too low for the time between two turns.
            if self._full and buffered <= 0:
                self.mark = min(2 * self.mark, _LARGEST_MARK)
                self.turn = max(self.turn, min(self.mark // 4, LARGEST_MESSAGE))
            self._full = False
            self._since = (now, drained)
            return
        began, before = self._since
        elapsed = now - began
        if elapsed >= max(_WINDOW, _ROUND_TRIPS * self.round_trip):
            self.rate = (drained - before) / elapsed
            self._measured = now
            self.mark = min(max(int(self.rate * DELAY), _LEAST_MARK), _LARGEST_MARK)
            self.turn = min(max(int(self.rate * TURN), SMALLEST_BULK), LARGEST_MESSAGE)
            self._since = (now, drained)
