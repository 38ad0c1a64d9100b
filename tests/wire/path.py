"""A path of packets between two engines, and the queue of the sending one, in time that a test turns.

What an engine's queue shows of a path is its congestion window at work, and that is what is simulated: the window opens
in slow start, closes with each loss, and bytes leave the queue while it is open, whatever the line behind it carries.
Packets stand before the line as a home router lets them, and are dropped when they are too many. Acknowledgements come
one by one or, as over radio, in bursts.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

from peerpouch.ports import Clock

PACKET = 1150
"""Bytes of payload in a packet of the engines."""
FIRST_WINDOW = 10 * PACKET
ROUTER = 0.25
"""Seconds of the line's rate that its router lets stand before it."""
LEAST_ROUTER = 16 * PACKET
_TIMER = 0.4
"""Seconds until an engine sends again what nothing tells of: the least that dcSCTP waits."""
_STEP = 0.0005
"""On a fast line a simulated packet is as large as what the line carries in this many seconds: no test needs finer."""


class TurnedClock(Clock):
    """Time that a test turns forward, without a loop."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass(frozen=True, slots=True)
class Line:
    """How a path carries.

    Attributes:
        rate: Bytes per second.
        round_trip: Seconds, of an empty path.
        loss: Share of the packets that are lost on the way.
        bunched: Seconds between two bursts of acknowledgements; 0 for one by one.
        falls: When the rate changes, in seconds from the start, and to what.
        seed: Of the chance that loss follows.
    """

    rate: float
    round_trip: float = 0.0
    loss: float = 0.0
    bunched: float = 0.0
    falls: tuple[tuple[float, float], ...] = ()
    seed: int = 0


@dataclass(slots=True)
class Path:
    """The sending engine and the way to the other, as ``line`` says. Sizes are bytes, times seconds."""

    line: Line
    clock: TurnedClock = field(default_factory=TurnedClock)
    #: What the engine was given and has not sent: what it calls ``bufferedAmount``.
    queued: int = 0
    window: float = FIRST_WINDOW
    #: When and how much left the queue, for who wants to know how fast it drains; the last few seconds of it.
    left: deque[tuple[float, int]] = field(default_factory=deque)
    delivered: int = 0
    #: When what was asked behind so many bytes is answered: those that wait, and those whose answers have come.
    asked: deque[tuple[int, float]] = field(default_factory=deque)
    answered: deque[tuple[float, float]] = field(default_factory=deque)
    _began: float = 0.0
    _offset: int = 0
    _missing: list[int] = field(default_factory=list)
    _there: set[int] = field(default_factory=set)
    _flying: int = 0
    _again: deque[tuple[int, int]] = field(default_factory=deque)
    _slow_start: float = float("inf")
    _recover: float = 0.0
    _free: float = 0.0
    _events: list[tuple[float, int, int, int, bool]] = field(default_factory=list)
    _number: int = 0
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._chance.seed(self.line.seed)
        self._began = self.clock.time

    def rate(self, at: float) -> float:
        """What the line carries at a time of the clock."""
        rate = self.line.rate
        for seconds, changed in self.line.falls:
            if at >= self._began + seconds:
                rate = changed
        return rate

    @property
    def slow_start(self) -> bool:
        return self.window < self._slow_start

    def send(self, size: int) -> None:
        """Put so many bytes into the queue. The engine's own thread takes them up afterwards."""
        self.queued += size

    def ping(self) -> None:
        """Ask behind all that was sent so far; the answer's time, and how long it took, will be in ``answered``."""
        self.asked.append((self._offset + self.queued, self.clock.time))

    def advance(self, seconds: float) -> None:
        """Turn the clock, and let happen what happens meanwhile."""
        end = self.clock.time + seconds
        self._transmit()
        while self._events and self._events[0][0] <= end:
            at, _, offset, size, lost = heapq.heappop(self._events)
            self.clock.time = max(at, self.clock.time)
            self._lost(offset, size) if lost else self._acknowledged(offset, size)
            self._transmit()
        self.clock.time = end
        while self.left and self.left[0][0] < end - 5:
            self.left.popleft()

    def drained(self, since: float, until: float) -> int:
        """Bytes that left the queue in a stretch of the last few seconds."""
        return sum(size for at, size in self.left if since < at <= until)

    def _transmit(self) -> None:
        now = self.clock.time
        packet = max(PACKET, int(self.rate(now) * _STEP))
        while (self.queued or self._again) and self._flying < self.window:
            if self._again:
                offset, size = self._again.popleft()
            else:
                offset, size = self._offset, min(packet, self.queued)
                self._offset += size
                self.queued -= size
                self.left.append((now, size))
                heapq.heappush(self._missing, offset)
            self._flying += size
            self._fly(offset, size, now)

    def _fly(self, offset: int, size: int, now: float) -> None:
        rate = self.rate(now)
        standing = max(0.0, self._free - now) * rate
        dropped = standing + size > max(rate * ROUTER, LEAST_ROUTER) and standing > 0
        lost = dropped or self._chance.random() < self.line.loss
        if lost:
            # Noticed by what comes after it, and by a timer where little does.
            due = max(now, self._free) + self.line.round_trip + 3 * size / rate
            due += _TIMER if self._flying < 4 * size else 0.0
        else:
            self._free = max(now, self._free) + size / rate
            due = self._free + self.line.round_trip
        if self.line.bunched:
            due = (due // self.line.bunched + 1) * self.line.bunched
        self._number += 1
        heapq.heappush(self._events, (due, self._number, offset, size, lost))

    def _acknowledged(self, offset: int, size: int) -> None:
        busy = self._flying >= self.window - size or self.queued > 0
        self._flying -= size
        self.delivered += size
        if busy:
            self.window += size if self.slow_start else PACKET * size / self.window
        self._there.add(offset)
        while self._missing and self._missing[0] in self._there:
            self._there.remove(heapq.heappop(self._missing))
        whole = self._missing[0] if self._missing else self._offset
        while self.asked and self.asked[0][0] <= whole:
            at = self.asked.popleft()[1]
            self.answered.append((self.clock.time, self.clock.time - at))

    def _lost(self, offset: int, size: int) -> None:
        self._flying -= size
        self._again.append((offset, size))
        now = self.clock.time
        if now >= self._recover:
            self._slow_start = self.window = max(self.window / 2, 4 * PACKET)
            self._recover = now + self.line.round_trip + max(0.0, self._free - now)
