"""How much to queue in the engine, and in which portions, learned from what the path carries.

Theory of operation
    The engine's queue is first in, first out: what is in it stands before every urgent frame. It should hold no
    more than the path takes in 50 milliseconds, and no less than keeps the path busy until this end runs again.

    What leaves the queue is not yet carried: a congestion window that is open takes it at once, and it may then stand
    before the slowest line on the way. But the channel keeps its order, so a PONG proves that all that went before
    its PING has arrived. What was sent in a stretch of time and is known to have arrived at its end is *evidence* of
    a rate: the path carries at least that, however large windows and routers' queues are. So bulk is interspersed
    with a few pings, and a path never seems faster than it is.

    Where the queue was never dry, it was the path that bounded what left it. So the path carries no more than that:
    a *ceiling*, which brings the rate down when a path becomes slow.
"""

from __future__ import annotations

from collections import deque

from .limits import KIB, LARGEST_MESSAGE, MIB, PORTABLE_MESSAGE, SMALLEST_BULK, Allowance

#: Seconds of draining that may stand before an urgent frame.
DELAY = 0.05
#: Round trips of draining that may, where that is more, in a queue that has just been dry while the congestion window
#: still opens: it takes at once twice what arrived in the round trip before, and does not open where that is missing.
#: Over 25 ms and less it is the delay that counts.
OPENING = 2.0
#: Seconds of draining in one message, so that turns are short on a slow path.
TURN = 0.01
#: Bytes per second that a path is believed to carry before anything is known: 1 Mbit/s, the slowest line that matters.
FIRST = 125_000.0
#: Two messages of the smallest size: one on its way, one behind it.
_LEAST_MARK = 2 * SMALLEST_BULK
#: More brought no speed in either engine at 50 ms round trip, and wrtc raises at 16 MiB.
_LARGEST_MARK = 1 * MIB
#: Seconds over which a ceiling is measured at least; round trips, because acknowledgements come in bursts.
_WINDOW = 0.05
_ROUND_TRIPS = 2
#: Seconds of its line that a router lets stand before it, as many at home do. What a window took at first is carried
#: by then.
_ROUTER = 0.25
#: Seconds after which a rate says nothing any more: the path may be another one.
_STALE = 30.0
#: Bytes between two pings, and how many of them may be on their way: a window that opens is seen to grow.
_APART = 8 * KIB
_UNANSWERED = 4
#: Seconds between two pings.
_DISTINCT = 0.001
#: Pings at once, and per second. The other end takes 64 and 10, with those that keep the connection alive.
PINGS = (20, 5.0)
#: Answers without more evidence after which the window counts as open: two round trips and more.
_FLAT = 8
#: Pings whose place is remembered: in the long run 1.6 seconds, so that evidence is within a fifth of the truth.
_PLACES = 8


class Pacer:
    """The marks of one channel; ``now`` is monotonic seconds, sizes are bytes."""

    def __init__(self) -> None:
        self.mark = _LEAST_MARK
        self.turn = SMALLEST_BULK
        #: Bytes per second that the path took when it was busy for long enough to tell; nothing until it was.
        self.rate: float | None = None
        #: Seconds, of the path when no queue is in the way.
        self.round_trip = 0.0
        self._measured = 0.0
        self._sent = 0
        self._believed = 0.0
        self._learned = float("-inf")
        # What goes into a dry queue in any case: one message, twice as large each time, at most the portable one.
        self._least = PORTABLE_MESSAGE
        self._full = False
        # Answers since the evidence last grew by a quarter, and what it was then.
        self._flat = 0
        self._grown = FIRST
        # How far the queue is filled in this turn, because it was dry when it began.
        self._dry: tuple[float, int] | None = None
        # When how much had been sent: at some pings, and at those that wait for an answer.
        self._places: deque[tuple[float, int]] = deque(maxlen=_PLACES)
        self._waiting: deque[tuple[float, int]] = deque()
        self._pings = Allowance(*PINGS)
        # Since when the queue is not dry; where the window of the next ceiling began, and what the last one found.
        self._busy: float | None = None
        self._window = (0.0, 0)
        self._before = 0.0

    def sent(self, size: int) -> None:
        """So many bytes were put into the engine's queue."""
        self._sent += size

    def room(self, now: float, buffered: int) -> int:
        """How large the next message's bodies may be; 0 to wait until the queue is down to :attr:`low`.

        Args:
            now: Monotonic seconds.
            buffered: Bytes in the engine's queue.
        """
        if now - self._learned > _STALE:
            self._forget(now)
        least = 0
        if buffered > 0:
            self._bound(now, self._sent - buffered)
        else:
            self._begin(now)
            least = self._least
        filled = self._dry[1] if self._dry is not None and self._dry[0] == now else self.mark
        room = max(filled - buffered, least)
        if room < SMALLEST_BULK:
            self._full = True
            return 0
        return min(room, max(self.turn, least))

    def asks(self, now: float) -> bool:
        """Whether a ping is to be sent, behind what was sent so far."""
        waiting = self._waiting
        if self._sent - self._places[-1][1] < _APART or len(waiting) >= _UNANSWERED:
            return False
        # Answers are told apart by when they were asked for.
        if (waiting and now - waiting[-1][0] < _DISTINCT) or not self._pings.take(now):
            return False
        self._places.append((now, self._sent))
        self._waiting.append((now, self._sent))
        return True

    def answered(self, now: float, took: float) -> None:
        """A ping was answered, ``took`` seconds after it was sent."""
        arrived = 0
        while self._waiting and self._waiting[0][0] <= now - took + _DISTINCT / 2:
            arrived = self._waiting.popleft()[1]
        if not arrived:
            return
        stretches = ((now - at, arrived - sent) for at, sent in self._places if sent < arrived)
        rate = max((size / seconds for seconds, size in stretches if seconds > 0), default=0.0)
        if self.opening:
            self._flat += 1
            if rate > 1.25 * self._grown:
                self._grown, self._flat = rate, 0
        if rate > self._believed:
            self._believe(rate)
        if rate > self._believed / 2:
            self._learned = now

    def recent_rate(self, now: float) -> float | None:
        """:attr:`rate`, unless it was measured long ago."""
        return self.rate if now - self._measured <= _STALE else None

    @property
    def opening(self) -> bool:
        """Whether the congestion window still opens, as far as is known: the path never bounded it, and more arrives
        in each round trip."""
        return self._flat < _FLAT

    @property
    def low(self) -> int:
        """The queue's size at which to fill it again."""
        return self.mark // 2

    def _forget(self, now: float) -> None:
        self._learned = now
        self._least = PORTABLE_MESSAGE
        self._flat = 0
        self._grown = FIRST
        self._places.clear()
        self._places.append((now, self._sent))
        self._believe(FIRST)

    def _believe(self, rate: float) -> None:
        self._believed = rate
        self.mark = min(max(int(rate * DELAY), _LEAST_MARK), _LARGEST_MARK)
        self.turn = min(max(int(rate * TURN), SMALLEST_BULK), LARGEST_MESSAGE)

    def _begin(self, now: float) -> None:
        """The queue is dry."""
        if self._full:
            self._full = False
            self._least = min(2 * self._least, PORTABLE_MESSAGE)
        opening = int(self._believed * OPENING * self.round_trip) if self.opening else 0
        self._dry = (now, min(max(self.mark, opening), _LARGEST_MARK))
        self._busy = None
        if self._sent - self._places[-1][1] < _APART:  # hardly anything was sent since: a stretch may begin now as well
            self._places[-1] = (now, self._sent)

    def _bound(self, now: float, drained: int) -> None:
        """A ceiling: what left the queue while there was always something in it."""
        if self._busy is None:
            self._busy, self._window, self._before = now, (now, drained), 0.0
            return
        began, before = self._window
        elapsed = now - began
        if elapsed < max(_WINDOW, _ROUND_TRIPS * self.round_trip):
            return
        rate, last = (drained - before) / elapsed, self._before
        self._window, self._before = (now, drained), rate
        if began == self._busy:  # there is no other one yet, and in it a window that was open may have taken much
            return
        self._learned = now
        self._least = SMALLEST_BULK
        self._flat = _FLAT
        # The better of two: an acknowledgement that is late makes one of them too low.
        ceiling = max(rate, last)
        if ceiling < self._believed:
            self._places.clear()
            self._places.append((now, self._sent))
            self._believe(ceiling)
        if began - self._busy >= self.round_trip + _ROUTER:
            self.rate = (rate + last) / 2
            self._measured = now
