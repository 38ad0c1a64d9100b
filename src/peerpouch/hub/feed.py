"""The one live feed of a hub object, however many shares are watched and signals awaited.

It starts at the hub's present sequence, and after a loss goes on from the last one that it saw. The selector is
evaluated at the hub where the hub can; listeners look at ids anyway, so a hub that ignores or refuses it only costs
more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

from peerpouch.errors import (
    BadRequest,
    DatabaseClosed,
    HubUnreachable,
    NotSupported,
    PeerPouchError,
)
from peerpouch.hub.timing import backoff, end, hub_errors, within
from peerpouch.ports import Change, Changes, ChangesPage, Clock, Documents, Seq

logger = logging.getLogger(__name__)

HEARTBEAT: Final = 25.0
"""Seconds. Below the 30 to 60 after which proxies and address translators drop a connection that is idle."""
SILENCE: Final = 80.0
"""Seconds without so much as a heartbeat after which a feed counts as lost: three were missed."""
DOUBT_PAUSE: Final = 5.0
"""Seconds from one opening of the feed until a doubt opens it anew: of 500 peers that are lost each is a doubt."""
FIRST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 60.0

Listener = Callable[[Change], None]


class _Doubted(Exception):
    """The feed may be lost, and not show it."""


class Feed:
    """Follows a hub's changes.

    Args:
        database: The hub.
        clock: For waiting.
        selector: What is of interest.
        random: From 0 to 1, for jitter.
    """

    def __init__(
        self, database: Documents, clock: Clock, selector: Mapping[str, Any], random: Callable[[], float]
    ) -> None:
        self._database = database
        self._clock = clock
        self._selector: Mapping[str, Any] | None = selector
        self._random = random
        self._listeners: list[Listener] = []
        self._reconnected: list[Callable[[], None]] = []
        self._since: Seq | None = None
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._doubted = asyncio.Event()
        self._opened = float("-inf")
        self.error: PeerPouchError | None = None
        """Why there is no connection at the moment; None while there is one."""

    def listen(self, listener: Listener) -> None:
        """Have ``listener`` called with every change, in order. It must be quick, and must not raise."""
        self._listeners.append(listener)

    def on_reconnected(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called whenever the hub was lost and is there again."""
        self._reconnected.append(callback)

    def doubt(self) -> None:
        """Something suggests that the feed is lost, or that the hub is there again: open it anew, and at once.

        A connection whose machine changed its address only falls silent, which :data:`SILENCE` shows late; and whoever
        lost a peer by that looks for it through this feed.
        """
        if self._clock.monotonic() - self._opened >= DOUBT_PAUSE:
            self._doubted.set()

    @property
    def running(self) -> bool:
        """Whether the feed was started."""
        return self._task is not None

    async def start(self) -> None:
        """From now on, no change is missed. Harmless when it runs already.

        Raises:
            HubUnreachable: if the hub can't be read now.
        """
        async with self._starting:
            if self._task is None:
                with hub_errors("follow its changes"):
                    self._since = (await self._database.info())["update_seq"]
                self._task = asyncio.create_task(self._run(), name="peerpouch hub feed")

    async def stop(self) -> None:
        """End the feed. It can't be started again."""
        async with self._starting:
            await end(self._task)

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                async with aclosing(self._pages()) as pages:
                    async for page in pages:
                        attempt = 0
                        self._connected()
                        self._take(page)
                self.error = HubUnreachable("The hub ended the feed.")
            except _Doubted:
                attempt = 0
                continue
            except DatabaseClosed as error:
                self.error = error
                logger.warning("The hub's database was closed; its feed ends.")
                return
            except PeerPouchError as error:
                self.error = error
                if isinstance(error, (NotSupported, BadRequest)) and self._selector is not None:
                    logger.info("The hub can't filter its feed (%s); filtering here.", error.reason)
                    self._selector = None
                    continue
                logger.warning("The hub's feed was lost: %s", error.reason)
            except Exception:  # whatever a database raises, the shares must be found again when it is back
                self.error = HubUnreachable("The hub's feed failed.")
                logger.exception("The hub's feed failed")
            await self._rest(backoff(attempt, first=FIRST_WAIT, most=LONGEST_WAIT, random=self._random))
            attempt += 1

    async def _rest(self, seconds: float) -> None:
        """Wait before the next attempt, unless somebody knows that the hub is there."""
        doubt = asyncio.create_task(self._doubted.wait())
        timer = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({doubt, timer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(doubt, timer)

    async def _pages(self) -> AsyncGenerator[ChangesPage, None]:
        self._doubted.clear()
        self._opened = self._clock.monotonic()
        feed = self._open()
        async with aclosing(feed.pages()) as pages:
            while True:
                page = await within(self._clock, SILENCE, self._next(pages))
                if page is None:
                    return
                yield page

    async def _next(self, pages: AsyncGenerator[ChangesPage, None]) -> ChangesPage | None:
        """The next page, or nothing at the end.

        Raises:
            _Doubted: somebody doubts that there will be one.
        """
        page = asyncio.create_task(anext(pages, None))
        doubt = asyncio.create_task(self._doubted.wait())
        try:
            await asyncio.wait({page, doubt}, return_when=asyncio.FIRST_COMPLETED)
            if not page.done():
                raise _Doubted
            return page.result()
        finally:
            await end(page, doubt)

    def _open(self) -> Changes:
        return self._database.changes(
            since="0" if self._since is None else self._since,
            live=True,
            include_docs=True,
            selector=self._selector,
            heartbeat=HEARTBEAT,
        )

    def _connected(self) -> None:
        if self.error is not None:
            self.error = None
            for callback in self._reconnected:
                callback()

    def _take(self, page: ChangesPage) -> None:
        for change in page.results:
            for listener in self._listeners:
                try:
                    listener(change)
                except Exception:  # one bad document must not end the feed for all others
                    logger.exception("A change of the hub could not be handled: %.200r", change.get("id"))
        self._since = page.last_seq
