"""How many round trips a replication pays for, and how much it holds, in a time that is only counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from peerpouch.errors import ProtocolError
from peerpouch.ports import Changes, ReplicationOptions, ReplicationProgress
from peerpouch.replication import PipelinedReplicator, fetch, pipeline
from tests.replication.memory import MemoryDatabase
from tests.replication.test_replicator import fill

ROUND_TRIP = 0.05


class CountedTime(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time: the clock jumps to what is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        selector = self._selector  # type: ignore[attr-defined]
        poll = selector.select

        def jump(timeout: float | None) -> Any:
            events = poll(0)
            if not events and timeout:
                self._now += timeout
            return events

        selector.select = jump

    def time(self) -> float:
        return self._now


class Far:
    """A database that is a round trip away; every call, and every page of a listing, costs one."""

    def __init__(self, db: MemoryDatabase) -> None:
        self._db = db
        self.name = db.name

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._db, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            await asyncio.sleep(ROUND_TRIP)
            return await method(*arguments, **options)

        return call

    async def bulk_get(self, requests: Any, **options: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(ROUND_TRIP)
        async for result in self._db.bulk_get(requests, **options):
            yield result

    async def read_plain(self, revs: Any) -> None:
        """Who is far away says at once that this is no way."""

    def changes(self, **options: Any) -> Changes:
        async def pages() -> AsyncIterator[Any]:
            async for page in self._db.changes(**options).pages():
                await asyncio.sleep(ROUND_TRIP)
                yield page

        return Changes(pages)


def timed(work: Callable[[], Coroutine[Any, Any, ReplicationProgress]]) -> tuple[ReplicationProgress, float]:
    with asyncio.Runner(loop_factory=CountedTime) as runner:
        progress = runner.run(work())
        return progress, runner.get_loop().time()


@pytest.mark.parametrize("far", ["source", "target", "both"])
def test_a_round_trip_is_paid_for_a_window_and_not_for_a_batch(far: str) -> None:
    async def work() -> ReplicationProgress:
        source, target = MemoryDatabase("source"), MemoryDatabase("target")
        fill(source, 20_000)
        ends: list[Any] = [
            Far(source) if far in ("source", "both") else source,
            Far(target) if far in ("target", "both") else target,
        ]
        progress = await PipelinedReplicator().replicate(ends[0], ends[1], ReplicationOptions())
        assert len(target.docs) == 20_000
        return progress

    progress, seconds = timed(work)
    assert progress.docs_written == 20_000
    # 40 batches: one by one a page of changes, a comparison, a request and a write each would be 160 round trips.
    assert seconds / ROUND_TRIP < 32


def test_without_the_lanes_width_it_would_be_paid_for_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "WIDTH", 1)

    async def work() -> ReplicationProgress:
        source, target = MemoryDatabase("source"), MemoryDatabase("target")
        fill(source, 20_000)
        return await PipelinedReplicator().replicate(source, Far(target), ReplicationOptions())  # type: ignore[arg-type]

    assert timed(work)[1] / ROUND_TRIP > 40


def test_a_single_live_change_waits_for_nothing_but_its_own_round_trips() -> None:
    async def work() -> ReplicationProgress:
        source, target = MemoryDatabase("source"), MemoryDatabase("target")
        live = PipelinedReplicator().replicate(Far(source), target, ReplicationOptions(live=True))  # type: ignore[arg-type]
        async for progress in live:
            if progress.state == "idle":
                break
        started = asyncio.get_running_loop().time()
        fill(source, 1)
        while not target.docs:
            await asyncio.sleep(ROUND_TRIP / 100)
        # The page of changes, and the document.
        assert asyncio.get_running_loop().time() - started < 2.1 * ROUND_TRIP
        await live.cancel()
        return await live

    timed(work)


class Held:
    """Counts the documents that were fetched from a source and not yet written to a target."""

    def __init__(self) -> None:
        self.documents = self.most = 0

    def source(self, db: MemoryDatabase) -> Any:
        get = db.bulk_get

        async def counting(requests: Any, **options: Any) -> AsyncIterator[Any]:
            async for result in get(requests, **options):
                self.documents += 1
                self.most = max(self.most, self.documents)
                yield result

        db.bulk_get = counting  # type: ignore[method-assign]
        return db

    def target(self, db: MemoryDatabase) -> Any:
        store = db.bulk_docs

        async def slow(docs: Any, **options: Any) -> Any:
            await asyncio.sleep(1)
            self.documents -= len(docs)
            return await store(docs, **options)

        db.bulk_docs = slow  # type: ignore[method-assign]
        return db


@pytest.mark.parametrize("size", [10, 30_000, 2_000_000])
def test_before_a_slow_target_no_more_is_held_than_the_bounds_say(size: int) -> None:
    held = Held()

    async def work() -> ReplicationProgress:
        source, target = MemoryDatabase("source"), MemoryDatabase("target")
        count = min(6000, 100_000_000 // (size + 1000))
        for n in range(count):
            source.docs[f"d{n}"] = {}
            source.edit({"_id": f"d{n}"})
        get = source.bulk_get

        async def fat(requests: Any, **options: Any) -> AsyncIterator[Any]:
            async for result in get(requests, **options):
                yield result._replace(doc={**(result.doc or {}), "text": "x" * size})

        source.bulk_get = fat  # type: ignore[method-assign]
        progress = await PipelinedReplicator().replicate(held.source(source), held.target(target), ReplicationOptions())
        assert len(target.docs) == count
        return progress

    timed(work)
    per_portion = min(500, fetch.PORTION // size + 1)
    assert held.most <= 2 * pipeline.WIDTH * 2 * per_portion


def test_rows_of_a_fast_feed_wait_for_a_slow_target(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    begin = pipeline.Pipeline._take_in

    def watching(self: Any, page: Any) -> None:
        nonlocal most
        begin(self, page)
        most = max(most, len(self._rows))

    monkeypatch.setattr(pipeline.Pipeline, "_take_in", watching)

    async def work() -> ReplicationProgress:
        source, target = MemoryDatabase("source"), MemoryDatabase("target")
        fill(source, 5000)
        held = Held()
        options = ReplicationOptions(batch_size=20)
        return await PipelinedReplicator().replicate(source, held.target(target), options)  # type: ignore[arg-type]

    timed(work)
    assert most <= (2 + pipeline.FEED_BATCHES) * 20


def test_an_endless_page_is_not_taken_in() -> None:
    async def work() -> ReplicationProgress:
        source, target = MemoryDatabase("source"), MemoryDatabase("target")
        fill(source, 3000)
        feed = source.changes
        source.changes = lambda **options: feed(**{**options, "batch_size": 10**6})  # type: ignore[method-assign]
        return await PipelinedReplicator().replicate(source, target, ReplicationOptions())  # type: ignore[arg-type]

    with pytest.raises(ProtocolError):
        timed(work)
