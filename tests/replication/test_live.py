"""Live replication, cancelling, and both directions at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from peerpouch.errors import ConnectionFailed, DatabaseClosed, Forbidden, PeerUnreachable, ProtocolError, ShareNotFound
from peerpouch.ports import Changes, Replication, ReplicationOptions
from peerpouch.replication import PipelinedReplicator
from tests.replication.faulty import Breaking
from tests.replication.memory import ManualClock, MemoryDatabase
from tests.replication.test_replicator import BIG, attach, fill

LIVE = ReplicationOptions(live=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def state(replication: Replication, wanted: str) -> None:
    async with asyncio.timeout(10):
        async for progress in replication:
            if progress.state == wanted:
                return
    raise AssertionError(f"ended as {replication.progress.state}, never {wanted}")


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_live_replication_carries_later_changes_and_waits_without_a_request(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    fill(source, 250)
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    assert target.state() == source.state()
    await until(lambda: bool(target.locals))  # there were enough for a checkpoint at once
    source.calls.clear()
    target.calls.clear()
    await settle()
    assert not source.calls and not target.calls
    fill(source, 1, start=250)
    await until(lambda: len(target.docs) == 251)
    assert source.calls == ["bulk_get"]
    assert target.calls == ["revs_diff", "bulk_docs"]
    await state(live, "idle")
    await live.cancel()
    assert (await live).state == "cancelled" and (await live).ok


async def test_a_live_change_is_recorded_after_a_while_and_at_the_end(
    replicator: PipelinedReplicator, source: Any, target: Any, clock: ManualClock
) -> None:
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    fill(source, 3)
    await until(lambda: len(target.docs) == 3)
    await settle()
    assert not target.locals
    clock.advance(5)
    await until(lambda: bool(source.locals and target.locals))
    fill(source, 3, start=3)
    await until(lambda: len(target.docs) == 6)
    await live.cancel()
    for document in [*source.locals.values(), *target.locals.values()]:
        assert document["source_last_seq"] == "6"


async def test_bursts_travel_in_batches_and_not_one_by_one(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    for n in range(500):
        fill(source, 1, start=n)
        if n % 10 == 0:
            await asyncio.sleep(0)
    await until(lambda: len(target.docs) == 500)
    assert target.calls.count("bulk_docs") < 60
    await live.cancel()


async def test_live_replication_backs_off_and_comes_back(
    replicator: PipelinedReplicator, source: Any, target: Any, clock: ManualClock
) -> None:
    fill(source, 5)
    down, attempts = True, 0
    compare = target.revs_diff

    async def flaky(revs: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if down:
            raise PeerUnreachable("gone")
        return await compare(revs)

    target.revs_diff = flaky
    live = replicator.replicate(source, target, LIVE)
    for attempt in (1, 2, 3):
        await until(lambda: attempts == attempt and live.progress.state == "waiting")  # noqa: B023
        assert isinstance(live.progress.error, PeerUnreachable)
        await until(lambda: 0.375 in clock.sleeps)  # each attempt reads changes, so the delays do not grow
        clock.sleeps.clear()
        if attempt < 3:
            clock.advance(0.375)
    down = False
    clock.advance(0.375)
    await state(live, "idle")
    assert live.progress.error is None
    assert target.state() == source.state()
    await live.cancel()


async def test_a_feed_that_ends_is_opened_again(
    replicator: PipelinedReplicator, source: Any, target: Any, clock: ManualClock
) -> None:
    feed = source.changes
    source.changes = lambda **options: feed(**{**options, "live": False})
    fill(source, 2)
    live = replicator.replicate(source, target, LIVE)
    await state(live, "waiting")
    assert isinstance(live.progress.error, ConnectionFailed)
    source.changes = feed
    clock.advance(1)
    await state(live, "idle")
    await live.cancel()


async def test_a_share_that_is_gone_is_waited_for_when_live_and_an_error_when_not(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    async def gone() -> str:
        raise ShareNotFound

    source.id = gone
    with pytest.raises(ShareNotFound):
        await replicator.replicate(source, target, ReplicationOptions())
    live = replicator.replicate(source, target, LIVE)
    await state(live, "waiting")
    await live.cancel()
    assert (await live).state == "cancelled"


async def test_closing_ones_own_database_ends_live_replication(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    async def closed(*arguments: Any, **options: Any) -> Any:
        raise DatabaseClosed

    source.name = "webrtc://hub/share"
    target.revs_diff = target.info = closed
    fill(source, 1)
    with pytest.raises(DatabaseClosed):
        await asyncio.wait_for(replicator.replicate(source, target, LIVE), 10)


async def test_somebody_elses_closed_database_is_waited_for(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    async def closed() -> str:
        raise DatabaseClosed

    source.name, source.id = "webrtc://hub/share", closed
    live = replicator.replicate(source, target, LIVE)
    await state(live, "waiting")
    await live.cancel()


async def test_another_database_in_the_place_of_one_ends_it(
    replicator: PipelinedReplicator, source: Any, target: Any, clock: ManualClock
) -> None:
    ends: Any = Breaking(source, 4)
    live = replicator.replicate(ends, target, LIVE)
    await state(live, "waiting")
    target.name = "another"
    clock.advance(10)
    with pytest.raises(Exception, match="Another database"):
        await live


async def test_cancelling_at_any_moment_leaves_a_true_checkpoint(source: Any) -> None:
    fill(source, 60)
    for steps in range(0, 400, 3):
        target: Any = MemoryDatabase("target")
        source.locals.clear()
        running = PipelinedReplicator(ManualClock()).replicate(source, target, ReplicationOptions(batch_size=4))
        for _ in range(steps):
            await asyncio.sleep(0)
        await asyncio.wait_for(running.cancel(), 10)
        progress = await running
        assert progress.state in ("cancelled", "complete")
        for document in [*source.locals.values(), *target.locals.values()]:
            upto = int(document["source_last_seq"])
            assert all(doc_id in target.docs for doc_id, seq in source.log.items() if seq <= upto)
        await PipelinedReplicator().replicate(source, target, ReplicationOptions())
        assert target.state() == source.state()


async def test_cancelling_finishes_the_write_in_hand_and_records_it(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    fill(source, 1000)
    gate, entered = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        entered.set()
        await gate.wait()

    target.before_write = hold
    running = replicator.replicate(source, target, ReplicationOptions(batch_size=10))
    await entered.wait()
    await settle()
    cancelling = asyncio.ensure_future(running.cancel())
    await settle()
    gate.set()
    await asyncio.wait_for(cancelling, 10)
    progress = await running
    assert 10 <= progress.docs_written <= 40  # as many as there are writes at once
    assert target.locals.popitem()[1]["source_last_seq"] == str(progress.docs_written)


async def test_a_target_that_hangs_does_not_hold_up_cancelling(
    replicator: PipelinedReplicator, source: Any, target: Any, clock: ManualClock
) -> None:
    fill(source, 10)
    entered = asyncio.Event()

    async def hang() -> None:
        entered.set()
        await asyncio.Event().wait()

    target.before_write = hang
    running = replicator.replicate(source, target, ReplicationOptions())
    await entered.wait()
    cancelling = asyncio.ensure_future(running.cancel())
    await until(lambda: 10.0 in clock.sleeps)
    clock.advance(10)
    await asyncio.wait_for(cancelling, 10)
    assert running.progress.state == "cancelled"
    assert not target.locals


async def test_cancelling_who_awaits_cancels_the_replication(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    fill(source, 5)
    running = replicator.replicate(source, target, LIVE)

    async def wait() -> None:
        await running

    waiting = asyncio.ensure_future(wait())
    await state(running, "idle")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert running.progress.state == "cancelled"
    assert len(target.locals) == 1


async def test_cancelling_drops_an_attachment_on_its_way(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    fetch, entered = source.get_attachment, asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> Any:
        entered.set()
        await asyncio.Event().wait()
        return await fetch(*arguments, **options)

    source.get_attachment = slow
    running = replicator.replicate(source, target, ReplicationOptions())
    await entered.wait()
    await asyncio.wait_for(running.cancel(), 10)
    assert not target.docs and not target.locals


async def test_cancelling_before_the_first_step_and_twice_is_harmless(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    running = replicator.replicate(source, target, LIVE)
    await running.cancel()
    await running.cancel()
    assert (await running).state == "cancelled"
    assert [progress.state async for progress in running] == ["cancelled"]


async def test_an_error_that_nobody_awaits_is_kept_in_the_progress(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    async def refuse() -> str:
        raise Forbidden

    source.id = refuse
    running = replicator.replicate(source, target, LIVE)
    last = [progress async for progress in running][-1]
    assert last.state == "failed" and isinstance(last.error, Forbidden)


async def test_sync_carries_both_ways_and_sums_up(replicator: PipelinedReplicator, source: Any, target: Any) -> None:
    fill(source, 100)
    fill(target, 150, start=100)
    both = replicator.sync(source, target)
    seen = [progress async for progress in both]
    assert seen[-1].state == "complete" and seen[-1].ok
    progress = await both
    assert source.state() == target.state()
    assert progress.docs_written == 250
    assert (progress.push.docs_written, progress.pull.docs_written) == (100, 150)


async def test_live_sync_settles_and_does_not_echo(replicator: PipelinedReplicator, source: Any, target: Any) -> None:
    both = replicator.sync(source, target, LIVE)
    fill(source, 10)
    fill(target, 10, start=10)
    await until(lambda: len(source.docs) == len(target.docs) == 20)
    await until(lambda: both.progress.state == "idle")
    assert both.progress.docs_written == 20
    await both.cancel()
    assert (await both).state == "cancelled"


async def test_when_one_direction_fails_the_other_is_cancelled_and_the_error_raised(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    async def garbage(revs: Any) -> Any:
        raise ProtocolError

    source.revs_diff = garbage
    fill(target, 1)
    both = replicator.sync(source, target, LIVE)
    with pytest.raises(ProtocolError):
        await asyncio.wait_for(both, 10)
    assert both.progress.push.state == "cancelled" and both.progress.state == "failed"


async def test_cancelling_who_awaits_a_sync_cancels_both(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    both = replicator.sync(source, target, LIVE)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(both, 0.05)
    assert {both.progress.push.state, both.progress.pull.state} == {"cancelled"}


async def test_a_live_feed_is_closed_when_the_replication_ends(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    feeds: list[Changes] = []
    opens = source.changes

    def changes(**options: Any) -> Changes:
        feeds.append(opens(**options))
        return feeds[-1]

    source.changes = changes
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    await live.cancel()
    assert [feed._open for feed in feeds] == [None]
