"""Shares that a server keeps up by itself, whatever becomes of the hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from peerpouch.core.policy import Access
from peerpouch.errors import PeerPouchError
from peerpouch.hub.events import RemoteEvent, RemotePeer
from peerpouch.node.folder import FolderRegistry
from peerpouch.node.hubs import Hub
from peerpouch.node.meeting import AnyIdentity
from peerpouch.node.sharing import OwnShare
from peerpouch.ports import Clock, LinkStats

_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
"""Seconds before a hub that can't be reached is tried again, doubled each time."""

_LOG = logging.getLogger("peerpouch.shares")


@dataclass(frozen=True, slots=True)
class ShareOptions:
    """A share that a server shall keep up.

    Attributes:
        database: Its name on the server; made if it is not there.
        hub: Where it is announced: a URL, a path, a share, or the name of a database of the server itself.
        name: What people see; by default the database's.
        access: ``"read-write"``, ``"read-only"`` or an :class:`~peerpouch.Access`.
    """

    database: str
    hub: str = field(repr=False)  # which may have a password
    name: str | None = None
    access: Access | str = "read-write"


class StandingShare:
    """One of them. Use it in ``async with``."""

    def __init__(self, options: ShareOptions, registry: FolderRegistry, identity: AnyIdentity, clock: Clock) -> None:
        self._options = options
        self._registry = registry
        self._identity = identity
        self._clock = clock
        self._state: dict[str, Any] = {"state": "starting", "dbname": None, "error": None}
        self._opened = 0
        self._share: OwnShare | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name=f"peerpouch share {self._options.database}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def status(self) -> dict[str, Any]:
        """What is known of it, and of who is connected for it, as JSON."""
        options = self._options
        name = options.name or options.database
        visitors = [] if self._share is None else await self._share.visitors()
        return {
            "database": options.database,
            "name": name,
            "opened": self._opened,
            **self._state,
            "visitors": [_visitor(peer, stats) for peer, stats in visitors],
        }

    @asynccontextmanager
    async def _hub(self) -> AsyncIterator[Hub]:
        target = self._options.hub
        if "/" in target or ":" in target or target.endswith(".db"):
            async with Hub(target, identity=self._identity) as hub:
                yield hub
        else:
            async with (
                self._registry.hold(target, create=True) as database,
                Hub(database, identity=self._identity) as hub,
            ):
                yield hub

    def _welcome(self, event: RemoteEvent) -> None:
        self._opened += 1
        _LOG.info("%s opened by %s", self._options.database, event.peer.fingerprint)

    async def _run(self) -> None:
        options, wait = self._options, _FIRST_WAIT
        while True:
            try:
                async with self._registry.hold(options.database, create=True) as database, self._hub() as hub:
                    # ``on_remote`` only looks on here: it is the invites, if there are any, that say who may come.
                    named = isinstance(options.access, Access) and options.access.peers is not None
                    invited_only = not named and await hub.has_invites(database)
                    share = await hub.share_database(
                        database,
                        name=options.name or options.database,
                        access=options.access,
                        peers=[] if invited_only else None,
                        on_remote=self._welcome,
                    )
                    wait, self._share = _FIRST_WAIT, share
                    self._state = {"state": "shared", "dbname": share.dbname, "error": None}
                    _LOG.info("%s is shared as %s", options.database, share.dbname)
                    await asyncio.Event().wait()
            except PeerPouchError as error:
                self._state = {"state": "waiting", "dbname": None, "error": error.as_json()}
                _LOG.warning("%s can't be shared: %s", options.database, error.reason)
            except Exception as error:  # noqa: BLE001  whatever it is, the share must come back
                # A defect, which may be gone when the share is made anew.
                self._state = {"state": "waiting", "dbname": None, "error": PeerPouchError().as_json()}
                _LOG.error("%s can't be shared", options.database, exc_info=error)
            finally:
                self._share = None
            await self._clock.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)


def _visitor(peer: RemotePeer, stats: LinkStats) -> dict[str, Any]:
    return {
        "fingerprint": peer.fingerprint,
        "contact": peer.contact,
        "session": peer.session,
        "path": stats.path,
        "round_trip": stats.round_trip,
        "sent": stats.sent,
        "received": stats.received,
    }
