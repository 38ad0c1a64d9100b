"""``Hub`` and ``open``: what opens paths, URLs and shares."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from peerpouch.errors import NotSupported
from peerpouch.hub.names import parse_name
from peerpouch.node import databases, ice, targets
from peerpouch.node.meeting import AnyIdentity, Meeting, live_hub, load_identity
from peerpouch.node.opening import Opening
from peerpouch.node.remotes import RemoteShare
from peerpouch.node.targets import Kind
from peerpouch.ports import Database

Durability = Literal["full", "normal"]


class Hub(Meeting):
    __doc__ = Meeting.__doc__

    async def _open_target(self, target: str | os.PathLike[str]) -> Database:
        return await _open(target, identity=self._wanted_identity, ice_servers=self._ice_servers)


def open(
    target: str | os.PathLike[str],
    *,
    info: Any = None,
    identity: AnyIdentity = None,
    timeout: float | None = None,
    ice_servers: ice.IceServersLike = None,
    create: bool = True,
    durability: Durability = "full",
    auto_compaction: bool = False,
    max_document_size: int = databases.MAX_DOCUMENT_SIZE,
    validate: bool = False,
) -> Opening[Database]:
    """Open a database. Await it, or use it in ``async with``, which closes it too.

    Args:
        target: A path (``":memory:"`` for a database that ends with the process), the URL of a database of a CouchDB or
            of ``peerpouch serve``, or the ``dbname`` of a share.
        info: For a share: any JSON for its owner.
        identity: For a share: in whose name; by default the user's own.
        timeout: Seconds. For a share: to connect, now and after a loss. For a URL: for each step of a request.
        ice_servers: For a share: as for :class:`Hub`.
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
        DatabaseNotFound, NotADatabase, SchemaTooNew, StorageError: for a path.
        ConnectionFailed, Unauthorized, Forbidden, DatabaseNotFound: for a URL.
        HubUnreachable, ShareNotFound, Forbidden, PeerUnreachable, InvalidSignal, ClockSkew: for a share.
        BadRequest: the target is none of these.
    """
    return Opening(
        partial(
            _open,
            target,
            info=info,
            identity=identity,
            timeout=timeout,
            ice_servers=ice_servers,
            create=create,
            durability=durability,
            auto_compaction=auto_compaction,
            max_document_size=max_document_size,
            validate=validate,
        )
    )


async def _open(
    target: str | os.PathLike[str],
    *,
    info: Any = None,
    identity: AnyIdentity = None,
    timeout: float | None = None,
    ice_servers: ice.IceServersLike = None,
    create: bool = True,
    durability: Durability = "full",
    auto_compaction: bool = False,
    max_document_size: int = databases.MAX_DOCUMENT_SIZE,
    validate: bool = False,
) -> Database:
    parsed = targets.parse(target)
    if parsed.kind is Kind.SHARE:
        return await _open_share(parsed.address, info, identity, timeout, ice_servers)
    if parsed.kind is Kind.HTTP:
        return await databases.open_url(parsed.address, timeout=timeout)
    return await databases.open_file(
        parsed.address,
        create=create,
        durability=durability,
        auto_compaction=auto_compaction,
        max_document_size=max_document_size,
        validate=validate,
    )


# Shares that are opened without a Hub object


class _Visit(Hub):
    """A hub object that only opens shares: it makes no file where a hub should be."""

    async def _open_target(self, target: str | os.PathLike[str]) -> Database:
        return await _open(target, identity=self._wanted_identity, ice_servers=self._ice_servers, create=False)


@dataclass(eq=False, slots=True)
class _Session:
    """A hub object that no user holds, for the shares that were opened through it."""

    hub: Hub
    opened: asyncio.Task[Hub]
    users: int = 0


_SessionKey = tuple[asyncio.AbstractEventLoop, str, bytes]
_sessions: dict[_SessionKey, _Session] = {}


async def _open_share(
    dbname: str, info: Any, identity: AnyIdentity, timeout: float | None, ice_servers: ice.IceServersLike
) -> RemoteShare:
    share_id, hub_address = parse_name(dbname)
    hub_target = targets.parse(hub_address)
    if hub_target.kind is Kind.MEMORY:
        hub_target = hub_target._replace(label=hub_address)
    live = live_hub(hub_target.label, share_id, identity)
    if live is not None:
        return await live.open_share(share_id, info=info, timeout=timeout)
    if hub_target.kind is Kind.MEMORY:
        raise NotSupported("A hub in memory can be reached through its Hub object only.")
    own = await load_identity(identity)
    key = (asyncio.get_running_loop(), hub_target.label, own.key.raw)
    shared = ice_servers is None  # servers that were asked for on purpose make a session of its own
    session = _sessions.get(key) if shared else None
    if session is None:
        visit = _Visit(hub_target.address, identity=own, ice_servers=ice_servers)
        session = _Session(visit, asyncio.ensure_future(visit.__aenter__()))
        if shared:
            _sessions[key] = session
    session.users += 1
    try:
        await asyncio.wait({session.opened})
        hub = session.opened.result()
        remote = await hub.open_share(share_id, info=info, timeout=timeout)
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
