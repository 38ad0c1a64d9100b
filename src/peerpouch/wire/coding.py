"""Compression of JSON bodies: what may be compressed at all, and when it is worth it.

``docs/protocol/channel.md``, section 11, has the rules. Each body has a gzip context of its own, so that none tells
anything about another (as CRIME and BREACH made sessions tell). Decoding is the matter of who reads a body, since only
the reader knows how large it may become.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from .frames import Header, RequestHead, ResponseHead
from .limits import KIB, MIB

Choice = Literal["auto", "on", "off"]
"""Whether an end compresses what it sends: where it measures that this helps, always, or never."""

STEP: Final = 64 * KIB
"""Bytes that are compressed in one go: about a millisecond, in which the event loop stands still."""

SMALLEST: Final = 1 * KIB
"""A body that is announced as shorter than this is one packet, compressed or not."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_SLOW_PATH: Final = 2 * MIB
"""Bytes a second below which the thorough level pays: it saves a fifth more, at a third of the speed (36 MB/s)."""
_FASTEST_PATH: Final = 10 * MIB
"""Bytes a second above which nothing is compressed: documents are not read and written faster than this, so it is not
the path that they wait for, and compressing takes time from what they do wait for."""
_FAR: Final = 0.005
"""Seconds of a round trip above which a path that was never busy is taken for a slow one: until its congestion window
has grown it is one, and nothing on the same machine or cable is as far."""
_GAIN: Final = 0.8
"""Compressing must save a fifth of the time: it costs the other end's processor, too."""
_FORGET: Final = 0.05
"""How far the experience returns to the assumption with each body that was therefore sent as it is."""
_MEMORY: Final = 512 * KIB
"""Bytes over which the experience of speed and ratio is averaged: a few bodies."""
_ASSUMED: Final = (float(_MEMORY), _MEMORY / 3.0, _MEMORY / 50e6)
"""A third is left, at 50 MB/s."""

_FORBIDDEN: Final = re.compile(rb"no-store|no-transform")
_STATUSES: Final = frozenset((200, 201, 202, 409))
_CUT_OUT: Final = frozenset((b"content-encoding", b"content-range", b"accept-ranges", b"set-cookie"))


class Compression:
    """One end's experience with a path and its bodies, and the choice that follows from it.

    Args:
        choice: What the user wants.
    """

    def __init__(self, choice: Choice = "auto") -> None:
        self.choice = choice
        #: Bytes that went in, and that came out, since the start: for the statistics.
        self.taken = self.given = 0
        # Of the last few bodies: bytes in, bytes out and seconds. Quotients of single steps would not do: deflate holds
        # back what it was given, and then gives it all at once.
        self._in, self._out, self._seconds = _ASSUMED

    def packer(self, rate: float | None, round_trip: float | None) -> Packer | None:
        """What compresses the next body, if it shall be.

        Args:
            rate: Bytes per second that the path took when it was busy, lately; ``None`` if it was not.
            round_trip: The shortest round trip, in seconds.
        """
        if not self._wanted(rate, round_trip):
            return None
        thorough = rate is not None and rate < _SLOW_PATH
        return Packer(6 if thorough else 1)

    def _wanted(self, rate: float | None, round_trip: float | None) -> bool:
        if self.choice != "auto":
            return self.choice == "on"
        if rate is None:
            return round_trip is not None and round_trip >= _FAR
        if rate > _FASTEST_PATH:
            return False
        rate = max(rate, 1.0)
        if (self._seconds + self._out / rate) / self._in < _GAIN / rate:
            return True
        self._mix(_FORGET, *_ASSUMED)
        return False

    def learn(self, taken: int, given: int, seconds: float) -> None:
        """``taken`` bytes were compressed to ``given`` in so many seconds of this process."""
        self.taken += taken
        self.given += given
        if taken:
            self._mix(min(1.0, taken / _MEMORY), _MEMORY, given * _MEMORY / taken, seconds * _MEMORY / taken)
        else:
            self._out += given
            self._seconds += seconds

    def _mix(self, weight: float, taken: float, given: float, seconds: float) -> None:
        self._in += weight * (taken - self._in)
        self._out += weight * (given - self._out)
        self._seconds += weight * (seconds - self._seconds)


class Packer:
    """Compresses one body."""

    def __init__(self, level: int) -> None:
        self._deflate = zlib.compressobj(level, zlib.DEFLATED, _GZIP)

    def pack(self, data: bytes | memoryview, *, end: bool) -> Iterator[tuple[int, bytes]]:
        """Compress one portion, step by step: for each step the bytes that it took and what it gives.

        After the last step everything given so far can be decoded; with ``end`` the body is complete.
        """
        view = memoryview(data)
        for at in range(0, max(len(view), 1), STEP):
            step = view[at : at + STEP]
            packed = self._deflate.compress(step)
            if at + STEP >= len(view):
                packed += self._deflate.flush(zlib.Z_FINISH if end else zlib.Z_SYNC_FLUSH)
            yield len(step), packed


def takes_gzip(headers: Iterable[Header]) -> bool:
    """Whether the ``accept-encoding`` of a request names gzip with a weight above 0 (RFC 9110, section 12.5.3)."""
    for name, value in headers:
        if name != b"accept-encoding":
            continue
        for item in value.lower().split(b","):
            coding, _, weight = item.partition(b";")
            if coding.strip() == b"gzip":
                return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


def request_may_be_packed(head: RequestHead) -> bool:
    """Whether the body of this request may be compressed, if the other end takes that."""
    return head.method == b"POST" and not head.path.startswith(b"/_") and _is_plain_json(head.headers)


def response_may_be_packed(request: RequestHead, response: ResponseHead) -> bool:
    """Whether the body of this response may be compressed."""
    return (
        response.status in _STATUSES
        and request.method != b"HEAD"
        and not request.path.startswith(b"/_")
        and takes_gzip(request.headers)
        and _is_plain_json(response.headers)
    )


def packed(headers: Iterable[Header]) -> tuple[Header, ...]:
    """The headers of a body that is compressed."""
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return (*kept, (b"content-encoding", b"gzip"))


def _is_plain_json(headers: Iterable[Header]) -> bool:
    is_json = False
    for name, value in headers:
        if name in _CUT_OUT or (name == b"cache-control" and _FORBIDDEN.search(value.lower())):
            return False
        if name == b"content-length" and value.isdigit() and int(value[:19]) < SMALLEST:
            return False
        if name == b"content-type":
            is_json = value.partition(b";")[0].strip().lower() == b"application/json"
    return is_json
