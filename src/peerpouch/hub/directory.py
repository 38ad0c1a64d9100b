"""The shares of a hub: listed, and followed while somebody watches.

Each document is verified once per revision. What is not a valid share is never listed; it is counted and logged. A
watcher is told of differences between what it was told last and what is true now, so what it is behind by is bounded by
the number of shares, and steps that cancel each other out are never told.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from peerpouch.errors import InvalidSignal, NotFound
from peerpouch.hub import shares
from peerpouch.hub.feed import Feed
from peerpouch.hub.leases import MAX_SHARES, Leases, Verdict
from peerpouch.hub.shares import Share
from peerpouch.hub.timing import end, hub_errors
from peerpouch.ports import Change, Clock, Document, Documents

logger = logging.getLogger(__name__)

SWEEP_EVERY: Final = 10.0
"""Seconds between looks for shares that ran out unnoticed, while somebody watches."""

MAX_ROWS: Final = 4 * MAX_SHARES
"""Documents that a listing looks at, valid or not: whoever fills a hub with rubbish costs its readers no more."""
_BREATH: Final = 50
"""Documents after which a listing lets others run: verifying them takes about 10 ms."""

OnChange = Callable[[Share], Awaitable[None] | None]


class Shares(list[Share]):
    """The shares of a hub at one moment; ``cancel()`` ends the watching that was asked for with it."""

    def __init__(self, shares: list[Share], watcher: Watcher | None = None) -> None:
        super().__init__(shares)
        self._watcher = watcher

    def cancel(self) -> None:
        """No call of ``on_change`` begins from now on. Harmless when nothing is watched."""
        if self._watcher is not None:
            self._watcher.cancel()


class Watcher:
    """Tells one ``on_change`` what differs from what it was told."""

    def __init__(self, directory: Directory, on_change: OnChange, known: list[Share]) -> None:
        self._directory = directory
        self._on_change = on_change
        self._known = {share.id: share for share in known}
        self._pending: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="peerpouch share watcher")

    def touch(self, share_id: str) -> None:
        """This share may have changed."""
        self._pending[share_id] = None
        self._wake.set()

    def touch_known(self) -> None:
        """Every share that was told may have run out."""
        for share_id in self._known:
            self.touch(share_id)

    def cancel(self) -> None:
        """Tell nothing more."""
        self._directory.unwatch(self)
        self._pending.clear()  # a task that has more at hand would not wait, and so not notice that it was cancelled
        self._task.cancel()

    async def stop(self) -> None:
        """Tell nothing more, and wait for the call that is under way to end."""
        self.cancel()
        if self._task is not asyncio.current_task():
            await end(self._task)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                share_id = next(iter(self._pending))
                del self._pending[share_id]
                news = self._news(share_id)
                if news is not None:
                    await self._tell(news)

    def _news(self, share_id: str) -> Share | None:
        old, new = self._known.get(share_id), self._directory.listed(share_id)
        if new is None:
            self._known.pop(share_id, None)
            return None if old is None else old.withdrawn()
        self._known[share_id] = new
        return None if old is not None and old.says_the_same(new) else new

    async def _tell(self, share: Share) -> None:
        try:
            result = self._on_change(share)
            if inspect.isawaitable(result):
                await result
        except Exception:  # the caller's; the watching goes on
            logger.exception("on_change failed for the share %r", share.name)


class Directory:
    """What is known of a hub's shares.

    Args:
        database: The hub.
        clock: For leases.
        feed: The hub's feed.
        session: The own session, whose shares are not listed.
    """

    def __init__(self, database: Documents, clock: Clock, feed: Feed, session: str) -> None:
        self._database = database
        self._clock = clock
        self._feed = feed
        self._session = session
        self._leases = Leases()
        self._verified: dict[str, str] = {}
        """The revision of documents that were verified, valid or not; at most MAX_ROWS, the oldest goes."""
        self._touched: list[set[str]] = []
        """For each listing under way, the shares of which the feed told meanwhile: the listing may be older."""
        self._watchers: list[Watcher] = []
        self._sweeper: asyncio.Task[None] | None = None
        self.invalid = 0
        """How many documents were refused since the start."""

    async def snapshot(self) -> Shares:
        """The living shares of others, read from the hub now.

        Raises:
            HubUnreachable: if the hub can't be read.
        """
        await self._read()
        return Shares(self._listed())

    async def watch(self, on_change: OnChange) -> Shares:
        """The same, and ``on_change`` for every one that is new, says something else or has gone from then on.

        Raises:
            HubUnreachable: if the hub can't be read.
        """
        await self._feed.start()
        await self._read()
        listed = self._listed()
        watcher = Watcher(self, on_change, listed)
        self._watchers.append(watcher)
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="peerpouch share sweeper")
        return Shares(listed, watcher)

    async def find(self, share_id: str) -> tuple[Share, Verdict] | None:
        """A share, alive or not, the own session's too, read from the hub now; None if the hub has no valid one.

        Raises:
            HubUnreachable: if the hub can't be read.
        """
        if not shares.is_share_id(share_id):
            return None
        with hub_errors("find a share"):
            try:
                self._observe(await self._database.get(shares.PREFIX + share_id), wanted=True)
            except NotFound:
                self._forget(share_id)
        share, verdict = self._leases.get(share_id), self._judge(share_id)
        return None if share is None or verdict is None else (share, verdict)

    def offer_time(self, share_id: str) -> int:
        """The time to put into an offer to a share that was found, in milliseconds."""
        return self._leases.owners_time(share_id, monotonic=self._clock.monotonic(), now=self._clock.now())

    def get(self, share_id: str) -> Share | None:
        """What was last seen of a share, alive or not."""
        return self._leases.get(share_id)

    def listed(self, share_id: str) -> Share | None:
        """A share that is alive and not the own session's."""
        share = self._leases.get(share_id)
        if share is None or share.session == self._session or self._judge(share_id) is not Verdict.ALIVE:
            return None
        return share

    def changed(self, change: Change) -> None:
        """Note a change of the hub."""
        if not change["id"].startswith(shares.PREFIX):
            return
        share_id = change["id"].removeprefix(shares.PREFIX)
        for touched in self._touched:
            touched.add(share_id)
        document = change.get("doc")
        if change.get("deleted") or document is None:
            self._forget(share_id)
        else:
            self._observe(document)
        for watcher in self._watchers:
            watcher.touch(share_id)

    def unwatch(self, watcher: Watcher) -> None:
        """Have a watcher told nothing more."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)

    async def close(self) -> None:
        """End all watching."""
        for watcher in [*self._watchers]:
            await watcher.stop()
        await end(self._sweeper)

    def _listed(self) -> list[Share]:
        living = self._leases.alive(monotonic=self._clock.monotonic(), now=self._clock.now())
        return [share for share in living if share.session != self._session]

    def _judge(self, share_id: str) -> Verdict | None:
        return self._leases.judge(share_id, monotonic=self._clock.monotonic(), now=self._clock.now())

    async def _read(self) -> None:
        touched: set[str] = set()
        self._touched.append(touched)
        try:
            self._leases.drop_expired(monotonic=self._clock.monotonic())
            absent, rows = self._leases.ids(), 0
            listing = self._database.all_docs(
                startkey=shares.FIRST, endkey=shares.LAST, include_docs=True, limit=MAX_ROWS
            )
            with hub_errors("list its shares"):
                async for row in listing:
                    rows += 1
                    if rows % _BREATH == 0:
                        await asyncio.sleep(0)
                    document = row.get("doc")
                    share_id = row.get("id", "").removeprefix(shares.PREFIX)
                    absent.discard(share_id)
                    if document is not None and share_id not in touched:
                        self._observe(document)
            if rows < MAX_ROWS:
                for share_id in absent - touched:
                    self._forget(share_id)
            else:
                logger.warning("The hub has more than %d shares; not all are listed.", MAX_ROWS)
        finally:
            self._touched.remove(touched)

    def _observe(self, document: Document, *, wanted: bool = False) -> None:
        id, rev = str(document.get("_id")), str(document.get("_rev"))
        share_id = id.removeprefix(shares.PREFIX)
        if self._verified.get(share_id) == rev and (self._leases.get(share_id) is not None or not wanted):
            return
        self._verified.pop(share_id, None)
        if len(self._verified) >= MAX_ROWS:
            del self._verified[next(iter(self._verified))]
        self._verified[share_id] = rev
        try:
            share = shares.from_document(document)
        except InvalidSignal as error:
            self.invalid += 1
            self._leases.forget(share_id)
            logger.info("The document %.80r is no valid share: %s", id, error.reason)
            return
        self._leases.observe(share, self._clock.monotonic(), wanted=wanted)

    def _forget(self, share_id: str) -> None:
        self._verified.pop(share_id, None)
        self._leases.forget(share_id)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_EVERY)
            for watcher in self._watchers:
                watcher.touch_known()
