"""Who sends next: control frames, then heads, then small bodies, then bulk; equals take turns.

Nothing is made into a frame before there is room for it on the path, so what is urgent never waits behind
more than the one frame that is on its way. A stream counts as interactive until it has sent ``interactive_burst``
bytes in one go; from then on, until its buffer has run empty, it is bulk.
"""

from __future__ import annotations

from collections import deque

from .frames import HEADER, HEADER_SIZE, Flag, FrameType
from .limits import SMALLEST_BULK, Limits
from .stream import Stream

# Where less room than this is left in a message, the rest of a body waits for the next one instead of leaving
# a crumb in this one.
_CRUMB = 256
_DATA = int(FrameType.DATA)
_END = int(Flag.END)


class Scheduler:
    """The queues of one connection. ``message`` assembles the next message of the channel."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.control: deque[bytes] = deque()
        self.heads: deque[tuple[Stream, bytes]] = deque()
        self._interactive: deque[Stream] = deque()
        self._bulk: deque[Stream] = deque()
        self._ahead = 0
        #: What the peer lets this end send on all streams together.
        self.may_send = 0
        #: Streams whose buffer has room again, for the owner to take.
        self.roomy: list[int] = []
        #: Streams whose last frame was made since the owner looked.
        self.ended: list[Stream] = []

    def waiting(self, *, opened: bool) -> bool:
        """Whether a message could be assembled now, given room."""
        if self.control or not opened:
            return bool(self.control)
        return any(stream.head_waits for stream, _ in self.heads) or any(
            stream.ready and (self.may_send > 0 or not stream.buffered)
            for ring in (self._interactive, self._bulk)
            for stream in ring
        )

    def clear(self) -> None:
        """Forget all that waits."""
        for queue in (self.control, self.heads, self._interactive, self._bulk):
            queue.clear()

    def schedule(self, stream: Stream) -> None:
        """Give the stream its turn, if it has something that it may send."""
        if not stream.scheduled and stream.ready:
            stream.scheduled = True
            small = stream.burst < self._limits.interactive_burst
            (self._interactive if small else self._bulk).append(stream)

    def message(self, room: int, largest: int, opened: bool) -> bytes:
        """The next message: whole frames back to back, at most ``largest`` bytes; empty if there is none to send.

        ``room`` bounds the bodies in it. Heads and control frames are never cut, and go even where there is no room.
        Until ``opened``, only control frames go.
        """
        parts: list[bytes | memoryview] = []
        used = 0
        while self.control:
            if used + len(self.control[0]) > largest:
                return b"".join(parts)
            parts.append(self.control.popleft())
            used += len(parts[-1])
        while opened and self.heads:
            stream, head = self.heads[0]
            if not stream.head_waits:  # it was reset before its head was sent
                self.heads.popleft()
                continue
            if used + len(head) > largest:
                return b"".join(parts)
            self.heads.popleft()
            parts.append(head)
            used += len(head)
            stream.head_waits = False
            if stream.sent_end:
                self.ended.append(stream)
            self.schedule(stream)
        if opened and room >= SMALLEST_BULK:
            self._bodies(parts, used, min(room, largest))
        return b"".join(parts)

    def _bodies(self, parts: list[bytes | memoryview], used: int, limit: int) -> None:
        stuck: list[Stream] = []
        while limit - used > HEADER_SIZE and (self._interactive or self._bulk):
            bulk = not self._interactive or (self._bulk and self._ahead >= self._limits.interactive_share)
            ring = self._bulk if bulk else self._interactive
            stream = ring[0]
            space = min(limit - used - HEADER_SIZE, 0xFFFF)
            if space < _CRUMB and stream.buffered > space:
                break
            ring.popleft()
            stream.scheduled = False
            if not stream.ready:
                continue
            if self.may_send <= 0 and stream.buffered:
                stuck.append(stream)
                continue
            size = self._frame(stream, min(space, self.may_send), parts)
            used += size
            self._ahead = 0 if bulk else self._ahead + size
            self.schedule(stream)
        for stream in stuck:
            self.schedule(stream)

    def _frame(self, stream: Stream, room: int, parts: list[bytes | memoryview]) -> int:
        pieces, size, end = stream.take(room)
        parts.append(HEADER.pack(_DATA, _END if end else 0, size, stream.id))
        parts += pieces
        self.may_send -= size
        stream.burst = stream.burst + size if stream.buffered else 0
        if stream.wants_room and stream.buffered <= self._limits.send_buffer // 2:
            stream.wants_room = False
            self.roomy.append(stream.id)
        if end:
            self.ended.append(stream)
        return HEADER_SIZE + size
