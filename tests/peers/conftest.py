"""Peers in memory: a transport whose links call the other end's application, a hub of dictionaries, a clock by hand."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from peerpouch.core import jsonio
from peerpouch.errors import Forbidden, InvalidSignal, PeerPouchError, PeerUnreachable, ShareNotFound
from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response
from peerpouch.peers.limits import PoolLimits
from peerpouch.peers.pool import Pool
from peerpouch.ports import (
    ASGIApp,
    Clock,
    Document,
    Link,
    LinkStats,
    Peer,
    PeerTransport,
    PendingLink,
    SignalChannel,
)


async def until(condition: Callable[[], object]) -> None:
    """Let everything run until a condition holds; the test's own time limit ends what never does."""
    while not condition():
        await asyncio.sleep(0)


async def settle() -> None:
    """Let everything run that can run without the clock moving."""
    for _ in range(200):
        await asyncio.sleep(0)


class ManualClock(Clock):
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self._time = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return 1_700_000_000 + self._time

    def monotonic(self) -> float:
        return self._time

    async def sleep(self, seconds: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._time + seconds, waiter))
        await waiter

    async def advance(self, seconds: float) -> None:
        """Move on, waking who is due, and let everything run."""
        await settle()
        self._time += seconds
        for due, waiter in list(self._sleepers):
            if due <= self._time and not waiter.done():
                waiter.set_result(None)
        self._sleepers = [entry for entry in self._sleepers if not entry[1].done()]
        await settle()


class _Body(AsyncByteStream):
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body


class FakeLink(Link, Exchange):
    """One end of a link. Requests run the other end's application, unless the path is cut."""

    def __init__(self, app: ASGIApp, principal: Peer) -> None:
        self._app = app  # the other end's
        self._principal = principal  # this end, as the other sees it
        self._ended: asyncio.Future[PeerPouchError | None] = asyncio.get_running_loop().create_future()
        self.other: FakeLink | None = None
        self.mute = False
        self.restartable = False
        self.trouble = asyncio.Event()
        self.offered = False
        self.restarts = self.taken_back = 0

    @property
    def exchange(self) -> Exchange:
        return self

    @property
    def closed(self) -> bool:
        return self._ended.done()

    def end(self, error: PeerPouchError | None) -> None:
        if not self._ended.done():
            self._ended.set_result(error)

    async def wait_closed(self) -> PeerPouchError | None:
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        self.end(None)
        if self.other is not None and not self.other.mute:
            self.other.end(None)

    async def stats(self) -> LinkStats:
        return LinkStats("direct", None, None, None, 0, 0, 0, "fake")

    @property
    def can_restart(self) -> bool:
        return self.restartable

    async def troubled(self) -> None:
        await self.trouble.wait()

    async def restart(self) -> str:
        self._check()
        self.offered = True
        return f"restart {id(self)}"

    async def restarted(self, answer: str) -> None:
        self._check()
        if self.other is None or answer != f"restarted {id(self.other)}":
            raise InvalidSignal("The restart is not of this connection.")
        self.offered = False
        for end in (self, self.other):
            end.restarts += 1
            end.mute = False
            end.trouble.clear()

    async def answer_restart(self, offer: str) -> str:
        self._check()
        if self.other is None or offer != f"restart {id(self.other)}":
            raise InvalidSignal("The restart is not of this connection.")
        await self.take_back()
        return f"restarted {id(self)}"

    async def take_back(self) -> None:
        self.taken_back += self.offered
        self.offered = False

    def _check(self) -> None:
        if self.closed:
            raise PeerUnreachable("The connection was lost.")

    async def handle_async_request(self, request: Request) -> Response:
        if self.closed:
            raise PeerUnreachable("The connection was lost.")
        work = asyncio.ensure_future(self._run(request))
        both: list[asyncio.Future[Any]] = [work, self._ended]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if work not in done:
                raise PeerUnreachable("The connection was lost.")
            return work.result()
        finally:
            work.cancel()

    async def _run(self, request: Request) -> Response:
        if self.mute:
            await asyncio.Event().wait()
        body = await request.aread()
        events = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            return events.pop(0) if events else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": request.method,
            "path": request.url.path,
            "headers": [],
            "peerpouch.principal": self._principal,
        }
        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return Response(sent[0]["status"], headers=sent[0].get("headers", []), stream=_Body(content))


class FakePending(PendingLink):
    def __init__(self, network: FakeNetwork, sdp: str, app: ASGIApp, peer: Peer, offer: FakePending | None) -> None:
        self.network, self._sdp, self.app, self.peer = network, sdp, app, peer
        self.offer = offer
        self.link: asyncio.Future[FakeLink] = asyncio.get_running_loop().create_future()
        self.abandoned = False
        self.connected = False

    @property
    def sdp(self) -> str:
        return self._sdp

    async def connect(self, remote_sdp: str | None = None, *, timeout: float) -> Link:
        if remote_sdp is not None:
            answer = self.network.pending.get(remote_sdp)
            if answer is None or answer.offer is not self:
                raise InvalidSignal("The SDP is not one.")
            if answer.abandoned or self.network.no_path:
                raise PeerUnreachable("No path was found.")
            # The app of each end serves the requests of the other.
            mine = FakeLink(answer.app, answer.peer)
            theirs = FakeLink(self.app, self.peer)
            mine.other, theirs.other = theirs, mine
            self.network.links.append(mine)
            self.link.set_result(mine)
            answer.link.set_result(theirs)
        link = await asyncio.shield(self.link)
        self.connected = True
        return link

    async def abandon(self) -> None:
        self.abandoned = True
        if not self.link.done():
            self.network.unused += 1
        elif not self.connected:  # the other end has it already, and loses it
            await self.link.result().close()


class FakeNetwork(PeerTransport):
    """Makes links between all that share it."""

    def __init__(self) -> None:
        self.pending: dict[str, FakePending] = {}
        self.links: list[FakeLink] = []
        self.made: Counter[str] = Counter()
        self.unused = 0
        self.no_path = False

    async def offer(self, app: ASGIApp, peer: Peer) -> PendingLink:
        await asyncio.sleep(0)
        return self._make("offer", app, peer, None)

    async def answer(self, remote_sdp: str, app: ASGIApp, peer: Peer) -> PendingLink:
        await asyncio.sleep(0)
        offer = self.pending.get(remote_sdp)
        if offer is None:
            raise InvalidSignal("The SDP is not one.")
        return self._make("answer", app, peer, offer)

    def _make(self, kind: str, app: ASGIApp, peer: Peer, offer: FakePending | None) -> FakePending:
        self.made[kind] += 1
        pending = FakePending(self, f"{kind} {self.made[kind]}", app, peer, offer)
        self.pending[pending.sdp] = pending
        return pending

    async def close(self) -> None:
        return None


class Hub:
    """Carries offers between pools, at once or when it is told to."""

    def __init__(self) -> None:
        self.shares: dict[str, Person] = {}
        self.deliver = asyncio.Event()
        self.deliver.set()
        self.carried = 0
        self.doubts = 0


class _Signals(SignalChannel):
    def __init__(self, hub: Hub, sender: Peer) -> None:
        self._hub, self.sender = hub, sender

    async def signal(self, share_id: str, body: Document, *, timeout: float) -> Document:
        self._hub.carried += 1
        copy = jsonio.loads(jsonio.dumps(body))
        await self._hub.deliver.wait()
        if share_id not in self._hub.shares:
            raise ShareNotFound
        return await self._hub.shares[share_id].pool.answer(self.sender, share_id, copy)

    def doubt(self) -> None:
        self._hub.doubts += 1


class Person:
    """A pool with shares. ``refuses`` maps a share to the reason; ``asked`` notes who asked for what."""

    def __init__(
        self, hub: Hub, network: FakeNetwork, clock: Clock, key: bytes, limits: PoolLimits | None, session: str
    ) -> None:
        self.hub = hub
        self.peer = Peer(key * 32, session)
        self.refuses: dict[str, str] = {}
        self.asked: list[tuple[Peer, str, Any]] = []
        self.served: list[tuple[Peer, str]] = []
        self.deciding = asyncio.Event()
        self.deciding.set()
        self.signals = _Signals(hub, self.peer)
        self.pool = Pool(
            self.peer,
            network,
            self.signals,
            resolve=self._resolve,
            welcome=self._welcome,
            app=self._app,
            clock=clock,
            # These signals never give up by themselves, so nothing is gained by waiting for what they say.
            limits=limits or PoolLimits(telling=0.0),
        )

    def share(self, share_id: str) -> None:
        self.hub.shares[share_id] = self

    async def _resolve(self, share_id: str) -> Peer:
        if share_id not in self.hub.shares:
            raise ShareNotFound
        return self.hub.shares[share_id].peer

    async def _welcome(self, peer: Peer, share_id: str, info: Any) -> Any:
        self.asked.append((peer, share_id, info))
        await self.deciding.wait()
        if self.hub.shares.get(share_id) is not self:
            raise ShareNotFound
        if share_id in self.refuses:
            raise Forbidden(self.refuses[share_id])
        return {"about": share_id}

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        share = scope["path"].split("/")[1]
        peer = scope["peerpouch.principal"]
        self.served.append((peer, scope["path"]))
        status = 200 if self.pool.admitted(peer, share) else 404
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})


class World:
    """People who share a hub, a network and a clock."""

    def __init__(self) -> None:
        self.hub, self.network, self.clock = Hub(), FakeNetwork(), ManualClock()
        self.people: list[Person] = []

    def person(self, key: bytes, limits: PoolLimits | None = None, session: str = "session") -> Person:
        person = Person(self.hub, self.network, self.clock, key, limits, session)
        self.people.append(person)
        return person


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    before = asyncio.all_tasks()
    for person in world.people:
        await person.pool.close()
    await settle()
    left = {task for task in before & asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()}
    names = [str(task.get_coro()) for task in left]
    assert not [name for name in names if "peerpouch" in name or "Pool." in name], names
