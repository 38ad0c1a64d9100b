"""Who may come to a share, and what those may do: access, peers, invites and ``on_remote``, put together."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from peerpouch.core.policy import Access
from peerpouch.errors import (
    BadRequest,
    Forbidden,
    InvalidSignal,
    NotSupported,
    PeerPouchError,
    ShareNotFound,
    Unauthorized,
)
from peerpouch.hub.events import OnRemote, Opening, RemotePeer, admit
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.encoding import from_text, to_text
from peerpouch.identity.invites import TOKEN_SIZE, Invite
from peerpouch.identity.keys import PublicKey, read_fingerprint
from peerpouch.node.invitations import Invitations
from peerpouch.ports import Database, IndexStore, Peer

_LOG = logging.getLogger("peerpouch")

AnyPeer = PublicKey | str
"""A public key; or the fingerprint or text of one, or the name of a contact."""

AccessFor = Callable[[RemotePeer], Access | str | Awaitable[Access | str | None] | None]
AnyAccess = Access | str | AccessFor | None

FAILED: Final = "The other side could not let you in."
_NOT_ASKED: Final = "The owner shares this with others only."
_INVITED_ONLY: Final = "This share is for those who were invited."
_REVOKED: Final = "The owner does not share this with you any more."


@dataclass(frozen=True, slots=True)
class Grant:
    """Why a peer was let in: by the rules of the share, or by an invite that says what it gives."""

    remote: RemotePeer
    invited: bool
    access: Access | None


class Door:
    """Decides who comes in to one share.

    Args:
        name: The share's, for the log.
        access: What those who come may do, or a function that says it for each; ``None`` for everything but
            administration.
        peers: Who may come; ``None`` for anybody. Those who have an invite may come in any case.
        on_remote: Asked at last.
        invitations: The database's.
        contacts: The names that ``peers`` may use.

    Raises:
        BadRequest: the access is none.
    """

    def __init__(
        self,
        name: str,
        *,
        access: AnyAccess,
        peers: Sequence[AnyPeer] | None,
        on_remote: OnRemote | None,
        invitations: Invitations,
        contacts: Contacts,
    ) -> None:
        self.name = name
        self.access: Access | AccessFor = access if callable(access) else Access.parse(access or "read-write")
        if isinstance(peers, str):
            raise BadRequest("peers is a list.")
        self.peers = None if peers is None else tuple(peers)
        self.on_remote = on_remote
        self.invitations = invitations
        self._contacts = contacts
        named = callable(access) or (isinstance(access, Access) and access.peers is not None)
        self._by_default = peers is None and on_remote is None and not named
        """Whether nothing says who may come: then an invite says it."""

    async def is_open_to_all(self) -> bool:
        """Whether anybody who reads the hub may come and write."""
        access = self.access
        writes = isinstance(access, Access) and access.write
        return self._by_default and writes and not await self.invitations.any()

    async def decide(self, remote: RemotePeer, share_id: str, info: Any, token: bytes | None) -> Grant:
        """Let somebody in.

        Raises:
            Forbidden, Unauthorized, ShareNotFound: or not, for a reason that the peer is told.
        """
        try:
            grant = await self._grant(remote, token)
            await self.access_of(grant)
            await admit(self.on_remote, Opening(share_id, remote, {"info": info}))
        except (Forbidden, Unauthorized, ShareNotFound):
            raise
        except PeerPouchError as error:
            _LOG.error("Somebody could not be let in to the share %r: %s", self.name, error.reason)
            raise Forbidden(FAILED) from None
        except Exception:  # noqa: BLE001  it is the user's code
            _LOG.exception("Somebody could not be let in to the share %r", self.name)
            raise Forbidden(FAILED) from None
        return grant

    async def _grant(self, remote: RemotePeer, token: bytes | None) -> Grant:
        if await self.invitations.is_revoked(remote.key):
            raise Forbidden(_REVOKED)
        if token is not None:
            return Grant(remote, True, await self.invitations.redeem(token, remote.key))
        if self._by_default and await self.invitations.any():
            raise Forbidden(_INVITED_ONLY)
        return Grant(remote, False, None)

    async def access_of(self, grant: Grant) -> Access:
        """What somebody who was let in may do now, by the rules as they are now.

        Raises:
            Forbidden: nothing any more.
        """
        if grant.access is not None:
            return grant.access
        if not grant.invited and self.peers is not None and not self._names(self.peers, grant.remote):
            raise Forbidden(_NOT_ASKED)
        wanted: Any = self.access
        if callable(wanted):
            wanted = await self._asked(wanted, grant.remote)
        access: Access = wanted
        if not grant.invited and access.peers is not None and not self._names(access.peers, grant.remote):
            raise Forbidden(_NOT_ASKED)
        return access

    async def _asked(self, function: AccessFor, remote: RemotePeer) -> Access:
        try:
            given: Any = function(remote)
            if inspect.isawaitable(given):
                given = await given
            if given is None:
                raise Forbidden(_NOT_ASKED)
            return Access.parse(given)
        except (Forbidden, Unauthorized):
            raise
        except Exception:  # noqa: BLE001  it is the user's code
            _LOG.exception("The access of a peer to the share %r could not be told", self.name)
            raise Forbidden(FAILED) from None

    def _names(self, peers: Sequence[Any], remote: RemotePeer) -> bool:
        return any(self._is(peer, remote.key) for peer in peers)

    def _is(self, peer: Any, key: PublicKey) -> bool:
        if isinstance(peer, PublicKey):
            return peer == key
        if isinstance(peer, Peer):
            return peer.key == key.raw
        if not isinstance(peer, str):
            return False
        if peer == key.text:
            return True
        with suppress(BadRequest):
            if read_fingerprint(peer) == key.fingerprint:
                return True
        contact = self._contacts.find(peer)
        return contact is not None and contact.key == key


_INVITE: Final = "peerpouch:invite"


def enclose(info: Any, invite: Invite | None) -> Any:
    """What goes with an offer, which is sealed to the owner: the opener's info, and the token of an invite."""
    if invite is None or invite.token is None:
        return info
    return {_INVITE: to_text(invite.token), "info": info}


def disclose(info: Any) -> tuple[Any, bytes | None]:
    """What :func:`enclose` made: the info for people, and the token.

    Raises:
        InvalidSignal: the token is malformed.
    """
    if not isinstance(info, dict) or _INVITE not in info:
        return info, None
    try:
        return info.get("info"), from_text(info[_INVITE], size=TOKEN_SIZE)
    except BadRequest:
        raise InvalidSignal("The token of the invite is malformed.") from None


def check_database(database: object, access: AnyAccess) -> None:
    """Raise NotSupported for an access that a database can't keep to.

    A selector and ``validate`` are judged inside the write transaction, which another server's database has elsewhere.
    """
    judged = isinstance(access, Access) and (access.select is not None or access.validate is not None)
    if judged and not isinstance(database, IndexStore):
        raise NotSupported(
            "An access with select or validate needs a database in a file of this machine; replicate it into one, and "
            "share that."
        )


def same_database(one: Database, other: Database) -> bool:
    """Whether two databases of one uuid are one and the same, and not a copy of each other."""
    if one is other or one.name == other.name:
        return True
    try:
        return Path(one.name).samefile(other.name)
    except (OSError, ValueError):
        return False
