"""What a pool does at the same time, and until when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from peerpouch.errors import PeerPouchError, PeerUnreachable
from peerpouch.peers.timing import within
from peerpouch.ports import Clock

T = TypeVar("T")

_LOG = logging.getLogger("peerpouch.peers")


class Tasks:
    """Tasks that end with their owner at the latest, and limits that name the step that took too long."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running: set[asyncio.Task[Any]] = set()
        self._endings: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, T], *, ending: bool = False) -> asyncio.Task[T]:
        """Run something that ends with the owner at the latest; what is itself an ending is waited for then."""
        task = asyncio.get_running_loop().create_task(work)
        tasks = self._endings if ending else self._running
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(_report)
        return task

    async def end(self) -> None:
        """Cancel what runs, and wait for it and for the endings."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.gather(*self._endings, return_exceptions=True)

    def remaining(self, deadline: float) -> float:
        """Seconds until a time on the monotonic clock; 0 if it is over."""
        return max(0.0, deadline - self._clock.monotonic())

    def check_time(self, deadline: float, step: str) -> None:
        """Raise PeerUnreachable if the time is over before ``step``."""
        if self.remaining(deadline) <= 0:
            raise PeerUnreachable(f"The time limit ran out before {step}.")

    async def in_time(self, deadline: float, work: Awaitable[T], step: str) -> T:
        """The result of ``work``, or PeerUnreachable if the time is over in this step."""
        try:
            return await within(self._clock, self.remaining(deadline), work)
        except TimeoutError:
            raise PeerUnreachable(f"The time limit ran out while {step}.") from None


def _report(task: asyncio.Task[Any]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, PeerPouchError):
        _LOG.error("A connection failed unexpectedly.", exc_info=error)
