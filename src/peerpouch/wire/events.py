"""What a connection tells its owner of what arrived."""

from __future__ import annotations

from dataclasses import dataclass

from .frames import RequestHead, ResponseHead


@dataclass(frozen=True, slots=True)
class Opened:
    """The other side's HELLO came: requests may be made."""

    version: int
    features: int


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """The other side opened a stream. With ``ended`` there is no body."""

    stream: int
    head: RequestHead
    ended: bool


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """The head of the response to a request of ours. With ``ended`` there is no body."""

    stream: int
    head: ResponseHead
    ended: bool


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a body; its last ones with ``ended``. Tell ``consumed`` when they are used up."""

    stream: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class StreamReset:
    """A stream ended before its time. After this the connection knows nothing of it.

    ``by_peer`` is false where this end reset it, because the other side broke a rule. A ``code`` of NONE after
    a whole response means that the rest of the request's body is not wanted. REFUSED says that nothing was
    done for the request: it may be repeated.
    """

    stream: int
    code: int
    reason: str
    by_peer: bool


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The answer to a ping, and how many seconds it took."""

    round_trip: float


@dataclass(frozen=True, slots=True)
class WentAway:
    """The other side takes no more requests. With a ``code`` other than NONE it is gone."""

    code: int
    reason: str


Event = Opened | RequestReceived | ResponseReceived | DataReceived | StreamReset | PongReceived | WentAway
