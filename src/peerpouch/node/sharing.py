"""Shares as users see them: their own, and those of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from peerpouch.core.policy import Access
from peerpouch.errors import BadRequest, NotFound, ShareNotFound
from peerpouch.hub.directory import Shares
from peerpouch.hub.events import OnRemote, RemotePeer
from peerpouch.hub.names import format_name
from peerpouch.hub.shares import Share
from peerpouch.identity.contacts import Trust
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import PublicKey
from peerpouch.node.doors import AnyAccess, AnyPeer, check_database
from peerpouch.node.opening import Opening as DatabaseOpening
from peerpouch.node.registry import Served
from peerpouch.ports import Database, LinkStats

if TYPE_CHECKING:
    from peerpouch.node.meeting import Meeting
    from peerpouch.node.remotes import RemoteShare


@dataclass(frozen=True, slots=True)
class SharedDatabase:
    """Somebody's share, as a hub lists it; its signature was verified.

    Attributes:
        id: The share's id: the same as long as its owner and its database are.
        name: For people, as its owner calls it.
        info: Any JSON of its owner's.
        owner: The owner's key.
        contact: The user's own name for that key, or ``None``.
        trust: ``"contact"``: the user named that key; ``"seen"``: the share's name was first opened under it;
            ``"new"``: neither; ``"changed"``: the name was first opened under another key.
        dbname: What :func:`peerpouch.open` takes.
        deleted: Whether this tells that the share was withdrawn, or that its owner has gone.
    """

    id: str
    name: str
    info: Any
    owner: PublicKey
    contact: str | None
    trust: Trust
    dbname: str
    deleted: bool
    _hub: Meeting

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the owner's key: compare it with what the owner shows."""
        return self.owner.fingerprint

    def open(
        self,
        *,
        info: Any = None,
        timeout: float | None = None,
        request_timeout: float | None = None,
        confirm: bool = False,
    ) -> DatabaseOpening[RemoteShare]:
        """Connect to the owner, who may refuse. Await it, or use it in ``async with``.

        Args:
            info: Any JSON for the owner's ``on_remote``.
            timeout: Seconds for connecting, now and after a loss; 30 by default.
            request_timeout: Seconds for each step of an answer of the peer, once it is connected; 120 by default. Feeds
                have none. To limit one call, put it into ``asyncio.timeout``.
            confirm: Open it also if its name was first opened under another key, and remember this key.

        Raises:
            IdentityChanged: its name was first opened under another key, and it was not confirmed.
            ShareNotFound: it was withdrawn, or its owner has gone.
            Forbidden: the owner refused, for the reason given.
            PeerUnreachable, HubUnreachable, InvalidSignal, ClockSkew
        """
        return DatabaseOpening(
            lambda: self._hub.open_share(
                self.id, info=info, timeout=timeout, request_timeout=request_timeout, confirm=confirm
            )
        )

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


def describe(
    share: Share, hub: Meeting, contact: Callable[[PublicKey], str | None], trust: Callable[[Share], Trust]
) -> SharedDatabase:
    """A share of the hub's, for the user."""
    return SharedDatabase(
        id=share.id,
        name=share.name,
        info=share.info,
        owner=share.key,
        contact=contact(share.key),
        trust=trust(share),
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

    def __init__(self, served: Served, *, name: str, info: Any, hub: Meeting, owned: bool) -> None:
        self.id = served.share_id
        self.name = name
        self.info = info
        self.dbname = format_name(served.share_id, hub.label)
        self.fingerprint = hub.identity.fingerprint
        self.served = served
        self.owned = owned
        """Whether the database was opened for sharing, and is closed after it."""
        self._hub = hub

    @property
    def _now(self) -> Served:
        """What is served now: the database may have been shared again, by a call that gave another object."""
        return self._hub.served(self.id) or self.served

    @property
    def database(self) -> Database:
        return self._now.database

    @property
    def access(self) -> Any:
        """What those who are let in may do: an :class:`~peerpouch.Access`, or a function that says it for each."""
        return self._now.door.access

    async def is_open_to_all(self) -> bool:
        """Whether anybody who reads the hub may come, read and write: nobody said otherwise, and nobody was invited."""
        return await self._now.door.is_open_to_all()

    async def invite(
        self,
        *,
        once: bool = False,
        expires: float | timedelta | None = None,
        access: Access | str | None = None,
        hub: str | None = None,
        credentials: bool = False,
    ) -> Invite:
        """Make an invite: ``str(…)`` of it is all that somebody needs to open this share.

        Whoever has it may come in, whatever else is said about who may. A share that says nothing else, is then for
        the invited alone. The owner's side keeps a hash of it with the database, so it works after a restart too.

        Args:
            once: It is for the first key alone that uses it, which may use it again.
            expires: How long it can be used, in seconds or as a ``timedelta``; ``None``: until it is taken back.
            access: What it gives, if not what the share gives: ``"read-only"``, ``"read-write"``, or an
                :class:`~peerpouch.Access` without ``validate``, ``peers`` and ``admin``.
            hub: The hub's address, where the invited know it by another one.
            credentials: Whether the name and password of the hub's URL are part of it.

        Raises:
            BadRequest: it would be too long for a QR code, or the access can't be part of an invite.
        """
        seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
        given = None if access is None else Access.parse(access)
        address = self._hub.address_for_others(credentials=credentials) if hub is None else hub
        # Made once without a token, so that what is wrong with it shows before anything is kept.
        plain = Invite(address, self.id, self.fingerprint, name=self.name)
        token = await self._now.door.invitations.add(once=once, expires=seconds, access=given)
        return replace(plain, token=token)

    async def take_back(self, invite: Invite | str) -> None:
        """Make an invite useless for those who are not connected.

        Raises:
            NotFound: it is none of this share's.
        """
        parsed = invite if isinstance(invite, Invite) else Invite.parse(invite)
        if parsed.token is None:
            raise NotFound("This invite has no token.")
        await self._now.door.invitations.take_back(parsed.token)

    async def set_access(
        self,
        access: AnyAccess = None,
        *,
        peers: Sequence[AnyPeer] | None = None,
        on_remote: OnRemote | None = None,
    ) -> None:
        """Other rules from now on, as :meth:`Hub.share_database` takes them; open connections keep to them at once.

        What is under way ends in :class:`~peerpouch.errors.ConnectionFailed`, after which a live replication goes on
        under the new rules: from the beginning, if it may see more now. Who is being decided on is decided on anew.

        Raises:
            ShareNotFound: it is shared no more.
        """
        check_database(self.database, access)
        if self._hub.served(self.id) is None:
            raise ShareNotFound("This database is shared no more.")
        self._now.change(self._hub.door(self.database, self.name, access, peers, on_remote))

    async def visitors(self) -> list[tuple[RemotePeer, LinkStats]]:
        """Who is connected for this share now, and what is known of each connection."""
        return await self._hub.visitors(self.id)

    async def revoke(self, peer: PublicKey | RemotePeer | str) -> None:
        """Share with somebody no more: end what is under way for this key, and refuse it, after a restart too.

        Args:
            peer: A key, or the fingerprint or text of one that was let in, or a contact's name.

        Raises:
            NotFound: the text names nobody.
        """
        key = self._key(peer)
        await self._now.door.invitations.revoke(key)
        self._now.revoke("The owner does not share this with you any more.", key.raw)
        self._hub.disconnect(self.id, key)

    async def reinstate(self, peer: PublicKey | RemotePeer | str) -> None:
        """Take a revocation back."""
        await self._now.door.invitations.revoke(self._key(peer), revoked=False)

    def _key(self, peer: PublicKey | RemotePeer | str) -> PublicKey:
        if isinstance(peer, PublicKey):
            return peer
        if isinstance(peer, RemotePeer):
            return peer.key
        with suppress(BadRequest):
            return PublicKey.parse(peer)
        found = self._now.find(peer) or self._hub.contact_key(peer)
        if found is None:
            raise NotFound(f"{peer!r} is neither the key or fingerprint of somebody who came, nor a contact.")
        return found

    def __repr__(self) -> str:
        return f"<OwnShare {self.name!r} {self.id}>"
