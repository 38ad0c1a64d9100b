"""The engine's queue stays short on every path, and full enough, against a simulated one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peerpouch.wire import Connection, Pacer, PongReceived, pacing
from peerpouch.wire.limits import LARGEST_MESSAGE, Limits
from tests.wire.harness import ROOM, End, Pair, get, ok
from tests.wire.path import LEAST_ROUTER, ROUTER, Line, Path

KILO = 1_000.0
MEGA = 1_000_000.0

Offered = Callable[[float], float]
"""The bytes that an application has given by a time from the start, in seconds."""


class Put(NamedTuple):
    """A message was put into the queue: what stood before it, its size, when it was, and whether the window opened."""

    ahead: int
    size: int
    seconds: float
    opening: bool


def endless(seconds: float) -> float:
    return float("inf")


def in_bursts(size: float, apart: float = 1.0) -> Offered:
    return lambda seconds: (int(seconds / apart) + 1) * size


def drive(path: Path, pacer: Pacer, seconds: float, turn: float = 0.001, offered: Offered = endless) -> Iterator[Put]:
    """Send as much as there is and the pacer allows, as a link does: once a turn."""
    clock, given = path.clock, 0
    pacer.round_trip = path.line.round_trip
    began = clock.monotonic()
    while (now := clock.monotonic()) < began + seconds:
        while (size := int(min(pacer.room(now, path.queued), offered(now - began) - given))) > 0:
            put = Put(path.queued, size, now - began, pacer.opening)
            path.send(size)
            pacer.sent(size)
            given += size
            yield put
        if pacer.asks(now):
            path.ping()
        path.advance(turn)
        while path.answered:
            at, took = path.answered.popleft()
            # It is noticed in this turn, and so a little later.
            pacer.answered(clock.monotonic(), clock.monotonic() - (at - took))


def carried(line: Line, seconds: float, pacer: Pacer | None = None, turn: float = 0.001) -> float:
    """Bytes that arrive in so many seconds."""
    path = Path(line)
    deque(drive(path, pacer or Pacer(), seconds, turn), maxlen=0)
    return float(path.delivered)


# Never too much

TURNS = st.sampled_from([0.0005, 0.001, 0.003, 0.01, 0.02])


@st.composite
def lines(draw: st.DrawFn) -> Line:
    rate = draw(st.sampled_from([125 * KILO, 300 * KILO, 1.25 * MEGA, 6 * MEGA, 12.5 * MEGA, 60 * MEGA]))
    falls: tuple[tuple[float, float], ...] = ()
    if draw(st.booleans()):
        at = draw(st.floats(0.3, 1.5))
        falls = ((at, rate / draw(st.sampled_from([2, 5, 20]))),)
    return Line(
        rate,
        round_trip=draw(st.sampled_from([0.0, 0.001, 0.02, 0.05, 0.1, 0.3])),
        loss=draw(st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.05])),
        bunched=draw(st.sampled_from([0.0, 0.0, 0.005, 0.03, 0.1])),
        falls=falls,
        seed=draw(st.integers(0, 1000)),
    )


def allowed(path: Path, put: Put, now: float, turn: float) -> float:
    """What may stand before a message: 50 milliseconds of the line's rate; while the window opens, two round trips.

    A rate that fell shows when the router's queue has overflown and closed the congestion window, which until then
    drains the queue faster than the line does; and after three windows of measuring. In one of them there may be a
    burst of acknowledgements too many.
    """
    line, rate = path.line, path.rate(now)
    window = max(0.05, 2 * line.round_trip) + 2 * turn
    router = max(ROUTER, LEAST_ROUTER / rate) + line.round_trip
    fallen = min(line.rate, rate * (1 + line.bunched / 0.05))
    rate = max(fallen, path.rate(now - 3 * window - 2 * router - 2 * line.bunched))
    delay = max(pacing.DELAY, pacing.OPENING * path.line.round_trip) if put.opening else pacing.DELAY
    return max(rate * delay, 2 * 1024)


def most(line: Line, pacer: Pacer, turn: float, offered: Offered, seconds: float = 3.0) -> float:
    """The longest queue before a message, in what is allowed."""
    path = Path(line)
    return max(
        put.ahead / allowed(path, put, path.clock.monotonic(), turn)
        for put in drive(path, pacer, seconds, turn, offered)
    )


@settings(max_examples=60)
@given(lines(), TURNS, st.sampled_from([None, 0.02, 0.1, 0.4]))
@example(Line(1.25 * MEGA, 0.02), 0.001, 0.4)
@example(Line(1.25 * MEGA, 0.02), 0.001, None)
def test_the_queue_never_holds_more_than_fifty_milliseconds_and_one_frame(
    line: Line, turn: float, burst: float | None
) -> None:
    """At all times, whatever the line, whoever sends without end or in bursts of so many seconds of it."""
    if burst is None:
        assert most(line, Pacer(), turn, endless) <= 1.0
    else:  # a rate that falls where hardly anything is sent can't show
        assert most(replace(line, falls=()), Pacer(), turn, in_bursts(burst * line.rate)) <= 1.0


@settings(max_examples=30)
@given(lines(), TURNS)
def test_no_frame_is_larger_than_the_portable_one_where_the_path_is_slow(line: Line, turn: float) -> None:
    path = Path(line)
    for put in drive(path, Pacer(), 1.0, turn):
        assert put.size <= max(16 * 1024, line.rate * pacing.TURN)


class Hasty(Pacer):
    """Takes for carried what left the queue since it was dry, and fills twice as much where it was dry."""

    def __init__(self) -> None:
        super().__init__()
        self.mark, self.turn = 16 * 1024, 16 * 1024
        self._since: tuple[float, int] | None = None

    def asks(self, now: float) -> bool:
        return False

    def room(self, now: float, buffered: int) -> int:
        drained = self._sent - buffered
        if buffered <= 0 or self._since is None:
            if self._full and buffered <= 0:
                self.mark = min(2 * self.mark, 1024 * 1024)
                self.turn = max(self.turn, min(self.mark // 4, LARGEST_MESSAGE))
            self._full = False
            self._since = (now, drained)
        elif now - self._since[0] >= max(0.05, 2 * self.round_trip):
            rate = (drained - self._since[1]) / (now - self._since[0])
            self._believe(rate)
            self.rate, self._measured = rate, now
            self._since = (now, drained)
        room = self.mark - buffered
        self._full = room < 1024
        return 0 if self._full else min(room, self.turn)


@pytest.mark.parametrize("burst", [None, 0.4])
def test_twin_what_left_the_queue_is_not_what_was_carried(burst: float | None) -> None:
    line = Line(1.25 * MEGA, 0.02)
    offered = endless if burst is None else in_bursts(burst * line.rate)
    assert most(line, Hasty(), 0.001, offered) > (1.5 if burst is None else 3.0)
    assert most(line, Pacer(), 0.001, offered) <= 1.0


class Trusting(Pacer):
    """Takes the time from one answer to the next for that in which the bytes between them were carried."""

    def answered(self, now: float, took: float) -> None:
        super().answered(now, took)
        if len(self._places) > 2:
            (at, sent), (_, arrived) = self._places[-2], self._places[-1]
            self._believe(max(self._believed, (arrived - sent) / max(now - took - at, 0.001)))


def test_twin_bytes_that_were_sent_in_a_burst_were_not_carried_in_it() -> None:
    line = Line(1.25 * MEGA, 0.02, bunched=0.03)
    assert most(line, Trusting(), 0.001, in_bursts(0.4 * line.rate)) > 2.0
    assert most(line, Pacer(), 0.001, in_bursts(0.4 * line.rate)) <= 1.0


@given(st.lists(st.tuples(st.floats(0, 1e10), st.floats(0.0001, 5)), min_size=1, max_size=30))
def test_the_mark_never_exceeds_what_the_engines_take(path: list[tuple[float, float]]) -> None:
    """Whatever the path does, the engine's queue stays far below 16 MiB, where wrtc raises."""
    pacer, now, buffered = Pacer(), 0.0, 0.0
    for rate, seconds in path:
        while room := pacer.room(now, int(buffered)):
            pacer.sent(room)
            buffered += room
            pacer.asks(now)
        assert buffered <= 1024 * 1024 + LARGEST_MESSAGE
        now += seconds
        buffered = max(0.0, buffered - rate * seconds)
        pacer.answered(now, seconds)


# Never too little


def _unpaced(line: Line, seconds: float, turn: float) -> float:
    class Unpaced(Pacer):
        def room(self, now: float, buffered: int) -> int:
            return 1024 * 1024 - buffered

        def asks(self, now: float) -> bool:
            return False

    return carried(line, seconds, Unpaced(), turn)


@pytest.mark.parametrize("turn", [0.001, 0.01])
@pytest.mark.parametrize(
    "line",
    [
        Line(125 * KILO, 0.02),
        Line(1.25 * MEGA, 0.02),
        Line(1.25 * MEGA, 0.05, bunched=0.03),
        Line(12.5 * MEGA, 0.05),
        Line(60 * MEGA, 0.05),
        Line(80 * MEGA, 0.0005),
        Line(1.25 * MEGA, 0.3),
        Line(1.25 * MEGA, 0.05, loss=0.01, seed=3),
    ],
    ids=str,
)
def test_the_queue_never_runs_dry_for_long(line: Line, turn: float) -> None:
    """As much is carried as of a sender who keeps a megabyte queued."""
    assert carried(line, 4.0, turn=turn) >= 0.85 * _unpaced(line, 4.0, turn)


def test_a_fast_path_reaches_its_rate_at_once() -> None:
    line = Line(60 * MEGA, 0.0005)
    assert carried(line, 0.1) >= 0.9 * 0.1 * line.rate
    assert carried(line, 0.02) >= 0.7 * 0.02 * line.rate


def test_twin_without_answers_it_stays_at_a_message_a_turn() -> None:
    class Deaf(Pacer):
        def answered(self, now: float, took: float) -> None:
            pass

    line = Line(60 * MEGA, 0.0005)
    assert carried(line, 0.1, Deaf()) < 0.5 * 0.1 * line.rate


@pytest.mark.parametrize("rate", [1.25 * MEGA, 12.5 * MEGA])
def test_short_bursts_teach_a_rate_too(rate: float) -> None:
    pacer = Pacer()
    deque(drive(Path(Line(rate, 0.02)), pacer, 5.0, offered=in_bursts(0.1 * rate)), maxlen=0)
    assert pacer.mark >= 0.3 * rate * pacing.DELAY


def test_a_busy_path_is_told_as_it_is() -> None:
    pacer = Pacer()
    deque(drive(Path(Line(1.25 * MEGA, 0.02)), pacer, 3.0), maxlen=0)
    assert pacer.rate == pytest.approx(1.25 * MEGA, rel=0.1)


def _highest_told(pacer: Pacer) -> float:
    line = Line(1.25 * MEGA, 0.02)
    return max(pacer.rate or 0.0 for _ in drive(Path(line), pacer, 6.0, offered=in_bursts(0.6 * line.rate))) / line.rate


def test_a_window_that_was_open_is_no_rate() -> None:
    """After a pause the window takes a third of a second of the line's at once."""
    assert 0.9 <= _highest_told(Pacer()) <= 1.1


def test_twin_a_window_that_was_open_makes_a_slow_path_a_fast_one() -> None:
    assert _highest_told(Hasty()) > 2.0


def test_a_path_that_becomes_slow_gets_a_shorter_queue() -> None:
    pacer, path = Pacer(), Path(Line(12.5 * MEGA, 0.02, falls=((2.0, 625 * KILO),)))
    puts = list(drive(path, pacer, 6.0))
    assert max(put.ahead for put in puts if 1.0 < put.seconds < 2.0) > 200_000
    assert max(put.ahead for put in puts if put.seconds > 4.0) <= 625 * KILO * pacing.DELAY
    assert pacer.turn < 8192


def test_a_path_that_was_not_used_for_long_is_learned_anew() -> None:
    pacer, path = Pacer(), Path(Line(12.5 * MEGA, 0.02, falls=((10.0, 125 * KILO),)))
    deque(drive(path, pacer, 2.0), maxlen=0)
    path.advance(60.0)
    assert next(drive(path, pacer, 1.0)).size <= 16 * 1024
    assert pacer.mark <= 125 * KILO * pacing.DELAY


def test_an_idle_channel_teaches_nothing() -> None:
    pacer = Pacer()
    for second in range(100):
        assert pacer.room(float(second), 0) > 0
        pacer.sent(50)
        assert not pacer.asks(float(second))
    assert pacer.rate is None
    assert pacer.mark == int(pacing.FIRST * pacing.DELAY)


# Pings


def test_fewer_pings_go_than_the_other_end_takes() -> None:
    limits, asked = Limits(), 0

    class Counted(Pacer):
        def asks(self, now: float) -> bool:
            nonlocal asked
            asks = super().asks(now)
            asked += asks
            return asks

    carried(Line(60 * MEGA, 0.0005), 4.0, Counted())
    burst, rate = pacing.PINGS
    assert burst <= asked <= burst + 4 * rate + 1 < limits.ping_burst
    assert rate < limits.ping_rate


def test_answers_of_other_pings_teach_nothing() -> None:
    pacer = Pacer()
    pacer.room(0.0, 0)
    pacer.sent(16_000)
    assert pacer.asks(0.0)
    pacer.answered(0.01, 0.5)
    assert pacer.mark == int(pacing.FIRST * pacing.DELAY)
    pacer.answered(0.02, 0.02)
    assert pacer.mark == int(16_000 / 0.02 * pacing.DELAY)


# What it is for


class Drain:
    """A queue that a link empties at a constant rate."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.now = 0.0
        self.buffered = 0.0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.buffered = max(0.0, self.buffered - self.rate * seconds)


def _fill(server: Connection, pacer: Pacer, drain: Drain, queue: deque[tuple[float, bytes]], delay: float) -> None:
    while True:
        message = server.data_to_send(pacer.room(drain.now, int(drain.buffered)))
        if not message:
            if not pacer.asks(drain.now):
                return
            server.ping(drain.now)
            continue
        pacer.sent(len(message))
        drain.buffered += len(message)
        queue.append((drain.now + drain.buffered / drain.rate + delay, message))


def _hear(end: End, pacer: Pacer, message: bytes, now: float) -> None:
    for event in end.take(message, now):
        if isinstance(event, PongReceived):
            pacer.answered(now, event.round_trip)


def _answer_time(mark: int | None) -> float:
    """How long a small response takes beside an endless bulk one, at 1 Mbit/s."""
    pair, pacer, drain = Pair(), Pacer(), Drain(125_000)
    server: Connection = pair.b.connection
    bulk = pair.a.connection.request(get(), end=True)
    pair.run()
    server.respond(bulk, ok(), end=False)
    chunk = bytes(64 * 1024)
    queue: deque[tuple[float, bytes]] = deque()
    asked: float | None = None
    small = 0
    while True:
        if server.send_data(bulk, b""):
            server.send_data(bulk, chunk)
        server.take_roomy()
        if mark is not None:
            pacer._believe(mark / pacing.DELAY)
        _fill(server, pacer, drain, queue, 0.0)
        drain.pass_time(0.001)
        while queue and queue[0][0] <= drain.now:
            pair.a.take(queue.popleft()[1])
        pair.flush(pair.a)
        while pair.b.inbox:
            _hear(pair.b, pacer, pair.b.inbox.popleft(), drain.now)
        if asked is None and drain.now > 2.0:
            asked = drain.now
            small = pair.a.connection.request(get(b"/small"), end=True)
            pair.flush(pair.a)
            while pair.b.inbox:
                _hear(pair.b, pacer, pair.b.inbox.popleft(), drain.now)
            server.respond(small, ok(), end=False)
            server.send_data(small, b"here", end=True)
        if asked is not None and small in pair.a.ended:
            return drain.now - asked


def test_a_small_answer_passes_bulk_within_the_delay_and_one_turn() -> None:
    assert _answer_time(None) <= pacing.DELAY + 2 * pacing.TURN + 0.005


def test_twin_with_a_fixed_mark_a_small_answer_waits_behind_bulk() -> None:
    assert _answer_time(256 * 1024) > 1.0


def _throughput(rate: float, delay: float, seconds: float, *, measured: bool = True) -> float:
    """Bytes per second of an endless response over a path of this rate and one-way delay, in virtual time."""
    pair, pacer, drain = Pair(), Pacer(), Drain(rate)
    client, server = pair.a.connection, pair.b.connection
    if measured:
        client.ping(0.0)
        pair.b.take(client.data_to_send(0))
        pair.a.take(server.data_to_send(0), 2 * delay)
    stream = client.request(get(), end=True)
    pair.run()
    server.respond(stream, ok(), end=False)
    down: deque[tuple[float, bytes]] = deque()
    up: deque[tuple[float, bytes]] = deque()
    drain.now = began = 1.0
    warm = False
    while drain.now < began + seconds:
        if server.send_data(stream, b""):
            server.send_data(stream, bytes(256 * 1024))
        server.take_roomy()
        _fill(server, pacer, drain, down, delay)
        drain.pass_time(0.001)
        while down and down[0][0] <= drain.now:
            pair.a.take(down.popleft()[1], drain.now)
        if not warm and drain.now > began + seconds / 2:
            warm = True
            pair.a.bodies[stream].clear()
        while message := client.data_to_send(ROOM):
            up.append((drain.now + delay, message))
        while up and up[0][0] <= drain.now:
            _hear(pair.b, pacer, up.popleft()[1], drain.now)
    return len(pair.a.bodies[stream]) / (seconds / 2)


@pytest.mark.parametrize(("rate", "delay"), [(125_000, 0.15), (5_000_000, 0.05), (40_000_000, 0.025)])
def test_one_stream_fills_the_path_whatever_its_rate_and_delay(rate: int, delay: float) -> None:
    assert _throughput(rate, delay, 4.0) >= 0.85 * rate


def test_twin_without_knowing_the_round_trip_a_long_fast_path_stays_half_empty() -> None:
    assert _throughput(40_000_000, 0.025, 4.0, measured=False) < 0.6 * 40_000_000
