"""The small interface behind which the WebRTC engines stand.

An engine makes connections; a connection makes offers and answers with all candidates inside, and one data channel.
Everything runs on the event loop of the caller; nothing here may be used after ``os.fork`` (spawn processes instead:
wrtc's native threads don't survive a fork).
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from peerpouch.errors import NotSupported, PeerPouchError, PeerUnreachable

LABEL = "peerpouch"
PROTOCOL = "peerpouch.1"

#: Seconds for fetching the ICE servers: opening a share has thirty, and a service takes one.
FETCH = 5.0


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server, as in ``RTCIceServer``."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


IceServers = Sequence[IceServer] | Callable[[], Awaitable[Sequence[IceServer]]]


@dataclass(frozen=True, slots=True)
class RTCOptions:
    """How connections are made.

    Attributes:
        ice_servers: STUN and TURN servers, or what fetches them anew for each connection.
        policy: ``"relay"`` uses TURN servers only, so that the peer does not learn this machine's addresses.
        gathering: Seconds that an offer or answer waits for candidates of servers that do not answer; a dead STUN
            server would cost 40.
        patience: Seconds that it waits at most, as long as candidates of servers that do answer are still to come.
        loopback: Whether ``127.0.0.1`` is a candidate. ``None``: only on a machine that has no network.
    """

    ice_servers: IceServers = ()
    policy: Literal["all", "relay"] = "all"
    gathering: float = 1.0
    patience: float = 5.0
    loopback: bool | None = None

    async def servers(self) -> Sequence[IceServer]:
        """The servers for one connection.

        Raises:
            PeerUnreachable: They could not be fetched.
        """
        if not callable(self.ice_servers):
            return self.ice_servers
        try:
            async with asyncio.timeout(FETCH):
                return await self.ice_servers()
        except TimeoutError:
            raise PeerUnreachable(f"The ICE servers could not be fetched within {FETCH:g} seconds.") from None
        except PeerPouchError as error:
            raise PeerUnreachable(f"The ICE servers could not be fetched: {error.reason}") from error
        except Exception as error:
            # It is the user's own function; whatever it raises, whoever connects must learn which step failed.
            raise PeerUnreachable(f"The ICE servers could not be fetched: {error!r}") from error


@dataclass(frozen=True, slots=True)
class PathStats:
    """The path that ICE chose, as far as the engine tells; candidates' types as in SDP."""

    local: str | None = None
    remote: str | None = None
    local_type: str | None = None
    remote_type: str | None = None
    round_trip: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class EngineChannel(ABC):
    """An open data channel. What arrives before ``attach`` is kept until then."""

    @abstractmethod
    def attach(
        self, on_message: Callable[[bytes], None], on_low: Callable[[], None], on_closed: Callable[[], None]
    ) -> None:
        """Set the callbacks. ``on_closed`` is called once, also after this end's own close."""

    @property
    @abstractmethod
    def buffered(self) -> int:
        """Bytes that were given to :meth:`send` and not yet to the network."""

    @abstractmethod
    def set_low(self, size: int) -> None:
        """Call ``on_low`` when ``buffered`` falls from above ``size`` to it or below: once per crossing."""

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Queue a message.

        Raises:
            ConnectionFailed: The channel is not open any more, or its queue is full.
        """

    @abstractmethod
    async def close(self, *, limit: float) -> None:
        """Send what is queued, then close; wait for that for ``limit`` seconds at most."""


class EngineConnection(ABC):
    """A peer connection with one data channel.

    Attributes:
        complaints: What STUN and TURN servers had to object, as far as the engine tells: ``"turn:example.org: 401
            Unauthorized"``.
    """

    complaints: Sequence[str] = ()

    @abstractmethod
    async def offer(self) -> str:
        """Make the data channel; the SDP of the offer."""

    @abstractmethod
    async def answer(self, offer: str) -> str:
        """The SDP of the answer. Raises InvalidSignal."""

    @abstractmethod
    async def accept(self, answer: str) -> None:
        """Take the answer to this end's offer. Raises InvalidSignal."""

    @property
    def can_restart(self) -> bool:
        """Whether :meth:`restart` works: ICE restart, which finds another path for the same connection."""
        return False

    async def restart(self) -> str:
        """The SDP of an offer with new ICE credentials, for the connection that there is. Its answer is for
        :meth:`accept`; the other end makes it by its :meth:`answer`.

        Raises:
            NotSupported: The engine has no ICE restart.
        """
        raise NotSupported("This engine has no ICE restart.")

    async def rollback(self) -> None:  # noqa: B027  what can't restart has nothing to take back
        """Take an offer back that was not answered. Harmless if there is none."""

    @abstractmethod
    async def opened(self) -> EngineChannel:
        """Wait until the data channel is open.

        Raises:
            PeerUnreachable: The engine gave up.
        """

    @abstractmethod
    async def path(self) -> PathStats: ...

    @abstractmethod
    async def close(self) -> None:
        """Free everything. What is queued is lost: close the channel first."""


class Engine(ABC):
    """Makes connections."""

    name: str

    @abstractmethod
    async def connection(self, options: RTCOptions) -> EngineConnection: ...


def own_addresses() -> tuple[str, ...]:
    """The addresses that this machine would send from, one for each family that has a route to anywhere; they change
    with the network that it is in. Connecting a datagram socket sends nothing."""
    found = []
    for family, address in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            found.append(str(probe.getsockname()[0]))
    return tuple(found)


def has_network() -> bool:
    """Whether this machine has a route to anywhere."""
    return bool(own_addresses())
