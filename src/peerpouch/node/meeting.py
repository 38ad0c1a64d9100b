"""Sharing databases at a meeting place, and opening those of others: all of ``Hub`` but opening what it is given."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from peerpouch.core.policy import Access
from peerpouch.couchapi.app import create_app
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.room import BodyRoom
from peerpouch.couchapi.staging import Uploads
from peerpouch.errors import (
    BadRequest,
    DatabaseClosed,
    Forbidden,
    HubUnreachable,
    PeerPouchError,
    ShareNotFound,
)
from peerpouch.hub.admission import Openings
from peerpouch.hub.client import HubClient
from peerpouch.hub.events import OnRemote, Opening, RemotePeer
from peerpouch.hub.names import format_name
from peerpouch.hub.shares import Share
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import Identity, PublicKey
from peerpouch.identity.proofs import HubSession
from peerpouch.node import doors, ice, targets
from peerpouch.node.acquaintance import Acquaintance
from peerpouch.node.databases import LocalDatabase
from peerpouch.node.doors import AnyAccess, AnyPeer, Door, check_database, same_database
from peerpouch.node.invitations import Invitations
from peerpouch.node.registry import Served, ShareRegistry
from peerpouch.node.remotes import RemoteShare, upload_secret
from peerpouch.node.sharing import OwnShare, SharedDatabase, SharedDatabases, describe
from peerpouch.peers.limits import CONNECT_TIMEOUT
from peerpouch.peers.pool import Pool
from peerpouch.peers.timing import within
from peerpouch.ports import Clock, Database, Document, LinkStats, Peer, PeerTransport, SystemClock
from peerpouch.storage.maintenance import uploads_folder
from peerpouch.transports.webrtc.engine import RTCOptions
from peerpouch.transports.webrtc.transport import WebRTC

DECIDE_WITHIN: Final = 25.0
"""Seconds that ``on_remote`` has: time to ask a person, and less than the hub and the opener wait."""

OnChange = Callable[[SharedDatabase], Awaitable[None] | None]
AnyIdentity = Identity | str | os.PathLike[str] | None

_live: list[Meeting] = []
"""The hubs that are open in this process, so that a ``dbname`` is opened by way of one of them."""


class Meeting(ABC):
    """A meeting place: any database that both sides reach. Use it in ``async with``.

    Leaving it withdraws what it shares and closes all connections that it made, those of opened shares too. Every
    hub object is a session of its own: two of them, in one process or two, see and open each other's shares.

    Args:
        target: A path, a URL, a share's ``dbname``, or an open database, which is then not closed with the hub.
        identity: In whose name: an :class:`~peerpouch.Identity` or its file; by default the user's own.
        contacts: The user's names for others' keys; by default those in the user's data folder.
        ice_servers: STUN and TURN servers: URLs, W3C's mappings, or an asynchronous function that fetches them;
            ``[]`` for none. The default is one public STUN server, see :mod:`peerpouch.node.ice`.
        ice_transport_policy: ``"relay"`` connects by TURN servers only, which hides one's address from peers.
        compression: Whether JSON is compressed on its way to peers: ``"auto"``, where it is measured that this makes it
            faster; ``"on"``; ``"off"``. Each side decides for what it sends.
        engine: The WebRTC engine, ``"wrtc"`` or ``"aiortc"``; by default the first that is installed.
        create: For a path: make the file when there is none.
        transport: What makes peer connections, in place of WebRTC.
        clock: Time, for leases and limits.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | Database,
        *,
        identity: AnyIdentity = None,
        contacts: Contacts | None = None,
        ice_servers: ice.IceServersLike = None,
        ice_transport_policy: Literal["all", "relay"] = "all",
        compression: Literal["auto", "on", "off"] = "auto",
        engine: str | None = None,
        create: bool = True,
        transport: PeerTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._target = target
        self._create = create
        self._wanted_identity = identity
        self._contacts = Contacts() if contacts is None else contacts
        self._network = (ice_servers, ice_transport_policy, compression)
        self._clock = SystemClock() if clock is None else clock
        if transport is None:
            servers = ice.parse(ice_servers)
            ice.check_policy(servers, ice_transport_policy)
            options = RTCOptions(ice_servers=servers, policy=ice_transport_policy)
            transport = WebRTC(options, engine=engine, clock=self._clock, compression=compression)
        self._transport = transport
        self.label = target.name if isinstance(target, Database) else targets.parse(target).label
        """What the hub is called in a ``dbname``: its path, or its URL without credentials."""
        self._session = HubSession()
        self._shares: dict[str, OwnShare] = {}
        self._openings = Openings()
        self._changing = asyncio.Lock()
        self._stack: AsyncExitStack | None = None
        self._used = False

    # Beginning and end

    async def __aenter__(self) -> Self:
        if self._used:
            raise BadRequest("A Hub is opened once; make another one.")
        self._used = True
        self._loop = asyncio.get_running_loop()
        async with AsyncExitStack() as stack:
            # The engine takes as long to load as all else that is to be done before a connection.
            self._preparing = self._loop.create_task(self._transport.prepare())
            stack.push_async_callback(self._end_preparing)
            self._identity = await load_identity(self._wanted_identity)
            self._known = Acquaintance(self._contacts, self._identity.key, self.label)
            database = await self._open_database(stack)
            stack.push_async_callback(self._close_owned)
            stack.push_async_callback(self._transport.close)
            self._client = HubClient(
                database, self._identity, self._clock, contacts=self._contacts, session=self._session
            )
            self._pool = Pool(
                self._client.address,
                self._transport,
                self._client,
                resolve=self._resolve,
                welcome=self._welcome,
                app=self._serve,
                clock=self._clock,
            )
            self._registry = ShareRegistry(self._identity.key, self._pool.admitted)
            self._uploads = Uploads(folder=self._uploads_folder)
            self._app = create_app(self._registry, limits=Limits(room=BodyRoom(), uploads=self._uploads))
            stack.push_async_callback(self._uploads.close)
            stack.push_async_callback(self._pool.close)
            stack.push_async_callback(self._client.close)
            self._stack = stack.pop_all()
        _live.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __await__(self) -> Generator[Any, None, Self]:
        """Open it, to be closed by :meth:`close`."""
        return self.__aenter__().__await__()

    async def close(self) -> None:
        """Withdraw what is shared, close all connections, and free everything. Harmless when closed."""
        stack, self._stack = self._stack, None
        if self in _live:
            _live.remove(self)
        if stack is not None:
            await stack.aclose()

    async def _open_database(self, stack: AsyncExitStack) -> Database:
        if isinstance(self._target, Database):
            return self._target
        try:
            database = await self._open_target(self._target)
            stack.push_async_callback(database.close)
            await database.info()
        except PeerPouchError as error:
            raise HubUnreachable(f"The hub {self.label} can't be opened: {error.reason}") from error
        return database

    @abstractmethod
    async def _open_target(self, target: str | os.PathLike[str]) -> Database:
        """Open a path, a URL or a share, with this hub's identity and ICE servers."""

    async def _close_owned(self) -> None:
        shares, self._shares = list(self._shares.values()), {}
        for share in shares:
            if share.owned:
                await share.served.database.close()

    async def _end_preparing(self) -> None:
        self._preparing.cancel()
        await asyncio.gather(self._preparing, return_exceptions=True)

    def _check_open(self) -> None:
        if self._stack is None:
            raise DatabaseClosed("The hub is not open: use it in `async with`, or await it.")

    @property
    def identity(self) -> Identity:
        """In whose name this hub object acts."""
        self._check_open()
        return self._identity

    @property
    def address(self) -> Peer:
        """This hub object's own address."""
        self._check_open()
        return self._client.address

    # Sharing

    async def share_database(
        self,
        database: Database | str | os.PathLike[str],
        *,
        name: str,
        info: Any = None,
        on_remote: OnRemote | None = None,
        access: AnyAccess = None,
        peers: Sequence[AnyPeer] | None = None,
    ) -> OwnShare:
        """Share a database; sharing it again changes what is given here.

        Args:
            database: An open database, or a path or URL, which is opened now and closed when it is shared no more.
            name: For people: 1 to 200 characters.
            info: Any JSON of at most 8 KiB, for everybody who reads the hub.
            on_remote: Called with a :class:`~peerpouch.RemoteEvent` for everybody who opens the share, before any
                connection is made; its ``prevent_default(reason)`` refuses. May be a coroutine function. It has 25
                seconds; an exception in it refuses.
            access: ``"read-write"`` (the default), ``"read-only"``, an :class:`~peerpouch.Access`, or a function, which
                may be a coroutine function, that is given a :class:`~peerpouch.RemotePeer` and gives one of them, or
                ``None`` to refuse. Administration is nobody's unless an ``Access`` grants it.
            peers: Who may come: keys, fingerprints, or names of contacts; ``[]`` for the invited only.

        Where neither ``peers`` nor ``on_remote`` nor ``access`` says who may come, everybody at the hub may; unless
        there are invites, then only the invited may.

        Raises:
            BadRequest: the name, the info or the access is not allowed; or a copy of the database is shared already.
            NotSupported: no WebRTC engine is installed; or the access has a selector or ``validate``, and the
                database is not in a file of this machine.
            HubUnreachable: the hub can't be written.
        """
        self._check_open()
        if not callable(access):
            access = Access.parse(access or "read-write") if access is not None else None
        await self._transport.prepare()  # the first visitor should not wait for it
        async with self._changing:
            opened = None if isinstance(database, Database) else await self._open_target(database)
            try:
                shared: Any = opened or database
                check_database(shared, access)
                door = self.door(shared, name, access, peers, on_remote)
                return await self._publish(shared, name, info, door, owned=opened is not None)
            except BaseException:
                if opened is not None:
                    await opened.close()
                raise

    def door(
        self,
        database: Database,
        name: str,
        access: AnyAccess,
        peers: Sequence[AnyPeer] | None,
        on_remote: OnRemote | None,
    ) -> Door:
        """The rules of a share, with the invites of its database."""
        return Door(
            name,
            access=access,
            peers=peers,
            on_remote=on_remote,
            invitations=Invitations(database, self._clock),
            contacts=self._contacts,
        )

    async def _publish(self, database: Any, name: str, info: Any, door: Door, *, owned: bool) -> OwnShare:
        uuid = await database.id()
        share_id = self._client.share_id(uuid)
        served = Served(share_id, database, door, self._pool.admitted)
        share = OwnShare(served, name=name, info=info, hub=self, owned=owned)
        before = self._shares.get(share_id)
        if before is not None and not same_database(before.database, database):
            raise BadRequest(
                f"{database.name} is a copy of {before.database.name}, which is shared here already, and both would be "
                "one share. Unshare that first, or make the copy a database of its own: peerpouch backup --as-new."
            )
        # Served before it is published: whoever finds it can open it.
        self._shares[share_id] = share
        folder = self._uploads_folder(share_id)
        if before is None and folder is not None:
            await self._uploads.restore([folder])
        self._registry.add(share.served)
        try:
            await self._client.publish(uuid, name=name, info=info, handler=self._answer)
        except BaseException:
            if before is None:
                del self._shares[share_id]
                self._registry.remove(share_id)
            else:
                self._shares[share_id] = before
                self._registry.add(before.served)
            raise
        if before is not None:
            share.served.take_over(before.served)
            before.served.revoke("The owner changed how this database is shared; ask again.")
            if before.owned and before.served.database is not database:
                await before.served.database.close()
        return share

    async def has_invites(self, database: Database) -> bool:
        """Whether somebody was ever invited to a database, so that it should not be shared with everybody unasked."""
        return await Invitations(database, self._clock).any()

    async def unshare_database(self, database: Database | OwnShare | str | os.PathLike[str]) -> None:
        """Share a database no more: withdraw it, and close what is connected for it.

        Args:
            database: What was given to :meth:`share_database`, or what it gave.

        Raises:
            ShareNotFound: this hub object does not share it.
            HubUnreachable: the hub can't be written. Nobody is let in any more, and the listing runs out.
        """
        self._check_open()
        async with self._changing:
            share = self._own(database)
            del self._shares[share.id]
            self._registry.remove(share.id)
            share.served.revoke("The owner shares this database no more.")
            self._pool.revoke(share.id)
            try:
                await self._client.withdraw(share.id)
            finally:
                if share.owned:
                    await share.database.close()

    def _own(self, database: Database | OwnShare | str | os.PathLike[str]) -> OwnShare:
        if isinstance(database, OwnShare):
            database = database.database  # of now: it may have been shared again since
        for share in self._shares.values():
            if database is share.database:
                return share
            if isinstance(database, (str, os.PathLike)) and share.database.name == targets.parse(database).label:
                return share
        raise ShareNotFound("This hub object does not share that database.")

    def disconnect(self, share_id: str, key: PublicKey) -> None:
        """Close what is connected for a share with one key."""
        self._pool.revoke(share_id, key.raw)

    async def visitors(self, share_id: str) -> list[tuple[RemotePeer, LinkStats]]:
        """Who is connected for a share."""
        present = [
            (RemotePeer(key := PublicKey(peer.key), peer.session, self._known.name_of(key)), link)
            for peer, link in self._pool.visitors(share_id)
        ]
        return [(remote, await link.stats()) for remote, link in present]

    def contact_key(self, text: str) -> PublicKey | None:
        """The key of a contact, by name or fingerprint."""
        contact = self._contacts.find(text)
        return None if contact is None else contact.key

    def address_for_others(self, *, credentials: bool) -> str:
        """The hub's address as an invite carries it."""
        if isinstance(self._target, Database):
            return self.label
        parsed = targets.parse(self._target)
        return parsed.address if credentials else parsed.label

    def served(self, share_id: str) -> Served | None:
        """What this hub object itself serves as a share now."""
        share = self._shares.get(share_id)
        return None if share is None else share.served

    def _uploads_folder(self, share_id: str) -> Path | None:
        share = self._shares.get(share_id)
        path = share.database.path if share is not None and isinstance(share.database, LocalDatabase) else None
        return None if path is None else uploads_folder(path)

    # Finding and opening

    async def get_shared_databases(self, on_change: OnChange | None = None) -> SharedDatabases:
        """The shares of others (and of one's own other sessions) that can be opened now.

        Args:
            on_change: Called, after this has returned, for every share that is new, changed or has gone (``deleted`` is
                then true), until ``cancel()`` of the list or the end of the hub. May be a coroutine function.

        Raises:
            HubUnreachable: the hub can't be read.
        """
        self._check_open()
        if on_change is None:
            found = await self._client.shares()
        else:
            tell = on_change
            found = await self._client.shares(lambda share: tell(self._describe(share)))
        return SharedDatabases([self._describe(share) for share in found], found)

    def _describe(self, share: Share) -> SharedDatabase:
        return describe(share, self, self._known.name_of, self._known.trust)

    async def open_share(
        self,
        share_id: str,
        *,
        info: Any = None,
        timeout: float | None = None,
        request_timeout: float | None = None,
        confirm: bool = False,
        invite: Invite | None = None,
    ) -> RemoteShare:
        """Open a share by its id; see :meth:`SharedDatabase.open`.

        Args:
            invite: The owner's key must be the one that it names, and its token goes with the offer.
        """
        self._check_open()
        limit = CONNECT_TIMEOUT if timeout is None else timeout
        deadline = self._clock.monotonic() + limit
        share = await self._found(share_id, limit)
        await asyncio.to_thread(self._known.judge, share, confirm, invite)
        left = max(0.0, deadline - self._clock.monotonic())
        lease = await self._pool.connect(share_id, doors.enclose(info, invite), timeout=left)
        lease.timeout = limit  # from now on, for each reconnection
        try:
            remembered = confirm or invite is not None
            await asyncio.to_thread(self._known.remember, share, remembered, self._clock.now())
        except BaseException:
            await lease.close()
            raise
        secret = partial(upload_secret, self._identity)
        return RemoteShare(lease, format_name(share_id, self.label), request_timeout, secret=secret)

    async def _found(self, share_id: str, limit: float) -> Share:
        try:
            return await within(self._clock, limit, self._client.find(share_id))
        except TimeoutError:
            raise HubUnreachable(f"The hub {self.label} did not answer within {limit:g} seconds.") from None

    # What the hub's client and the pool ask

    async def _resolve(self, share_id: str) -> Peer:
        return (await self._client.find(share_id)).peer

    async def _answer(self, opening: Opening) -> Document:
        return await self._pool.answer(opening.peer.address, opening.share_id, opening.body)

    async def _welcome(self, peer: Peer, share_id: str, info: Any) -> Any:
        share = self._shares.get(share_id)
        if share is None:
            raise ShareNotFound
        key = PublicKey(peer.key)
        remote = RemotePeer(key, peer.session, self._known.name_of(key))
        told, token = doors.disclose(info)
        try:
            await within(self._clock, DECIDE_WITHIN, share.served.welcome(remote, told, token, self._openings))
        except TimeoutError:
            raise Forbidden("The other side did not decide in time.") from None
        if self._shares.get(share_id) is not share:
            raise ShareNotFound
        return share.info

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    def __repr__(self) -> str:
        return f"<Hub {self.label}{'' if self._stack is not None else ' closed'}>"


async def load_identity(wanted: AnyIdentity) -> Identity:
    """An identity as users give it. Raises InvalidIdentity."""
    return wanted if isinstance(wanted, Identity) else await asyncio.to_thread(Identity.load, wanted)


def live_hub(label: str, share_id: str, identity: AnyIdentity) -> Meeting | None:
    """A hub object of this event loop by which a share can be opened: not the one that serves it."""
    loop = asyncio.get_running_loop()
    for hub in reversed(_live):
        if hub.label != label or hub._loop is not loop or hub.served(share_id) is not None:
            continue
        if identity is None or (isinstance(identity, Identity) and identity.key == hub.identity.key):
            return hub
    return None
