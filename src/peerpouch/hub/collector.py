"""Deletes what others left behind in a hub, and forgets what was deleted.

Two ways, for two kinds of people:

* :class:`Collector` runs in every process that serves shares. It trusts no clock: a document is deleted, and a deleted
  one is purged, only if its revision stayed the same while we looked on for long enough by our own monotonic clock.
  Where the hub does not allow it, it leaves that to others.
* :func:`collect_garbage` is for a hub's operator: one pass, at once, by the wall clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from peerpouch.errors import (
    Forbidden,
    InvalidSignal,
    MethodNotAllowed,
    NotFound,
    NotSupported,
    PeerPouchError,
    Unauthorized,
)
from peerpouch.hub import shares, signals
from peerpouch.hub.leases import TOLERANCE
from peerpouch.ports import Clock, Document, Documents, Seq, Written

logger = logging.getLogger(__name__)

PASS_EVERY: Final = 600.0
"""Seconds between passes: two of them bracket the time after which a signal is dead."""
UNCHANGED_FOR: Final = float(TOLERANCE)
"""Seconds; no opener waits as long, and every live feed has seen a deletion by then."""
MAX_DOCUMENTS: Final = 1_000
"""Looked at in one pass, of each kind; what is beyond gets its turn when these are gone."""
BATCH: Final = 100
"""Documents deleted or purged in one request: CouchDB purges no more than 100 at once."""

SELECTOR: Final[dict[str, Any]] = {
    "$or": [{"_id": {"$gte": prefix, "$lte": prefix + "\ufff0"}} for prefix in (shares.PREFIX, signals.PREFIX)]
}


@dataclass
class Collected:
    """What was done.

    Attributes:
        deleted: Documents deleted.
        purged: Deleted documents forgotten for good.
    """

    deleted: int = 0
    purged: int = 0


class Collector:
    """Looks through a hub again and again."""

    def __init__(self, database: Documents, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[str, tuple[str, float]] = {}
        self._tombs: dict[str, tuple[str, float]] = {}
        self._since: Seq = "0"
        self._may_purge = True
        self.collected = Collected()
        """What was done so far."""

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            try:
                await self.look()
            except PeerPouchError as error:
                logger.info("The hub could not be tidied: %s", error.reason)
            except Exception:  # tidying is never worth more than a line in the log
                logger.exception("The hub could not be tidied")
            await self._clock.sleep(PASS_EVERY)

    async def look(self) -> None:
        """One pass. Raises what the hub's database raises."""
        await self._delete_dead()
        if self._may_purge:
            try:
                await self._purge_deleted()
            except (Forbidden, Unauthorized, NotSupported, MethodNotAllowed, NotFound) as error:
                self._may_purge = False  # the operator's task
                self._tombs.clear()
                logger.info("The hub does not let us purge: %s", error.reason)

    async def _delete_dead(self) -> None:
        monotonic = self._clock.monotonic()
        seen: dict[str, tuple[str, float]] = {}
        dead: list[Document] = []
        for prefix in (signals.PREFIX, shares.PREFIX):
            async for row in self._database.all_docs(startkey=prefix, endkey=prefix + "\ufff0", limit=MAX_DOCUMENTS):
                id, rev = row.get("id", ""), str(row.get("value", {}).get("rev"))
                since = _since(self._seen.get(id), rev, monotonic)
                seen[id] = (rev, since)
                if await self._is_dead(id, monotonic - since):
                    dead.append({"_id": id, "_rev": rev, "_deleted": True})
        self._seen = seen
        self.collected.deleted += await _delete(self._database, dead)

    async def _is_dead(self, id: str, unchanged: float) -> bool:
        if unchanged < UNCHANGED_FOR:
            return False
        if id.startswith(signals.PREFIX):
            return True
        try:
            share = shares.from_document(await self._database.get(id))
        except (InvalidSignal, NotFound):  # not ours to judge, or gone
            return False
        return unchanged > share.lease + TOLERANCE

    async def _purge_deleted(self) -> None:
        monotonic = self._clock.monotonic()
        room = MAX_DOCUMENTS - len(self._tombs)
        if room > 0:
            changes = await _changes(self._database, self._since, room)
            self._since = changes["last_seq"]
            for change in changes["results"]:
                rev = change["changes"][0]["rev"]
                if not change["id"].startswith((shares.PREFIX, signals.PREFIX)):
                    continue
                if change.get("deleted"):
                    self._tombs[change["id"]] = (rev, _since(self._tombs.get(change["id"]), rev, monotonic))
                else:
                    self._tombs.pop(change["id"], None)
        old = {id: rev for id, (rev, since) in self._tombs.items() if monotonic - since >= UNCHANGED_FOR}
        self.collected.purged += await _purge(self._database, old)
        for id in old:
            del self._tombs[id]


async def collect_garbage(
    database: Documents, *, now: float, progress: Callable[[Collected], None] | None = None
) -> Collected:
    """Delete signals older than an hour, or more than a day ahead, and shares that ran out a day ago; purge all of it.

    For a hub's operator, whose clock is right and who may do all of that.

    Args:
        database: The hub.
        now: Seconds since 1970.
        progress: Called after every batch.

    Raises:
        Forbidden, Unauthorized: if the hub does not allow it.
    """
    done = Collected()
    for prefix in (signals.PREFIX, shares.PREFIX):
        dead: list[Document] = []
        async for row in database.all_docs(startkey=prefix, endkey=prefix + "\ufff0", include_docs=True):
            document = row.get("doc")
            if document is not None and _ended_before(document, now):
                dead.append({"_id": document["_id"], "_rev": document["_rev"], "_deleted": True})
            if len(dead) >= MAX_DOCUMENTS:  # whoever fills a hub decides how many there are: not all are remembered
                done.deleted += await _delete(database, dead)
                dead = []
                if progress is not None:
                    progress(done)
        done.deleted += await _delete(database, dead)
        if progress is not None:
            progress(done)
    since: Seq = "0"
    while True:
        changes = await _changes(database, since, MAX_DOCUMENTS)
        if not changes["results"]:
            return done
        since = changes["last_seq"]
        ours = [row for row in changes["results"] if row["id"].startswith((shares.PREFIX, signals.PREFIX))]
        deleted = {row["id"]: row["changes"][0]["rev"] for row in ours if row.get("deleted")}
        try:
            done.purged += await _purge(database, deleted)
        except NotSupported as error:  # its tombstones stay
            logger.warning("What was deleted can't be forgotten: %s", error.reason)
            return done
        if progress is not None:
            progress(done)


def _ended_before(document: Document, now: float) -> bool:
    """Whether a signal or share is long dead by the wall clock. What is neither is left alone."""
    if document["_id"].startswith(signals.PREFIX):
        created = document.get("created")
        # Nobody signs this time: one that no clock has, or will have for a day, must not keep a document for ever.
        return type(created) is not int or not 1000 * (now - 3600) <= created <= 1000 * (now + 24 * 3600)
    try:
        share = shares.from_document(document)
    except InvalidSignal:
        return False
    return now - share.renewed / 1000 > share.lease + 24 * 3600


def _since(before: tuple[str, float] | None, rev: str, monotonic: float) -> float:
    """Since when this revision has been the current one, as far as we know."""
    return before[1] if before is not None and before[0] == rev else monotonic


async def _changes(database: Documents, since: Seq, limit: int) -> Any:
    try:
        return await database.changes(since=since, limit=limit, selector=SELECTOR)
    except NotSupported:
        return await database.changes(since=since, limit=limit)


async def _delete(database: Documents, dead: list[Document]) -> int:
    deleted = 0
    for start in range(0, len(dead), BATCH):
        results = await database.bulk_docs(dead[start : start + BATCH])
        deleted += sum(isinstance(result, Written) for result in results)
    return deleted


async def _purge(database: Documents, revs: dict[str, str]) -> int:
    purged, ids = 0, list(revs)
    for start in range(0, len(ids), BATCH):
        done = await database.purge({id: [revs[id]] for id in ids[start : start + BATCH]})
        purged += sum(map(len, done.values()))
    return purged
