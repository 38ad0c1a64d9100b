"""The engine's queue stays short on every path, against a simulated link."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.wire import Connection, Pacer, pacing
from peerpouch.wire.limits import LARGEST_MESSAGE
from tests.wire.harness import ROOM, Pair, get, ok


class Drain:
    """A queue that a link empties at a constant rate."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.now = 0.0
        self.buffered = 0.0

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.buffered = max(0.0, self.buffered - self.rate * seconds)


def _pump(pacer: Pacer, drain: Drain, seconds: float, turn: float = 0.001) -> tuple[float, float]:
    """Send as much as the pacer allows; gives the longest queue in the second half, and the rate in it."""
    longest = sent = 0.0
    half = drain.now + seconds / 2
    end = drain.now + seconds
    while drain.now < end:
        while room := pacer.room(drain.now, int(drain.buffered)):
            pacer.sent(room)
            drain.buffered += room
            if drain.now >= half:
                sent += room
        if drain.now >= half:
            longest = max(longest, drain.buffered)
        drain.pass_time(turn)
    return longest, sent / (seconds / 2)


@pytest.mark.parametrize("rate", [125_000, 1_250_000, 12_500_000])
def test_the_queue_never_holds_more_than_fifty_milliseconds_and_one_frame(rate: int) -> None:
    pacer = Pacer()
    longest, _ = _pump(pacer, Drain(rate), 4.0)
    assert longest <= rate * 0.05 + LARGEST_MESSAGE
    assert longest <= rate * 0.05 * 1.1 + pacer.turn


@pytest.mark.parametrize("rate", [125_000, 1_250_000, 12_500_000, 80_000_000])
def test_the_queue_never_runs_dry_for_long(rate: int) -> None:
    _, reached = _pump(Pacer(), Drain(rate), 4.0)
    assert reached >= 0.9 * rate


def test_a_path_that_becomes_slow_gets_a_shorter_queue() -> None:
    pacer, drain = Pacer(), Drain(50_000_000)
    _pump(pacer, drain, 2.0)
    assert pacer.mark > 500_000
    drain.rate = 125_000
    drain.pass_time(10)
    longest, _ = _pump(pacer, drain, 20.0)
    assert longest <= 125_000 * 0.05 * 1.1 + pacer.turn
    assert pacer.turn < 2048


@given(st.lists(st.tuples(st.floats(0, 1e10), st.floats(0.0001, 5)), min_size=1, max_size=30))
def test_the_mark_never_exceeds_what_the_engines_take(path: list[tuple[float, float]]) -> None:
    """Whatever the path does, the engine's queue stays far below 16 MiB, where wrtc raises."""
    pacer, drain = Pacer(), Drain(0)
    for rate, seconds in path:
        drain.rate = rate
        while room := pacer.room(drain.now, int(drain.buffered)):
            pacer.sent(room)
            drain.buffered += room
        assert drain.buffered <= 1024 * 1024 + LARGEST_MESSAGE
        drain.pass_time(seconds)


def test_an_idle_channel_teaches_nothing() -> None:
    pacer = Pacer()
    for second in range(100):
        assert pacer.room(float(second), 0) > 0
        pacer.sent(100)
    assert pacer.rate is None
    assert pacer.mark == 16 * 1024


def _answer_time(mark: int | None) -> float:
    """How long a small response takes beside an endless bulk one, at 1 Mbit/s."""
    pair, pacer, drain = Pair(), Pacer(), Drain(125_000)
    server: Connection = pair.b.connection
    bulk = pair.a.connection.request(get(), end=True)
    pair.run()
    server.respond(bulk, ok(), end=False)
    chunk = bytes(64 * 1024)
    queue: list[tuple[float, bytes]] = []
    asked: float | None = None
    small = 0
    while True:
        if server.send_data(bulk, b""):
            server.send_data(bulk, chunk)
        server.take_roomy()
        while True:
            if mark is not None:
                pacer.mark = mark
            message = server.data_to_send(pacer.room(drain.now, int(drain.buffered)))
            if not message:
                break
            pacer.sent(len(message))
            drain.buffered += len(message)
            queue.append((drain.now + drain.buffered / drain.rate, message))
        drain.pass_time(0.001)
        while queue and queue[0][0] <= drain.now:
            pair.a.take(queue.pop(0)[1])
        pair.flush(pair.a)
        while pair.b.inbox:
            pair.b.take(pair.b.inbox.popleft())
        if asked is None and drain.now > 2.0:
            asked = drain.now
            small = pair.a.connection.request(get(b"/small"), end=True)
            pair.flush(pair.a)
            while pair.b.inbox:
                pair.b.take(pair.b.inbox.popleft())
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
        while message := server.data_to_send(pacer.room(drain.now, int(drain.buffered))):
            pacer.sent(len(message))
            drain.buffered += len(message)
            down.append((drain.now + drain.buffered / rate + delay, message))
        drain.pass_time(0.001)
        while down and down[0][0] <= drain.now:
            pair.a.take(down.popleft()[1], drain.now)
        if not warm and drain.now > began + seconds / 2:
            warm = True
            pair.a.bodies[stream].clear()
        while message := client.data_to_send(ROOM):
            up.append((drain.now + delay, message))
        while up and up[0][0] <= drain.now:
            pair.b.take(up.popleft()[1], drain.now)
    return len(pair.a.bodies[stream]) / (seconds / 2)


@pytest.mark.parametrize(("rate", "delay"), [(125_000, 0.15), (5_000_000, 0.05), (40_000_000, 0.025)])
def test_one_stream_fills_the_path_whatever_its_rate_and_delay(rate: int, delay: float) -> None:
    assert _throughput(rate, delay, 4.0) >= 0.85 * rate


def test_twin_without_knowing_the_round_trip_a_long_fast_path_stays_half_empty() -> None:
    assert _throughput(40_000_000, 0.025, 4.0, measured=False) < 0.6 * 40_000_000
