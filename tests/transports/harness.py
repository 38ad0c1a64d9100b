"""An application to talk to, a clock to turn, and an engine in memory."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar

from peerpouch.errors import ConnectionFailed, InvalidSignal, PeerUnreachable
from peerpouch.ports import ASGIApp, Clock, Peer
from peerpouch.transports.webrtc import RTCOptions, WebRTC
from peerpouch.transports.webrtc.engine import Engine, EngineChannel, EngineConnection, PathStats
from peerpouch.transports.webrtc.link import PeerLink
from peerpouch.wire import Choice, Limits

#: Multiplies every time limit of these tests.
SCALE = float(os.environ.get("PEERPOUCH_TEST_TIMEOUT_SCALE", "1"))
ALICE = Peer(b"a" * 32, "one")
BOB = Peer(b"b" * 32, "two")


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(seconds * SCALE):
        while not condition():
            await asyncio.sleep(0.001)


class FakeClock(Clock):
    """Time that a test turns forward."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.time + seconds, future))
        await future

    async def advance(self, seconds: float, step: float = 0.5) -> None:
        """Turn time forward, waking who sleeps."""
        end = self.time + seconds
        while self.time < end:
            self.time = min(end, self.time + step)
            for at, future in list(self._sleepers):
                if at <= self.time:
                    self._sleepers.remove((at, future))
                    if not future.done():
                        future.set_result(None)
            for _ in range(10):
                await asyncio.sleep(0)


class MemoryChannel(EngineChannel):
    """One end of a channel in memory. ``cut`` loses what is sent from then on, without telling; ``hold`` keeps it."""

    def __init__(self) -> None:
        self.other: MemoryChannel | None = None
        self.cut = False
        self.hold = False
        self.highest = 0
        self.sent: list[int] = []
        self._queue: deque[bytes] = deque()
        self._buffered = 0
        self._low = 0
        self._open = True
        self._on_message: Callable[[bytes], None] | None = None
        self._on_low: Callable[[], None] = lambda: None
        self._on_closed: Callable[[], None] = lambda: None
        self._early: list[bytes] = []

    def attach(
        self, on_message: Callable[[bytes], None], on_low: Callable[[], None], on_closed: Callable[[], None]
    ) -> None:
        self._on_message, self._on_low, self._on_closed = on_message, on_low, on_closed
        for message in self._early:
            on_message(message)

    @property
    def buffered(self) -> int:
        return self._buffered

    def set_low(self, size: int) -> None:
        self._low = size

    def send(self, message: bytes) -> None:
        if not self._open:
            raise ConnectionFailed("The channel is closed.")
        self.sent.append(len(message))
        self._queue.append(message)
        self._buffered += len(message)
        self.highest = max(self.highest, self._buffered)
        asyncio.get_running_loop().call_soon(self.drain)

    def drain(self) -> None:
        """Deliver one message."""
        if self.hold or not self._queue or self.other is None:
            return
        message = self._queue.popleft()
        above = self._buffered > self._low
        self._buffered -= len(message)
        if not self.cut:
            self.other.arrive(message)
        if above and self._buffered <= self._low:
            self._on_low()

    def arrive(self, message: bytes) -> None:
        if self._on_message is None:
            self._early.append(message)
        else:
            self._on_message(message)

    def release(self) -> None:
        """Go on after ``hold``."""
        self.hold = False
        for _ in range(len(self._queue)):
            self.drain()

    async def close(self, *, limit: float) -> None:
        while self._queue and not self.hold:
            await asyncio.sleep(0)
        self.shut()
        if self.other is not None and not self.cut:
            self.other.shut()

    def shut(self) -> None:
        if self._open:
            self._open = False
            self._on_closed()


class MemoryConnection(EngineConnection):
    """Finds its other end by the number in the SDP."""

    _offers: ClassVar[dict[str, MemoryConnection]] = {}
    can_restart = True

    def __init__(self) -> None:
        self.under_way = False
        self.rollbacks = self.restarts = 0
        self.channel = MemoryChannel()
        self.closed = False
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())

    def _sdp(self) -> str:
        return (
            f"v=0\r\ns={id(self)}\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
            f"a=fingerprint:sha-256 {id(self):X}\r\n"
            "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
        )

    async def offer(self) -> str:
        self._offers[str(id(self))] = self
        return self._sdp()

    async def answer(self, offer: str) -> str:
        other = self._offers.get(offer.split("s=")[1].split()[0])
        if other is None:
            raise InvalidSignal("The offer is unknown.")
        if self.channel.other is other.channel:
            await self.rollback()
            return self._sdp()
        self.channel.other, other.channel.other = other.channel, self.channel
        self._offers[str(id(self))] = self
        return self._sdp()

    async def accept(self, answer: str) -> None:
        other = self._offers[answer.split("s=")[1].split()[0]]
        if self.under_way:  # a restart: the path is another one
            self.under_way = False
            self.restarts += 1
            for channel in (self.channel, other.channel):
                channel.release()
        for end in (self, other):
            if not end._opened.done():
                end._opened.set_result(None)

    async def restart(self) -> str:
        self.under_way = True
        return self._sdp()

    async def rollback(self) -> None:
        self.rollbacks += self.under_way
        self.under_way = False

    async def opened(self) -> EngineChannel:
        await asyncio.shield(self._opened)
        return self.channel

    async def path(self) -> PathStats:
        return PathStats("127.0.0.1:1", "127.0.0.1:2", "host", "host", 0.001)

    async def close(self) -> None:
        self.closed = True
        self._offers.pop(str(id(self)), None)
        self.channel.shut()
        if not self._opened.done():
            self._opened.set_exception(PeerUnreachable("The connection was closed."))


class MemoryEngine(Engine):
    name = "memory"

    async def connection(self, options: RTCOptions) -> EngineConnection:
        return MemoryConnection()


def engine_named(name: str) -> str | Engine:
    return MemoryEngine() if name == "memory" else name


class Linked:
    """Two links to each other."""

    def __init__(self, a: PeerLink, b: PeerLink) -> None:
        self.a = a
        self.b = b

    @property
    def channels(self) -> tuple[Any, Any]:
        return self.a._channel, self.b._channel


@asynccontextmanager
async def linked(
    app: ASGIApp,
    *,
    engines: tuple[str, str] = ("memory", "memory"),
    app_of_a: ASGIApp | None = None,
    clock: Clock | None = None,
    limits: Limits | None = None,
    compression: Choice = "auto",
) -> AsyncIterator[Linked]:
    """Alice (``a``, the offerer) and Bob (``b``), who serves ``app``, over loopback."""
    options = RTCOptions(loopback=True)
    one = WebRTC(options, engine=engine_named(engines[0]), clock=clock, limits=limits, compression=compression)
    two = WebRTC(options, engine=engine_named(engines[1]), clock=clock, limits=limits, compression=compression)
    offer = await one.offer(app_of_a or app, BOB)
    answer = await two.answer(offer.sdp, app, ALICE)
    a, b = await asyncio.gather(offer.connect(answer.sdp, timeout=20 * SCALE), answer.connect(timeout=20 * SCALE))
    assert isinstance(a, PeerLink) and isinstance(b, PeerLink)
    try:
        yield Linked(a, b)
    finally:
        for channel in (a._channel, b._channel):
            if isinstance(channel, MemoryChannel):
                channel.release()
        await asyncio.gather(one.close(), two.close())


class TestApp:
    """An ASGI application with a route for each thing that can happen; it notes what became of each request."""

    __test__ = False

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.scopes: list[dict[str, Any]] = []
        self.sent = 0
        self.hold = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        route = getattr(self, "do_" + scope["path"].split("/")[1].replace("-", "_"))
        try:
            await route(scope, receive, send)
        except asyncio.CancelledError:
            self.notes.append("cancelled")
            raise
        except OSError:
            self.notes.append("client gone")
            raise
        else:
            self.notes.append("done")

    @staticmethod
    async def start(send: Any, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def do_echo(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends the request's body back while it comes."""
        await self.start(send, headers=((b"X-Echo", b"yes"), (b"X-Echo", b"twice")))
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    async def do_about(self, scope: Any, receive: Any, send: Any) -> None:
        """Tells the scope."""
        about = {
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
            "principal": repr(scope["peerpouch.principal"]),
        }
        await self.start(send, 201)
        await send({"type": "http.response.body", "body": json.dumps(about).encode()})

    async def do_empty(self, scope: Any, receive: Any, send: Any) -> None:
        await self.start(send, 204)
        await send({"type": "http.response.body"})

    async def do_endless(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends as fast as it may."""
        await self.start(send)
        while True:
            await send({"type": "http.response.body", "body": bytes(16384), "more_body": True})
            self.sent += 16384
            await asyncio.sleep(0)  # uvicorn's send returns at once when nobody listens any more

    async def do_bytes(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends as many bytes as the path says."""
        size = int(scope["path"].split("/")[2])
        await self.start(send)
        while size:
            portion = min(size, 65536)
            size -= portion
            await send({"type": "http.response.body", "body": b"x" * portion, "more_body": size > 0})

    async def do_feed(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends one line, and waits until the client goes away."""
        await self.start(send)
        await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
        message = await receive()
        if message["type"] == "http.request":
            message = await receive()
        self.notes.append(message["type"])

    async def do_wait(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers when the test says so."""
        await self.hold.wait()
        await self.do_empty(scope, receive, send)

    async def do_deaf(self, scope: Any, receive: Any, send: Any) -> None:
        """Begins to answer, and then neither reads nor writes."""
        await self.start(send)
        await self.hold.wait()
        await send({"type": "http.response.body"})

    async def do_refuse(self, scope: Any, receive: Any, send: Any) -> None:
        """Answers without reading the request."""
        await self.start(send, 413)
        await send({"type": "http.response.body", "body": b"too large"})

    async def do_fail_before(self, scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("secret detail")

    async def do_fail_after(self, scope: Any, receive: Any, send: Any) -> None:
        await self.start(send)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError("secret detail")

    async def do_leave(self, scope: Any, receive: Any, send: Any) -> None:
        await self.start(send)


async def drop(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for it."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
