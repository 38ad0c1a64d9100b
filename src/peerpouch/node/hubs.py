"""``Hub``, and what opens URLs and shares."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from peerpouch.errors import BadRequest, NotSupported
from peerpouch.hub.names import parse_name
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.invites import Invite, is_invite
from peerpouch.identity.proofs import HubSession
from peerpouch.node import ice, targets, urls
from peerpouch.node.databases import open_file
from peerpouch.node.meeting import AnyIdentity, Meeting, live_hub, load_identity
from peerpouch.node.remotes import RemoteShare, upload_secret
from peerpouch.node.targets import Kind
from peerpouch.ports import Database


class Hub(Meeting):
    __doc__ = Meeting.__doc__

    async def _open_target(self, target: str | os.PathLike[str]) -> Database:
        asked = Asked(identity=self._wanted_identity, network=network(*self._network), session=self._session)
        return await open_target(target, visit=asked, file=partial(open_file, create=self._create))


class Network(NamedTuple):
    """How peers are connected."""

    ice_servers: ice.IceServersLike = None
    ice_transport_policy: Literal["all", "relay"] = "all"
    compression: Literal["auto", "on", "off"] = "auto"


def network(
    ice_servers: ice.IceServersLike,
    policy: Literal["all", "relay"],
    compression: Literal["auto", "on", "off"],
) -> Network:
    """Servers in the form that does not show their passwords."""
    return Network(None if ice_servers is None else ice.parse(ice_servers), policy, compression)


class Asked(NamedTuple):
    """How a share is to be opened."""

    info: Any = None
    identity: AnyIdentity = None
    contacts: Contacts | None = None
    confirm: bool = False
    timeout: float | None = None
    request_timeout: float | None = None
    network: Network = Network()
    session: HubSession | None = None


async def open_target(
    target: str | os.PathLike[str] | Invite,
    *,
    file: Callable[[str], Awaitable[Database]],
    visit: Asked,
    headers: Mapping[str, str] | None = None,
) -> Database:
    """See :func:`peerpouch.open`; ``file`` opens one at an absolute path."""
    if isinstance(target, str) and is_invite(target):
        target = Invite.parse(target)
    if isinstance(target, Invite):
        return await _open_share(target.share_id, target.hub, visit, target)
    parsed = targets.parse(target)
    if headers is not None and parsed.kind is not Kind.HTTP:
        raise BadRequest(targets.NO_HEADERS)
    if parsed.kind is Kind.SHARE:
        return await _open_share(*parse_name(parsed.address), visit, None)
    if parsed.kind is Kind.HTTP:
        return await urls.open_url(
            parsed.address,
            headers=headers,
            timeout=visit.timeout,
            session=visit.session,
            secret=partial(upload_secret, visit.identity),
        )
    return await file(parsed.address)


# Shares that are opened without a Hub object


@dataclass(eq=False, slots=True)
class _Session:
    """A hub object that no user holds, for the shares that were opened through it."""

    hub: Hub
    opened: asyncio.Task[Hub]
    users: int = 0


_SessionKey = tuple[asyncio.AbstractEventLoop, str, bytes]
_sessions: dict[_SessionKey, _Session] = {}


async def _open_share(share_id: str, hub_address: str, asked: Asked, invite: Invite | None) -> RemoteShare:
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
    shared = asked.network == Network() and asked.contacts is None
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
