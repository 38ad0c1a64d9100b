"""What an opener is, to the owner who decides: openings, and the event that ``on_remote`` is given."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from peerpouch.errors import Forbidden
from peerpouch.identity.keys import PublicKey
from peerpouch.ports import Document, Peer

_REFUSED: Final = "The owner does not let you in."


@dataclass(frozen=True, slots=True)
class RemotePeer:
    """Who opens a share; the signature was verified.

    Attributes:
        key: The opener's key.
        session: The opener's session: with the key, its address.
        contact: The owner's own name for the key, or None.
    """

    key: PublicKey
    session: str
    contact: str | None = None

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key."""
        return self.key.fingerprint

    @property
    def address(self) -> Peer:
        """The address."""
        return Peer(self.key.raw, self.session)


@dataclass(frozen=True, slots=True)
class Opening:
    """A verified offer to a share of ours.

    Attributes:
        share_id: The share.
        peer: Who opens it.
        body: What the opener sent; its own ``info`` for people is the field ``info``.
    """

    share_id: str
    peer: RemotePeer
    body: Document = field(repr=False)  # there may be the token of an invite in it

    @property
    def info(self) -> Any:
        """The opener's ``info``: any JSON, None if it sent none. Not verified by anybody."""
        return self.body.get("info")


Handler = Callable[[Opening], Awaitable[Document]]
"""Gives the answer's body, or raises Forbidden to refuse with a reason that the opener reads."""


class RemoteEvent:
    """Somebody opens a share; nothing was connected yet.

    Attributes:
        peer: Who; ``key``, ``fingerprint`` and ``contact``.
        info: What the opener tells of itself, any JSON.
        share_id: The share that is opened.
    """

    def __init__(self, opening: Opening) -> None:
        self.peer = opening.peer
        self.info = opening.info
        self.share_id = opening.share_id
        self._refusal: str | None = None

    def prevent_default(self, reason: str = _REFUSED) -> None:
        """Refuse; the opener gets :class:`~peerpouch.errors.Forbidden` with this reason.

        Whatever is given refuses: what is no text, or is empty, gives a general reason.
        """
        given: Any = reason
        self._refusal = given if isinstance(given, str) and given.strip() else _REFUSED

    @property
    def default_prevented(self) -> bool:
        """Whether it was refused."""
        return self._refusal is not None

    @property
    def refusal(self) -> str | None:
        """The reason of the refusal."""
        return self._refusal


OnRemote = Callable[[RemoteEvent], Awaitable[None] | None]


async def admit(on_remote: OnRemote | None, opening: Opening) -> None:
    """Ask ``on_remote``, which may be a function or a coroutine function; None lets everybody in.

    Raises:
        Forbidden: if it refused. What it raises itself goes through.
    """
    if on_remote is None:
        return
    event = RemoteEvent(opening)
    result = on_remote(event)
    if inspect.isawaitable(result):
        await result
    if event.default_prevented:
        raise Forbidden(event.refusal)
