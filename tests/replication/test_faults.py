"""Connections that break at every possible place, and resuming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.core import replication_plan as plan
from peerpouch.errors import ConnectionFailed, DiskFull, NotFound, PeerPouchError, ProtocolError
from peerpouch.ports import Attachment, ReplicationOptions, SystemClock, WriteFailure
from peerpouch.replication import PipelinedReplicator, Tuning, streams
from tests.replication.faulty import Breaking, Lying
from tests.replication.memory import MemoryDatabase
from tests.replication.test_replicator import BIG, attach, fill


class Hasty(SystemClock):
    """Sleeps are over at once, and counted."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        # A checkpoint's time limit must not run out before the checkpoint had a chance.
        for _ in range(200):
            await asyncio.sleep(0)


def hasty(**tuning: Any) -> PipelinedReplicator:
    return PipelinedReplicator(Hasty(), lambda: 0.0, Tuning(**tuning) if tuning else None)


def sample() -> MemoryDatabase:
    source = MemoryDatabase("source")
    fill(source, 30)
    source.edit({"_id": "small", "_attachments": {"a": attach(b"abc")}})
    rev = source.edit({"_id": "large", "_attachments": {"a": attach(BIG[:100_000])}}).rev
    source.edit({"_id": "large", "_rev": rev, "_attachments": {"a": {"content_type": "x/y", "stub": True}}})
    return source


async def attempt(source: Any, target: Any, **options: Any) -> PeerPouchError | None:
    try:
        async with asyncio.timeout(20):
            await hasty(checkpoint_changes=10).replicate(source, target, ReplicationOptions(batch_size=5, **options))
    except PeerPouchError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("side", "after", "plain"),
    [
        ("source", False, False),
        ("source", True, False),
        ("source", True, True),
        ("target", False, False),
        ("target", True, False),
        ("target", True, True),
    ],
)
async def test_wherever_the_connection_breaks_the_next_run_completes(side: str, after: bool, plain: bool) -> None:
    failed = 0
    for nth in range(1, 10_000):
        source, target = sample(), MemoryDatabase("target")
        source.plain = plain
        ends: dict[str, Any] = {"source": source, "target": target}
        broken = ends[side] = Breaking(ends[side], nth, after=after, times=8)
        error = await attempt(ends["source"], ends["target"])
        assert error is None or type(error) is ConnectionFailed
        failed += error is not None
        assert await attempt(source, target) is None
        assert target.state() == source.state()
        for document in [*source.locals.values(), *target.locals.values()]:
            assert document["source_last_seq"] == str(source.seq)
        if broken.count < nth:
            break
    else:
        pytest.fail("never got through")
    assert failed > 10


@pytest.mark.parametrize("side", ["source", "target"])
async def test_wherever_the_connection_breaks_a_run_that_may_retry_completes(side: str) -> None:
    for nth in range(1, 10_000):
        source, target = sample(), MemoryDatabase("target")
        ends: dict[str, Any] = {"source": source, "target": target}
        broken = ends[side] = Breaking(ends[side], nth, after=True)
        assert await attempt(ends["source"], ends["target"], retry=True) is None
        assert target.state() == source.state()
        if broken.count < nth:
            return
    pytest.fail("never got through")


async def test_a_run_that_was_cut_off_goes_on_from_its_checkpoint() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    fill(source, 1000)
    written = 0
    store = target.bulk_docs

    async def cut(docs: Any, **options: Any) -> Any:
        nonlocal written
        if written >= 600:
            raise ConnectionFailed
        written += len(docs)
        return await store(docs, **options)

    target.bulk_docs = cut  # type: ignore[method-assign]
    assert isinstance(await attempt(source, target), ConnectionFailed)
    target.bulk_docs = store  # type: ignore[method-assign]
    progress = await hasty().replicate(source, target, ReplicationOptions())  # type: ignore[arg-type]
    assert 0 < progress.changes_read <= 400
    assert target.state() == source.state()


async def test_a_failure_that_is_not_transient_is_not_retried() -> None:
    source, target = sample(), MemoryDatabase("target")

    async def broken(revs: Any) -> Any:
        raise ProtocolError("garbage")

    target.revs_diff = broken  # type: ignore[method-assign]
    assert isinstance(await attempt(source, target, live=True), ProtocolError)


async def test_a_full_disk_fails_one_run_and_is_waited_out_by_one_that_retries() -> None:
    source, target = sample(), MemoryDatabase("target")
    store, full = target.bulk_docs, [True]

    async def writes(docs: Any, **options: Any) -> Any:
        if full and full.pop():
            raise DiskFull
        return await store(docs, **options)

    target.bulk_docs = writes  # type: ignore[method-assign]
    assert isinstance(await attempt(source, target), DiskFull)
    full.append(True)
    assert await attempt(source, target, retry=True) is None
    assert target.state() == source.state()


async def test_back_off_grows_while_nothing_moves() -> None:
    source, target = sample(), MemoryDatabase("target")
    clock = Hasty()
    ends = Breaking(source, 1, times=5)
    replicator = PipelinedReplicator(clock, lambda: 1.0)
    await replicator.replicate(ends, target, ReplicationOptions(retry=True))  # type: ignore[arg-type]
    assert clock.sleeps[:5] == [0.5, 1.0, 2.0, 4.0, 8.0]


# Attachments that break off.


def dropping(size: int, times: int) -> tuple[Any, list[int]]:
    """Makes a stream break off after every ``size`` bytes, so many times; and where it was taken up."""
    starts: list[int] = []

    def wrap(found: Attachment) -> Attachment:
        starts.append(found.start)

        async def stream() -> AsyncIterator[bytes]:
            sent = 0
            async for chunk in found:
                if sent >= size and len(starts) <= times:
                    raise ConnectionFailed
                sent += len(chunk)
                yield chunk

        return Attachment(found.name, found.content_type, found.length, found.digest, stream, start=found.start)

    return wrap, starts


async def test_a_large_attachment_goes_on_from_its_last_byte() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    wrap, starts = dropping(50_000, 3)
    progress = await hasty().replicate(Lying(source, attachment=wrap), target, ReplicationOptions())  # type: ignore[arg-type]
    assert starts == [0, 50_000, 100_000, 150_000]
    assert target.state() == source.state()
    assert len(BIG) < progress.bytes < len(BIG) + 1000  # no byte was sent twice


async def test_a_large_attachment_that_never_moves_gives_up() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    wrap, starts = dropping(0, 10**9)
    error = await attempt(Lying(source, attachment=wrap), target)
    assert type(error) is ConnectionFailed
    assert len(starts) == streams.ATTEMPTS + 1
    assert not target.docs


async def test_a_large_attachment_whose_content_changed_meanwhile_is_not_patched_together() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    drop, starts = dropping(50_000, 1)

    def wrap(found: Attachment) -> Attachment:
        found = drop(found)
        if len(starts) > 1:
            found.digest = "md5-other"
        return found

    assert isinstance(await attempt(Lying(source, attachment=wrap), target), ProtocolError)
    assert not target.docs


async def test_a_server_that_can_not_start_in_the_middle_is_read_from_the_start() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    drop, starts = dropping(50_000, 1)
    fetch = source.get_attachment

    async def whole(doc_id: str, name: str, *, start: int = 0, **options: Any) -> Attachment:
        dropped: Attachment = drop(await fetch(doc_id, name, start=0, **options))
        return dropped

    source.get_attachment = whole  # type: ignore[method-assign]
    assert await attempt(source, target) is None
    assert starts == [0, 0]
    assert target.state() == source.state()


async def test_a_document_that_goes_while_its_attachment_flows_is_skipped() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    fill(source, 3)
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})

    async def gone(*arguments: Any, **options: Any) -> Any:
        raise NotFound

    source.get_attachment = gone  # type: ignore[method-assign]
    progress = await hasty().replicate(source, target, ReplicationOptions())  # type: ignore[arg-type]
    assert progress.ok and progress.docs_skipped == 1 and len(target.docs) == 3


async def test_a_target_that_reports_a_vanished_attachment_as_its_own_refusal_does_not_end_it() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    fill(source, 3)
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})

    async def gone(*arguments: Any, **options: Any) -> Any:
        raise NotFound

    source.get_attachment = gone  # type: ignore[method-assign]
    store = target.bulk_docs

    async def reporting(docs: Any, **options: Any) -> Any:
        try:
            return await store(docs, **options)
        except NotFound as error:
            return [WriteFailure(docs[0]["_id"], error, docs[0]["_rev"])]

    target.bulk_docs = reporting  # type: ignore[method-assign]
    progress = await hasty().replicate(source, target, ReplicationOptions())  # type: ignore[arg-type]
    assert progress.ok and progress.docs_skipped == 1 and len(target.docs) == 3


async def cut_behind_the_first_batch() -> tuple[MemoryDatabase, MemoryDatabase]:
    """The first batch fails while later ones get through; then a run that completes."""
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    fill(source, 40)
    store, others = target.bulk_docs, asyncio.Event()

    async def first_fails(docs: Any, **options: Any) -> Any:
        if docs[0]["_id"] == "doc-00000":
            await others.wait()
            for _ in range(20):
                await asyncio.sleep(0)
            raise ConnectionFailed
        results = await store(docs, **options)
        others.set()
        return results

    target.bulk_docs = first_fails  # type: ignore[method-assign]
    assert isinstance(await attempt(source, target), ConnectionFailed)
    assert 0 < len(target.docs) < 40
    target.bulk_docs = store  # type: ignore[method-assign]
    assert await attempt(source, target) is None
    return source, target


async def test_a_checkpoint_never_covers_a_gap() -> None:
    source, target = await cut_behind_the_first_batch()
    assert target.state() == source.state()


async def test_a_checkpoint_that_covered_a_gap_would_lose_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    def jump(frontier: Any, place: list[Any]) -> bool:
        frontier.seq = place[0]
        return True

    monkeypatch.setattr(plan.Frontier, "finish", jump)
    source, target = await cut_behind_the_first_batch()
    assert "doc-00000" in source.docs and "doc-00000" not in target.docs


async def test_without_the_check_of_its_digest_a_changed_attachment_would_be_patched_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG)}})
    drop, starts = dropping(50_000, 1)

    def wrap(found: Attachment) -> Attachment:
        resumed = bool(starts)
        found = drop(found)
        if not resumed:
            return found
        found.digest = "md5-other"
        rest = len(BIG) - found.start

        async def other() -> AsyncIterator[bytes]:
            yield b"!" * rest

        found._stream = other
        return found

    unchecked = streams.ResumingStream._open

    async def trusting(stream: Any, offset: int) -> Attachment:
        stream._digest = None
        return await unchecked(stream, offset)

    monkeypatch.setattr(streams.ResumingStream, "_open", trusting)
    assert await attempt(Lying(source, attachment=wrap), target) is None
    ((_, _, stored),) = target.docs["large"].values()
    assert stored["a"][1] == BIG[:50_000] + b"!" * (len(BIG) - 50_000)


async def test_two_runs_of_the_same_replication_at_once_do_no_harm() -> None:
    source, target = MemoryDatabase("source"), MemoryDatabase("target")
    fill(source, 300)
    assert await asyncio.gather(*(attempt(source, target) for _ in range(4))) == [None] * 4
    assert target.state() == source.state()
    for document in [*source.locals.values(), *target.locals.values()]:
        assert document["source_last_seq"] == str(source.seq)
    fill(source, 5, start=300)
    assert await attempt(source, target) is None
    assert target.state() == source.state()
