"""The ports of connections between peers: signals, links and what makes links."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from peerpouch.errors import NotSupported, PeerPouchError
from peerpouch.ports.principals import Peer
from peerpouch.ports.values import Document

if TYPE_CHECKING:
    from peerpouch.exchange import Exchange


class SignalChannel(ABC):
    """Carries one offer to one address and brings back its answer; sealed and signed, whatever carries it."""

    @abstractmethod
    async def signal(self, share_id: str, body: Document, *, timeout: float) -> Document:
        """Send an offer's body to the share's owner, and wait for the answer's body.

        Raises:
            ShareNotFound: there is no such share, or its lease has run out.
            Forbidden: the owner refused; the reason is the owner's.
            PeerUnreachable: no answer within ``timeout`` seconds.
            HubUnreachable, InvalidSignal, ClockSkew
        """

    def doubt(self) -> None:  # noqa: B027 - a channel that can't fall silent has nothing to do
        """A peer seems to be lost, perhaps with this machine's network: see whether offers and answers still come."""


@dataclass(frozen=True, slots=True)
class LinkStats:
    """What is known of a connection. ``None`` where the engine can't tell.

    Attributes:
        path: ``"direct"``, ``"reflexive"`` or ``"relayed"``; ``local`` and ``remote`` are the candidates' addresses.
        round_trip: Seconds.
        sent, received: Bytes of channel messages.
        sending, receiving: The same in bytes per second, over the last three seconds.
        streams: Requests under way, in both directions.
        engine: Its name.
        extra: What else is known: ``wire_sent`` and ``wire_received`` (bytes on the path, with headers,
            acknowledgements and retransmissions, which no engine counts by themselves), ``packets_sent`` and
            ``packets_received``; ``drain_rate`` (bytes per second that the path took when it was busy) and ``mark``
            (bytes that may wait in the engine); ``uncompressed`` and ``compressed`` (bytes of bodies before and after).
    """

    path: str | None
    local: str | None
    remote: str | None
    round_trip: float | None
    sent: int
    received: int
    streams: int
    engine: str
    sending: float = 0.0
    receiving: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)


class Link(ABC):
    """An open peer connection: requests go out over ``exchange``; the peer's requests run the app it was made with."""

    @property
    @abstractmethod
    def exchange(self) -> Exchange: ...

    @abstractmethod
    async def wait_closed(self) -> PeerPouchError | None:
        """Return when the link has ended, with the error if it was not an orderly close."""

    @property
    @abstractmethod
    def closed(self) -> bool: ...

    @abstractmethod
    async def close(self) -> None:
        """Drain what was sent, tell the peer, end. Pending requests end in ``PeerUnreachable``."""

    @abstractmethod
    async def stats(self) -> LinkStats: ...

    # ICE restart: another path for the same connection. Links without it need none of the following.

    @property
    def can_restart(self) -> bool:
        """Whether what follows works."""
        return False

    async def troubled(self) -> None:
        """Return while the path seems to be broken and there is reason to try another one; wait until then."""
        await asyncio.Event().wait()

    async def restart(self) -> str:
        """The SDP of an offer for this connection with new ICE credentials.

        Raises:
            NotSupported: the engine has no ICE restart.
            PeerUnreachable: the link has ended.
        """
        raise NotSupported("This connection can't be restarted.")

    async def restarted(self, answer: str) -> None:
        """Take the answer to :meth:`restart`.

        Raises:
            InvalidSignal: it is not one, or not of the peer's end of this connection.
            PeerUnreachable: the link has ended.
        """
        raise NotSupported("This connection can't be restarted.")

    async def answer_restart(self, offer: str) -> str:
        """The SDP of the answer to the other end's :meth:`restart`. An own offer that is under way is taken back.

        Raises:
            NotSupported, PeerUnreachable: as above.
            InvalidSignal: it is not an offer, or not of the peer's end of this connection.
        """
        raise NotSupported("This connection can't be restarted.")

    async def take_back(self) -> None:  # noqa: B027  what can't restart has nothing to take back
        """Forget an own offer that was not answered. Harmless at any time."""


class PendingLink(ABC):
    """A peer connection that is being made."""

    @property
    @abstractmethod
    def sdp(self) -> str:
        """The local description, with its candidates and the DTLS fingerprint inside."""

    @abstractmethod
    async def connect(self, remote_sdp: str | None = None, *, timeout: float) -> Link:
        """Wait until the channel is open. The offerer gives the answer's SDP; the answerer gives none.

        Raises:
            InvalidSignal: the SDP is not one.
            PeerUnreachable: no path was found within ``timeout`` seconds; the reason names the candidates tried.
        """

    @abstractmethod
    async def abandon(self) -> None:
        """Give up and free the engine's resources. Harmless at any time."""


ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]


class PeerTransport(ABC):
    """Makes peer connections. ``app`` serves the requests of ``peer`` over the connection."""

    async def prepare(self) -> None:  # noqa: B027  most transports have nothing to load
        """Load now what the first connection would wait for. Not needed, and harmless at any time.

        Raises:
            NotSupported: no connection can be made here.
        """

    @abstractmethod
    async def offer(self, app: ASGIApp, peer: Peer) -> PendingLink: ...

    @abstractmethod
    async def answer(self, remote_sdp: str, app: ASGIApp, peer: Peer) -> PendingLink:
        """Raises InvalidSignal when the SDP is not one."""

    @abstractmethod
    async def close(self) -> None: ...
