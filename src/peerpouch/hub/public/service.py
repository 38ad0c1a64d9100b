"""A public hub: gives out visits, judges what they write, and forgets what has run out."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any, Final, Self

from peerpouch.errors import Conflict, DatabaseClosed, NotFound, PeerPouchError, TooLarge, TooManyRequests, Unauthorized
from peerpouch.hub import shares, signals
from peerpouch.hub.public import rules
from peerpouch.hub.public.limits import PublicLimits
from peerpouch.hub.public.occupancy import Occupancy
from peerpouch.hub.public.rates import Rates, origin
from peerpouch.hub.public.visit import Host, Visit
from peerpouch.hub.timing import end
from peerpouch.ports import (
    Anonymous,
    Change,
    Clock,
    Database,
    Document,
    Seq,
    Visitor,
    WriteFailure,
    WriteResult,
    Written,
    acting_for,
)

logger = logging.getLogger(__name__)

TIDY_EVERY: Final = 5.0
"""Seconds between looks for what has run out."""
_TURNS_TO_LIST: Final = 12
_BATCH: Final = 200
_REVS_LIMIT: Final = 20
"""Revisions remembered of a share: it is renewed three times a minute, and nobody replicates a hub."""
_ALL: Final = "all"
_WAIT_FOR_A_FEED: Final = 10.0

_LAST_SIGNAL: Final = signals.PREFIX + "\ufff0"
_SHARES: Final[Document] = {"_id": {"$gte": shares.FIRST, "$lte": shares.LAST}}
_SIGNALS: Final[Document] = {"_id": {"$gte": signals.PREFIX, "$lte": _LAST_SIGNAL}}


class PublicHub(Host):
    """A database that strangers may use as a hub. Use it in ``async with``.

    Args:
        database: The hub's; whoever opened it closes it. It should drop the bodies of old revisions by itself.
        clock: For what runs out, and for rates.
        name: What the database is called.
        limits: What strangers may use.
    """

    def __init__(self, database: Database, clock: Clock, *, name: str, limits: PublicLimits | None = None) -> None:
        self.limits = PublicLimits() if limits is None else limits
        self._database = database
        self._clock = clock
        self._name = name
        self._occupancy = Occupancy(self.limits)
        self._requests = Rates(self.limits.requests_per_second, self.limits.requests_at_once)
        self._writes = Rates(self.limits.writes_per_second, self.limits.writes_at_once)
        self._feeds: Counter[str] = Counter()
        self._feed_count = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        seq = (await self._database.info())["update_seq"]
        await self._take_stock()
        if await self._database.get_revs_limit() > _REVS_LIMIT:
            await self._database.put_revs_limit(_REVS_LIMIT)
        self._tasks = [
            asyncio.create_task(self._tidy_always(), name="peerpouch public hub"),
            asyncio.create_task(self._follow(seq), name="peerpouch public hub's feed"),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        await end(*self._tasks)

    @property
    def share_count(self) -> int:
        return self._occupancy.shares

    def status(self) -> dict[str, Any]:
        """What is in it, as JSON."""
        occupancy = self._occupancy
        return {
            "name": self._name,
            "shares": occupancy.shares,
            "signals": occupancy.signals,
            "feeds": self._feed_count,
        }

    def visit(self, visitor: Visitor) -> Visit:
        """The database as a visitor may use it."""
        return Visit(self._database, visitor, self, name=self._name)

    def admit(self, address: str, *, listing: bool) -> None:
        """Count a request.

        Args:
            address: From which it comes.
            listing: Whether it may read the whole hub.

        Raises:
            TooManyRequests: with the seconds after which it is worth another try.
        """
        cost = self.limits.listing_cost if listing else 1
        wait = self._requests.take(origin(address), cost, self._clock.monotonic())
        if wait:
            raise TooManyRequests("Too many requests from this address; try again later.", retry_after=wait)

    @contextmanager
    def feeding(self, visitor: Visitor) -> Iterator[None]:
        address = origin(visitor.address)
        if self._feed_count >= self.limits.feeds or self._feeds[address] >= self.limits.feeds_of_one:
            raise TooManyRequests("Too many feeds are open; try again later.", retry_after=_WAIT_FOR_A_FEED)
        self._feed_count += 1
        self._feeds[address] += 1
        try:
            yield
        finally:
            self._feed_count -= 1
            self._feeds[address] -= 1
            if not self._feeds[address]:
                del self._feeds[address]

    # Writing

    async def write(self, visitor: Visitor, docs: Sequence[Document]) -> list[WriteResult]:
        if len(docs) > self.limits.documents:
            raise TooLarge(f"At most {self.limits.documents} documents at a time.")
        wait = self._writes.take(_ALL, len(docs), self._clock.monotonic())
        if wait:
            raise TooManyRequests("The hub is written to too often; try again later.", retry_after=wait)
        results: list[WriteResult | None] = [None] * len(docs)
        passed: list[int] = []
        leases: dict[int, tuple[str, int]] = {}
        reserved: set[str] = set()
        seen: set[str] = set()
        try:
            for place, doc in enumerate(docs):
                try:
                    if doc.get("_id") in seen:
                        raise Conflict  # what a document was written for is judged once a request
                    leases[place] = self._check(visitor, doc, reserved)
                except (Unauthorized, TooManyRequests):
                    raise  # of the request as a whole: the client mends it, or waits, and sends it again
                except PeerPouchError as error:
                    results[place] = WriteFailure(str(doc.get("_id") or ""), error)
                else:
                    seen.add(doc["_id"])
                    passed.append(place)
            written = await self._store(visitor, [docs[place] for place in passed]) if passed else []
            for place, result in zip(passed, written, strict=True):
                results[place] = result
                if isinstance(result, Written):
                    self._note(visitor, docs[place], result, *leases[place])
        finally:
            for doc_id in reserved:
                self._occupancy.release(doc_id)
        try:
            await self._forget()
        except PeerPouchError as error:  # what was written is written; the tidying tries again
            logger.warning("Deleted signals could not be forgotten: %s", error.reason)
        return [result for result in results if result is not None]

    def _check(self, visitor: Visitor, doc: Document, reserved: set[str]) -> tuple[str, int]:
        """Judge a document, and keep room for it; its session, and its lease."""
        share = rules.check_new(visitor, doc, self.limits)
        doc_id = doc["_id"]
        if doc.get("_deleted"):
            return "", 0
        session = share.session if share is not None else rules.session_of(doc_id) or ""
        if (share is not None or "offer" in doc) and self._occupancy.reserve(
            doc_id, session, origin(visitor.address), self._clock.monotonic()
        ):
            reserved.add(doc_id)
        return session, 0 if share is None else share.lease

    async def _store(self, visitor: Visitor, docs: list[Document]) -> list[WriteResult]:
        with acting_for(Anonymous()):
            # To its end, also when the client goes away: what was written must be noted.
            writing = asyncio.ensure_future(self._database.bulk_docs(docs, guard=rules.guard_for(visitor)))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait({writing})
            if not writing.cancelled() and writing.exception() is None:
                await asyncio.shield(asyncio.ensure_future(self._take_note(writing.result())))
            raise

    async def _take_note(self, results: list[WriteResult]) -> None:
        """Note what was written for a client that went away meanwhile."""
        for result in results:
            if isinstance(result, Written):
                with suppress(PeerPouchError):
                    await self._observe(result.id)

    def _note(self, visitor: Visitor, doc: Document, result: Written, session: str, lease: int) -> None:
        now = self._clock.monotonic()
        if doc.get("_deleted"):
            self._occupancy.deleted(result.id, result.rev, now)
        else:
            self._occupancy.wrote(result.id, session, origin(visitor.address), lease, now)

    # What is there, and what has run out

    async def _take_stock(self) -> None:
        """Read what the hub's file holds. Everything gets its whole time again: how old it is by our clock is not
        known."""
        async for row in self._database.all_docs(startkey=shares.FIRST, endkey=shares.LAST, include_docs=True):
            self._take(row["id"], row.get("doc") or {})
        await self._take_unknown_signals()
        async for change in self._database.changes(selector={"$or": [_SHARES, _SIGNALS]}):
            if change.get("deleted"):
                self._occupancy.deleted(change["id"], change["changes"][0]["rev"], self._clock.monotonic())

    async def _take_unknown_signals(self) -> None:
        """Note the signals that came by another way than a visit: the server's own shares, or an administrator."""
        async for row in self._database.all_docs(startkey=signals.PREFIX, endkey=_LAST_SIGNAL):
            if not self._occupancy.knows(row["id"]):
                self._take(row["id"], {})

    async def _follow(self, seq: Seq) -> None:
        """Note the shares that came by another way than a visit."""
        while True:
            try:
                feed = self._database.changes(since=seq, live=True, include_docs=True, selector=_SHARES)
                async with aclosing(feed.pages()) as pages:
                    async for page in pages:
                        for change in page.results:
                            self._note_change(change)
                        seq = page.last_seq
            except DatabaseClosed:
                return
            except PeerPouchError as error:
                logger.warning("The public hub's own feed broke off: %s", error.reason)
            await self._clock.sleep(TIDY_EVERY)

    def _note_change(self, change: Change) -> None:
        if change.get("deleted"):
            self._occupancy.deleted(change["id"], change["changes"][0]["rev"], self._clock.monotonic())
        else:
            self._take(change["id"], change.get("doc") or {})

    def _take(self, doc_id: str, doc: Document) -> None:
        now = self._clock.monotonic()
        session = rules.session_of(doc_id)
        if session is not None:
            self._occupancy.wrote(doc_id, session, None, 0, now)
        elif rules.is_share(doc_id):
            lease = doc.get("lease")
            known = type(lease) is int and 0 <= lease <= self.limits.longest_lease
            seconds = lease if type(lease) is int and known else self.limits.longest_lease
            self._occupancy.wrote(doc_id, str(doc.get("session")), None, seconds, now)

    async def _observe(self, doc_id: str) -> None:
        try:
            self._take(doc_id, await self._database.get(doc_id))
        except NotFound:
            for result in await self._database.open_revs(doc_id):
                if result.doc is not None and result.rev is not None:
                    self._occupancy.deleted(doc_id, result.rev, self._clock.monotonic())

    async def _tidy_always(self) -> None:
        for turn in itertools.count(1):
            await self._clock.sleep(TIDY_EVERY)
            try:
                if turn % _TURNS_TO_LIST == 0:
                    await self._take_unknown_signals()
                await self.tidy()
            except PeerPouchError as error:
                logger.warning("The public hub could not be tidied: %s", error.reason)
            except Exception:  # a defect must not let the hub fill up for ever
                logger.exception("The public hub could not be tidied")

    async def tidy(self) -> None:
        """Delete what has run out, and forget what was deleted long enough ago."""
        expired = self._occupancy.expired(self._clock.monotonic())
        for start in range(0, len(expired), _BATCH):
            await self._expire(expired[start : start + _BATCH])
        await self._forget()

    async def _expire(self, doc_ids: list[str]) -> None:
        revs: dict[str, str] = {}
        async for row in self._database.all_docs(keys=doc_ids):
            value = row.get("value") or {}
            if "error" in row or value.get("deleted"):
                self._occupancy.purged(row["key"])  # gone already, by an administrator's hand
            else:
                revs[row["id"]] = value["rev"]
        # A signal needs no tombstone, as nobody waits for its end; a share's readers see by it that it has gone.
        purged = {doc_id: [rev] for doc_id, rev in revs.items() if not rules.is_share(doc_id)}
        if purged:
            for doc_id in await self._database.purge(purged):
                self._occupancy.purged(doc_id)
        dead = [
            {"_id": doc_id, "_rev": rev, "_deleted": True} for doc_id, rev in revs.items() if rules.is_share(doc_id)
        ]
        for result in await self._database.bulk_docs(dead) if dead else []:
            if isinstance(result, Written):  # else it was renewed just now
                self._occupancy.deleted(result.id, result.rev, self._clock.monotonic())

    async def _forget(self) -> None:
        old = self._occupancy.forgettable(self._clock.monotonic())
        ids = list(old)
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            await self._database.purge({doc_id: [old[doc_id]] for doc_id in batch})
            for doc_id in batch:
                self._occupancy.purged_tombstone(doc_id, old[doc_id])
