"""Whole sessions of two connections: what is sent arrives, and nothing that is sent does harm."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from peerpouch.errors import ProtocolError
from peerpouch.wire import Connection, Limits, RequestHead, RequestReceived, ResponseHead, State, frames
from peerpouch.wire.frames import FrameType, frame
from tests.wire.harness import End, Pair

_limits = st.builds(
    Limits,
    max_message=st.sampled_from([16384, 65536]),
    max_streams=st.integers(1, 8),
    stream_credit=st.integers(1, 5000),
    response_window=st.integers(1, 20_000),
    window_pool=st.integers(0, 20_000),
    connection_credit=st.integers(80_000, 100_000),
    send_buffer=st.integers(1, 10_000),
    interactive_burst=st.integers(0, 2000),
    interactive_share=st.integers(0, 2000),
)
_exchange = st.tuples(st.booleans(), st.integers(0, 40_000), st.integers(0, 40_000))


def _body(size: int, seed: int) -> bytes:
    return bytes((seed + at * 7) % 251 for at in range(min(size, 251))) * (size // 251 + 1)


class _Session:
    """Random requests, pushed and delivered in random portions."""

    def __init__(self, pair: Pair, exchanges: list[tuple[bool, int, int]]) -> None:
        self.pair = pair
        self.todo = list(enumerate(exchanges))
        self.sending: list[tuple[End, int, memoryview]] = []
        self.expected: list[tuple[End, int, bytes]] = []
        self.answers: dict[tuple[int, int], bytes] = {}
        self.paths: dict[int, tuple[bytes, bytes]] = {}

    def start(self) -> None:
        while self.todo:
            number, (from_a, request, response) = self.todo[0]
            end, other = (self.pair.a, self.pair.b) if from_a else (self.pair.b, self.pair.a)
            if not end.connection.can_request:
                return
            self.todo.pop(0)
            body, answer = _body(request, number)[:request], _body(response, number + 100)[:response]
            stream = end.connection.request(RequestHead(b"POST", b"/%d" % number), end=not body)
            self.paths[number] = (body, answer)
            self.expected += [(other, stream, body), (end, stream, answer)]
            if body:
                self.sending.append((end, stream, memoryview(body)))

    def answer(self, end: End) -> None:
        for event in end.events:
            if isinstance(event, RequestReceived) and event.stream in end.ended:
                key = (id(end), event.stream)
                if key in self.answers:
                    continue
                answer = self.answers[key] = self.paths[int(event.head.path[1:])][1]
                end.connection.respond(event.stream, ResponseHead(200), end=not answer)
                if answer:
                    self.sending.append((end, event.stream, memoryview(answer)))

    def push(self, size: int) -> None:
        rest = []
        for end, stream, body in self.sending:
            more = end.connection.send_data(stream, body[:size], end=size >= len(body))
            assert more == (
                size >= len(body) or end.connection._streams[stream].buffered < end.connection.limits.send_buffer
            )
            if len(body) > size:
                rest.append((end, stream, body[size:]))
        self.sending = rest

    @property
    def done(self) -> bool:
        return not self.todo and not self.sending and all(s in end.ended for end, s, _ in self.expected)


@settings(max_examples=60, deadline=None)
@given(_limits, _limits, st.lists(_exchange, max_size=12), st.data())
def test_every_byte_arrives_both_ways_however_it_is_cut_and_interleaved(
    one: Limits, two: Limits, exchanges: list[tuple[bool, int, int]], data: st.DataObject
) -> None:
    session = _Session(Pair(one, two), exchanges)
    random = data.draw(st.randoms(use_true_random=False))
    pair = session.pair
    for _ in range(100_000):
        if session.done:
            break
        session.start()
        session.push(random.choice([1, 100, 5000, 50_000]))
        end = random.choice([pair.a, pair.b])
        for _ in range(random.randint(0, 4)):
            if message := end.connection.data_to_send(random.choice([0, 1024, 3000, 65536])):
                (pair.b if end is pair.a else pair.a).inbox.append(message)
        while end.inbox and random.random() < 0.8:
            end.take(end.inbox.popleft())
        session.answer(end)
    assert session.done
    assert all(bytes(end.bodies[stream]) == body for end, stream, body in session.expected)
    pair.run()
    for end in (pair.a, pair.b):
        connection: Any = end.connection
        assert not end.resets
        assert connection.streams == 0 and not connection._lingering
        assert connection._credit._pool == connection.limits.window_pool
        assert connection._credit._may_receive + connection._credit._unreturned == connection.limits.connection_credit


def _recorded(from_a: bool) -> list[bytes]:
    """What one end of a session sends, message by message."""
    pair = Pair(opened=False)
    messages: list[bytes] = []
    session = _Session(pair, [(True, 3000, 50_000), (False, 0, 10), (True, 0, 0), (False, 70_000, 5)])
    for _ in range(200):
        if pair.a.connection.state is State.OPEN and pair.b.connection.state is State.OPEN:
            session.start()
        session.push(5000)
        pair.flush(pair.a)
        messages += pair.b.inbox if from_a else []
        while pair.b.inbox:
            pair.b.take(pair.b.inbox.popleft())
        session.answer(pair.b)
        pair.flush(pair.b)
        messages += [] if from_a else pair.a.inbox
        while pair.a.inbox:
            pair.a.take(pair.a.inbox.popleft())
        session.answer(pair.a)
    assert session.done
    return messages


_FROM_OFFERER = _recorded(True)
_HELLO = _FROM_OFFERER[0]
_kinds = st.integers(0, 12)
_frames = st.builds(
    frame,
    _kinds,
    st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1)),
    st.one_of(st.binary(max_size=40), st.just(frames.encode_request(RequestHead(b"GET", b"/")))),
    st.integers(0, 255),
)
_messages = st.one_of(
    st.binary(max_size=100),
    st.lists(_frames, min_size=1, max_size=8).map(b"".join),
    st.sampled_from(_FROM_OFFERER),
)


def _held(connection: Any) -> int:
    """Entries that a connection keeps for its peer."""
    out = connection._out
    return len(connection._streams) + len(connection._lingering) + len(out.control) + len(out.heads)


def _attack(connection: Connection, messages: list[bytes]) -> None:
    """Feed messages; anything but a ProtocolError fails the test."""
    limits = connection.limits
    most = limits.max_streams + 2 + limits.max_control_frames
    unread = 0
    for number, message in enumerate(messages):
        try:
            events = connection.receive(message, number * 0.01)
        except ProtocolError:
            assert connection.state is State.CLOSED
            (kind, *_), *_ = frames.split(connection.data_to_send(65536))
            assert kind == FrameType.GO_AWAY
        else:
            unread += sum(len(getattr(event, "data", b"")) for event in events)
        while number == 0 and connection.can_request and connection.streams < 2:
            connection.request(RequestHead(b"GET", b"/"), end=False)
        assert unread <= limits.connection_credit
        assert _held(connection) <= most + 2


@settings(max_examples=300, deadline=None)
@given(st.booleans(), st.lists(_messages, max_size=40))
def test_random_frames_give_protocol_errors_only_and_hold_bounded_memory(greeted: bool, messages: list[bytes]) -> None:
    connection = Connection(offerer=False, limits=Limits(max_streams=4, max_control_frames=50))
    _attack(connection, ([_HELLO] if greeted else []) + messages)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_session_gives_protocol_errors_only_and_holds_bounded_memory(data: st.DataObject) -> None:
    messages = list(_FROM_OFFERER)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(messages) - 1))
        changed = bytearray(messages[at])
        what = data.draw(st.sampled_from(["flip", "cut", "repeat", "drop", "swap"]))
        if what == "flip" and changed:
            # The headers and heads are in front: there a change matters most.
            where = data.draw(st.integers(0, min(60, len(changed) - 1)))
            changed[where] = data.draw(st.integers(0, 255))
            messages[at] = bytes(changed)
        elif what == "cut":
            messages[at] = bytes(changed[: data.draw(st.integers(0, min(60, len(changed))))])
        elif what == "repeat":
            messages.insert(at, messages[at])
        elif what == "drop" and len(messages) > 1:
            del messages[at]
        else:
            messages[at], messages[0] = messages[0], messages[at]
    _attack(Connection(offerer=False), messages)


def test_the_recorded_session_itself_is_no_attack() -> None:
    connection = Connection(offerer=False)
    _attack(connection, _FROM_OFFERER)
    assert connection.state is State.OPEN
