"""The engine aiortc: pure Python, where wrtc has no build."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiortc

from peerpouch.errors import ConnectionFailed, InvalidSignal, PeerUnreachable

from .engine import LABEL, PROTOCOL, Engine, EngineChannel, EngineConnection, PathStats, RTCOptions
from .gathering import living

# Above this much in its queue aiortc does not refuse, it grows. The pump never queues more than one mark and one
# message, so this is only reached by a defect; wrtc's own bound is 16 MiB.
_MOST_QUEUED = 16 * 1024 * 1024


class _Channel(EngineChannel):
    def __init__(self, channel: aiortc.RTCDataChannel) -> None:
        self._channel = channel
        self._early: list[bytes] | None = []
        self._on_message: Callable[[bytes], None] = self._early.append
        self._on_low: Callable[[], None] = lambda: None
        self._on_closed: Callable[[], None] | None = None
        self._closed = asyncio.get_running_loop().create_future()
        channel.on("message", self._message)
        channel.on("bufferedamountlow", lambda: self._on_low())
        channel.on("close", self.gone)

    def _message(self, data: bytes | str) -> None:
        # The protocol has no text messages. An empty one is a breach of it, which is what a text is, too.
        self._on_message(data if isinstance(data, bytes) else b"")

    def attach(
        self, on_message: Callable[[bytes], None], on_low: Callable[[], None], on_closed: Callable[[], None]
    ) -> None:
        early, self._early = self._early or [], None
        self._on_message, self._on_low, self._on_closed = on_message, on_low, on_closed
        for message in early:
            on_message(message)
        if self._closed.done():
            on_closed()

    @property
    def buffered(self) -> int:
        return self._channel.bufferedAmount

    def set_low(self, size: int) -> None:
        self._channel.bufferedAmountLowThreshold = size

    def send(self, message: bytes) -> None:
        if self._channel.bufferedAmount > _MOST_QUEUED:
            raise ConnectionFailed("The data channel's queue is full.")
        try:
            self._channel.send(message)
        except (aiortc.InvalidStateError, ConnectionError, ValueError) as error:
            raise ConnectionFailed("The data channel is not open.") from error

    def gone(self) -> None:
        """The channel or its connection is closed."""
        if not self._closed.done():
            self._closed.set_result(None)
            if self._on_closed is not None:
                self._on_closed()

    async def close(self, *, limit: float) -> None:
        self._channel.close()
        await asyncio.wait({self._closed}, timeout=limit)


class _Connection(EngineConnection):
    def __init__(self, options: RTCOptions, configuration: aiortc.RTCConfiguration) -> None:
        self._options = options
        self._pc = aiortc.RTCPeerConnection(configuration)
        self._opened: asyncio.Future[_Channel] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting when the engine gives up.
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self._channel: _Channel | None = None
        self._pc.on("connectionstatechange", self._state_changed)
        self._pc.on("datachannel", self._adopt)

    def _adopt(self, channel: aiortc.RTCDataChannel) -> None:
        if self._channel is not None or channel.label != LABEL:
            channel.close()
            return
        self._channel = adopted = _Channel(channel)
        channel.on("open", lambda: self._is_open(adopted))
        if channel.readyState == "open":
            self._is_open(adopted)

    def _is_open(self, channel: _Channel) -> None:
        if not self._opened.done():
            self._opened.set_result(channel)

    def _state_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self._lost("ICE found no path to the peer, or lost it.")

    def _lost(self, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(PeerUnreachable(reason))
        if self._channel is not None:
            self._channel.gone()

    async def offer(self) -> str:
        self._adopt(self._pc.createDataChannel(LABEL, protocol=PROTOCOL))
        return await self._gathered(await self._pc.createOffer())

    async def answer(self, offer: str) -> str:
        await self._remote("offer", offer)
        return await self._gathered(await self._pc.createAnswer())

    async def accept(self, answer: str) -> None:
        await self._remote("answer", answer)

    async def _remote(self, kind: str, sdp: str) -> None:
        try:
            await self._pc.setRemoteDescription(aiortc.RTCSessionDescription(sdp=sdp, type=kind))
        except Exception as error:
            raise InvalidSignal(f"The engine does not accept the session description: {error!r}") from error

    async def _gathered(self, description: aiortc.RTCSessionDescription) -> str:
        self._bound_gathering()
        await self._pc.setLocalDescription(description)
        return str(self._pc.localDescription.sdp)

    def _bound_gathering(self) -> None:
        """Give servers time that are far away, and offer the loopback address where there is no other.

        aiortc has an option for neither. The ICE connection's method takes both as arguments.
        """
        sctp = self._pc.sctp
        if sctp is None:
            raise InvalidSignal("The session description has no data channel.")
        ice: Any = sctp.transport.transport.iceGatherer._connection
        gather, options = ice.get_component_candidates, self._options

        async def bounded(component: int, addresses: list[str], timeout: float = 5) -> Any:
            if options.loopback or (options.loopback is None and not addresses):
                addresses = [*addresses, "127.0.0.1"]
            return await gather(component, addresses, max(options.gathering, options.patience))

        ice.get_component_candidates = bounded

    async def opened(self) -> EngineChannel:
        return await asyncio.shield(self._opened)

    async def path(self) -> PathStats:
        # Its statistics are empty for data channels; the ICE connection knows the pair that it nominated.
        sctp = self._pc.sctp
        pair = sctp and sctp.transport.transport._connection._nominated.get(1)
        if not pair:
            return PathStats()
        local, remote = pair.local_candidate, pair.remote_candidate
        return PathStats(
            local=f"{local.host}:{local.port}",
            remote=f"{remote.host}:{remote.port}",
            local_type=local.type,
            remote_type=remote.type,
        )

    async def close(self) -> None:
        await self._pc.close()
        self._lost("The connection was closed.")


class AiortcEngine(Engine):
    """Pure Python ICE, DTLS and SCTP, by way of the package ``aiortc``. It has no ICE restart."""

    name = "aiortc"

    async def connection(self, options: RTCOptions) -> EngineConnection:
        # It uses the first STUN and the first TURN server, and waits for both: so it is told of those that are there.
        given = await options.servers()
        alive = await living(given, limit=options.gathering)
        servers = [
            aiortc.RTCIceServer(urls=urls, username=server.username, credential=server.credential)
            for server in given
            if (urls := [url for url in server.urls if url in alive])
        ]
        policy = aiortc.RTCIceTransportPolicy(options.policy)
        return _Connection(options, aiortc.RTCConfiguration(iceServers=servers, iceTransportPolicy=policy))
