"""A hub, to this process: shares published and found, offers sent and answered.

Every :class:`HubClient` is a session of its own, with fresh keys: what was sealed to the last one is lost on the next.
"""

from __future__ import annotations

import asyncio
import logging
import random as _random
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from peerpouch.errors import BadRequest, HubUnreachable, PeerPouchError
from peerpouch.hub import shares, signals
from peerpouch.hub.answering import DECIDE_WITHIN, Answerer
from peerpouch.hub.calling import Caller
from peerpouch.hub.collector import Collector
from peerpouch.hub.directory import Directory, OnChange, Shares
from peerpouch.hub.events import Handler
from peerpouch.hub.feed import Feed
from peerpouch.hub.publisher import Publication, Publisher
from peerpouch.hub.shares import LEASE, MAX_LEASE, MIN_LEASE, Share
from peerpouch.hub.timing import end, within
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.keys import Identity
from peerpouch.identity.proofs import HubSession
from peerpouch.ports import Change, Clock, Document, Documents, Peer, SignalChannel

logger = logging.getLogger(__name__)

CLOSE_WITHIN: Final = 5.0
"""Seconds that closing spends on taking shares back; a hub that is gone must not keep a process from ending."""


class HubClient(SignalChannel):
    """One session at one hub. Use it in ``async with``, or call :meth:`close`.

    Args:
        database: The hub. It is not closed with the client.
        identity: In whose name.
        clock: Time.
        contacts: To name the peers that open shares, or None.
        lease: Seconds that a share lives without renewal; it is renewed three times as often.
        decide_within: Seconds that a share's handler has for its decision.
        random: From 0 to 1, for jitter; never for keys.
        session: The session's secrets, where something else proves them to the hub; by default fresh ones.
    """

    def __init__(
        self,
        database: Documents,
        identity: Identity,
        clock: Clock,
        *,
        contacts: Contacts | None = None,
        lease: int = LEASE,
        decide_within: float = DECIDE_WITHIN,
        random: Callable[[], float] = _random.random,
        session: HubSession | None = None,
    ) -> None:
        if not MIN_LEASE <= lease <= MAX_LEASE:
            raise BadRequest(f"A lease lasts {MIN_LEASE} to {MAX_LEASE} seconds.")
        self._identity = identity
        self._clock = clock
        session = HubSession() if session is None else session
        self._session = session.key
        reply_to = session.reply_to
        self._feed = Feed(database, clock, feed_selector(self._session.id, reply_to), random)
        self._directory = Directory(database, clock, self._feed, self._session.id)
        self._publisher = Publisher(database, clock, identity, self._session, random, lease)
        self._answerer = Answerer(database, clock, identity, self._session, contacts, decide_within)
        self._caller = Caller(database, clock, self._feed, self._directory, identity, self._session.id, reply_to)
        self._collector = Collector(database, clock)
        self._collecting: asyncio.Task[None] | None = None
        self._closed = False
        self._feed.listen(self._changed)
        self._feed.on_reconnected(self._publisher.renew_now)

    @property
    def address(self) -> Peer:
        """This session's own address."""
        return Peer(self._identity.key.raw, self._session.id)

    def doubt(self) -> None:
        """A peer was lost, perhaps with this machine's network: see whether the hub's feed still stands."""
        self._feed.doubt()

    @property
    def invalid_documents(self) -> int:
        """How many share and signal documents of this hub were refused so far."""
        return self._directory.invalid + self._answerer.refused_signals

    def share_id(self, database_uuid: str) -> str:
        """The id under which this identity shares a database."""
        return shares.share_id(self._identity.key, shares.database_digest(self._identity.key, database_uuid))

    async def publish(self, database_uuid: str, *, name: str, info: Any = None, handler: Handler) -> Publication:
        """Share a database, or change the name, info and handler of one that is shared.

        Args:
            database_uuid: What identifies the database; it does not leave this process.
            name: For people: 1 to 200 characters, no controls.
            info: Any JSON of at most 8 KiB.
            handler: Decides on every opening.

        Raises:
            BadRequest: if the name or info is not allowed.
            HubUnreachable: if the hub can't be read or written.
        """
        self._check_open()
        shares.check_description(name, info)
        share_id = self.share_id(database_uuid)
        await self._feed.start()
        new = self._publisher.get(share_id) is None
        self._answerer.serve(share_id, handler)  # before anybody can find it
        try:
            digest = shares.database_digest(self._identity.key, database_uuid)
            publication = await self._publisher.publish(digest, name, info)
        except BaseException:
            if new:
                self._answerer.forget(share_id)
            raise
        if self._collecting is None:
            self._collecting = asyncio.create_task(self._collector.run(), name="peerpouch hub collector")
        return publication

    async def withdraw(self, share_id: str) -> None:
        """Take a share back; harmless if it is not shared. Connections are not the hub's to close.

        Raises:
            HubUnreachable: if the hub can't be written; the share's lease then runs out, and nobody is let in.
        """
        self._answerer.forget(share_id)
        await self._publisher.withdraw(share_id)

    def published(self) -> list[Publication]:
        """What this session shares."""
        return self._publisher.all()

    async def shares(self, on_change: OnChange | None = None) -> Shares:
        """The living shares of this hub, except this session's own.

        Args:
            on_change: Called, after this has returned, for every share that is new, says something else, or was
                withdrawn or ran out (``deleted`` is then true). May be a coroutine function; one call at a time.

        Raises:
            HubUnreachable: if the hub can't be read.
        """
        self._check_open()
        return await (self._directory.snapshot() if on_change is None else self._directory.watch(on_change))

    async def find(self, share_id: str) -> Share:
        """A share that can be opened, the own session's too.

        Raises:
            ShareNotFound: there is no such share, or its lease has run out.
            ClockSkew: its lease can't be judged, because the clocks differ too much.
            HubUnreachable: the hub can't be read.
        """
        self._check_open()
        return await self._caller.find(share_id)

    async def signal(self, share_id: str, body: Document, *, timeout: float) -> Document:
        """See :class:`peerpouch.ports.SignalChannel`. ``body`` is any JSON; its ``info`` is for ``on_remote``."""
        self._check_open()
        return await self._caller.call(share_id, body, timeout=timeout)

    async def close(self) -> None:
        """Withdraw what is shared, as far as the hub is there, and end everything. Harmless when closed."""
        if self._closed:
            return
        self._closed = True
        for publication in self._publisher.all():
            self._answerer.forget(publication.id)
        try:
            await within(self._clock, CLOSE_WITHIN, self._withdraw_all())
        except PeerPouchError as error:
            logger.warning("Not every share could be withdrawn; they run out: %s", error.reason)
        finally:
            await self._end()

    async def _end(self) -> None:
        await end(self._collecting)
        await self._publisher.close()
        await self._answerer.close()
        await self._directory.close()
        await self._caller.close()
        await self._feed.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _withdraw_all(self) -> None:
        for publication in self._publisher.all():
            await self._publisher.withdraw(publication.id)

    def _changed(self, change: Change) -> None:
        if change["id"].startswith(shares.PREFIX):
            self._publisher.changed(change)
            self._directory.changed(change)
            self._caller.changed(change)
        elif change["id"].startswith(signals.PREFIX):
            self._answerer.changed(change)
            self._caller.changed(change)

    def _check_open(self) -> None:
        if self._closed:
            raise HubUnreachable("The hub was closed.")


def feed_selector(session: str, reply_to: str) -> Document:
    """The Mango selector of a session's feed: all shares, the signals for it, and the answers to its own."""
    first, last = signals.id_range(session)
    return {
        "$or": [
            {"_id": {"$gte": shares.FIRST, "$lte": shares.LAST}},
            {"_id": {"$gte": first, "$lte": last}},
            {"reply_to": {"$eq": reply_to}},
        ]
    }
