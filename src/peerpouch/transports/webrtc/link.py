"""One open peer connection under asyncio: a wire connection on a data channel.

Theory of operation
    Messages that arrive go straight into :class:`~peerpouch.wire.Connection`; its events go to the *stream ends*,
    which are calls of this side (``client``) and requests of the peer (``server``). Whatever they do only changes the
    connection's queues and marks the pump as due; the pump runs once at the end of the loop's turn, so all that was
    said in one turn shares messages. It sends until the engine's queue is at the pacer's mark, and goes on when the
    engine tells that it is down to half.

Rules
    * No task per frame. One task per link (heartbeats), one per request of the peer, one per streamed request body.
    * Whatever ends the link ends every stream end, each with an error of its own.
    * A link that ended stays so. Coming back is a matter of a new link (``peers``). ICE restart is for before that:
      while the peer is silent and not yet given up, another path can be found for the channel, and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from peerpouch.errors import ConnectionFailed, InvalidSignal, PeerPouchError, PeerUnreachable, ProtocolError
from peerpouch.exchange import Exchange
from peerpouch.ports import ASGIApp, Clock, Link, LinkStats, Peer
from peerpouch.wire import (
    Choice,
    Code,
    Compression,
    Connection,
    DataReceived,
    Event,
    Feature,
    Limits,
    Liveness,
    Opened,
    Pacer,
    Packer,
    PongReceived,
    RequestHead,
    RequestReceived,
    ResponseHead,
    ResponseReceived,
    State,
    StreamReset,
    Verdict,
    WentAway,
)

from .client import ChannelExchange
from .engine import EngineChannel, EngineConnection, own_addresses
from .meter import Meter
from .pathwatch import PathWatch
from .sdp import check_sdp, fingerprints
from .server import Serving
from .streams import StreamEnd, Streams, anew, wake

#: Seconds that closing waits for what was sent, and for the channel's own close.
DRAIN = 5.0

#: Bytes between two heartbeats above which the round trip is measured again, though the peer is not silent.
_BUSY = 64 * 1024


class PeerLink(Link, Streams):
    """An open connection to ``peer``. Made by :class:`~peerpouch.transports.webrtc.transport.WebRTC`.

    Args:
        engine: The peer connection; the link owns it from now on.
        channel: Its open data channel.
        offerer: Whether this side made the offer.
        app: Serves the peer's requests.
        peer: Who the other side is, verified by the signals that made the connection.
        clock: For heartbeats and round trips.
        name: The engine's name.
        limits: What the peer may do.
        compression: Whether bodies of JSON are compressed.
        remote: The fingerprints of the peer's certificate: a restart must come from the same.
    """

    def __init__(
        self,
        engine: EngineConnection,
        channel: EngineChannel,
        *,
        offerer: bool,
        app: ASGIApp,
        peer: Peer,
        clock: Clock,
        name: str,
        limits: Limits | None = None,
        compression: Choice = "auto",
        remote: frozenset[str] = frozenset(),
    ) -> None:
        loop = asyncio.get_running_loop()
        self.peer = peer
        self.connection = Connection(offerer=offerer, limits=limits, features=Feature.GZIP)
        self._engine, self._channel, self._engine_name = engine, channel, name
        self._app = app
        self._clock = clock
        self._pacer = Pacer()
        self._compression = Compression(compression)
        self._peer_features = 0
        self._remote = remote
        self._path_watch = PathWatch(own_addresses())
        self._meter = Meter(clock.monotonic())
        self._liveness = Liveness(clock.monotonic())
        self._exchange = ChannelExchange(self)
        self._ends: dict[int, StreamEnd] = {}
        self._slots: deque[asyncio.Future[None]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_due = False
        self._sent = self._received = 0
        self._went_away = False
        # Engines may lose what comes before their application has got the channel (Chromium fires ``message`` before
        # ``datachannel``). The answerer's first message tells that it has it; the offerer can't request before anyway.
        self._held = offerer
        self._opened: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[PeerPouchError | None] = loop.create_future()
        self._drained = asyncio.Event()
        self._teardown: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self._heartbeat = asyncio.create_task(self._beat(), name="heartbeat")
        channel.attach(self._on_message, self._pump, self._on_closed)
        self._pump()

    # The port

    @property
    def exchange(self) -> Exchange:
        return self._exchange

    @property
    def closed(self) -> bool:
        return self._over.done()

    async def wait_closed(self) -> PeerPouchError | None:
        return await asyncio.shield(self._over)

    async def opened(self) -> None:
        """Wait until requests may be made.

        Raises:
            ProtocolError, PeerUnreachable: The link ended first.
        """
        await asyncio.shield(self._opened)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call back when the link has ended."""
        self._over.add_done_callback(lambda over: callback())

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(), name="close link")
        await asyncio.shield(self._closing)

    async def stats(self) -> LinkStats:
        path = await self._engine.path()
        sending, receiving = self._meter.rates(self._clock.monotonic(), self._sent, self._received)
        kinds = {path.local_type, path.remote_type}
        kind = "relayed" if "relay" in kinds else "reflexive" if kinds & {"srflx", "prflx"} else "direct"
        return LinkStats(
            path=kind if path.local_type else None,
            local=path.local,
            remote=path.remote,
            round_trip=path.round_trip or self._pacer.round_trip or None,
            sent=self._sent,
            received=self._received,
            streams=self.connection.streams,
            engine=self._engine_name,
            sending=sending,
            receiving=receiving,
            extra={
                **path.extra,
                "drain_rate": self._pacer.rate,
                "mark": self._pacer.mark,
                "uncompressed": self._compression.taken,
                "compressed": self._compression.given,
            },
        )

    # ICE restart

    @property
    def can_restart(self) -> bool:
        return self._engine.can_restart

    async def troubled(self) -> None:
        await self._path_watch.trouble.wait()

    async def restart(self) -> str:
        self._check_open()
        return await self._engine.restart()

    async def restarted(self, answer: str) -> None:
        self._check_same(answer)
        await self._engine.accept(answer)
        self._liveness.forgive(self._clock.monotonic())

    async def answer_restart(self, offer: str) -> str:
        self._check_same(offer)
        answer = await self._engine.answer(offer)
        self._check_open()
        self._liveness.forgive(self._clock.monotonic())
        return answer

    async def take_back(self) -> None:
        if not self._over.done():
            await self._engine.rollback()

    def _check_open(self) -> None:
        if self._over.done():
            raise self._gone()

    def _check_same(self, sdp: str) -> None:
        """The description must be of the very certificate that the connection was made with."""
        self._check_open()
        if not self._remote or fingerprints(check_sdp(sdp)) != self._remote:
            raise InvalidSignal("The restart is not of this connection.")

    # For the stream ends

    async def slot(self) -> None:
        while self._over.done() or not self.connection.can_request:
            if self._over.done() or self.connection.state in (State.DRAINING, State.CLOSED):
                raise self._gone()
            if self.connection.exhausted:
                raise PeerUnreachable("The connection has used up its stream numbers; open a new one.")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._slots.append(waiter)
            try:
                await waiter
            finally:
                with suppress(ValueError):
                    self._slots.remove(waiter)

    def open(self, end: StreamEnd, head: RequestHead, *, bodiless: bool) -> None:
        end.stream = self.connection.request(head, end=bodiless)
        self._ends[end.stream] = end
        self._schedule()

    def respond(self, end: StreamEnd, head: ResponseHead) -> None:
        self.connection.respond(end.stream, head, end=False)
        self._schedule()

    def send(self, stream: int, data: bytes, *, end: bool) -> bool:
        room = self.connection.send_data(stream, data, end=end)
        self._schedule()
        return room

    @property
    def peer_takes_gzip(self) -> bool:
        return bool(self._peer_features & Feature.GZIP)

    def packer(self) -> Packer | None:
        rate = self._pacer.recent_rate(self._clock.monotonic())
        return self._compression.packer(rate, self.connection.round_trip)

    def now(self) -> float:
        return self._clock.monotonic()

    def packed(self, taken: int, given: int, seconds: float) -> None:
        self._compression.learn(taken, given, seconds)

    def consumed(self, stream: int, size: int) -> None:
        self.connection.consumed(stream, size, self._clock.monotonic())
        self._schedule()

    def reset(self, end: StreamEnd, code: Code, reason: str = "") -> None:
        self.connection.reset(end.stream, code, reason)
        self.release(end)
        self._schedule()

    def release(self, end: StreamEnd) -> None:
        if self._ends.get(end.stream) is end:
            del self._ends[end.stream]
        self._wake_slots()

    # Sending

    def _schedule(self) -> None:
        if not self._pump_due:
            self._pump_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        if self._over.done() or self._held:
            return
        connection, channel, pacer = self.connection, self._channel, self._pacer
        now = self._clock.monotonic()
        try:
            while True:
                room = pacer.room(now, channel.buffered)
                message = connection.data_to_send(room)
                if not message:
                    if not pacer.asks(now):
                        break
                    connection.ping(now)
                    continue
                channel.send(message)
                pacer.sent(len(message))
                self._sent += len(message)
            if not room:
                # Set before the next event of the engine can run: the crossing is not missed.
                channel.set_low(pacer.low)
        except ConnectionFailed as error:
            self._no_channel(f"The connection to the peer was lost: {error.reason}")
            return
        for stream in connection.take_roomy():
            if (end := self._ends.get(stream)) is not None:
                end.on_room()
        self._wake_slots()
        if connection.drained:
            self._drained.set()
            if self._went_away and self._closing is None:
                self._closing = asyncio.create_task(self._close(), name="close link")

    def _wake_slots(self) -> None:
        if self._slots and (self.connection.can_request or self.connection.state is not State.OPEN):
            for waiter in self._slots:
                wake(waiter)

    # Receiving

    def _on_message(self, message: bytes) -> None:
        if self._over.done():
            return
        now = self._clock.monotonic()
        self._held = False
        self._received += len(message)
        self._liveness.heard(now)
        self._path_watch.heard()
        try:
            for event in self.connection.receive(message, now):
                self._dispatch(event, now)
        except ProtocolError as error:
            self._pump()
            self.end(ProtocolError(f"The peer broke the channel protocol: {error.reason}"))
            return
        self._schedule()

    def _dispatch(self, event: Event, now: float) -> None:
        if isinstance(event, DataReceived):
            if (end := self._ends.get(event.stream)) is not None:
                end.on_data(event.data, event.ended)
            else:
                self.connection.consumed(event.stream, len(event.data), now)
        elif isinstance(event, RequestReceived):
            self._ends[event.stream] = Serving(self, event, self._app, self.peer)
        elif isinstance(event, ResponseReceived):
            if (end := self._ends.get(event.stream)) is not None:
                end.on_head(event.head, event.ended)
        elif isinstance(event, StreamReset):
            if (end := self._ends.get(event.stream)) is not None:
                end.on_reset(event)
        elif isinstance(event, PongReceived):
            self._pacer.round_trip = self.connection.round_trip or 0.0
            self._pacer.answered(now, event.round_trip)
        elif isinstance(event, Opened):
            # Learn the round trip while no queue is in the way: windows are sized by it.
            self.connection.ping(now)
            self._peer_features = event.features
            wake(self._opened)
        else:
            self._on_went_away(event)

    def _on_went_away(self, event: WentAway) -> None:
        self._went_away = True
        if event.code != Code.NONE:
            self.end(PeerUnreachable(f"The peer ended the connection: {event.reason or f'code {event.code}'}"))

    def _on_closed(self) -> None:
        self._no_channel("The connection to the peer was lost.")

    def _no_channel(self, reason: str) -> None:
        # After a GO_AWAY the peer closes its channel when it has drained, at a time of its own.
        orderly = self._went_away or self._closing is not None
        self.end(None if orderly else PeerUnreachable(reason))

    async def _beat(self) -> None:
        received = 0
        while True:
            now = self._clock.monotonic()
            self._meter.note(now, self._sent, self._received)
            verdict = self._liveness.check(now)
            if verdict is Verdict.DEAD:
                self.end(PeerUnreachable(f"The peer was silent for {self._liveness.patience:g} seconds."))
                return
            if verdict is Verdict.PING or self._received - received > _BUSY:
                received = self._received
                self.connection.ping(now)
                self._pump()
            if self._path_watch.check(now, self._liveness.silence(now), own_addresses):
                self.connection.ping(now)
                self._pump()
            # A due of zero is a check that is due at this very moment: rounding must not make it a busy loop.
            due = self._liveness.due(self._clock.monotonic())
            await self._clock.sleep(max(min(due, self._path_watch.soon), 0.01))

    # The end

    def _gone(self) -> PeerUnreachable:
        error = self._over.result() if self._over.done() else None
        return PeerUnreachable(error.reason if error is not None else "The connection to the peer was closed.")

    def end(self, error: PeerPouchError | None) -> None:
        """The link is over; everything that waits on it ends. Idempotent."""
        if self._over.done():
            return
        self._over.set_result(error)
        self._heartbeat.cancel()
        lost = self._gone()
        if not self._opened.done():
            self._opened.set_exception(anew(error) if error is not None else lost)
        self._lose(lost)
        self._ends.clear()
        for waiter in self._slots:
            wake(waiter)
        self._drained.set()
        self._teardown = asyncio.create_task(self._free(lost=isinstance(error, PeerUnreachable)), name="free link")

    def _lose(self, error: PeerPouchError) -> None:
        for end in list(self._ends.values()):
            if end.task is not None:
                self._tasks.add(end.task)
                end.task.add_done_callback(self._tasks.discard)
            end.on_lost(anew(error))

    async def _free(self, *, lost: bool) -> None:
        # What the tasks use may be closed after this. One that does not heed its cancellation is not waited for.
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=DRAIN)
        if not lost:  # nobody is left to take what is queued
            await self._channel.close(limit=DRAIN)
        await self._engine.close()

    async def _close(self) -> None:
        if not self._over.done():
            self._held = False
            self.connection.go_away(Code.NONE, "The other side closed the connection.")
            lost = PeerUnreachable("The connection to the peer was closed.")
            self._lose(lost)
            self._pump()
            # A peer that reads nothing does not keep this side from closing.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), DRAIN)
            self.end(None)
        if self._teardown is not None:
            await asyncio.shield(self._teardown)
