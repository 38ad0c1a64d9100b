"""What one end of a channel takes from the other, and what it keeps for it. Every number has its reason.

The limits with a setting number in :mod:`.frames` are told to the other end in HELLO; the rest are kept to
without telling. See ``docs/protocol/channel.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

#: The portable size of a WebRTC message: every engine and browser takes it. No end may advertise less.
PORTABLE_MESSAGE = 16 * KIB
#: The length field of a frame has 16 bits, so a message of one frame has at most 8 bytes more than that; a
#: round number below. Above 64 KiB no engine is faster, and a small message waits longer behind a large one.
LARGEST_MESSAGE = 64 * KIB
#: A frame of bulk data is not made smaller than this, so that its 8 bytes of header stay below one percent.
SMALLEST_BULK = 1 * KIB
#: No credit may exceed this: it is the largest number that every language holds in a signed 32-bit integer.
LARGEST_CREDIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one end.

    The most that a hostile peer can make this end hold is ``connection_credit`` in received bodies, and
    ``2 * max_streams * send_buffer`` (plus one chunk of the application for each stream) in unsent ones.
    """

    #: Bytes of one message, and so of one frame with its header.
    max_message: int = LARGEST_MESSAGE
    #: Streams that the peer may have open at once. A replication uses about ten; a view with attachments in a
    #: browser opens as many as it has images. Each costs a task and at most ``send_buffer`` of memory.
    max_streams: int = 64
    #: Bytes of body that the peer may send on a new stream before anything was consumed. A batch of 500 small
    #: documents fits, so most requests never wait for credit.
    stream_credit: int = 128 * KIB
    #: Bytes of a stream's window when its application keeps consuming: 60 MB/s at 50 ms round trip need 3 MB.
    max_stream_window: int = 4 * MIB
    #: The window that a request's opener gives its response at once: a larger response does not wait a round
    #: trip for each doubling of the window.
    response_window: int = 1 * MIB
    #: What all windows of a connection may have in sum above ``stream_credit`` each. Four streams can have the
    #: largest window, or sixteen that of a response.
    window_pool: int = 16 * MIB
    #: Bytes of body in flight or unconsumed on the whole connection: the windows of all streams that can be
    #: open (both ends open ``max_streams``) and the pool. Less would let streams whose reader waits stop
    #: others, and with them perhaps what that reader waits for.
    connection_credit: int = 2 * 64 * 128 * KIB + 16 * MIB
    #: Bytes of an encoded head. With its frame header and a CREDIT behind it, it fits the portable message.
    #: CouchDB's clients keep their URLs below 8 KiB.
    max_head: int = PORTABLE_MESSAGE - 20
    #: Headers of one head: HTTP servers take 100.
    max_headers: int = 100
    #: Unsent bytes of a stream's body above which its application is asked to wait, and at half of which it
    #: is asked on. Four of the largest frames, so that the sender never runs dry between two turns of a loop.
    send_buffer: int = 256 * KIB
    #: Control frames that wait because the path is blocked. 64 refusals and resets each way with their
    #: answers fit several times; more come only from a peer that provokes answers and does not read them.
    max_control_frames: int = 1024
    #: Pings without their pong. The liveness policy has three on the way at most.
    max_pings: int = 8
    #: Pings that the peer may send at once, and per second: a heartbeat is one in three seconds.
    ping_burst: int = 64
    ping_rate: float = 10.0
    #: Streams that the peer may reset (or make this end reset) at once, and per second. Cancelling everything
    #: that is open takes ``max_streams``; opening and resetting as fast as possible is an attack, since each
    #: request starts work here (as in HTTP/2, CVE-2023-44487).
    reset_burst: int = 512
    reset_rate: float = 100.0
    #: Frames that carry nothing (:meth:`.table.StreamTable._count_idle` says which) that the peer may send at once, and
    #: per second, above those that follow from what goes on. No credit bounds them, and engines go on receiving while
    #: their program works on what came: at 20,000 messages a second a program is as fast as the network, and what it
    #: does not keep up with piles up in the engine. A quarter of that is far above what honest peers send for nothing,
    #: and what a slow machine still works off.
    idle_burst: int = 16_384
    idle_rate: float = 5000.0
    #: Bytes of DATA below which a frame that does not end its body counts as carrying nothing, since it costs more
    #: than it brings.
    least_data: int = 16
    #: Bytes that a stream may send in one go and still pass as interactive, ahead of bulk.
    interactive_burst: int = 16 * KIB
    #: Bytes of interactive frames after which one bulk frame goes, so that bulk never starves.
    interactive_share: int = 64 * KIB

    def __post_init__(self) -> None:
        if not PORTABLE_MESSAGE <= self.max_message <= LARGEST_MESSAGE:
            raise ValueError(f"max_message must lie between {PORTABLE_MESSAGE} and {LARGEST_MESSAGE}")
        if not 0 < self.max_head <= PORTABLE_MESSAGE - 20:
            raise ValueError(f"max_head must lie between 1 and {PORTABLE_MESSAGE - 20}")
        if not 1 <= self.stream_credit <= self.connection_credit <= LARGEST_CREDIT:
            raise ValueError("stream_credit must be positive and at most connection_credit")
        if self.max_streams < 1:
            raise ValueError("max_streams must be positive")


class Allowance:
    """A token bucket: ``burst`` at once, then ``rate`` per second. ``now`` is in monotonic seconds."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Take one; false if there is none."""
        if self._at is not None and now > self._at:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        if self._at is None or now > self._at:
            self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give(self, amount: int) -> None:
        """Put back as many, up to the burst."""
        self._left = min(self._burst, self._left + amount)
