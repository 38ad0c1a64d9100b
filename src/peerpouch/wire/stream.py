"""One stream: its two directions, what waits to be sent, and the two windows of credit."""

from __future__ import annotations

from collections import deque

from .states import DIRECTION_TABLE, Direction, Step


class Stream:
    """The bookkeeping of one stream. It makes no frames and decides nothing about others.

    ``buffer`` holds the application's own chunks, uncopied; ``buffered`` is their size in bytes. ``window`` is what
    the peer may have in flight or unconsumed, ``may_receive`` what is left of it.
    """

    __slots__ = (
        "buffer",
        "buffered",
        "burst",
        "consumed_of_window",
        "ending",
        "grown",
        "head_waits",
        "id",
        "may_receive",
        "may_send",
        "opened_here",
        "receiving",
        "scheduled",
        "sending",
        "sent_end",
        "unconsumed",
        "unreturned",
        "wants_room",
        "window",
        "window_began",
    )

    def __init__(self, stream: int, *, opened_here: bool, may_send: int, window: int) -> None:
        self.id = stream
        self.opened_here = opened_here
        self.sending = Direction.HEAD
        self.receiving = Direction.HEAD
        self.buffer: deque[bytes | memoryview] = deque()
        self.buffered = 0
        self.may_send = may_send
        #: The application has given the end of its body; ``sent_end``: the frame with it was made.
        self.ending = False
        self.sent_end = False
        self.head_waits = False
        self.scheduled = False
        self.wants_room = False
        self.burst = 0
        self.window = window
        self.grown = 0
        self.may_receive = window
        self.unconsumed = 0
        self.unreturned = 0
        self.consumed_of_window = 0
        self.window_began: float | None = None

    def send_step(self, step: Step) -> bool:
        """Move the sending direction; false where the table forbids it."""
        state = DIRECTION_TABLE.get((self.sending, step))
        if state is None:
            return False
        self.sending = state
        return True

    def receive_step(self, step: Step) -> bool:
        """Move the receiving direction; false where the table forbids it."""
        state = DIRECTION_TABLE.get((self.receiving, step))
        if state is None:
            return False
        self.receiving = state
        return True

    @property
    def finished(self) -> bool:
        """Whether both directions have ended on the wire."""
        return self.sent_end and not self.head_waits and self.receiving is Direction.DONE

    @property
    def ready(self) -> bool:
        """Whether a DATA frame could be made now."""
        if self.head_waits or self.sent_end:
            return False
        return (self.may_send > 0 and self.buffered > 0) or (self.ending and self.buffered == 0)

    def put(self, data: bytes | memoryview) -> None:
        """Take bytes to send; they must not change any more."""
        if data:
            self.buffer.append(data)
            self.buffered += len(data)

    def take(self, room: int) -> tuple[list[bytes | memoryview], int, bool]:
        """At most ``room`` bytes to send, within the credit: the pieces, their size, and whether this is the end."""
        size = min(room, self.may_send, self.buffered)
        pieces: list[bytes | memoryview] = []
        missing = size
        while missing:
            piece = self.buffer[0]
            if len(piece) <= missing:
                pieces.append(self.buffer.popleft())
                missing -= len(piece)
            else:
                view = memoryview(piece)
                pieces.append(view[:missing])
                self.buffer[0] = view[missing:]
                missing = 0
        self.buffered -= size
        self.may_send -= size
        end = self.ending and self.buffered == 0
        self.sent_end = end
        return pieces, size, end

    def drop_unsent(self) -> None:
        """Forget what was not sent."""
        self.buffer.clear()
        self.buffered = 0
        self.sent_end = True
