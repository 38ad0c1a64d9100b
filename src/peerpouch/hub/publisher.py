"""Publishing shares, keeping their leases alive, and withdrawing them.

A share has one document, whichever of its owner's processes serves it. Publishing takes the document over, so an
owner that restarts takes its own place back at once. A session whose document was taken over by another living session
of the same key stands by: it renews nothing, and publishes again when the other withdraws or runs out. So two processes
that share one database file are one share, served by the later of them, and by the other when that one has gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from peerpouch.errors import Conflict, DatabaseClosed, HubUnreachable, InvalidSignal, NotFound, PeerPouchError
from peerpouch.hub import shares
from peerpouch.hub.leases import Leases, Verdict
from peerpouch.hub.timing import backoff, end, hub_errors
from peerpouch.identity.keys import Identity
from peerpouch.identity.sealing import SessionKey
from peerpouch.ports import Change, Clock, Document, Documents, WriteFailure

logger = logging.getLogger(__name__)

RENEW_EVERY: Final = 30.0
"""Seconds; a third of the lease."""
CALM: Final = 1.0
"""Seconds between a change that concerns a share of ours and our reaction: whoever deletes it again and again makes us
write once a second, not more."""
FIRST_WAIT: Final = 1.0
_ATTEMPTS: Final = 5
"""How often a write that meets another's is tried anew. They meet only when two sessions take over at one moment."""


@dataclass
class Publication:
    """A share of this session.

    Attributes:
        id: The share's id.
        database: The digest of key and uuid.
        name, info: As published.
        serving: Whether the hub's document is this session's; otherwise another session of the same key serves it.
        rev: The revision last written or seen.
    """

    id: str
    database: bytes
    name: str
    info: Any
    serving: bool = False
    rev: str | None = None


class Publisher:
    """The shares of one session. Args as for the hub client."""

    def __init__(
        self,
        database: Documents,
        clock: Clock,
        identity: Identity,
        session: SessionKey,
        random: Callable[[], float],
        lease: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._identity = identity
        self._session = session
        self._random = random
        self._lease = lease
        self._every = min(RENEW_EVERY, lease / 3)
        self._publications: dict[str, Publication] = {}
        self._others = Leases()
        self._renewal = 0
        self._lock = asyncio.Lock()  # publishing, renewing and withdrawing one after another
        self._nudge = asyncio.Event()
        self._disturbed: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def get(self, share_id: str) -> Publication | None:
        """A share of ours."""
        return self._publications.get(share_id)

    def all(self) -> list[Publication]:
        """All shares of ours."""
        return list(self._publications.values())

    async def publish(self, database: bytes, name: str, info: Any) -> Publication:
        """Publish a share, or its new name and info if it is published already.

        Cancelled, it leaves no new share behind.

        Raises:
            HubUnreachable: if the hub can't be written.
        """
        id = shares.share_id(self._identity.key, database)
        async with self._lock:
            new = id not in self._publications
            writing = asyncio.ensure_future(self._write(Publication(id, database, name, info)))
            try:
                publication = await asyncio.shield(writing)
            except asyncio.CancelledError:
                # The document may be on its way into the hub: only what becomes of it tells what to take back.
                await asyncio.wait({writing})
                if new and id in self._publications:
                    with suppress(HubUnreachable):  # it then runs out
                        await self._take_back(self._publications.pop(id))
                raise
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="peerpouch share renewal")
        return publication

    async def _write(self, publication: Publication) -> Publication:
        with hub_errors("publish a share"):
            await self._take_over(publication, await self._current(publication.id))
        self._publications[publication.id] = publication
        return publication

    async def withdraw(self, share_id: str) -> None:
        """Take a share back. One that another session serves stays that one's.

        Raises:
            HubUnreachable: if the hub can't be written; the lease then runs out.
        """
        async with self._lock:
            publication = self._publications.pop(share_id, None)
            if publication is None:
                return
            self._others.forget(share_id)
            await self._take_back(publication)

    async def _take_back(self, publication: Publication) -> None:
        with hub_errors("withdraw a share"):
            for _ in range(_ATTEMPTS):
                if not publication.serving or publication.rev is None:
                    return
                try:
                    await self._database.remove(shares.PREFIX + publication.id, publication.rev)
                    return
                except (Conflict, NotFound):
                    document = await self._current(publication.id)
                    publication.rev = None if document is None else document["_rev"]
                    publication.serving = document is not None and self._is_mine(document)

    async def close(self) -> None:
        """Stop renewing. What was not withdrawn runs out."""
        await end(self._task)

    def renew_now(self) -> None:
        """Renew every share now: the hub is back."""
        self._disturbed.update(self._publications)
        self._nudge.set()

    def changed(self, change: Change) -> None:
        """Note a change of the hub: somebody may have replaced or deleted a share of ours."""
        publication = self._publications.get(change["id"].removeprefix(shares.PREFIX))
        if publication is None or change["id"] != shares.PREFIX + publication.id:
            return
        document = change.get("doc")
        gone = change.get("deleted", False) or document is None
        if gone or (publication.serving and document is not None and not self._is_mine(document)):
            self._disturbed.add(publication.id)
            self._nudge.set()

    async def _run(self) -> None:
        attempt, due = 0, self._clock.monotonic() + self._pause()
        while True:
            nudged = await self._nudged_before(due)
            try:
                async with self._lock:
                    if nudged:
                        await self._settle_disturbed()
                    else:
                        await self._renew(list(self._publications.values()))
                        due = self._clock.monotonic() + self._pause()
                attempt = 0
            except DatabaseClosed:
                return
            except PeerPouchError as error:
                logger.warning("Shares could not be renewed: %s", error.reason)
                attempt, due = attempt + 1, self._retry_time(attempt)
            except Exception:  # whatever a database raises, the leases must go on when it is back
                logger.exception("Shares could not be renewed")
                attempt, due = attempt + 1, self._retry_time(attempt)

    def _pause(self) -> float:
        """Seconds to the next renewal: up to a tenth early by chance, so that a thousand owners do not all renew in the
        same second."""
        return self._every * (1 - self._random() / 10)

    def _retry_time(self, attempt: int) -> float:
        wait = backoff(attempt, first=FIRST_WAIT, most=self._every, random=self._random)
        return self._clock.monotonic() + wait

    async def _nudged_before(self, due: float) -> bool:
        """Wait until a share was disturbed, or until it is time to renew; whether it was the former."""
        nudged = asyncio.create_task(self._nudge.wait())
        timer = asyncio.create_task(self._clock.sleep(max(0.0, due - self._clock.monotonic())))
        try:
            await asyncio.wait({nudged, timer}, return_when=asyncio.FIRST_COMPLETED)
            if timer.done():
                return False
            await self._clock.sleep(CALM)
            self._nudge.clear()
            return True
        finally:
            await end(nudged, timer)

    async def _settle_disturbed(self) -> None:
        disturbed, self._disturbed = self._disturbed, set()
        try:
            await self._renew([self._publications[id] for id in disturbed if id in self._publications])
        except BaseException:
            self._disturbed |= disturbed
            raise

    async def _renew(self, publications: list[Publication]) -> None:
        serving = [publication for publication in publications if publication.serving]
        waiting = [publication for publication in publications if not publication.serving]
        failed: PeerPouchError | None = None
        if serving:
            results = await self._database.bulk_docs([self._document(publication) for publication in serving])
            for publication, result in zip(serving, results, strict=True):
                if not isinstance(result, WriteFailure):
                    publication.rev = result.rev
                elif isinstance(result.error, (Conflict, NotFound)):
                    waiting.append(publication)
                else:
                    failed = result.error
        for publication in waiting:
            await self._settle(publication)
        if failed is not None:
            raise failed

    async def _settle(self, publication: Publication) -> None:
        """The document is not what we wrote last: stand by if another session of ours lives there, else take over."""
        document = await self._current(publication.id)
        publication.serving = False
        if document is not None and not self._is_mine(document) and self._lives(document):
            return
        await self._take_over(publication, document)

    def _lives(self, document: Document) -> bool:
        try:
            share = shares.from_document(document)
        except InvalidSignal:
            return False
        monotonic = self._clock.monotonic()
        known = self._others.get(share.id)
        if known is not None and known.session == share.session and share.renewal < known.renewal:
            return False  # an older document, played back
        self._others.observe(share, monotonic)
        verdict = self._others.judge(share.id, monotonic=monotonic, now=self._clock.now())
        return verdict is not Verdict.EXPIRED

    async def _take_over(self, publication: Publication, document: Document | None) -> None:
        for _ in range(_ATTEMPTS):
            publication.rev = None if document is None else document["_rev"]
            try:
                publication.rev = (await self._database.put(self._document(publication))).rev
            except Conflict:
                document = await self._current(publication.id)
            else:
                publication.serving = True
                return
        raise HubUnreachable("The share's document is being replaced by somebody else again and again.")

    async def _current(self, share_id: str) -> Document | None:
        try:
            return await self._database.get(shares.PREFIX + share_id)
        except NotFound:
            return None

    def _is_mine(self, document: Document) -> bool:
        try:
            return shares.from_document(document).session == self._session.id
        except InvalidSignal:  # altered by somebody
            return False

    def _document(self, publication: Publication) -> Document:
        self._renewal += 1
        document = shares.to_document(
            self._identity,
            self._session,
            database=publication.database,
            name=publication.name,
            info=publication.info,
            lease=self._lease,
            renewal=self._renewal,
            now=round(1000 * self._clock.now()),
        )
        return document if publication.rev is None else {**document, "_rev": publication.rev}
