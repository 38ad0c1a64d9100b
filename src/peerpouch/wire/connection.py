"""One end of a channel, without a channel: messages in, events out; calls in, messages out.

Theory of operation
    The owner hands every message that arrives to :meth:`Connection.receive` and gets events. It calls
    ``request``, ``respond``, ``send_data``, ``reset``, ``consumed``; none of them sends. Whenever the path has room
    it pulls the next message from :meth:`Connection.data_to_send`, until that is empty. So the order on the path is
    decided at the last moment, and nothing queues in front of what is urgent.

Rules
    * No clock, no randomness, no I/O: ``now`` is monotonic seconds and given where it matters.
    * Memory is bounded by :class:`~peerpouch.wire.limits.Limits`, whatever the other side sends.
    * What the other side does wrong to one stream resets that stream, with a code. What it does wrong to the
      connection raises :class:`~peerpouch.errors.ProtocolError` once; a GO_AWAY with the code waits to be sent,
      and nothing more is received.
    * Received bytes count against the sender's credit until the owner says ``consumed``, or the stream is reset.
    * A stream that its acceptor has answered in full is over: the rest of the request's body is not wanted.
"""

from __future__ import annotations

from collections.abc import Callable

from peerpouch.errors import ProtocolError, TooLarge

from . import frames
from .events import (
    DataReceived,
    Event,
    Opened,
    PongReceived,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    WentAway,
)
from .frames import (
    HEADER_SIZE,
    LARGEST_STREAM,
    Code,
    Flag,
    FrameType,
    Malformed,
    RequestHead,
    ResponseHead,
    Setting,
    frame,
)
from .limits import LARGEST_CREDIT, LARGEST_MESSAGE, SMALLEST_BULK, Limits
from .pings import Pings
from .states import CONNECTION_TABLE, Direction, Move, State, Step
from .stream import Stream
from .table import StreamTable

_END = int(Flag.END)
_HEAD_OVERHEAD = 2 * HEADER_SIZE + 4


class Connection(StreamTable):
    """One end of a channel.

    Args:
        offerer: Whether this end made the offer. It opens odd streams, the other end even ones.
        limits: What this end takes and keeps.
        features: What the other end is told, of :class:`~peerpouch.wire.frames.Feature`.
    """

    def __init__(self, *, offerer: bool, limits: Limits | None = None, features: int = 0) -> None:
        self.limits = limits = limits or Limits()
        super().__init__(limits, offerer=offerer)
        self.state = State.OPENING
        self._peer: dict[Setting, int] = {}
        self._pings = Pings(limits)
        self._begun: list[Stream] = []  # by the message in hand
        self._out.control.append(frame(FrameType.HELLO, 0, frames.encode_hello(limits, features)))
        self._handlers: dict[int, Callable[[int, int, bytes, float, list[Event]], None]] = {
            FrameType.HELLO: self._on_hello,
            FrameType.REQUEST: self._on_request,
            FrameType.RESPONSE: self._on_response,
            FrameType.DATA: self._on_data,
            FrameType.CREDIT: self._on_credit,
            FrameType.RESET: self._on_reset,
            FrameType.PING: self._on_ping,
            FrameType.PONG: self._on_pong,
            FrameType.GO_AWAY: self._on_go_away,
        }

    # What the owner asks

    @property
    def can_request(self) -> bool:
        """Whether :meth:`request` may be called: the connection is open, and the peer takes one more stream."""
        return (
            self.state is State.OPEN
            and self._opened_here < self._peer[Setting.MAX_STREAMS]
            and self._next_stream <= LARGEST_STREAM
        )

    @property
    def exhausted(self) -> bool:
        """Whether this end has no stream number left; a new connection is needed."""
        return self._next_stream > LARGEST_STREAM

    @property
    def streams(self) -> int:
        """How many streams are open, in both directions."""
        return len(self._streams)

    @property
    def drained(self) -> bool:
        """Whether the connection can be closed without losing anything of this end."""
        if self.state is State.CLOSED:
            return not self._out.control
        return self.state is State.DRAINING and not self._streams and not self._out.control

    @property
    def has_output(self) -> bool:
        """Whether :meth:`data_to_send` would give something, if there were room."""
        return self._out.waiting(opened=self.state in (State.OPEN, State.DRAINING))

    @property
    def round_trip(self) -> float | None:
        """The shortest round trip of a ping so far, in seconds; ``None`` before the first."""
        return self._pings.round_trip

    @property
    def largest_message(self) -> int:
        """Bytes of the largest message that both ends take."""
        return min(self._peer.get(Setting.MAX_MESSAGE, self.limits.max_message), LARGEST_MESSAGE)

    # What the owner does

    def request(self, head: RequestHead, *, end: bool) -> int:
        """Open a stream.

        Args:
            head: The request.
            end: Whether there is no body.

        Returns:
            The stream's number, by which events name it.

        Raises:
            ProtocolError: ``can_request`` is false, or the head is not allowed.
            TooLarge: The head is larger than the other side takes.
        """
        if not self.can_request:
            raise ProtocolError("The connection takes no request now.")
        payload = self._head_payload(frames.encode_request(head))
        stream = Stream(
            self._next_stream,
            opened_here=True,
            may_send=self._peer[Setting.STREAM_CREDIT],
            window=self.limits.stream_credit,
        )
        self._next_stream += 2
        self._opened_here += 1
        self._streams[stream.id] = stream
        self._give_idle(1, 0)
        self._credit.widen(stream, self.limits.response_window)
        self._send_head(stream, FrameType.REQUEST, payload, end, behind=self._credit.returned(stream))
        return stream.id

    def respond(self, stream: int, head: ResponseHead, *, end: bool) -> None:
        """Send the head of the response; with ``end`` there is no body.

        Raises:
            ProtocolError: The stream is not open any more or was answered, or the head is not allowed.
            TooLarge: The head is larger than the other side takes.
        """
        payload = self._head_payload(frames.encode_response(head))
        found = self._streams.get(stream)
        if found is None or found.opened_here or found.sending is not Direction.HEAD:
            raise ProtocolError(f"Stream {stream} does not wait for a response.")
        self._send_head(found, FrameType.RESPONSE, payload, end)

    def send_data(self, stream: int, data: bytes | memoryview, *, end: bool = False) -> bool:
        """Give bytes of a body to send; they are not copied and must not change.

        Returns:
            Whether there is room for more. If not, wait until :meth:`take_roomy` names the stream; bytes given
            nevertheless are kept.

        Raises:
            ProtocolError: The stream is not open for sending.
        """
        found = self._streams.get(stream)
        if found is None or not found.send_step(Step.DATA_END if end else Step.DATA):
            raise ProtocolError(f"Stream {stream} is not open for sending.")
        found.put(data)
        found.ending = end
        self._out.schedule(found)
        if found.buffered < self.limits.send_buffer or end:
            return True
        found.wants_room = True
        return False

    def reset(self, stream: int, code: int = Code.CANCELLED, reason: str = "") -> None:
        """End a stream before its time, and drop what was received or waits to be sent. Idempotent."""
        lingering = self._lingering.pop(stream, None)
        if lingering is not None:
            self._credit.forget(lingering)
        found = self._streams.get(stream)
        if found is None:
            return
        if not (found.opened_here and found.head_waits):  # else the other side never heard of it
            self._out.control.append(frame(FrameType.RESET, stream, frames.encode_reset(code, reason)))
        self._drop(found)

    def consumed(self, stream: int, size: int, now: float) -> None:
        """Return credit for ``size`` bytes of a stream's :class:`DataReceived`. Streams that are gone are ignored.

        Raises:
            ValueError: More than was received.
        """
        found = self._streams.get(stream) or self._lingering.get(stream)
        if found is None:
            return
        if not 0 <= size <= found.unconsumed:
            raise ValueError(f"{size} bytes consumed of stream {stream}, {found.unconsumed} received")
        found.unconsumed -= size
        self._credit.give_back(size)
        if found.receiving is Direction.DONE:
            if not found.unconsumed and self._lingering.pop(stream, None) is not None:
                self._credit.forget(found)
            return
        self._credit.consumed(found, size, now, self.round_trip)

    def ping(self, now: float) -> None:
        """Ask for a sign of life: not before the other side's HELLO, and not with ``max_pings`` unanswered ones."""
        if self.state in (State.OPEN, State.DRAINING) and (asked := self._pings.ask(now)):
            self._out.control.append(asked)

    def go_away(self, code: int = Code.NONE, reason: str = "") -> None:
        """Take no more requests and make none. With another code than NONE, close at once."""
        if self.state is State.CLOSED:
            return
        if code != Code.NONE:
            self._close()
        payload = frames.encode_go_away(code, self._last_accepted, reason)
        self._out.control.append(frame(FrameType.GO_AWAY, 0, payload))
        self._move(Move.DRAIN_SENT if code == Code.NONE else Move.FAILED)

    def data_to_send(self, room: int) -> bytes:
        """The next message for the channel, or ``b""`` where there is nothing (or no room) to send.

        Args:
            room: Bytes that the path should take now; at most :attr:`largest_message` are used. Bodies keep within
                it, and wait where it is below 1 KiB. Heads and control frames go in any case.
        """
        opened = self.state in (State.OPEN, State.DRAINING)
        message = self._out.message(room, self.largest_message, opened)
        if self._out.ended:
            for stream in self._out.ended:
                self._sent_end(stream)
            self._out.ended.clear()
        self._give_idle(0, len(message))
        return message

    def take_roomy(self) -> list[int]:
        """The streams that were full and have room again, each told once."""
        roomy = self._out.roomy
        if roomy:
            self._out.roomy = []
        return roomy

    def receive(self, message: bytes, now: float) -> list[Event]:
        """Take one message of the channel.

        Raises:
            ProtocolError: The other side broke the protocol. A GO_AWAY waits to be sent; the connection is closed.
        """
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events
        try:
            self._parse(message, now, events)
            if len(self._out.control) > self.limits.max_control_frames:
                raise Malformed("The other side provokes answers and does not read them.", Code.EXCESS)
        except Malformed as error:
            self.go_away(error.code, error.reason)
            raise
        return events

    # Receiving

    def _parse(self, message: bytes, now: float, events: list[Event]) -> None:
        if len(message) > self.limits.max_message:
            raise Malformed(f"A message has {len(message)} bytes.", Code.TOO_LARGE)
        for kind, flags, stream, payload in frames.split(message):
            if self.state is State.OPENING and kind not in (FrameType.HELLO, FrameType.GO_AWAY):
                raise Malformed("The first frame is not HELLO.")
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(stream, flags, payload, now, events)
            else:
                self._count_idle(now)
            if self.state is State.CLOSED:
                return
        for found in self._begun:
            # A body that came whole with its head needs no window.
            if found.receiving is Direction.BODY and found.id in self._streams:
                self._credit.widen(found, self.limits.response_window)
                self._out.control.append(self._credit.returned(found))
        self._begun.clear()

    def _on_hello(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        self._require_connection(stream)
        self._move(Move.HELLO)
        hello = frames.decode_hello(payload)
        version = frames.agreed_version(hello)
        self._peer = frames.settings_of(hello)
        self._out.may_send = self._peer[Setting.CONNECTION_CREDIT]
        events.append(Opened(version, self._peer[Setting.FEATURES]))

    def _on_request(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        if stream % 2 == self._next_stream % 2 or stream <= self._last_accepted or stream == 0:
            raise Malformed(f"A request can't open stream {stream}.")
        if stream >= self._refused_from:
            self._count_idle(now)
            return  # GO_AWAY has told that it is not taken
        self._last_accepted = stream
        if len(self._streams) - self._opened_here >= self.limits.max_streams:
            self._refuse(stream, Code.REFUSED, "Too many requests at once.", now)
            return
        try:
            self._check_head(payload)
            head = frames.decode_request(payload, self.limits.max_headers)
        except Malformed as error:
            self._refuse(stream, error.code, error.reason, now)
            return
        ended = bool(flags & _END)
        found = Stream(
            stream,
            opened_here=False,
            may_send=self._peer[Setting.STREAM_CREDIT],
            window=self.limits.stream_credit,
        )
        found.receive_step(Step.HEAD_END if ended else Step.HEAD)
        self._streams[stream] = found
        self._give_idle(1, 0)
        if not ended:
            self._begun.append(found)
        events.append(RequestReceived(stream, head, ended))

    def _on_response(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        found = self._streams.get(stream)
        if found is None:
            self._require_known(stream)
            self._count_idle(now)
            return
        try:
            if not found.opened_here or found.head_waits:
                raise Malformed(f"Stream {stream} was opened by the other side.")
            self._check_head(payload)
            head = frames.decode_response(payload, self.limits.max_headers)
        except Malformed as error:
            self._breach(found, error.code, error.reason, now, events)
            return
        ended = bool(flags & _END)
        if not found.receive_step(Step.HEAD_END if ended else Step.HEAD):
            self._breach(found, Code.PROTOCOL, "A second response came.", now, events)
            return
        events.append(ResponseReceived(stream, head, ended))
        if ended:
            self._finish(found)

    def _on_data(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        size = len(payload)
        if not self._credit.take(size):
            raise Malformed("More data came than the connection's credit allows.", Code.FLOW)
        found = self._streams.get(stream)
        if found is None:
            self._require_known(stream)
            if size < SMALLEST_BULK:
                self._count_idle(now)
            self._credit.give_back(size)
            return
        ended = bool(flags & _END)
        if size < self.limits.least_data and not ended:
            self._count_idle(now)
        if size > found.may_receive:
            self._credit.give_back(size)
            self._breach(found, Code.FLOW, "More data came than the stream's credit allows.", now, events)
            return
        if not found.receive_step(Step.DATA_END if ended else Step.DATA):
            self._credit.give_back(size)
            self._breach(found, Code.PROTOCOL, "Data came before a head or after the end.", now, events)
            return
        found.may_receive -= size
        found.unconsumed += size
        if size or ended:
            events.append(DataReceived(stream, payload, ended))
        if ended:
            self._finish(found)

    def _on_credit(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        amount = frames.decode_credit(payload)
        self._count_idle(now)
        if stream == 0:
            if self._out.may_send + amount > LARGEST_CREDIT:
                raise Malformed("The connection's credit overflows.", Code.FLOW)
            self._out.may_send += amount
            return
        found = self._streams.get(stream)
        if found is None:
            self._require_known(stream)
        elif found.may_send + amount > LARGEST_CREDIT:
            self._breach(found, Code.FLOW, "The stream's credit overflows.", now, events)
        else:
            found.may_send += amount
            self._out.schedule(found)

    def _on_reset(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        code, reason = frames.decode_reset(payload)
        self._count_reset(now)
        found = self._streams.get(stream)
        if found is None:
            self._require_known(stream)
            return
        whole = found.opened_here and found.receiving is Direction.DONE
        if whole and code == Code.NONE:
            found.drop_unsent()
            self._finish(found)
        else:
            self._drop(found)
        events.append(StreamReset(stream, code, reason, by_peer=True))

    def _on_ping(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        self._require_connection(stream)
        self._out.control.append(self._pings.answer(payload, now))

    def _on_pong(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        self._require_connection(stream)
        took = self._pings.answered(payload, now)
        if took is not None:
            events.append(PongReceived(took))
        else:
            self._count_idle(now)

    def _on_go_away(self, stream: int, flags: int, payload: bytes, now: float, events: list[Event]) -> None:
        self._require_connection(stream)
        code, last, reason = frames.decode_go_away(payload)
        if code != Code.NONE:
            self._close()
            self._move(Move.FAILED)
        else:
            self._count_idle(now)
            self._move(Move.DRAIN_RECEIVED)
            for found in [s for s in self._streams.values() if s.opened_here and s.id > last]:
                self._drop(found)
                events.append(StreamReset(found.id, Code.REFUSED, reason, by_peer=True))
        events.append(WentAway(code, reason))

    # Bookkeeping

    def _move(self, move: Move) -> None:
        state = CONNECTION_TABLE.get((self.state, move))
        if state is None:
            raise Malformed(f"{move.value}, in a connection of which {self.state.value}.")
        if move is Move.DRAIN_SENT:
            self._refused_from = self._last_accepted + 1
        self.state = state

    def _check_head(self, payload: bytes) -> None:
        if len(payload) > self.limits.max_head:
            raise Malformed(f"A head has {len(payload)} bytes.", Code.TOO_LARGE)

    def _head_payload(self, payload: bytes) -> bytes:
        # A message has to hold the frame, and the CREDIT frame that goes behind a request.
        largest = min(self._peer.get(Setting.MAX_HEAD, 0), self.largest_message - _HEAD_OVERHEAD)
        if len(payload) > largest:
            raise TooLarge(f"The URL and the headers have {len(payload)} bytes; the peer takes {largest}.")
        return payload

    def _send_head(self, stream: Stream, kind: FrameType, payload: bytes, end: bool, *, behind: bytes = b"") -> None:
        stream.send_step(Step.HEAD_END if end else Step.HEAD)
        stream.head_waits = True
        stream.ending = stream.sent_end = end
        self._out.heads.append((stream, frame(kind, stream.id, payload, _END if end else 0) + behind))

    def _close(self) -> None:
        for stream in list(self._streams.values()):
            self._drop(stream)
        self._lingering.clear()
        self._out.clear()
        self._pings.clear()
