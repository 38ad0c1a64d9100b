"""The tables: every state meets every input."""

from __future__ import annotations

from itertools import product

import pytest

from peerpouch.errors import ProtocolError
from peerpouch.wire import Code, Connection, State, frames
from peerpouch.wire.frames import Flag, FrameType, frame
from peerpouch.wire.states import CONNECTION_TABLE, DIRECTION_TABLE, Direction, Move, Step
from peerpouch.wire.stream import Stream
from tests.wire.harness import Pair, get, ok

_ALLOWED = {
    Direction.HEAD: {Step.HEAD: Direction.BODY, Step.HEAD_END: Direction.DONE, Step.RESET: Direction.DONE},
    Direction.BODY: {Step.DATA: Direction.BODY, Step.DATA_END: Direction.DONE, Step.RESET: Direction.DONE},
    Direction.DONE: {Step.RESET: Direction.DONE},
}


@pytest.mark.parametrize(("state", "step"), list(product(Direction, Step)))
def test_a_direction_takes_what_its_state_allows_and_nothing_else(state: Direction, step: Step) -> None:
    for sending in (True, False):
        stream = Stream(1, opened_here=True, may_send=0, window=0)
        if sending:
            stream.sending = state
        else:
            stream.receiving = state
        moved = stream.send_step(step) if sending else stream.receive_step(step)
        assert moved == (step in _ALLOWED[state])
        assert (stream.sending if sending else stream.receiving) is _ALLOWED[state].get(step, state)


def test_the_end_of_a_direction_is_final_and_every_state_reaches_it() -> None:
    assert all(DIRECTION_TABLE[state, Step.RESET] is Direction.DONE for state in Direction)
    assert {after for (before, _), after in DIRECTION_TABLE.items() if before is Direction.DONE} == {Direction.DONE}


def test_every_connection_can_fail_and_nothing_leaves_the_closed_state() -> None:
    for state in (State.OPENING, State.OPEN, State.DRAINING):
        assert CONNECTION_TABLE[state, Move.FAILED] is State.CLOSED
    assert not any(state is State.CLOSED for state, _ in CONNECTION_TABLE)
    assert [state for state, move in CONNECTION_TABLE if move is Move.HELLO] == [State.OPENING]


_REQUEST = frames.encode_request(get())
_RESPONSE = frames.encode_response(ok())
# What the peer may send on a stream that this end opened, and the step that it is.
_INPUTS = {
    Step.HEAD: (FrameType.RESPONSE, _RESPONSE, 0),
    Step.HEAD_END: (FrameType.RESPONSE, _RESPONSE, Flag.END),
    Step.DATA: (FrameType.DATA, b"x", 0),
    Step.DATA_END: (FrameType.DATA, b"x", Flag.END),
    Step.RESET: (FrameType.RESET, frames.encode_reset(Code.CANCELLED), 0),
}
_REACH = {Direction.HEAD: [], Direction.BODY: [Step.HEAD], Direction.DONE: [Step.HEAD_END]}


@pytest.mark.parametrize(("state", "step"), list(product(Direction, Step)))
def test_a_connection_resets_the_stream_on_what_the_table_forbids(state: Direction, step: Step) -> None:
    pair = Pair()
    stream = pair.a.connection.request(get(), end=False)
    pair.flush(pair.a)
    for before in _REACH[state]:
        kind, payload, flags = _INPUTS[before]
        pair.a.take(frame(kind, stream, payload, flags))
    kind, payload, flags = _INPUTS[step]
    pair.a.take(frame(kind, stream, payload, flags))
    reset = pair.a.resets.get(stream)
    if step is Step.RESET:
        assert reset is not None and reset.by_peer
    elif step in _ALLOWED[state]:
        assert reset is None
    else:
        assert reset is not None and not reset.by_peer and reset.code == Code.PROTOCOL
        message = pair.a.connection.data_to_send(100)
        assert frames.HEADER.unpack_from(message)[0] == FrameType.RESET
    assert pair.a.connection.state is State.OPEN


_HELLO = frame(FrameType.HELLO, 0, frames.encode_hello(Pair(opened=False).a.connection.limits))
_MOVES = {
    Move.HELLO: _HELLO,
    Move.DRAIN_RECEIVED: frame(FrameType.GO_AWAY, 0, frames.encode_go_away(Code.NONE, 0)),
    Move.FAILED: frame(FrameType.GO_AWAY, 0, frames.encode_go_away(Code.INTERNAL, 0)),
}


def _in(state: State) -> Connection:
    connection = Connection(offerer=True)
    if state is not State.OPENING:
        connection.receive(_HELLO, 0)
    if state is State.DRAINING:
        connection.go_away()
    if state is State.CLOSED:
        connection.go_away(Code.INTERNAL)
    assert connection.state is state
    return connection


@pytest.mark.parametrize(("state", "move"), list(product(State, _MOVES)))
def test_a_connection_follows_its_table_for_what_it_receives(state: State, move: Move) -> None:
    connection = _in(state)
    if state is State.CLOSED:
        assert connection.receive(_MOVES[move], 0) == []
        assert connection.state is State.CLOSED
    elif (state, move) in CONNECTION_TABLE:
        connection.receive(_MOVES[move], 0)
        assert connection.state is CONNECTION_TABLE[state, move]
    else:
        with pytest.raises(ProtocolError):
            connection.receive(_MOVES[move], 0)
        assert connection.state is State.CLOSED


@pytest.mark.parametrize("state", State)
def test_going_away_follows_the_table(state: State) -> None:
    connection = _in(state)
    connection.go_away()
    assert connection.state is CONNECTION_TABLE.get((state, Move.DRAIN_SENT), State.CLOSED)
    connection = _in(state)
    connection.go_away(Code.INTERNAL, "enough")
    assert connection.state is State.CLOSED
