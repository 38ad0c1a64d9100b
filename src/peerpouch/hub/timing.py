"""Deadlines and back-off by the port Clock, and the errors of a hub under one name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from peerpouch.errors import DeadlineExceeded, HubUnreachable, PeerPouchError
from peerpouch.ports import Clock

T = TypeVar("T")


async def within(clock: Clock, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; DeadlineExceeded, and the work cancelled, once the clock has gone on by ``seconds``."""
    task = asyncio.create_task(work)
    timer = asyncio.create_task(clock.sleep(seconds))
    try:
        await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise DeadlineExceeded(f"Nothing came within {seconds:g} seconds.")
        return task.result()
    finally:
        await end(task, timer)


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended; what they raise is of no interest any more."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def backoff(attempt: int, *, first: float, most: float, random: Callable[[], float]) -> float:
    """Seconds to wait before the next attempt: doubling from ``first`` up to ``most``, less up to half by chance, so
    that all who lost the same hub do not come back at once."""
    return float(min(most, first * 2 ** min(attempt, 30)) * (0.5 + random() / 2))


@contextmanager
def hub_errors(what: str) -> Iterator[None]:
    """Name whatever the hub's database raises as what it is for the caller: the hub that can't be used.

    A hub that forbids a write must not look like a peer that refuses.
    """
    try:
        yield
    except HubUnreachable:
        raise
    except PeerPouchError as error:
        raise HubUnreachable(f"The hub can't be used to {what}: {error.reason}") from error
