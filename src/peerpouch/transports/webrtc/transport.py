"""Makes links: the port PeerTransport over WebRTC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from peerpouch.errors import PeerUnreachable
from peerpouch.ports import ASGIApp, Clock, Link, Peer, PeerTransport, PendingLink, SystemClock
from peerpouch.wire import Choice, Limits

from .engine import Engine, EngineConnection, RTCOptions
from .engines import load_engine
from .link import PeerLink
from .sdp import candidates, check_sdp, fingerprints


class WebRTC(PeerTransport):
    """Peer connections over WebRTC data channels.

    Args:
        options: ICE servers, policy and limits of gathering.
        engine: ``"wrtc"`` or ``"aiortc"``; the first that is installed by default. Loaded by ``prepare``, or with the
            first connection.
        clock: For heartbeats.
        limits: What a peer may do.
        compression: Whether bodies of JSON are compressed: ``"auto"``, where it is measured that this helps; ``"on"``;
            ``"off"``.
    """

    def __init__(
        self,
        options: RTCOptions | None = None,
        *,
        engine: str | Engine | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        compression: Choice = "auto",
    ) -> None:
        self._options = options or RTCOptions()
        self._wanted = engine
        self._engine = engine if isinstance(engine, Engine) else None
        self._clock = clock or SystemClock()
        self._limits = limits
        self._compression: Choice = compression
        self._pending: set[_Pending] = set()
        self._links: set[PeerLink] = set()

    async def prepare(self) -> None:
        await self._loaded()

    async def offer(self, app: ASGIApp, peer: Peer) -> PendingLink:
        connection = await self._connection()
        return await self._made(_Pending(self, connection, app, peer, offerer=True), connection.offer())

    async def answer(self, remote_sdp: str, app: ASGIApp, peer: Peer) -> PendingLink:
        check_sdp(remote_sdp)
        connection = await self._connection()
        pending = _Pending(self, connection, app, peer, offerer=False)
        pending.remote = remote_sdp
        return await self._made(pending, connection.answer(remote_sdp))

    async def close(self) -> None:
        """Close all links and give up what is being made."""
        await asyncio.gather(
            *(pending.abandon() for pending in list(self._pending)), *(link.close() for link in list(self._links))
        )

    async def _connection(self) -> EngineConnection:
        return await (await self._loaded()).connection(self._options)

    async def _loaded(self) -> Engine:
        if self._engine is None:
            name = self._wanted if isinstance(self._wanted, str) else None
            # In a thread: importing an engine takes 100 ms and more, in which other connections go on.
            engine = await asyncio.to_thread(load_engine, name)
            if self._engine is None:  # else somebody else was faster
                self._engine = engine
        return self._engine

    async def _made(self, pending: _Pending, description: Awaitable[str]) -> PendingLink:
        self._pending.add(pending)
        try:
            pending.local = await description
            if self._options.policy == "relay" and not candidates(pending.local):
                raise PeerUnreachable(f"No TURN server gave an address, and only those are to be used.{pending.said}")
        except BaseException:
            await pending.abandon()
            raise
        return pending

    def _link(self, pending: _Pending, link: PeerLink) -> None:
        self._pending.discard(pending)
        self._links.add(link)
        link.on_end(lambda: self._links.discard(link))


class _Pending(PendingLink):
    def __init__(
        self, transport: WebRTC, connection: EngineConnection, app: ASGIApp, peer: Peer, *, offerer: bool
    ) -> None:
        self._transport = transport
        self._connection: EngineConnection | None = connection
        self._app = app
        self._peer = peer
        self._offerer = offerer
        self.local = ""
        self.remote = ""

    @property
    def sdp(self) -> str:
        return self.local

    async def connect(self, remote_sdp: str | None = None, *, timeout: float) -> Link:
        connection = self._connection
        if connection is None:
            raise PeerUnreachable("The connection was given up.")
        try:
            async with asyncio.timeout(timeout):
                if remote_sdp is not None:
                    self.remote = check_sdp(remote_sdp)
                    await connection.accept(remote_sdp)
                link = await self._open(connection)
        except TimeoutError as error:
            tried = self._tried()
            await self.abandon()
            raise PeerUnreachable(f"No path to the peer was found within {timeout:.3g} s. {tried}") from error
        except PeerUnreachable as error:
            tried = self._tried()
            await self.abandon()
            raise PeerUnreachable(f"{error.reason} {tried}") from error
        except BaseException:
            await self.abandon()
            raise
        self._connection = None
        self._transport._link(self, link)
        return link

    async def _open(self, connection: EngineConnection) -> PeerLink:
        channel = await connection.opened()
        engine = self._transport._engine
        link = PeerLink(
            connection,
            channel,
            offerer=self._offerer,
            app=self._app,
            peer=self._peer,
            clock=self._transport._clock,
            name=engine.name if engine is not None else "",
            limits=self._transport._limits,
            compression=self._transport._compression,
            remote=fingerprints(self.remote),
        )
        try:
            await link.opened()
        except BaseException:
            link.end(None)
            raise
        return link

    def _tried(self) -> str:
        ours = ", ".join(candidates(self.local)) or "none"
        theirs = ", ".join(candidates(self.remote)) or "none"
        return f"Candidates tried: here {ours}; there {theirs}.{self.said}"

    @property
    def said(self) -> str:
        """What STUN and TURN servers had to object, as a sentence behind another one."""
        objected = "; ".join(self._connection.complaints) if self._connection is not None else ""
        return f" The servers said: {objected}." if objected else ""

    async def abandon(self) -> None:
        self._transport._pending.discard(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(PeerUnreachable):
                await connection.close()
