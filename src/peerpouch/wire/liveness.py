"""When to ask the peer for a sign of life, and when to believe that it is gone."""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What the owner does next."""

    WAIT = "nothing"
    PING = "send a ping"
    DEAD = "the peer is gone"


class Liveness:
    """The policy of one connection; ``now`` is monotonic seconds.

    Whatever arrives is a sign of life. After ``interval`` seconds of silence a ping is due, and again after each
    further one; after ``patience`` seconds the peer is dead. Three seconds and nine let two pings get lost and
    keep the promise that a killed peer is noticed within ten.

    A process that was suspended, a laptop that slept, a loop that was blocked: then nobody listened, so silence
    proves nothing. The first check after a pause of this end counts as ``interval`` of silence, once for each
    silence; a browser that lets a background tab's timers run once a minute comes to its verdict at the second.
    The owner calls :meth:`check` when :meth:`due` says, and also when a message arrives, since timers may be throttled.
    """

    def __init__(self, now: float, *, interval: float = 3.0, patience: float = 9.0) -> None:
        if not 0 < interval < patience:
            raise ValueError("interval must be positive and less than patience")
        self.interval = interval
        self.patience = patience
        self._heard = now
        self._checked = now
        self._asked = now
        self._forgiven = False

    def heard(self, now: float) -> None:
        """Something arrived."""
        self._heard = self._checked = self._asked = now
        self._forgiven = False

    def silence(self, now: float) -> float:
        """Seconds since something arrived, pauses of this end counted once."""
        return now - self._heard

    def forgive(self, now: float) -> None:
        """Another path is being tried: the peer has at least one more interval to be heard."""
        self._heard = max(self._heard, now - (self.patience - self.interval))

    def check(self, now: float) -> Verdict:
        """What to do now."""
        paused = now - self._checked > 2 * self.interval
        self._checked = now
        if paused and not self._forgiven:
            self._forgiven = True
            self._heard = max(self._heard, now - self.interval)
        if now - self._heard >= self.patience:
            return Verdict.DEAD
        if now - self._heard >= self.interval and now - self._asked >= self.interval:
            self._asked = now
            return Verdict.PING
        return Verdict.WAIT

    def due(self, now: float) -> float:
        """Seconds until :meth:`check` is to be called next."""
        ask = max(self._heard, self._asked) + self.interval
        return max(0.0, min(ask, self._heard + self.patience) - now)
