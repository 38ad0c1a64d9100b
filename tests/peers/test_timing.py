"""Time limits on the Clock port."""

from __future__ import annotations

import asyncio

import pytest

from peerpouch.errors import DatabaseClosed, Forbidden
from peerpouch.peers.timing import outcome, within
from tests.peers.conftest import ManualClock, settle


async def test_what_is_quick_enough_gives_its_result_or_its_error() -> None:
    async def fail() -> None:
        raise Forbidden("No.")

    clock = ManualClock()
    assert await within(clock, 5, asyncio.sleep(0, 7)) == 7
    with pytest.raises(Forbidden, match="No"):
        await within(clock, 5, fail())


async def test_what_takes_too_long_is_cancelled() -> None:
    clock = ManualClock()
    work = asyncio.ensure_future(asyncio.Event().wait())
    waiting = asyncio.ensure_future(within(clock, 5, work))
    await clock.advance(4)
    assert not waiting.done()
    await clock.advance(1)
    with pytest.raises(TimeoutError):
        await waiting
    assert work.cancelled()


async def test_cancelling_the_wait_cancels_the_work() -> None:
    work = asyncio.ensure_future(asyncio.Event().wait())
    waiting = asyncio.ensure_future(within(ManualClock(), 5, work))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert work.cancelled()


async def test_cancelling_one_who_waits_for_an_outcome_leaves_the_task_alone() -> None:
    go = asyncio.Event()
    task = asyncio.ensure_future(go.wait())
    first, second = (asyncio.ensure_future(outcome(task)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    go.set()
    assert await second is True


async def test_a_cancelled_task_has_the_outcome_that_something_was_closed() -> None:
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    with pytest.raises(DatabaseClosed):
        await outcome(task)
