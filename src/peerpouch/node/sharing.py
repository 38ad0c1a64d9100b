"""Shares as users see them: their own, and those of others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from peerpouch.core.policy import Access
from peerpouch.errors import Forbidden, PeerPouchError, ShareNotFound, Unauthorized
from peerpouch.hub.directory import Shares
from peerpouch.hub.events import OnRemote, Opening, RemotePeer, admit
from peerpouch.hub.names import format_name
from peerpouch.hub.shares import Share
from peerpouch.identity.keys import PublicKey
from peerpouch.node.opening import Opening as DatabaseOpening
from peerpouch.node.registry import Served
from peerpouch.ports import Database

if TYPE_CHECKING:
    from peerpouch.node.meeting import Meeting
    from peerpouch.node.remotes import RemoteShare

_LOG = logging.getLogger("peerpouch")

_FAILED: Final = "The other side could not let you in."


@dataclass(frozen=True, slots=True)
class SharedDatabase:
    """Somebody's share, as a hub lists it; its signature was verified.

    Attributes:
        id: The share's id: the same as long as its owner and its database are.
        name: For people, as its owner calls it.
        info: Any JSON of its owner's.
        owner: The owner's key.
        contact: The user's own name for that key, or ``None``.
        dbname: What :func:`peerpouch.open` takes.
        deleted: Whether this tells that the share was withdrawn, or that its owner has gone.
    """

    id: str
    name: str
    info: Any
    owner: PublicKey
    contact: str | None
    dbname: str
    deleted: bool
    _hub: Meeting

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the owner's key: compare it with what the owner shows."""
        return self.owner.fingerprint

    def open(self, *, info: Any = None, timeout: float | None = None) -> DatabaseOpening[RemoteShare]:
        """Connect to the owner, who may refuse. Await it, or use it in ``async with``.

        Args:
            info: Any JSON for the owner's ``on_remote``.
            timeout: Seconds for connecting, now and after a loss.

        Raises:
            ShareNotFound: it was withdrawn, or its owner has gone.
            Forbidden: the owner refused, for the reason given.
            PeerUnreachable, HubUnreachable, InvalidSignal, ClockSkew
        """
        return DatabaseOpening(lambda: self._hub.open_share(self.id, info=info, timeout=timeout))

    def __repr__(self) -> str:
        state = " deleted" if self.deleted else ""
        return f"<SharedDatabase {self.name!r} {self.id} of {self.fingerprint}{state}>"


class SharedDatabases(list[SharedDatabase]):
    """The shares of a hub at one moment; ``cancel()`` ends the watching that was asked for with it."""

    def __init__(self, shares: Iterable[SharedDatabase], watched: Shares) -> None:
        super().__init__(shares)
        self._watched = watched

    def cancel(self) -> None:
        """No call of ``on_change`` begins from now on. Harmless when nothing is watched."""
        self._watched.cancel()


def describe(share: Share, hub: Meeting, contact: Callable[[PublicKey], str | None]) -> SharedDatabase:
    """A share of the hub's, for the user."""
    return SharedDatabase(
        id=share.id,
        name=share.name,
        info=share.info,
        owner=share.key,
        contact=contact(share.key),
        dbname=format_name(share.id, hub.label),
        deleted=share.deleted,
        _hub=hub,
    )


class OwnShare:
    """A database that this hub object shares.

    Attributes:
        id: The share's id.
        name, info: As published.
        dbname: What others give to :func:`peerpouch.open`.
        fingerprint: Of one's own key, for others to compare.
        database: What is shared.
    """

    def __init__(
        self,
        served: Served,
        *,
        name: str,
        info: Any,
        dbname: str,
        fingerprint: str,
        on_remote: OnRemote | None,
        owned: bool,
    ) -> None:
        self.id = served.share_id
        self.name = name
        self.info = info
        self.dbname = dbname
        self.fingerprint = fingerprint
        self.served = served
        self.on_remote = on_remote
        self.owned = owned
        """Whether the database was opened for sharing, and is closed after it."""

    @property
    def database(self) -> Database:
        return self.served.database

    @property
    def access(self) -> Access:
        """What those who are let in may do."""
        return self.served.access

    async def decide(self, peer: RemotePeer, info: Any) -> None:
        """Ask ``on_remote``; raise Forbidden if it refuses. An exception in it refuses too, and its text stays here."""
        try:
            await admit(self.on_remote, Opening(self.id, peer, {"info": info}))
        except (Forbidden, Unauthorized, ShareNotFound):
            raise
        except PeerPouchError as error:
            _LOG.error("on_remote failed for the share %r: %s", self.name, error.reason)
            raise Forbidden(_FAILED) from None
        except Exception:  # noqa: BLE001  it is the user's code
            _LOG.exception("on_remote failed for the share %r", self.name)
            raise Forbidden(_FAILED) from None

    def __repr__(self) -> str:
        return f"<OwnShare {self.name!r} {self.id}>"
