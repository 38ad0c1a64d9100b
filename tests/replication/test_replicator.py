"""What a replication does, between two honest databases in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerpouch.errors import BadRequest, DocumentTooLarge, Forbidden, MissingStub, TooLarge
from peerpouch.ports import ReplicationOptions, ReplicationProgress
from peerpouch.replication import PipelinedReplicator
from tests.replication.memory import ManualClock, MemoryDatabase

BIG = bytes(range(256)) * 1000


def fill(db: MemoryDatabase, count: int, start: int = 0) -> None:
    for n in range(start, start + count):
        db.edit({"_id": f"doc-{n:05}", "n": n})


def attach(data: bytes) -> dict[str, Any]:
    return {"content_type": "application/octet-stream", "data": data}


async def run(replicator: PipelinedReplicator, source: Any, target: Any, **options: Any) -> ReplicationProgress:
    return await asyncio.wait_for(replicator.replicate(source, target, ReplicationOptions(**options)), 30)


async def test_all_leaves_and_deletions_arrive(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 1203)
    first = source.edit({"_id": "doc-00001", "_rev": source.winner("doc-00001"), "again": True})
    source.edit({"_id": "doc-00001", "_rev": first.rev, "_deleted": True})
    source.edit({"_id": "both", "side": "left"})
    source.edit({"_id": "both", "side": "right"})
    progress = await run(replicator, source, target, batch_size=100)
    assert target.state() == source.state()
    assert len(target.leaves("both")) == 2
    assert progress.ok and progress.state == "complete"
    assert progress.docs_written == progress.docs_read == 1205
    assert progress.changes_read == 1204
    assert progress.bytes > 0 and progress.ended is not None


async def test_an_edit_on_top_of_what_was_replicated_brings_its_history(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 2)
    await run(replicator, source, target)
    source.edit({"_id": "doc-00000", "_rev": source.winner("doc-00000"), "n": "new"})
    progress = await run(replicator, source, target)
    assert progress.docs_written == 1
    assert target.state() == source.state()
    assert len(target.leaves("doc-00000")) == 1


async def test_a_second_run_with_nothing_new_costs_five_requests_however_much_there_is(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 3000)
    await run(replicator, source, target)
    source.calls.clear()
    target.calls.clear()
    progress = await run(replicator, source, target)
    assert sorted(source.calls) == ["changes", "get", "id"]
    assert sorted(target.calls) == ["get", "id"]
    assert progress.changes_read == 0


async def test_an_empty_source_leaves_no_checkpoint(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    await run(replicator, source, target)
    assert not source.locals and not target.locals


async def test_a_run_goes_on_from_the_checkpoint_of_the_last(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 500)
    await run(replicator, source, target)
    fill(source, 7, start=500)
    progress = await run(replicator, source, target)
    assert progress.changes_read == progress.docs_written == 7


async def test_what_the_target_has_already_is_not_fetched(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 100)
    fill(target, 100)
    progress = await run(replicator, source, target)
    assert progress.missing_checked == 100
    assert progress.docs_read == 0
    assert "bulk_get" not in source.calls


async def test_without_checkpoints_nothing_is_stored_and_all_is_compared_again(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 10)
    await run(replicator, source, target, checkpoint=False)
    assert not source.locals and not target.locals
    assert (await run(replicator, source, target, checkpoint=False)).missing_checked == 10


async def test_a_run_from_a_given_sequence_writes_no_checkpoint_that_would_hide_what_it_left_out(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 10)
    await run(replicator, source, target, since="6")
    assert len(target.docs) == 4
    assert not source.locals and not target.locals
    await run(replicator, source, target)
    assert target.state() == source.state()


async def test_document_ids_choose(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 10)
    await run(replicator, source, target, doc_ids=("doc-00003", "doc-00007"))
    assert sorted(target.docs) == ["doc-00003", "doc-00007"]
    await run(replicator, source, target)
    assert target.state() == source.state()  # the selection had a checkpoint of its own


async def test_a_selector_and_a_function_choose(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 10)
    await run(replicator, source, target, selector={"n": 4})
    assert sorted(target.docs) == ["doc-00004"]
    await run(replicator, source, target, filter=lambda doc: doc["n"] > 7)
    assert sorted(target.docs) == ["doc-00004", "doc-00008", "doc-00009"]


async def test_two_ways_to_choose_at_once_are_refused(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    with pytest.raises(BadRequest):
        replicator.replicate(source, target, ReplicationOptions(doc_ids=("a",), selector={}))  # type: ignore[arg-type]


@pytest.mark.parametrize("share", ["source", "target"])
async def test_design_documents_travel_with_a_share_only_when_asked_for(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase, share: str
) -> None:
    (source if share == "source" else target).name = "webrtc://hub/share"
    source.edit({"_id": "_design/app", "views": {}})
    fill(source, 1)
    await run(replicator, source, target)
    assert sorted(target.docs) == ["doc-00000"]
    await run(replicator, source, target, design_docs=True)
    assert sorted(target.docs) == ["_design/app", "doc-00000"]


async def test_design_documents_travel_between_databases_that_are_no_share(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    source.edit({"_id": "_design/app", "views": {}})
    await run(replicator, source, target)
    assert sorted(target.docs) == ["_design/app"]


async def test_documents_that_the_target_refuses_are_counted_named_and_passed(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 300)
    target.refuse = lambda doc: Forbidden("no even numbers") if doc["n"] % 2 == 0 else None
    progress = await run(replicator, source, target, batch_size=50)
    assert progress.state == "complete" and not progress.ok
    assert progress.docs_failed == 150 and progress.docs_written == 150
    assert len(progress.refused) == 100
    assert progress.refused[0].reason == "no even numbers"
    assert (await run(replicator, source, target)).changes_read == 0  # passed for good


async def test_a_batch_that_is_too_large_as_a_whole_is_halved_until_it_fits(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 100)
    source.edit({"_id": "huge", "text": "x" * 5000})
    store = target.bulk_docs

    async def limited(docs: Any, **options: Any) -> Any:
        if sum(len(str(doc)) for doc in docs) > 3000:
            raise TooLarge
        return await store(docs, **options)

    target.bulk_docs = limited  # type: ignore[method-assign]
    progress = await run(replicator, source, target)
    assert progress.docs_written == 100
    assert [refused.id for refused in progress.refused] == ["huge"]


async def test_a_document_that_is_gone_when_it_is_fetched_is_skipped_and_counted(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 10)
    compare = target.revs_diff

    async def purge_meanwhile(revs: Any) -> Any:
        source.forget("doc-00004")
        return await compare(revs)

    target.revs_diff = purge_meanwhile  # type: ignore[method-assign]
    progress = await run(replicator, source, target)
    assert progress.ok
    assert progress.docs_skipped == 1 and progress.docs_written == 9


async def test_small_attachments_come_inside_documents_and_large_ones_as_streams(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    source.edit({"_id": "small", "_attachments": {"a": attach(b"abc"), "empty": attach(b"")}})
    source.edit({"_id": "large", "_attachments": {"a": attach(BIG), "b": attach(b"little")}})
    progress = await run(replicator, source, target)
    assert target.state() == source.state()
    assert progress.attachments_written == 4
    assert source.calls.count("get_attachment") == 2


async def test_an_attachment_that_the_ancestor_on_the_target_has_does_not_travel(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    rev = source.edit({"_id": "d", "_attachments": {"a": attach(BIG)}}).rev
    await run(replicator, source, target)
    kept = {"a": {"content_type": "application/octet-stream", "stub": True}, "b": attach(BIG[:70_000])}
    source.edit({"_id": "d", "_rev": rev, "_attachments": kept})
    source.calls.clear()
    progress = await run(replicator, source, target)
    assert target.state() == source.state()
    assert source.calls.count("get_attachment") == 1
    assert progress.attachments_written == 1 and progress.bytes < 80_000


async def test_the_same_name_with_other_content_travels(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    rev = source.edit({"_id": "d", "_attachments": {"a": attach(b"one")}}).rev
    await run(replicator, source, target)
    source.edit({"_id": "d", "_rev": rev, "_attachments": {"a": attach(b"two")}})
    await run(replicator, source, target)
    assert target.state() == source.state()


async def test_a_stub_that_the_target_can_not_resolve_is_sent_again_in_full(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    rev = source.edit({"_id": "d", "_attachments": {"a": attach(BIG), "b": attach(b"x")}}).rev
    await run(replicator, source, target)
    entries = {name: {"content_type": "application/octet-stream", "stub": True} for name in ("a", "b")}
    source.edit({"_id": "d", "_rev": rev, "_attachments": entries})
    store = target.bulk_docs

    async def forgetful(docs: Any, **options: Any) -> Any:
        if any(entry.get("stub") for entry in docs[0].get("_attachments", {}).values()):
            raise MissingStub
        return await store(docs, **options)

    target.bulk_docs = forgetful  # type: ignore[method-assign]
    progress = await run(replicator, source, target)
    assert progress.ok and progress.docs_written == progress.docs_read == 1
    assert target.state() == source.state()


async def test_a_document_whose_full_attachments_are_refused_too_is_counted(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    source.edit({"_id": "d", "_attachments": {"a": attach(b"x")}})
    target.refuse = lambda doc: MissingStub()
    progress = await run(replicator, source, target)
    assert progress.docs_failed == 1 and progress.state == "complete"


async def test_large_documents_are_written_in_portions_of_bounded_size(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    for n in range(40):
        source.edit({"_id": f"d{n}", "text": "x" * 200_000})
    sizes: list[int] = []
    store = target.bulk_docs

    async def measuring(docs: Any, **options: Any) -> Any:
        sizes.append(len(docs))
        return await store(docs, **options)

    target.bulk_docs = measuring  # type: ignore[method-assign]
    await run(replicator, source, target)
    assert target.state() == source.state()
    assert max(sizes) <= 6


async def test_a_refusal_of_everything_fails_with_its_class(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 3)

    async def refuse(docs: Any, **options: Any) -> Any:
        raise Forbidden("read only")

    target.bulk_docs = refuse  # type: ignore[method-assign]
    with pytest.raises(Forbidden, match="read only"):
        await run(replicator, source, target)


async def test_a_refused_document_that_is_too_large_names_the_reason(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 1)
    target.refuse = lambda doc: DocumentTooLarge()
    progress = await run(replicator, source, target)
    assert progress.refused[0].reason == DocumentTooLarge.default_reason


@pytest.mark.parametrize("refusing", ["source", "target"])
async def test_a_side_that_keeps_no_checkpoint_leaves_it_to_the_other(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase, refusing: str
) -> None:
    async def refuse(doc: Any) -> Any:
        raise Forbidden

    side, other = (source, target) if refusing == "source" else (target, source)
    side.put = refuse  # type: ignore[method-assign]
    fill(source, 20)
    assert (await run(replicator, source, target)).ok
    assert not side.locals and len(other.locals) == 1
    progress = await run(replicator, source, target)
    assert progress.changes_read == 0
    fill(source, 5, start=20)
    assert (await run(replicator, source, target)).changes_read == 5


async def test_a_checkpoint_that_one_side_lost_is_not_believed(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 20)
    await run(replicator, source, target)
    target.docs, target.known, target.log, target.locals = {}, {}, {}, {}
    await run(replicator, source, target)
    assert target.state() == source.state()


async def test_a_target_that_was_restored_from_a_backup_gets_what_it_lost(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 20)
    await run(replicator, source, target)
    backup = (dict(target.docs), dict(target.known), dict(target.log), dict(target.locals))
    fill(source, 20, start=20)
    await run(replicator, source, target)
    target.docs, target.known, target.log, target.locals = backup
    progress = await run(replicator, source, target)
    assert target.state() == source.state()
    assert progress.changes_read == 20  # from the last common checkpoint, not from the beginning


async def test_progress_is_streamed_and_ends_with_the_end(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 1000)
    replication = replicator.replicate(source, target, ReplicationOptions(batch_size=100))  # type: ignore[arg-type]
    seen = [progress async for progress in replication]
    assert seen[0].state == "starting" and seen[-1].state == "complete"
    written = [progress.docs_written for progress in seen]
    assert written == sorted(written) and written[-1] == 1000
    assert (await replication) == seen[-1] == replication.progress


async def test_a_slow_listener_sees_fewer_steps_and_never_stale_ones(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 1000)
    replication = replicator.replicate(source, target, ReplicationOptions(batch_size=10))  # type: ignore[arg-type]
    events = aiter(replication)
    await anext(events)
    await replication
    assert [progress.state async for progress in events] == ["complete"]


async def test_an_unexpected_error_ends_it_and_is_raised(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 1)

    async def bug(revs: Any) -> Any:
        raise ZeroDivisionError

    target.revs_diff = bug  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        await run(replicator, source, target)


async def test_checkpoints_are_written_while_it_runs_and_never_ahead_of_the_target(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 2000)
    places: list[int] = []

    async def look() -> None:
        for document in [*source.locals.values(), *target.locals.values()]:
            upto = int(document["source_last_seq"])
            assert all(doc_id in target.docs for doc_id, seq in source.log.items() if seq <= upto)
            places.append(upto)

    target.before_write = look
    await run(replicator, source, target, batch_size=50)
    assert len(set(places)) > 3


async def test_writes_begin_in_the_order_of_the_feed(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 1000)
    order: list[str] = []
    store = target.bulk_docs

    async def noting(docs: Any, **options: Any) -> Any:
        order.append(docs[0]["_id"])
        return await store(docs, **options)

    target.bulk_docs = noting  # type: ignore[method-assign]
    await run(replicator, source, target, batch_size=20)
    assert order == sorted(order) and len(order) == 50


async def test_a_filter_that_closes_over_an_object_runs_without_a_checkpoint(
    replicator: PipelinedReplicator, source: MemoryDatabase, target: MemoryDatabase, clock: ManualClock
) -> None:
    fill(source, 3)
    await run(replicator, source, target, filter=lambda doc: clock is not None)
    assert len(target.docs) == 3
    assert not target.locals
