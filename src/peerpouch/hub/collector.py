"""Deletes what others left behind in a hub: signals that nobody reads any more, and shares long expired.

No clock is trusted for it: a document is deleted only if its revision stayed the same while we looked on for long
enough by our own monotonic clock. A hub that allows only a document's author to delete it refuses, which is fine.
"""

from __future__ import annotations

import logging
from typing import Final

from peerpouch.errors import InvalidSignal, PeerPouchError
from peerpouch.hub import shares, signals
from peerpouch.hub.leases import TOLERANCE
from peerpouch.ports import Clock, Document, Documents, Written

logger = logging.getLogger(__name__)

PASS_EVERY: Final = 600.0
"""Seconds between passes: two of them bracket the time after which a signal is dead."""
UNCHANGED_FOR: Final = float(TOLERANCE)
"""Seconds; no opener waits as long."""
MAX_DOCUMENTS: Final = 1_000
"""Looked at in one pass, of signals and of shares each; what is beyond gets its turn when these are gone."""


class Collector:
    """Looks through a hub again and again, while this process serves shares there."""

    def __init__(self, database: Documents, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[str, tuple[str, float]] = {}
        self.deleted = 0
        """How many documents were deleted."""

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
        monotonic = self._clock.monotonic()
        seen: dict[str, tuple[str, float]] = {}
        dead: list[Document] = []
        for prefix in (signals.PREFIX, shares.PREFIX):
            async for row in self._database.all_docs(startkey=prefix, endkey=prefix + "\ufff0", limit=MAX_DOCUMENTS):
                id, rev = row.get("id", ""), str(row.get("value", {}).get("rev"))
                before = self._seen.get(id)
                since = before[1] if before is not None and before[0] == rev else monotonic
                seen[id] = (rev, since)
                if await self._is_dead(id, monotonic - since):
                    dead.append({"_id": id, "_rev": rev, "_deleted": True})
        self._seen = seen
        if dead:
            results = await self._database.bulk_docs(dead)
            self.deleted += sum(isinstance(result, Written) for result in results)

    async def _is_dead(self, id: str, unchanged: float) -> bool:
        if unchanged < UNCHANGED_FOR:
            return False
        if id.startswith(signals.PREFIX):
            return True
        try:
            share = shares.from_document(await self._database.get(id))
        except InvalidSignal:  # not ours to judge
            return False
        return unchanged > share.lease + TOLERANCE
