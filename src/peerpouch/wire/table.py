"""The streams of a connection: which are open, which were, and how each comes to its end."""

from __future__ import annotations

from .credit import ReceiveCredit
from .events import Event, StreamReset
from .frames import LARGEST_STREAM, Code, FrameType, Malformed, encode_reset, frame
from .limits import Allowance, Limits
from .scheduler import Scheduler
from .states import Direction
from .stream import Stream

#: Frames of credit that follow from a request: for its response, for its body, and for the connection.
_CREDITS = 3
#: Bytes for which a peer may return credit by a frame of its own: less than in a frame of bulk on the slowest path.
_RETURNED = 256


class StreamTable:
    """The part of a connection that keeps the books of its streams."""

    def __init__(self, limits: Limits, *, offerer: bool) -> None:
        self._next_stream = 1 if offerer else 2
        self._last_accepted = 0
        self._refused_from = LARGEST_STREAM + 1
        self._streams: dict[int, Stream] = {}
        self._opened_here = 0
        # Requests of this end that are over, with bytes that the application has not consumed.
        self._lingering: dict[int, Stream] = {}
        self._resets = Allowance(limits.reset_burst, limits.reset_rate)
        self._idle = Allowance(limits.idle_burst, limits.idle_rate)
        self._out = Scheduler(limits)
        self._credit = ReceiveCredit(limits, self._out.control)

    def _require_connection(self, stream: int) -> None:
        if stream != 0:
            raise Malformed("A frame of the connection names a stream.")

    def _require_known(self, stream: int) -> None:
        """Frames of streams that are over may still come, for what is on the way when a stream ends."""
        if stream % 2 == self._next_stream % 2:
            known = stream < self._next_stream
        else:
            known = stream <= self._last_accepted or stream >= self._refused_from
        if not known or stream == 0:
            raise Malformed(f"A frame names stream {stream}, which was never opened.")

    def _refuse(self, stream: int, code: int, reason: str, now: float) -> None:
        self._count_reset(now)
        self._out.control.append(frame(FrameType.RESET, stream, encode_reset(code, reason)))

    def _count_reset(self, now: float) -> None:
        if not self._resets.take(now):
            raise Malformed("Too many streams are opened and reset.", Code.EXCESS)

    def _count_idle(self, now: float) -> None:
        """A frame came that carries nothing: credit, a pong that nobody waits for, a type that is not known, a second
        goodbye, some bytes of a body, a small frame for a stream that is over or was never to be.

        Those that an honest peer sends follow from a request, or from bytes that this end sent: see ``_give_idle``.
        """
        if not self._idle.take(now):
            raise Malformed("The other side sends too many frames that carry nothing.", Code.EXCESS)

    def _give_idle(self, requests: int, sent: int) -> None:
        """What gives the peer reason for such frames: requests, with the credit behind each; and bytes that this end
        sent, of which it returns the credit."""
        self._idle.give(_CREDITS * requests + sent // _RETURNED)

    def _breach(self, stream: Stream, code: int, reason: str, now: float, events: list[Event]) -> None:
        self._refuse(stream.id, code, reason, now)
        self._drop(stream)
        events.append(StreamReset(stream.id, code, reason, by_peer=False))

    def _sent_end(self, stream: Stream) -> None:
        if stream.id not in self._streams:
            return
        if not stream.opened_here and stream.receiving is not Direction.DONE:
            reset = encode_reset(Code.NONE, "The request is answered.")
            self._out.control.append(frame(FrameType.RESET, stream.id, reset))
            self._drop(stream)
        else:
            self._finish(stream)

    def _finish(self, stream: Stream) -> None:
        """Forget a stream whose directions have both ended, when nothing of it is unconsumed."""
        if not stream.finished:
            return
        if stream.opened_here and stream.unconsumed:
            del self._streams[stream.id]
            self._opened_here -= 1
            self._lingering[stream.id] = stream
        else:
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        del self._streams[stream.id]
        if stream.opened_here:
            self._opened_here -= 1
        stream.head_waits = False
        stream.drop_unsent()
        self._credit.forget(stream)
