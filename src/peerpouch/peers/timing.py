"""Time limits on the Clock port, so that tests need not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from peerpouch.errors import DatabaseClosed, PeerPouchError
from peerpouch.ports import Clock

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Awaitable[T]) -> T:
    """The result of ``work``, which is cancelled when it takes longer.

    What must go on when the waiting ends (an attempt that others wait for too) is passed in ``asyncio.shield``.

    Raises:
        TimeoutError: it took longer.
    """
    task = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(max(0.0, seconds)))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        timer.cancel()
        task.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)


async def outcome(task: asyncio.Task[T]) -> T:
    """The result of a task that others wait for too: cancelling the wait leaves the task alone.

    Each waiter gets an exception of its own, since a raised one carries the traceback of who got it.

    Raises:
        DatabaseClosed: the task was cancelled, because what it worked for was closed.
    """
    await asyncio.wait({task})
    if task.cancelled():
        raise DatabaseClosed("The share or its hub was closed.")
    error = task.exception()
    if isinstance(error, PeerPouchError):
        raise type(error)(error.reason) from error
    return task.result()
