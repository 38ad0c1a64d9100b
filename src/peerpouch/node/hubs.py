"""``Hub`` and ``open``: what opens paths, URLs and shares."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from peerpouch.errors import BadRequest, NotSupported
from peerpouch.hub.names import parse_name
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.invites import Invite, is_invite
from peerpouch.identity.proofs import HubSession
from peerpouch.node import databases, ice, targets
from peerpouch.node.meeting import AnyIdentity, Meeting, live_hub, load_identity
from peerpouch.node.opening import Opening
from peerpouch.node.remotes import RemoteShare, upload_secret
from peerpouch.node.targets import Kind
from peerpouch.ports import Database

Durability = Literal["full", "normal"]


class Hub(Meeting):
    __doc__ = Meeting.__doc__

    async def _open_target(self, target: str | os.PathLike[str]) -> Database:
        asked = _Asked(identity=self._wanted_identity, network=_network(*self._network), session=self._session)
        return await _open(target, visit=asked, create=self._create)


def open(
    target: str | os.PathLike[str] | Invite,
    *,
    info: Any = None,
    identity: AnyIdentity = None,
    contacts: Contacts | None = None,
    confirm: bool = False,
    timeout: float | None = None,
    request_timeout: float | None = None,
    headers: Mapping[str, str] | None = None,
    ice_servers: ice.IceServersLike = None,
    ice_transport_policy: Literal["all", "relay"] = "all",
    compression: Literal["auto", "on", "off"] = "auto",
    create: bool = True,
    durability: Durability = "full",
    auto_compaction: bool = False,
    max_document_size: int = databases.MAX_DOCUMENT_SIZE,
    validate: bool = False,
) -> Opening[Database]:
    """Open a database. Await it, or use it in ``async with``, which closes it too.

    Args:
        target: A path (``":memory:"`` for a database that ends with the process), the URL of a database of a CouchDB or
            of ``peerpouch serve``, the ``dbname`` of a share, or an invite.
        info: For a share: any JSON for its owner.
        contacts: For a share: the user's names for others' keys; by default those in the user's data folder.
        confirm: For a share: open it also if its name was first opened under another key, and remember this key.
        identity: For a share: in whose name; by default the user's own.
        timeout: Seconds. For a share: to connect, now and after a loss. For a URL: for each step of a request.
        request_timeout: Seconds. For a share: for each step of an answer, once it is connected.
        headers: For a URL: sent with every request to that server, and to no other: a bearer token as
            ``{"Authorization": "Bearer …"}``, or what a proxy wants. A user name and password go into the URL.
        ice_servers, ice_transport_policy, compression: For a share: as for :class:`Hub`.
        create: For a path: make the file when there is none.
        durability: For a path. ``"full"``: what was acknowledged survives a power cut; ``"normal"``: a killed process.
        auto_compaction: For a path: drop the body of a revision as soon as it is no leaf any more.
        max_document_size: For a path: the most bytes of a document's JSON, without its attachments.
        validate: For a path: let ``validate_doc_update`` of its design documents judge what is written through this
            object, by replication and through shares too. It needs the extra ``js``.

    A share is opened by way of a :class:`Hub` object of the same hub, if one is open in this event loop, and is closed
    with it at the latest. Without one, ``open`` makes a session of its own at the hub; a hub that needs a name and
    password, which no ``dbname`` contains, can only be used through a ``Hub`` object.

    Raises:
        IdentityChanged: the share's key is not the one of the invite, or its name was first opened under another key.
        DatabaseNotFound, NotADatabase, SchemaTooNew, StorageError: for a path.
        ConnectionFailed, Unauthorized, Forbidden, DatabaseNotFound: for a URL.
        HubUnreachable, ShareNotFound, Forbidden, PeerUnreachable, InvalidSignal, ClockSkew: for a share.
        BadRequest: the target is none of these.
    """
    return Opening(
        partial(
            _open,
            target,
            visit=_Asked(
                info=info,
                identity=identity,
                contacts=contacts,
                confirm=confirm,
                timeout=timeout,
                request_timeout=request_timeout,
                network=_network(ice_servers, ice_transport_policy, compression),
            ),
            headers=headers,
            create=create,
            durability=durability,
            auto_compaction=auto_compaction,
            max_document_size=max_document_size,
            validate=validate,
        )
    )


class _Network(NamedTuple):
    """How peers are connected."""

    ice_servers: ice.IceServersLike = None
    ice_transport_policy: Literal["all", "relay"] = "all"
    compression: Literal["auto", "on", "off"] = "auto"


def _network(
    ice_servers: ice.IceServersLike,
    policy: Literal["all", "relay"],
    compression: Literal["auto", "on", "off"],
) -> _Network:
    """Servers in the form that does not show their passwords."""
    return _Network(None if ice_servers is None else ice.parse(ice_servers), policy, compression)


class _Asked(NamedTuple):
    """How a share is to be opened."""

    info: Any = None
    identity: AnyIdentity = None
    contacts: Contacts | None = None
    confirm: bool = False
    timeout: float | None = None
    request_timeout: float | None = None
    network: _Network = _Network()
    session: HubSession | None = None


_PLAINLY: Final = _Asked()


async def _open(
    target: str | os.PathLike[str] | Invite,
    *,
    visit: _Asked = _PLAINLY,
    headers: Mapping[str, str] | None = None,
    create: bool = True,
    durability: Durability = "full",
    auto_compaction: bool = False,
    max_document_size: int = databases.MAX_DOCUMENT_SIZE,
    validate: bool = False,
) -> Database:
    if isinstance(target, str) and is_invite(target):
        target = Invite.parse(target)
    if isinstance(target, Invite):
        return await _open_share(target.share_id, target.hub, visit, target)
    parsed = targets.parse(target)
    if headers is not None and parsed.kind is not Kind.HTTP:
        raise BadRequest("Headers are for a database behind a URL; this is none.")
    if parsed.kind is Kind.SHARE:
        return await _open_share(*parse_name(parsed.address), visit, None)
    if parsed.kind is Kind.HTTP:
        return await databases.open_url(
            parsed.address,
            headers=headers,
            timeout=visit.timeout,
            session=visit.session,
            secret=partial(upload_secret, visit.identity),
        )
    return await databases.open_file(
        parsed.address,
        create=create,
        durability=durability,
        auto_compaction=auto_compaction,
        max_document_size=max_document_size,
        validate=validate,
    )


# Shares that are opened without a Hub object


@dataclass(eq=False, slots=True)
class _Session:
    """A hub object that no user holds, for the shares that were opened through it."""

    hub: Hub
    opened: asyncio.Task[Hub]
    users: int = 0


_SessionKey = tuple[asyncio.AbstractEventLoop, str, bytes]
_sessions: dict[_SessionKey, _Session] = {}


async def _open_share(share_id: str, hub_address: str, asked: _Asked, invite: Invite | None) -> RemoteShare:
    hub_target = targets.parse(hub_address)
    if hub_target.kind is Kind.MEMORY:
        hub_target = hub_target._replace(label=hub_address)

    async def reach(hub: Meeting) -> RemoteShare:
        return await hub.open_share(
            share_id,
            info=asked.info,
            timeout=asked.timeout,
            request_timeout=asked.request_timeout,
            confirm=asked.confirm,
            invite=invite,
        )

    live = live_hub(hub_target.label, share_id, asked.identity)
    if live is not None:
        return await reach(live)
    if hub_target.kind is Kind.MEMORY:
        raise NotSupported("A hub in memory can be reached through its Hub object only.")
    own = await load_identity(asked.identity)
    key = (asyncio.get_running_loop(), hub_target.label, own.key.raw)
    # What was asked for on purpose makes a session of its own.
    shared = asked.network == _Network() and asked.contacts is None
    session = _sessions.get(key) if shared else None
    if session is None:
        # No file is made where a hub should be.
        visit = Hub(hub_target.address, identity=own, contacts=asked.contacts, create=False, **asked.network._asdict())
        session = _Session(visit, asyncio.ensure_future(visit.__aenter__()))
        if shared:
            _sessions[key] = session
    session.users += 1
    try:
        await asyncio.wait({session.opened})
        remote = await reach(session.opened.result())
    except BaseException:
        await _leave(session, key)
        raise
    remote.on_close(partial(_leave, session, key))
    return remote


async def _leave(session: _Session, key: _SessionKey) -> None:
    session.users -= 1
    if session.users:
        return
    if _sessions.get(key) is session:
        del _sessions[key]
    session.opened.cancel()
    await asyncio.gather(session.opened, return_exceptions=True)
    await session.hub.close()
