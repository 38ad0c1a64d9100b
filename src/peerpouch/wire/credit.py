"""What the other side may send: the connection's credit, the windows of streams, and the pool they grow from."""

from __future__ import annotations

from collections import deque

from .frames import FrameType, encode_credit, frame
from .limits import Limits
from .stream import Stream

#: A window that is used up in less than this many round trips is too small (it takes one for credit to return).
_ROUND_TRIPS = 2


class ReceiveCredit:
    """The ledger of received bodies. CREDIT frames go to ``control``.

    A window grows when its application has consumed a whole window within two round trips: then the window, not the
    application, limits the stream. A larger one would only fill the queue in front of the application, and what is
    urgent would wait in it. It grows out of a pool that all streams share: so a stream that is not read never holds
    more than its first credit, and no stream can use up what another one needs.
    """

    def __init__(self, limits: Limits, control: deque[bytes]) -> None:
        self._limits = limits
        self._control = control
        self._pool = limits.window_pool
        self._may_receive = limits.connection_credit
        self._unreturned = 0

    def take(self, size: int) -> bool:
        """Count bytes that came; false where the connection's credit does not allow them."""
        if size > self._may_receive:
            return False
        self._may_receive -= size
        return True

    def give_back(self, size: int) -> None:
        """Return the connection's credit for bytes that are used up, a quarter of it at a time."""
        self._unreturned += size
        if self._unreturned >= max(1, self._limits.connection_credit // 4):
            self._may_receive += self._unreturned
            self._control.append(frame(FrameType.CREDIT, 0, encode_credit(self._unreturned)))
            self._unreturned = 0

    def consumed(self, stream: Stream, size: int, now: float, round_trip: float | None) -> None:
        """Return a stream's credit, a quarter of its window at a time, and let the window grow."""
        stream.unreturned += size
        stream.consumed_of_window += size
        if stream.window_began is None:
            stream.window_began = now
        if stream.consumed_of_window >= stream.window:
            if round_trip is not None and now - stream.window_began < _ROUND_TRIPS * round_trip:
                self.widen(stream, 2 * stream.window)
            stream.consumed_of_window = 0
            stream.window_began = now
        if stream.unreturned >= max(1, stream.window // 4):
            self._control.append(self.returned(stream))

    def widen(self, stream: Stream, window: int) -> None:
        """Let a stream's window grow to ``window`` bytes, as far as the limits allow."""
        extra = min(window, self._limits.max_stream_window) - stream.window
        extra = max(0, min(extra, self._pool))
        self._pool -= extra
        stream.grown += extra
        stream.window += extra
        stream.unreturned += extra

    def returned(self, stream: Stream) -> bytes:
        """The CREDIT frame for what a stream has to get back, or nothing."""
        amount = stream.unreturned
        if not amount:
            return b""
        stream.unreturned = 0
        stream.may_receive += amount
        return frame(FrameType.CREDIT, stream.id, encode_credit(amount))

    def forget(self, stream: Stream) -> None:
        """The stream is over: what it did not consume, and what it took from the pool, comes back."""
        self.give_back(stream.unconsumed)
        self._pool += stream.grown
        stream.unconsumed = stream.grown = 0
