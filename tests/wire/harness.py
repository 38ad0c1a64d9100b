"""Two connections in memory, joined by queues that a test empties as it likes."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from peerpouch.wire import (
    Connection,
    DataReceived,
    Event,
    Header,
    Limits,
    RequestHead,
    RequestReceived,
    ResponseHead,
    ResponseReceived,
    StreamReset,
)

ROOM = 64 * 1024
T = TypeVar("T")


class End:
    """One end: its connection, the messages on their way to it, and what it got."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.inbox: deque[bytes] = deque()
        self.events: list[Event] = []
        self.bodies: dict[int, bytearray] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, StreamReset] = {}

    def take(self, message: bytes, now: float = 0.0, *, consume: bool = True) -> list[Event]:
        events = self.connection.receive(message, now)
        self.events += events
        for event in events:
            if isinstance(event, (RequestReceived, ResponseReceived)):
                self.bodies.setdefault(event.stream, bytearray())
                if event.ended:
                    self.ended.add(event.stream)
            elif isinstance(event, DataReceived):
                self.bodies[event.stream] += event.data
                if event.ended:
                    self.ended.add(event.stream)
                if consume:
                    self.connection.consumed(event.stream, len(event.data), now)
            elif isinstance(event, StreamReset):
                self.resets[event.stream] = event
        return events

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]


class Pair:
    """An offerer and an answerer."""

    def __init__(self, offerer: Limits | None = None, answerer: Limits | None = None, *, opened: bool = True) -> None:
        self.a = End(Connection(offerer=True, limits=offerer))
        self.b = End(Connection(offerer=False, limits=answerer))
        if opened:
            self.run()

    def flush(self, end: End, room: int = ROOM) -> int:
        """Put all that an end can send on its way; gives the number of messages."""
        other = self.b if end is self.a else self.a
        count = 0
        while message := end.connection.data_to_send(room):
            other.inbox.append(message)
            count += 1
        return count

    def run(self, room: int = ROOM, *, consume: bool = True) -> None:
        """Deliver until nothing moves."""
        moved = True
        while moved:
            moved = False
            for end in (self.a, self.b):
                moved |= self.flush(end, room) > 0
                while end.inbox:
                    end.take(end.inbox.popleft(), consume=consume)
                    moved = True


def get(path: bytes = b"/db", headers: tuple[Header, ...] = ()) -> RequestHead:
    return RequestHead(b"GET", path, headers)


def put(path: bytes = b"/db/doc", headers: tuple[Header, ...] = ()) -> RequestHead:
    return RequestHead(b"PUT", path, headers)


def ok(headers: tuple[Header, ...] = (), status: int = 200) -> ResponseHead:
    return ResponseHead(status, headers)
