"""The engine wrtc: libwebrtc, as in Chrome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import webrtc
import webrtc.loopback

from peerpouch.errors import ConnectionFailed, InvalidSignal, NotSupported, PeerUnreachable

from .engine import (
    LABEL,
    PROTOCOL,
    Engine,
    EngineChannel,
    EngineConnection,
    IceServer,
    PathStats,
    RTCOptions,
    has_network,
)
from .gathering import HEAD_START, living, outstanding

# What wrtc raises for a description or a call that it does not accept.
_REFUSALS = (webrtc.PythonWebRTCException, ValueError, TypeError)


# One for each address of this machine and each server; people read a few.
_MOST_COMPLAINTS = 8


class _Channel(EngineChannel):
    def __init__(self, channel: webrtc.RTCDataChannel) -> None:
        self._channel = channel
        self._early: list[bytes] | None = []
        self._on_message: Callable[[bytes], None] = self._early.append
        self._on_low: Callable[[], None] = lambda: None
        self._on_closed: Callable[[], None] | None = None
        self._closed = asyncio.get_running_loop().create_future()
        channel.on("message", self._message)
        channel.on("bufferedamountlow", lambda event: self._on_low())
        channel.on("close", lambda event: self.gone())

    def _message(self, event: webrtc.MessageEvent) -> None:
        # The protocol has no text messages. An empty one is a breach of it, which is what a text is, too.
        self._on_message(event.data if isinstance(event.data, bytes) else b"")

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
        return self._channel.buffered_amount

    def set_low(self, size: int) -> None:
        self._channel.buffered_amount_low_threshold = size

    def send(self, message: bytes) -> None:
        try:
            self._channel.send(message)
        except _REFUSALS as error:
            raise ConnectionFailed(f"The data channel does not take a message: {error}") from error

    def gone(self) -> None:
        """The channel is closed, or its connection is: wrtc tells the former only."""
        if not self._closed.done():
            self._closed.set_result(None)
            if self._on_closed is not None:
                self._on_closed()

    async def close(self, *, limit: float) -> None:
        self._channel.close()
        await asyncio.wait({self._closed}, timeout=limit)


class _Connection(EngineConnection):
    def __init__(
        self, options: RTCOptions, servers: Sequence[IceServer], configuration: webrtc.RTCConfiguration
    ) -> None:
        self._options = options
        self._servers = servers
        self._pc = webrtc.RTCPeerConnection(configuration)
        self._opened: asyncio.Future[_Channel] = asyncio.get_running_loop().create_future()
        # Nobody may be waiting when the engine gives up.
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self._channel: _Channel | None = None
        self._complete = asyncio.Event()
        self._news = asyncio.Event()
        self._found: set[tuple[str, str | None]] = set()
        self._failed: set[str] = set()
        self.complaints: list[str] = []
        self._pc.on("icecandidate", self._candidate)
        self._pc.on("icecandidateerror", self._complained)
        self._pc.on("icegatheringstatechange", lambda event: self._gathering_changed())
        self._pc.on("connectionstatechange", lambda event: self._state_changed())
        self._pc.on("datachannel", lambda event: self._adopt(event.channel))

    def _adopt(self, channel: webrtc.RTCDataChannel) -> None:
        if self._channel is not None or channel.label != LABEL:
            channel.close()
            return
        self._channel = adopted = _Channel(channel)
        channel.on("open", lambda event: self._is_open(adopted))
        if channel.ready_state == webrtc.RTCDataChannelState.open:
            self._is_open(adopted)

    def _is_open(self, channel: _Channel) -> None:
        if not self._opened.done():
            self._opened.set_result(channel)

    def _state_changed(self) -> None:
        if self._pc.connection_state in (webrtc.RTCPeerConnectionState.failed, webrtc.RTCPeerConnectionState.closed):
            self._lost("ICE found no path to the peer, or lost it.")

    def _lost(self, reason: str) -> None:
        if not self._opened.done():
            self._opened.set_exception(PeerUnreachable(reason))
        if self._channel is not None:
            self._channel.gone()

    async def offer(self) -> str:
        self._adopt(self._pc.create_data_channel(LABEL, webrtc.RTCDataChannelInit(protocol=PROTOCOL)))
        return await self._gathered(await self._pc.create_offer())

    @property
    def can_restart(self) -> bool:
        return True

    async def restart(self) -> str:
        await self.rollback()
        try:
            self._pc.restart_ice()
            return await self._gathered(await self._pc.create_offer())
        except _REFUSALS as error:
            raise PeerUnreachable(f"The engine can't restart ICE: {error}") from error

    async def rollback(self) -> None:
        if self._pc.signaling_state == webrtc.RTCSignalingState.have_local_offer:
            with suppress(*_REFUSALS):
                await self._pc.set_local_description(
                    webrtc.RTCSessionDescriptionInit(type=webrtc.RTCSdpType.rollback, sdp="")
                )

    async def answer(self, offer: str) -> str:
        await self.rollback()
        await self._remote(webrtc.RTCSdpType.offer, offer)
        try:
            return await self._gathered(await self._pc.create_answer())
        except _REFUSALS as error:  # it was closed meanwhile, or there is nothing in the offer that it could answer
            raise PeerUnreachable(f"The engine can't answer the offer: {error}") from error

    async def accept(self, answer: str) -> None:
        await self._remote(webrtc.RTCSdpType.answer, answer)

    async def _remote(self, kind: webrtc.RTCSdpType, sdp: str) -> None:
        try:
            await self._pc.set_remote_description(webrtc.RTCSessionDescriptionInit(type=kind, sdp=sdp))
        except _REFUSALS as error:
            raise InvalidSignal(f"The engine does not accept the session description: {error}") from error

    async def _gathered(self, description: webrtc.RTCSessionDescriptionInit) -> str:
        self._complete.clear()
        self._found.clear()
        self._failed.clear()
        await self._pc.set_local_description(description)
        local = self._pc.local_description
        # After the first time the state is still that of the last gathering; so it counts only with what it gave.
        if local is not None and "a=candidate:" in local.sdp:
            self._gathering_changed()
        await self._wait()
        local = self._pc.local_description
        if local is None:
            raise PeerUnreachable("The connection was closed while it was being made.")
        return str(local.sdp)

    async def _wait(self) -> None:
        """Wait for candidates, for as long as there is reason to; see :mod:`peerpouch.transports.webrtc.gathering`."""
        began = asyncio.get_running_loop().time()
        head_start = min(HEAD_START, self._options.gathering)
        with suppress(TimeoutError):
            async with asyncio.timeout(head_start if self._servers else self._options.gathering):
                await self._complete.wait()
        if self._complete.is_set() or not self._servers:
            return
        asking = asyncio.ensure_future(living(self._servers, limit=self._options.gathering - head_start))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + self._options.gathering):
                    await self._complete.wait()
            expected = {} if self._complete.is_set() else await asking
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + self._options.patience):
                    while outstanding(expected, self._found, self._failed) and not self._complete.is_set():
                        self._news.clear()
                        await self._news.wait()
        finally:
            asking.cancel()

    def _candidate(self, event: webrtc.RTCPeerConnectionIceEvent) -> None:
        candidate = event.candidate
        if candidate is not None and candidate.type is not None:
            self._found.add((str(candidate.type), candidate.url))
            self._news.set()

    def _complained(self, event: webrtc.RTCPeerConnectionIceErrorEvent) -> None:
        self._failed.add(event.url)
        self._news.set()
        complaint = f"{event.url}: {event.error_code} {event.error_text}".strip(" .")
        if complaint not in self.complaints and len(self.complaints) < _MOST_COMPLAINTS:
            self.complaints.append(complaint)

    def _gathering_changed(self) -> None:
        if self._pc.ice_gathering_state == webrtc.RTCIceGatheringState.complete:
            self._complete.set()
            self._news.set()

    async def opened(self) -> EngineChannel:
        return await asyncio.shield(self._opened)

    async def path(self) -> PathStats:
        with suppress(*_REFUSALS):
            return _path(dict(await self._pc.get_stats()))
        return PathStats()

    async def close(self) -> None:
        self._pc.close()
        # No event comes after wrtc's own close.
        self._lost("The connection was closed.")


def _place(candidate: webrtc.RTCIceCandidateStats) -> str | None:
    """Where a candidate is; nothing for a browser's, whose address is hidden behind a name of mDNS."""
    return f"{candidate.address}:{candidate.port}" if candidate.address else None


def _path(report: dict[str, webrtc.RTCStats]) -> PathStats:
    for stats in report.values():
        if isinstance(stats, webrtc.RTCTransportStats) and stats.selected_candidate_pair_id:
            pair = report.get(stats.selected_candidate_pair_id)
            if not isinstance(pair, webrtc.RTCIceCandidatePairStats):
                continue
            local, remote = report.get(pair.local_candidate_id or ""), report.get(pair.remote_candidate_id or "")
            if not isinstance(local, webrtc.RTCIceCandidateStats):
                continue
            if not isinstance(remote, webrtc.RTCIceCandidateStats):
                continue
            return PathStats(
                local=_place(local),
                remote=_place(remote),
                local_type=str(local.candidate_type),
                remote_type=str(remote.candidate_type),
                round_trip=pair.current_round_trip_time,
                extra={
                    "wire_sent": pair.bytes_sent,
                    "wire_received": pair.bytes_received,
                    "packets_sent": pair.packets_sent,
                    "packets_received": pair.packets_received,
                },
            )
    return PathStats()


class WrtcEngine(Engine):
    """libwebrtc, by way of the package ``wrtc``."""

    name = "wrtc"

    async def connection(self, options: RTCOptions) -> EngineConnection:
        if options.loopback or (options.loopback is None and not has_network()):
            # The engine decides this once for the whole process, with its first connection.
            with suppress(webrtc.InvalidStateError):
                webrtc.loopback.allow_loopback()
        servers = await options.servers()
        given = [
            webrtc.RTCIceServer(urls=list(server.urls), username=server.username, credential=server.credential)
            for server in servers
        ]
        try:
            configuration = webrtc.RTCConfiguration(
                ice_servers=given, ice_transport_policy=webrtc.RTCIceTransportPolicy(options.policy)
            )
            return _Connection(options, servers, configuration)
        except _REFUSALS as error:
            raise NotSupported(f"The engine does not accept the ICE servers: {error}") from error
