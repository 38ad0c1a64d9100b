"""What live replication does not ask, since it knows or guesses the answer; and what becomes of a wrong guess."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.errors import Forbidden, PeerUnreachable
from peerpouch.replication import PipelinedReplicator
from peerpouch.replication.known import REMEMBERED, UNASKED, UNASKED_IN_A_ROW, UNASKED_REVISIONS, Guess, Known
from tests.replication.memory import ManualClock, MemoryDatabase
from tests.replication.test_live import LIVE, settle, state, until
from tests.replication.test_replicator import attach, fill


@pytest.fixture
def target() -> MemoryDatabase:
    """One that is not in this process."""
    return MemoryDatabase("webrtc://hub/share")


def test_what_was_told_last_is_remembered_and_no_more_than_that() -> None:
    known = Known()
    for n in range(3 * REMEMBERED):
        known.add(f"doc-{n}", ["1-a"])
        assert len(known._newer) + len(known._older) <= REMEMBERED
    newest = {f"doc-{n}": ["1-a", "2-b"] for n in range(3 * REMEMBERED - REMEMBERED // 2, 3 * REMEMBERED)}
    assert known.lacking(newest) == {doc_id: ["2-b"] for doc_id in newest}
    assert known.lacking({"doc-0": ["1-a"]}) == {"doc-0": ["1-a"]}
    known.forget()
    assert known.lacking(newest) == newest


def test_a_guess_is_made_after_a_comparison_and_for_a_while_only() -> None:
    guess, few = Guess(), {"a": ["1-a"]}
    assert not guess.take(few)
    guess.compared({"a": ["1-a"], "b": ["1-b"]}, {"a": {"missing": ["1-a"]}})
    assert not guess.take(few)
    guess.compared(few, {"a": {"missing": ["1-a"]}})
    assert not guess.take({str(n): ["1-a"] for n in range(UNASKED_REVISIONS + 1)})
    assert [guess.take(few) for _ in range(UNASKED_IN_A_ROW + 1)] == [True] * UNASKED_IN_A_ROW + [False]
    guess.compared({}, {})  # nothing was asked, so nothing is learned
    assert not guess.take(few)


async def test_a_live_change_that_is_small_goes_to_a_remote_target_in_one_request(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    fill(source, 1)
    await until(lambda: len(target.docs) == 1)
    await state(live, "idle")
    target.calls.clear()
    for n in range(1, 2 * UNASKED_IN_A_ROW):
        fill(source, 1, start=n)
        await until(lambda: len(target.docs) == n + 1)  # noqa: B023
        await state(live, "idle")
    assert target.calls.count("bulk_docs") == 2 * UNASKED_IN_A_ROW - 1
    assert target.calls.count("revs_diff") == 1  # to see whether the guess still holds
    assert target.state() == source.state()
    await live.cancel()
    progress = await live
    assert progress.docs_read == progress.docs_written == progress.missing_checked == 2 * UNASKED_IN_A_ROW
    assert progress.missing_found == progress.docs_written and progress.ok


@pytest.mark.parametrize(
    "doc",
    [
        {"_id": "large", "text": "x" * UNASKED},
        {"_id": "attached", "_attachments": {"a": attach(b"small")}},
    ],
    ids=lambda doc: str(doc["_id"]),
)
async def test_what_is_not_small_is_compared_first_and_counted_once(
    replicator: PipelinedReplicator, source: Any, target: Any, doc: Any
) -> None:
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    fill(source, 1)
    await until(lambda: len(target.docs) == 1)
    await state(live, "idle")
    target.calls.clear()
    source.edit(doc)
    await until(lambda: len(target.docs) == 2)
    assert target.calls[:2] == ["revs_diff", "bulk_docs"]
    await state(live, "idle")
    await live.cancel()
    assert (await live).docs_read == (await live).docs_written == 2
    assert target.state() == source.state()


async def test_what_the_target_had_is_not_doubled_and_ends_the_guessing(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    fill(source, 1)
    await until(lambda: len(target.docs) == 1)
    for n in range(1, UNASKED_IN_A_ROW + 10):
        fill(target, 1, start=n)  # by another way, and sooner
        seq = target.seq
        fill(source, 1, start=n)
        await until(lambda: live.progress.missing_checked == n + 1)  # noqa: B023
        await state(live, "idle")
        assert target.seq == seq
    assert target.calls.count("bulk_docs") == 1 + UNASKED_IN_A_ROW
    assert target.state() == source.state()
    await live.cancel()


async def test_a_refusal_of_what_was_sent_unasked_is_counted_and_passed(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    target.refuse = lambda doc: Forbidden("Not 1.") if doc.get("n") == 1 else None
    live = replicator.replicate(source, target, LIVE)
    await state(live, "idle")
    for n in range(3):
        fill(source, 1, start=n)
        await until(lambda: live.progress.missing_checked == n + 1)  # noqa: B023
        await state(live, "idle")
    assert set(target.docs) == {"doc-00000", "doc-00002"}
    await live.cancel()
    progress = await live
    assert (progress.docs_written, progress.docs_failed) == (2, 1)
    assert progress.last_seq == "3"


async def test_what_came_from_there_is_not_offered_back(
    replicator: PipelinedReplicator, source: Any, target: Any
) -> None:
    both = replicator.sync(source, target, LIVE)
    await until(lambda: both.progress.state == "idle")
    source.calls.clear()
    target.calls.clear()
    for n in range(20):
        fill(target, 1, start=n)
        await until(lambda: len(source.docs) == n + 1)  # noqa: B023
    await until(lambda: both.progress.state == "idle" and both.progress.push.missing_checked == 20)
    await settle()
    # Neither is it compared there, nor sent.
    assert not {"revs_diff", "bulk_docs"} & set(target.calls)
    assert both.progress.docs_written == 20
    await both.cancel()
    assert source.state() == target.state()


@pytest.mark.parametrize("forgetting", [True, False], ids=["forgets", "twin"])
async def test_a_side_that_comes_back_as_it_was_before_gets_again_what_it_lost(
    replicator: PipelinedReplicator,
    source: Any,
    target: Any,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    forgetting: bool,
) -> None:
    if not forgetting:
        monkeypatch.setattr(Known, "forget", lambda self: None)
    both = replicator.sync(source, target, LIVE)
    fill(target, 3)
    await until(lambda: len(source.docs) == 3 and both.progress.state == "idle")
    down = True
    feed, opens = target.changes, source.changes

    def lost(**options: Any) -> Any:
        if down:
            raise PeerUnreachable("gone")
        return feed(**options)

    target.changes, source.changes = lost, lambda **options: opens(**{**options, "live": not down})
    for attempt in (both.push, both.pull):
        assert attempt._pipeline is not None and attempt._pipeline._feed is not None
        attempt._pipeline._feed.cancel()
    await until(lambda: both.push.progress.state == both.pull.progress.state == "waiting")
    # It is put back to where it was before the last document, and so are its checkpoints.
    target.forget("doc-00002")
    target.locals.clear()
    down = False
    clock.advance(60)
    await until(lambda: both.push.progress.state == both.pull.progress.state == "idle")
    assert ("doc-00002" in target.docs) == forgetting
    await both.cancel()
