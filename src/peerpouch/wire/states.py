"""The states of a stream and of a connection, as tables.

A stream is two directions, and both follow the same little machine, on both ends: a head, then data, then
the end. The opener of a stream starts with its sending direction behind the head of the request; its receiving
direction waits for the head of the response. What the tables don't list is a breach of the protocol.
"""

from __future__ import annotations

from enum import Enum


class Direction(Enum):
    """The state of one direction of a stream."""

    HEAD = "waits for its head"
    BODY = "carries data"
    DONE = "has ended"


class Step(Enum):
    """What happens in one direction of a stream."""

    HEAD = "head"
    HEAD_END = "head, and no body"
    DATA = "data"
    DATA_END = "data, and the end"
    RESET = "reset"


DIRECTION_TABLE: dict[tuple[Direction, Step], Direction] = {
    (Direction.HEAD, Step.HEAD): Direction.BODY,
    (Direction.HEAD, Step.HEAD_END): Direction.DONE,
    (Direction.HEAD, Step.RESET): Direction.DONE,
    (Direction.BODY, Step.DATA): Direction.BODY,
    (Direction.BODY, Step.DATA_END): Direction.DONE,
    (Direction.BODY, Step.RESET): Direction.DONE,
    # A reset may cross the end of a stream on the way.
    (Direction.DONE, Step.RESET): Direction.DONE,
}


class State(Enum):
    """The state of a connection."""

    OPENING = "the other side's HELLO has not come"
    OPEN = "requests may be made both ways"
    DRAINING = "open streams end, no new ones begin"
    CLOSED = "nothing is received any more"


class Move(Enum):
    """What happens to a connection."""

    HELLO = "HELLO received"
    DRAIN_SENT = "GO_AWAY without an error sent"
    DRAIN_RECEIVED = "GO_AWAY without an error received"
    FAILED = "GO_AWAY with an error sent or received"


CONNECTION_TABLE: dict[tuple[State, Move], State] = {
    (State.OPENING, Move.HELLO): State.OPEN,
    # Without a HELLO there are no streams, so there is nothing to drain.
    (State.OPENING, Move.DRAIN_SENT): State.CLOSED,
    (State.OPENING, Move.DRAIN_RECEIVED): State.CLOSED,
    (State.OPENING, Move.FAILED): State.CLOSED,
    (State.OPEN, Move.DRAIN_SENT): State.DRAINING,
    (State.OPEN, Move.DRAIN_RECEIVED): State.DRAINING,
    (State.OPEN, Move.FAILED): State.CLOSED,
    (State.DRAINING, Move.DRAIN_SENT): State.DRAINING,
    (State.DRAINING, Move.DRAIN_RECEIVED): State.DRAINING,
    (State.DRAINING, Move.FAILED): State.CLOSED,
}
