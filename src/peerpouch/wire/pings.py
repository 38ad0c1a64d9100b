"""Asking the other end for a sign of life, and answering: what is on its way, and how long it takes."""

from __future__ import annotations

from .frames import Code, FrameType, Malformed, frame
from .limits import Allowance, Limits

_SIZE = 8


class Pings:
    """The pings of one end of a channel; ``now`` is monotonic seconds."""

    def __init__(self, limits: Limits) -> None:
        #: The shortest round trip of a ping so far, in seconds: what the path takes when no queue is in the way.
        self.round_trip: float | None = None
        self._most = limits.max_pings
        self._number = 0
        self._sent: dict[bytes, float] = {}
        self._allowance = Allowance(limits.ping_burst, limits.ping_rate)

    def ask(self, now: float) -> bytes:
        """The PING frame to send; nothing where as many as may be are unanswered."""
        if len(self._sent) >= self._most:
            return b""
        self._number += 1
        token = self._number.to_bytes(_SIZE)
        self._sent[token] = now
        return frame(FrameType.PING, 0, token)

    def answer(self, payload: bytes, now: float) -> bytes:
        """The PONG frame for a PING that came.

        Raises:
            Malformed: It is none, or one too many.
        """
        if len(payload) != _SIZE:
            raise Malformed("PING does not have eight bytes.")
        if not self._allowance.take(now):
            raise Malformed("The other side sends too many pings.", Code.EXCESS)
        return frame(FrameType.PONG, 0, payload)

    def answered(self, payload: bytes, now: float) -> float | None:
        """A PONG came; gives how many seconds its ping took, or nothing if none waits for it."""
        sent = self._sent.pop(payload, None)
        if sent is None:
            return None
        # Channels keep their order: a ping before this one will not be answered any more.
        self._sent = {token: at for token, at in self._sent.items() if token > payload}
        took = max(0.0, now - sent)
        self.round_trip = took if self.round_trip is None else min(took, self.round_trip)
        return took

    def clear(self) -> None:
        """Wait for no answer any more."""
        self._sent.clear()
