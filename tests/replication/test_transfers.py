"""Large attachments over connections that are lost altogether, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from peerpouch.errors import ConnectionFailed, PeerUnreachable
from peerpouch.ports import Attachment, Changes, ReplicationOptions
from peerpouch.replication import PipelinedReplicator, transfers
from peerpouch.replication.transfers import Transfers
from tests.replication.memory import ManualClock, MemoryDatabase
from tests.replication.test_live import until
from tests.replication.test_replicator import BIG, attach, fill


class Link:
    """A source whose connection can be cut and mended: what is under way then fails, and so does what is asked."""

    def __init__(self, db: MemoryDatabase) -> None:
        self._db = db
        self.name = "webrtc://hub/share"
        self.up = True
        self.cut_at: int | None = None
        self.starts: list[int] = []
        self._cut = asyncio.Event()

    def cut(self) -> None:
        self.up = False
        self._cut.set()

    def mend(self) -> None:
        self.up, self._cut = True, asyncio.Event()

    def _check(self) -> None:
        if not self.up:
            raise PeerUnreachable

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._db, name)

        async def call(*arguments: Any, **options: Any) -> Any:
            self._check()
            return await method(*arguments, **options)

        return call

    async def bulk_get(self, requests: Any, **options: Any) -> AsyncIterator[Any]:
        self._check()
        async for result in self._db.bulk_get(requests, **options):
            yield result

    def changes(self, **options: Any) -> Changes:
        async def pages() -> AsyncIterator[Any]:
            self._check()
            feed = self._db.changes(**options).pages()
            while True:
                page = asyncio.ensure_future(anext(feed, None))
                lost = asyncio.ensure_future(self._cut.wait())
                await asyncio.wait([page, lost], return_when=asyncio.FIRST_COMPLETED)
                lost.cancel()
                if not page.done():
                    page.cancel()
                    await asyncio.gather(page, return_exceptions=True)
                    raise PeerUnreachable
                found = page.result()
                if found is None:
                    return
                yield found

        return Changes(pages)

    async def get_attachment(self, doc_id: str, name: str, **options: Any) -> Attachment:
        self._check()
        found = await self._db.get_attachment(doc_id, name, **options)
        self.starts.append(found.start)

        async def stream() -> AsyncIterator[bytes]:
            at = found.start
            async for chunk in found:
                if at == self.cut_at:
                    self.cut_at = None
                    self.cut()
                self._check()
                at += len(chunk)
                yield chunk

        return Attachment(name, found.content_type, found.length, found.digest, stream, start=found.start)


async def outage(clock: ManualClock) -> tuple[Link, MemoryDatabase, Any]:
    """A live replication of a large attachment that loses the connection at 70 %, for an hour."""
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    link = Link(source)
    link.cut_at = int(len(BIG) * 0.7) // 10_000 * 10_000
    fill(source, 5)
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    live = PipelinedReplicator(clock, lambda: 0.5).replicate(link, target, ReplicationOptions(live=True))  # type: ignore[arg-type]
    await until(lambda: live.progress.state == "waiting")
    for _ in range(60):
        clock.advance(60)
        for _ in range(20):
            await asyncio.sleep(0)
    assert live.progress.state == "waiting" and "large" not in target.docs
    link.mend()

    async with asyncio.timeout(10):
        while "large" not in target.docs or live.progress.state != "idle":
            clock.advance(5)
            await asyncio.sleep(0.001)
    await live.cancel()
    return link, target, live


async def test_after_an_outage_an_attachment_goes_on_at_its_last_byte(clock: ManualClock) -> None:
    link, target, live = await outage(clock)
    assert link.starts == [0, int(len(BIG) * 0.7) // 10_000 * 10_000]
    assert target.state() == link._db.state()
    assert live.progress.attachments_written == 1
    assert live.progress.docs_written == 6


async def test_without_transfers_that_outlive_an_attempt_it_would_begin_anew(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def within_the_attempt(self: Any, key: Any, work: Callable[[], Any]) -> Any:
        return await work()

    monkeypatch.setattr(Transfers, "run", within_the_attempt)
    link, target, _ = await outage(clock)
    assert link.starts[-1] == 0 and len(link.starts) == 2
    assert target.state() == link._db.state()


async def test_a_transfer_that_rested_for_a_day_begins_anew(
    clock: ManualClock,
) -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    link = Link(source)
    link.cut_at = 50_000
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    live = PipelinedReplicator(clock, lambda: 0.5).replicate(link, target, ReplicationOptions(live=True))  # type: ignore[arg-type]
    await until(lambda: live.progress.state == "waiting")
    clock.advance(24 * 3600)
    for _ in range(50):
        await asyncio.sleep(0)
    link.mend()
    async with asyncio.timeout(10):
        while target.state() != source.state():
            clock.advance(60)
            await asyncio.sleep(0.001)
    await live.cancel()
    assert link.starts == [0, 0]


async def test_a_replication_that_ends_leaves_no_transfer_behind(clock: ManualClock) -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    link = Link(source)
    link.cut_at = 50_000
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    live = PipelinedReplicator(clock, lambda: 0.5).replicate(link, target, ReplicationOptions(live=True))  # type: ignore[arg-type]
    await until(lambda: live.progress.state == "waiting")
    before = asyncio.all_tasks()
    await live.cancel()
    link.mend()
    clock.advance(100)
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() < before and asyncio.all_tasks() == {asyncio.current_task()}
    assert not target.docs


async def test_a_document_that_was_replaced_during_the_outage_arrives_and_its_old_transfer_does_no_harm(
    clock: ManualClock,
) -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    link = Link(source)
    link.cut_at = 50_000
    rev = source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}}).rev
    live = PipelinedReplicator(clock, lambda: 0.5).replicate(link, target, ReplicationOptions(live=True))  # type: ignore[arg-type]
    await until(lambda: live.progress.state == "waiting")
    source.edit({"_id": "large", "_rev": rev, "text": "without an attachment"})
    link.mend()
    async with asyncio.timeout(10):
        while target.state() != source.state():
            clock.advance(5)
            await asyncio.sleep(0.001)
    await live.cancel()


# The registry of transfers itself.


async def test_who_comes_later_joins_the_work_under_way() -> None:
    running, gate, begun = Transfers[int](), asyncio.Event(), 0

    async def work() -> int:
        nonlocal begun
        begun += 1
        await gate.wait()
        return begun

    first = asyncio.ensure_future(running.run(("d", "1"), work))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.ensure_future(running.run(("d", "1"), work))
    await asyncio.sleep(0)
    gate.set()
    assert await second == 1
    assert await running.run(("d", "1"), work) == 2  # the first is over and forgotten


async def test_a_failure_is_raised_and_forgotten() -> None:
    running = Transfers[None]()

    async def fail() -> None:
        raise ConnectionFailed

    for _ in range(2):
        with pytest.raises(ConnectionFailed):
            await running.run(("d", "1"), fail)


async def test_those_that_nobody_waits_for_make_room() -> None:
    running, ended = Transfers[None](), list[int]()

    async def work(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    for number in range(transfers.MOST + 3):
        caller = asyncio.ensure_future(running.run(("d", str(number)), lambda number=number: work(number)))  # type: ignore[misc]
        for _ in range(5):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
    assert ended == [0, 1, 2]
    await running.close()
    assert len(ended) == transfers.MOST + 3
