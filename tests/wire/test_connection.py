"""What a connection does, and what it does not let the other side do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from peerpouch.errors import ProtocolError, TooLarge
from peerpouch.wire import (
    Code,
    Connection,
    Limits,
    Opened,
    PongReceived,
    RequestHead,
    RequestReceived,
    ResponseReceived,
    State,
    WentAway,
    credit,
    frames,
    limits,
)
from peerpouch.wire.frames import Flag, FrameType, Setting, frame
from tests.wire.harness import ROOM, End, Pair, get, ok, put

SMALL = Limits(stream_credit=1000, response_window=1000, window_pool=0, connection_credit=4000, max_streams=4)


def _kinds(message: bytes) -> list[int]:
    return [kind for kind, _, _, _ in frames.split(message)]


def _request(stream: int, *, end: bool = True, head: RequestHead | None = None) -> bytes:
    return frame(FrameType.REQUEST, stream, frames.encode_request(head or get()), Flag.END if end else 0)


def _hello(**settings: int) -> bytes:
    body = b"".join(int(Setting[name]).to_bytes(2) + value.to_bytes(4) for name, value in settings.items())
    return frame(FrameType.HELLO, 0, b"PPCH\x01\x01" + len(settings).to_bytes(2) + body)


def _served(given: Limits | None = None) -> End:
    """An answering end whose peer is this test."""
    end = End(Connection(offerer=False, limits=given))
    end.take(_hello(STREAM_CREDIT=10**6, CONNECTION_CREDIT=10**6, MAX_STREAMS=100))
    end.connection.data_to_send(ROOM)
    return end


# Requests and responses


def test_both_ends_open_with_hello() -> None:
    pair = Pair()
    assert pair.a.of(Opened) == pair.b.of(Opened) == [Opened(1, 0)]
    assert pair.a.connection.can_request and pair.b.connection.can_request


def test_requests_travel_both_ways_at_once_on_odd_and_even_streams() -> None:
    pair = Pair()
    there = pair.a.connection.request(get(b"/there"), end=True)
    back = pair.b.connection.request(get(b"/back"), end=True)
    assert (there, back) == (1, 2)
    pair.run()
    assert [event.head.path for event in pair.b.of(RequestReceived)] == [b"/there"]
    pair.b.connection.respond(there, ok(), end=False)
    pair.b.connection.send_data(there, b"one", end=True)
    pair.a.connection.respond(back, ok(status=204), end=True)
    pair.run()
    assert pair.a.bodies[there] == b"one"
    assert [event.head.status for event in pair.b.of(ResponseReceived)] == [204]
    assert pair.a.connection.streams == pair.b.connection.streams == 0


def test_a_head_and_a_small_body_share_a_message() -> None:
    pair = Pair()
    stream = pair.a.connection.request(put(), end=False)
    pair.a.connection.send_data(stream, b"{}", end=True)
    message = pair.a.connection.data_to_send(ROOM)
    assert _kinds(message) == [FrameType.REQUEST, FrameType.CREDIT, FrameType.DATA]


def test_unknown_frames_and_flags_are_skipped() -> None:
    end = _served()
    end.take(frame(77, 5, b"?") + frame(FrameType.REQUEST, 1, frames.encode_request(get()), 0xFF))
    assert end.ended == {1}


def test_a_request_before_hello_or_above_the_peers_limit_is_refused_here() -> None:
    connection = Connection(offerer=True)
    assert not connection.can_request
    with pytest.raises(ProtocolError):
        connection.request(get(), end=True)
    pair = Pair(answerer=Limits(max_streams=2))
    for _ in range(2):
        pair.a.connection.request(get(), end=True)
    assert not pair.a.connection.can_request
    pair.run()
    pair.b.connection.respond(1, ok(), end=True)
    pair.run()
    assert pair.a.connection.can_request


def test_a_head_that_the_peer_does_not_take_is_too_large() -> None:
    pair = Pair(answerer=Limits(max_head=100))
    with pytest.raises(TooLarge):
        pair.a.connection.request(get(b"/" + b"x" * 100), end=True)
    assert pair.a.connection.streams == 0
    largest = Pair(answerer=Limits(max_message=16384))
    overhead = len(frames.encode_request(get(b"/")))
    stream = largest.a.connection.request(get(b"/" + b"x" * (16384 - 20 - overhead)), end=True)
    largest.run()
    assert stream in largest.b.ended


def test_an_answer_without_reading_the_request_stops_the_sender() -> None:
    pair = Pair()
    stream = pair.a.connection.request(put(), end=False)
    assert not pair.a.connection.send_data(stream, bytes(10**7))
    pair.run(consume=False)
    pair.b.connection.respond(stream, ok(status=413), end=True)
    pair.run(consume=False)
    assert pair.a.resets[stream].code == Code.NONE
    assert stream in pair.a.ended
    assert pair.a.connection.streams == pair.b.connection.streams == 0
    with pytest.raises(ProtocolError):
        pair.a.connection.send_data(stream, b"more")


def test_a_reset_reaches_the_other_end_with_code_and_reason() -> None:
    pair = Pair()
    stream = pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.respond(stream, ok(), end=False)
    pair.b.connection.reset(stream, Code.INTERNAL, "the disk burns")
    pair.b.connection.reset(stream)
    pair.run()
    assert (pair.a.resets[stream].code, pair.a.resets[stream].reason) == (Code.INTERNAL, "the disk burns")
    assert not pair.a.of(ResponseReceived)


def test_a_request_that_is_reset_before_it_was_sent_leaves_no_trace() -> None:
    pair = Pair()
    stream = pair.a.connection.request(get(), end=True)
    pair.a.connection.reset(stream)
    assert pair.a.connection.data_to_send(ROOM) == b""
    other = pair.a.connection.request(get(), end=True)
    pair.run()
    assert [event.stream for event in pair.b.of(RequestReceived)] == [other]


def test_answering_a_stream_twice_or_one_that_is_gone_raises() -> None:
    pair = Pair()
    stream = pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.respond(stream, ok(), end=False)
    with pytest.raises(ProtocolError):
        pair.b.connection.respond(stream, ok(), end=True)
    with pytest.raises(ProtocolError):
        pair.b.connection.respond(99, ok(), end=True)
    with pytest.raises(ProtocolError):
        pair.a.connection.respond(stream, ok(), end=True)


# Credit


def test_a_reader_that_stops_reading_stops_the_writer() -> None:
    pair = Pair(offerer=SMALL)
    stream = pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.respond(stream, ok(), end=False)
    pair.b.connection.send_data(stream, bytes(100_000), end=True)
    pair.run(consume=False)
    assert len(pair.a.bodies[stream]) == 1000
    pair.a.connection.consumed(stream, 1000, 0.0)
    pair.run()
    assert len(pair.a.bodies[stream]) == 100_000


def test_credit_of_the_connection_bounds_all_streams_together() -> None:
    pair = Pair(offerer=replace(SMALL, connection_credit=2500))
    streams = [pair.a.connection.request(get(), end=True) for _ in range(4)]
    pair.run()
    for stream in streams:
        pair.b.connection.respond(stream, ok(), end=False)
        pair.b.connection.send_data(stream, bytes(1000), end=True)
    pair.run(consume=False)
    assert sum(len(pair.a.bodies[stream]) for stream in streams) == 2500
    for stream in streams:
        pair.a.connection.consumed(stream, len(pair.a.bodies[stream]), 0.0)
    pair.run()
    assert sum(len(pair.a.bodies[stream]) for stream in streams) == 4000


def test_a_stream_that_is_reset_unread_gives_the_connections_credit_back() -> None:
    pair = Pair(offerer=replace(SMALL, connection_credit=2000))
    for _ in range(20):
        stream = pair.a.connection.request(get(), end=True)
        pair.run()
        pair.b.connection.respond(stream, ok(), end=False)
        pair.b.connection.send_data(stream, bytes(1000))
        pair.run(consume=False)
        assert len(pair.a.bodies[stream]) == 1000
        pair.a.connection.reset(stream)
        pair.run()


def test_a_response_that_ended_gives_credit_back_only_when_it_is_read() -> None:
    pair = Pair(offerer=replace(SMALL, connection_credit=2000))
    for _ in range(2):
        stream = pair.a.connection.request(get(), end=True)
        pair.run()
        pair.b.connection.respond(stream, ok(), end=False)
        pair.b.connection.send_data(stream, bytes(1000), end=True)
        pair.run(consume=False)
    late = pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.respond(late, ok(), end=False)
    pair.b.connection.send_data(late, bytes(1000), end=True)
    pair.run(consume=False)
    assert late not in pair.a.ended
    pair.a.connection.consumed(1, 1000, 0.0)
    pair.a.connection.reset(3)
    pair.run(consume=False)
    assert late in pair.a.ended
    with pytest.raises(ValueError, match="received"):
        pair.a.connection.consumed(late, 5000, 0.0)


def test_a_consuming_stream_gets_a_larger_window_and_gives_it_back() -> None:
    pair = Pair()
    pair.a.connection._pings.round_trip = 0.05
    stream = pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.respond(stream, ok(), end=False)
    pair.b.connection.send_data(stream, bytes(20_000_000))
    pair.run()
    window = pair.a.connection._streams[stream].window
    assert window == pair.a.connection.limits.max_stream_window
    pair.b.connection.send_data(stream, b"", end=True)
    pair.run()
    assert pair.a.connection._credit._pool == pair.a.connection.limits.window_pool


def test_a_stream_that_takes_its_time_keeps_its_window() -> None:
    pair = Pair()
    pair.a.connection._pings.round_trip = 0.05
    stream = pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.respond(stream, ok(), end=False)
    pair.b.connection.send_data(stream, bytes(20_000_000))
    now = 0.0
    while pair.flush(pair.b):
        while pair.a.inbox:
            pair.a.take(pair.a.inbox.popleft(), now)
            now += 0.01
        pair.flush(pair.a)
        while pair.b.inbox:
            pair.b.take(pair.b.inbox.popleft())
    assert len(pair.a.bodies[stream]) == 20_000_000
    assert pair.a.connection._streams[stream].window == pair.a.connection.limits.response_window


def test_streams_that_nobody_reads_leave_credit_for_others() -> None:
    pair = Pair()
    idle = [pair.a.connection.request(get(), end=True) for _ in range(63)]
    pair.run()
    for stream in idle:
        pair.b.connection.respond(stream, ok(), end=False)
        pair.b.connection.send_data(stream, bytes(3_000_000))
    pair.run(consume=False)
    busy = pair.a.connection.request(get(), end=True)
    pair.run(consume=False)
    pair.b.connection.respond(busy, ok(), end=False)
    pair.b.connection.send_data(busy, bytes(1_000_000), end=True)
    moved = True
    while moved:
        moved = bool(pair.flush(pair.b) + pair.flush(pair.a))
        while pair.b.inbox:
            pair.b.take(pair.b.inbox.popleft())
        while pair.a.inbox:
            for event in pair.a.take(pair.a.inbox.popleft(), consume=False):
                if getattr(event, "stream", 0) == busy and hasattr(event, "data"):
                    pair.a.connection.consumed(busy, len(event.data), 0.0)
    assert len(pair.a.bodies[busy]) == 1_000_000


def test_data_beyond_a_streams_credit_resets_it() -> None:
    end = _served(SMALL)
    end.take(_request(1, end=False))
    end.take(frame(FrameType.DATA, 1, bytes(1001)), consume=False)
    assert end.resets[1].code == Code.FLOW
    assert not end.bodies[1]


def test_twin_without_the_check_a_stream_takes_more_than_its_credit() -> None:
    end = _served(SMALL)
    end.take(_request(1, end=False))
    end.connection._streams[1].may_receive = 10**9
    end.take(frame(FrameType.DATA, 1, bytes(1001)), consume=False)
    assert len(end.bodies[1]) == 1001


def _flood(end: End) -> None:
    for stream in (1, 3, 5, 7, 9):
        end.take(_request(stream, end=False), consume=False)
        end.take(frame(FrameType.DATA, stream, bytes(1000)), consume=False)


def test_data_beyond_the_connections_credit_closes_it() -> None:
    end = _served(replace(SMALL, max_streams=9))
    with pytest.raises(ProtocolError):
        _flood(end)
    assert end.connection.state is State.CLOSED
    code, _, _ = frames.decode_go_away(end.connection.data_to_send(ROOM)[8:])
    assert code == Code.FLOW


def test_twin_without_the_check_a_connection_holds_more_than_its_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credit.ReceiveCredit, "take", lambda self, size: True)
    end = _served(replace(SMALL, max_streams=9))
    _flood(end)
    assert sum(map(len, end.bodies.values())) > SMALL.connection_credit


def test_credit_that_overflows_resets_the_stream_or_closes_the_connection() -> None:
    end = _served()
    end.take(_request(1))
    end.take(frame(FrameType.CREDIT, 1, frames.encode_credit(2**31 - 1)))
    assert end.resets[1].code == Code.FLOW
    with pytest.raises(ProtocolError, match="overflows"):
        end.take(frame(FrameType.CREDIT, 0, frames.encode_credit(2**31 - 1)))


def test_the_send_buffer_says_when_it_is_full_and_when_it_has_room() -> None:
    pair = Pair(offerer=SMALL, answerer=Limits(send_buffer=2000))
    stream = pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.respond(stream, ok(), end=False)
    assert pair.b.connection.send_data(stream, bytes(1999))
    assert not pair.b.connection.send_data(stream, bytes(1001))
    assert pair.b.connection.take_roomy() == []
    pair.run(consume=False)
    assert pair.b.connection.take_roomy() == []
    pair.a.connection.consumed(stream, 1000, 0.0)
    pair.run(consume=False)
    assert pair.b.connection.take_roomy() == [stream]
    assert pair.b.connection.take_roomy() == []


# Taking turns


def test_streams_take_turns_and_small_ones_go_first() -> None:
    pair = Pair()
    bulk = [pair.a.connection.request(put(), end=False) for _ in range(2)]
    for stream in bulk:
        pair.a.connection.send_data(stream, bytes(100_000), end=True)
    order = []
    for _ in range(8):
        pair.b.inbox.append(pair.a.connection.data_to_send(16384))
        order += [stream for kind, _, stream, _ in frames.split(pair.b.inbox[-1]) if kind == FrameType.DATA]
    assert set(order[-4:]) == set(bulk)
    assert all(one != two for one, two in zip(order[-4:], order[-3:], strict=False))
    small = pair.a.connection.request(put(), end=False)
    pair.a.connection.send_data(small, b"{}", end=True)
    first = [(kind, stream) for kind, _, stream, _ in frames.split(pair.a.connection.data_to_send(16384))]
    assert first[:3] == [(FrameType.REQUEST, small), (FrameType.CREDIT, small), (FrameType.DATA, small)]


def test_bulk_does_not_starve_beside_endless_small_bodies() -> None:
    pair = Pair()
    bulk = pair.a.connection.request(put(), end=False)
    pair.a.connection.send_data(bulk, bytes(120_000), end=True)
    small = [pair.a.connection.request(put(), end=False) for _ in range(40)]
    for _ in range(40):
        for stream in small:
            pair.a.connection.send_data(stream, bytes(1000))
        pair.b.take(pair.a.connection.data_to_send(16384))
    assert len(pair.b.bodies[bulk]) > 50_000


def test_bodies_wait_where_there_is_no_room_but_heads_and_control_frames_go() -> None:
    pair = Pair()
    stream = pair.a.connection.request(put(), end=False)
    pair.a.connection.send_data(stream, b"x" * 5000, end=True)
    pair.a.connection.ping(0.0)
    assert _kinds(pair.a.connection.data_to_send(0)) == [FrameType.PING, FrameType.REQUEST, FrameType.CREDIT]
    assert pair.a.connection.data_to_send(1000) == b""
    assert pair.a.connection.has_output
    assert len(pair.a.connection.data_to_send(2000)) == 2000


# Pings


def test_a_pong_tells_the_round_trip() -> None:
    pair = Pair()
    pair.a.connection.ping(10.0)
    pair.b.take(pair.a.connection.data_to_send(ROOM))
    events = pair.a.take(pair.b.connection.data_to_send(ROOM), 10.25)
    assert events == [PongReceived(0.25)]
    assert pair.a.take(frame(FrameType.PONG, 0, b"12345678")) == []


def test_pings_without_an_answer_are_bounded() -> None:
    pair = Pair()
    for now in range(100):
        pair.a.connection.ping(now)
    assert len(_kinds(pair.a.connection.data_to_send(ROOM))) == pair.a.connection.limits.max_pings


# Going away


def _drained(end: End) -> bool:
    return end.connection.drained


def test_going_away_lets_open_streams_end_and_refuses_new_ones() -> None:
    pair = Pair()
    stream = pair.a.connection.request(get(), end=True)
    pair.run()
    late = pair.a.connection.request(get(), end=False)
    pair.a.connection.send_data(late, b"x")
    pair.b.connection.go_away(Code.NONE, "closing")
    pair.run()
    assert pair.a.of(WentAway) == [WentAway(Code.NONE, "closing")]
    assert pair.a.resets[late].code == Code.REFUSED
    assert not pair.a.connection.can_request and not pair.b.connection.can_request
    assert not _drained(pair.b)
    pair.b.connection.respond(stream, ok(), end=False)
    pair.b.connection.send_data(stream, b"last words", end=True)
    pair.run()
    assert pair.a.bodies[stream] == b"last words"
    assert _drained(pair.b) and _drained(pair.a)


def test_going_away_with_an_error_closes_both_ends_at_once() -> None:
    pair = Pair()
    pair.a.connection.request(get(), end=True)
    pair.run()
    pair.b.connection.go_away(Code.INTERNAL, "out of order")
    pair.run()
    assert pair.a.of(WentAway) == [WentAway(Code.INTERNAL, "out of order")]
    assert pair.a.connection.state is pair.b.connection.state is State.CLOSED
    assert pair.a.connection.streams == pair.b.connection.streams == 0


def test_a_peer_of_another_version_is_told_so() -> None:
    end = End(Connection(offerer=True))
    with pytest.raises(ProtocolError, match="update"):
        end.take(frame(FrameType.HELLO, 0, b"PPCH\x05\x07\0\0"))
    assert frames.decode_go_away(end.connection.data_to_send(ROOM)[8:])[0] == Code.VERSION


# Breaches


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\1\2\3",
        frame(FrameType.DATA, 1, b"x"),
        frame(FrameType.DATA, 2, b"x"),
        frame(FrameType.DATA, 0, b"x"),
        frame(FrameType.RESPONSE, 2, frames.encode_response(ok())),
        frame(FrameType.CREDIT, 7, frames.encode_credit(1)),
        frame(FrameType.CREDIT, 0, b"\0"),
        frame(FrameType.RESET, 5, frames.encode_reset(1)),
        frame(FrameType.RESET, 5, b""),
        frame(FrameType.PING, 0, b"short"),
        frame(FrameType.PING, 1, b"12345678"),
        frame(FrameType.GO_AWAY, 0, b""),
        frame(FrameType.GO_AWAY, 3, frames.encode_go_away(0, 0)),
        frame(FrameType.HELLO, 0, b"PPCH\1\1\0\0"),
        _request(2),
        _request(0),
        _request(1) + _request(1),
        _request(5) + _request(3),
        _request(1)[:-1],
        _request(1) + b"\1",
    ],
)
def test_a_breach_of_the_connection_closes_it_with_a_code(message: bytes) -> None:
    end = _served()
    with pytest.raises(ProtocolError):
        end.take(message)
    assert end.connection.state is State.CLOSED
    assert _kinds(end.connection.data_to_send(ROOM)) == [FrameType.GO_AWAY]
    assert end.connection.drained
    assert end.take(_request(9)) == []


def test_the_first_frame_must_be_hello() -> None:
    end = End(Connection(offerer=False))
    with pytest.raises(ProtocolError, match="HELLO"):
        end.take(_request(1))


def test_a_malformed_head_resets_only_its_stream() -> None:
    end = _served()
    end.take(frame(FrameType.REQUEST, 1, b"\3GET"))
    end.take(_request(3))
    reset, *_ = frames.split(end.connection.data_to_send(ROOM))
    assert reset[0] == FrameType.RESET and reset[2] == 1
    assert [event.stream for event in end.of(RequestReceived)] == [3]


def test_frames_of_streams_that_are_over_are_ignored_and_give_their_credit_back() -> None:
    end = _served(SMALL)
    end.take(_request(1, end=False))
    end.connection.reset(1)
    for _ in range(50):
        end.take(frame(FrameType.DATA, 1, bytes(1000)))
    end.take(frame(FrameType.CREDIT, 1, frames.encode_credit(5)) + frame(FrameType.RESET, 1, bytes(4)))
    assert end.connection.state is State.OPEN
    assert end.connection._credit._may_receive + end.connection._credit._unreturned == 4000


def _open_many(end: End) -> list[int]:
    for stream in range(1, 41, 2):
        end.take(_request(stream))
    return [event.stream for event in end.of(RequestReceived)]


def test_requests_above_the_limit_are_refused_and_may_be_repeated() -> None:
    end = _served(SMALL)
    assert len(_open_many(end)) == 4
    codes = [
        frames.decode_reset(payload)[0]
        for kind, _, _, payload in frames.split(end.connection.data_to_send(ROOM))
        if kind == FrameType.RESET
    ]
    assert codes == [Code.REFUSED] * 16


def test_twin_without_the_limit_all_requests_are_taken() -> None:
    assert len(_open_many(_served(replace(SMALL, max_streams=10**6)))) == 20


def _rapid_reset(end: End) -> int:
    for stream in range(1, 4001, 2):
        end.take(_request(stream) + frame(FrameType.RESET, stream, frames.encode_reset(1)), 1.0)
    return len(end.of(RequestReceived))


def test_opening_and_resetting_as_fast_as_possible_closes_the_connection() -> None:
    end = _served()
    with pytest.raises(ProtocolError, match="opened and reset"):
        _rapid_reset(end)
    assert len(end.of(RequestReceived)) <= end.connection.limits.reset_burst + 1


def test_twin_without_the_allowance_every_reset_request_starts_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.Allowance, "take", lambda self, now: True)
    assert _rapid_reset(_served()) == 2000


def test_resets_at_a_human_pace_are_fine() -> None:
    end = _served()
    for number in range(2000):
        stream = 2 * number + 1
        end.take(_request(stream) + frame(FrameType.RESET, stream, frames.encode_reset(1)), number / 50)
    assert end.connection.state is State.OPEN


def _ping_flood(end: End) -> int:
    for _ in range(500):
        end.take(frame(FrameType.PING, 0, bytes(8)), 1.0)
    return len(_kinds(end.connection.data_to_send(ROOM)))


def test_a_flood_of_pings_closes_the_connection() -> None:
    with pytest.raises(ProtocolError, match="pings"):
        _ping_flood(_served())


def test_twin_without_the_allowance_every_ping_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.Allowance, "take", lambda self, now: True)
    assert _ping_flood(_served()) == 500


_STREAM, _GONE = 1, 3
_NOTHINGS = {
    "a type that is not known": frame(99, 0),
    "credit of the connection": frame(FrameType.CREDIT, 0, frames.encode_credit(1)),
    "credit of a stream": frame(FrameType.CREDIT, _STREAM, frames.encode_credit(1)),
    "credit of a stream that is over": frame(FrameType.CREDIT, _GONE, frames.encode_credit(1)),
    "no byte of a body": frame(FrameType.DATA, _STREAM),
    "a byte of a body": frame(FrameType.DATA, _STREAM, b"x"),
    "some bytes for a stream that is over": frame(FrameType.DATA, _GONE, bytes(1023)),
    "a pong that nobody waits for": frame(FrameType.PONG, 0, bytes(8)),
    "a goodbye": frame(FrameType.GO_AWAY, 0, frames.encode_go_away(Code.NONE, 0)),
}


def _receive_nothings(end: End, nothing: bytes, count: int = 20_000, now: float = 1.0) -> None:
    for _ in range(count):
        end.connection.receive(nothing, now)


def _with_two_streams() -> End:
    end = _served()
    end.take(_request(_STREAM, end=False) + _request(_GONE, end=False), 1.0)
    end.connection.reset(_GONE)
    end.connection.data_to_send(ROOM)
    return end


@pytest.mark.parametrize("nothing", _NOTHINGS.values(), ids=_NOTHINGS)
def test_a_flood_of_frames_that_carry_nothing_closes_the_connection(nothing: bytes) -> None:
    """No credit bounds them: what this end does not keep up with would pile up in the engine without end."""
    end = _with_two_streams()
    with pytest.raises(ProtocolError, match="carry nothing"):
        _receive_nothings(end, nothing)
    *_, (kind, _, _, payload) = frames.split(end.connection.data_to_send(ROOM))
    assert kind == FrameType.GO_AWAY and frames.decode_go_away(payload)[0] == Code.EXCESS


@pytest.mark.parametrize("nothing", _NOTHINGS.values(), ids=_NOTHINGS)
def test_twin_without_the_allowance_any_number_of_them_is_taken(
    nothing: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.Allowance, "take", lambda self, now: True)
    end = _with_two_streams()
    _receive_nothings(end, nothing)
    assert end.connection.state in (State.OPEN, State.DRAINING)


def test_a_few_thousand_of_them_a_second_are_fine() -> None:
    end = _with_two_streams()
    for second in range(20):
        _receive_nothings(end, frame(99, 0), 5000, now=float(second))
    assert end.connection.state is State.OPEN


def test_what_follows_from_requests_and_from_what_is_sent_is_no_flood() -> None:
    """Requests with their credit, and credit for each message, however many in no time at all."""
    end = _served(Limits(idle_burst=16, idle_rate=0.0))
    for stream in range(1, 2001, 2):
        end.take(_request(stream) + frame(FrameType.CREDIT, stream, frames.encode_credit(1)), 1.0)
        end.connection.respond(stream, ok(), end=True)
        assert end.connection.data_to_send(ROOM)
    end.take(_request(2001), 1.0)
    end.connection.respond(2001, ok(), end=False)
    for _ in range(1000):
        end.connection.send_data(2001, bytes(1024))
        assert end.connection.data_to_send(ROOM)
        end.take(frame(FrameType.CREDIT, 2001, frames.encode_credit(1024)), 1.0)
        end.take(frame(FrameType.CREDIT, 0, frames.encode_credit(1024)), 1.0)
    assert end.connection.state is State.OPEN


def test_no_ping_goes_before_the_other_sides_hello() -> None:
    """Only HELLO and GO_AWAY may (docs/protocol/channel.md, section 3)."""
    pair = Pair(opened=False)
    pair.a.connection.ping(0.0)
    assert _kinds(pair.a.connection.data_to_send(ROOM)) == [FrameType.HELLO]
    pair.a.take(pair.b.connection.data_to_send(ROOM))
    pair.a.connection.ping(1.0)
    assert _kinds(pair.a.connection.data_to_send(ROOM)) == [FrameType.PING]


def test_twin_an_end_that_counts_as_open_too_early_pings_before_hello() -> None:
    end = Connection(offerer=True)
    end.state = State.OPEN
    end.ping(0.0)
    assert _kinds(end.data_to_send(ROOM)) == [FrameType.HELLO, FrameType.PING]


def _provoke(end: End) -> int:
    for stream in range(1, 4001, 2):
        end.take(_request(stream), stream / 10)
    return len(end.connection._out.control)


def test_a_peer_that_provokes_answers_and_does_not_read_them_is_closed() -> None:
    end = _served(SMALL)
    with pytest.raises(ProtocolError, match="provokes"):
        _provoke(end)
    assert len(end.connection._out.control) == 1


def test_twin_without_the_bound_unread_answers_pile_up() -> None:
    assert _provoke(_served(replace(SMALL, max_control_frames=10**9))) > 1900


def test_a_message_above_the_limit_closes_the_connection() -> None:
    end = _served(Limits(max_message=16384))
    message = frame(77, 0, bytes(16384 - 8))
    assert end.take(message) == []
    with pytest.raises(ProtocolError, match="bytes"):
        end.take(message + frame(77, 0))


def test_twin_without_the_limit_a_large_message_is_taken() -> None:
    end = _served()
    assert end.take(frame(77, 0, bytes(16384))) == []


def test_a_head_above_the_limit_resets_the_stream() -> None:
    end = _served(Limits(max_head=100))
    end.take(_request(1, head=get(b"/" + b"x" * 100)))
    assert frames.decode_reset(end.connection.data_to_send(ROOM)[8:])[0] == Code.TOO_LARGE
    assert not end.of(RequestReceived)


def test_twin_without_the_limit_a_large_head_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    end = _served(Limits(max_head=100))
    monkeypatch.setattr(end.connection, "_check_head", lambda payload: None)
    end.take(_request(1, head=get(b"/" + b"x" * 100)))
    assert len(end.of(RequestReceived)) == 1
