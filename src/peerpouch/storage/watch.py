"""How a waiting feed learns that something was written, by this process or by another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from peerpouch.storage import inotify

# Seconds between looks at the file while a feed waits: the fallback where file notifications don't arrive (network
# file systems, a container's bind mounts).
_POLL = 1.0
# The same where there are no notifications at all. A look takes some 10 us.
_POLL_ALONE = 0.025
# A notification tells of the write to the WAL, but the commit shows only after the WAL was synced, by a change of the
# mapped index that no notification tells of. So there are more looks after it: the first after so many seconds, each
# pause twice the one before, until it is the last one. A commit writes the WAL several times; what comes before the
# first of these looks starts nothing anew.
_FIRST, _LAST = 0.001, 0.3


class Signal:
    """A counter that grows when there may be something new; waiting for it misses nothing.

    A feed reads ``version`` first, then the database, then waits for a newer version: what was written in between has
    raised the version already.
    """

    def __init__(self) -> None:
        self.version = 0
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def waited_for(self) -> bool:
        return bool(self._waiters)

    def raise_(self) -> None:
        """Wake all who wait. In the event loop's thread only."""
        self.version += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, version: int, timeout: float | None) -> bool:
        """Wait until the version is newer than this one; ``False`` when the time ran out first."""
        if self.version != version:
            return True
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            return False
        finally:
            self._waiters.discard(waiter)
        return True


class FileWatch:
    """Looks out for other processes' commits while at least one feed waits.

    Args:
        path: The database's file.
        look: Looks whether there is something new, and says so where it belongs. Cheap.
    """

    def __init__(self, path: Path, look: Callable[[], None]) -> None:
        self._path = path
        self._look = look
        self._users = 0
        self._polling: asyncio.Task[None] | None = None
        self._watching = ExitStack()
        self._pause = 0.0
        self._again: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        self._users += 1
        if self._users == 1:
            self._polling = asyncio.create_task(self._poll(self._watch()), name="peerpouch file watch")
            self._noticed()  # what was written just before

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if self._users == 0:
            self._end()

    async def aclose(self) -> None:
        """End it, whoever still waits."""
        polling = self._polling
        self._end()
        if polling is not None:
            await asyncio.gather(polling, return_exceptions=True)

    def _end(self) -> None:
        self._watching.close()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None

    def _watch(self) -> float:
        """Ask for notifications; gives the seconds between looks without one."""
        if inotify.available():
            names = (self._path.name, self._path.name + "-wal")
            # A folder that can't be watched (too many watches, a file system without them) leaves the polling.
            with suppress(OSError):
                watch = inotify.FolderWatch(self._path.parent.resolve(), names, self._noticed)
                self._watching.enter_context(closing(watch))
                return _POLL
        return _POLL_ALONE

    def _noticed(self) -> None:
        if self._again is not None:
            if self._pause <= _FIRST:
                return
            self._again.cancel()
        self._look()
        self._wait(_FIRST)

    def _wait(self, pause: float) -> None:
        self._pause = pause
        self._again = asyncio.get_running_loop().call_later(pause, self._look_again)

    def _look_again(self) -> None:
        self._again = None
        self._look()
        if self._pause < _LAST:
            self._wait(2 * self._pause)

    async def _poll(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            self._look()
