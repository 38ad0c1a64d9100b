"""How a waiting feed learns that something was written, by this process or by another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import watchfiles

# Seconds between looks at the file while a feed waits: the fallback where file notifications don't arrive (network
# file systems, a container's bind mounts).
_POLL = 1.0
# Milliseconds for which notifications are gathered: a commit writes the WAL several times within one.
_GATHER = 10
_STEP = 2
# Seconds after a notification at which to look once more: it tells of the write to the WAL, but the commit shows only
# after the WAL was synced, by a change of the mapped index that no notification tells of.
_AGAIN = (0.003, 0.01, 0.025, 0.06, 0.15, 0.4)


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
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._again: list[asyncio.TimerHandle] = []

    def __enter__(self) -> None:
        self._users += 1
        if self._users == 1:
            self._stop = asyncio.Event()
            self._tasks = [
                asyncio.create_task(self._notified(self._stop)),
                asyncio.create_task(self._polled(self._stop)),
            ]
            self._look_again()  # notifications come only once their thread has begun to watch

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if self._users == 0:
            self._stop.set()

    async def aclose(self) -> None:
        """End the tasks, and wait for their threads."""
        self._stop.set()
        for handle in self._again:
            handle.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _notified(self, stop: asyncio.Event) -> None:
        names = {self._path.name, self._path.name + "-wal"}
        # A folder that can't be watched (too many watches, a file system without them) leaves the polling.
        with suppress(OSError, RuntimeError):
            async for _ in watchfiles.awatch(
                self._path.parent.resolve(),
                watch_filter=lambda _, path: Path(path).name in names,
                debounce=_GATHER,
                step=_STEP,
                stop_event=stop,
                recursive=False,
                rust_timeout=1000,
                yield_on_timeout=False,
            ):
                self._look()
                self._look_again()

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        for handle in self._again:
            handle.cancel()
        self._again = [loop.call_later(pause, self._look) for pause in _AGAIN]

    async def _polled(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await stop.wait()
            self._look()
