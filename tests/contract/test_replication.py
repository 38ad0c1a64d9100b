"""Replication between every pairing of the databases there are."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from peerpouch.errors import NotFound
from peerpouch.ports import Database, Documents, ReplicationOptions, ReplicationProgress, RevisionRequest
from peerpouch.replication import PipelinedReplicator
from tests.contract.implementations import IMPLEMENTATIONS

BIG = bytes(range(256)) * 1500


class Pair(NamedTuple):
    source: Database
    target: Database


# A database in memory is the same code as one in a file, and a relayed one is two remote ones in a row.
SLOW = sorted(name for name, each in IMPLEMENTATIONS.items() if each.slow)
NAMES = sorted(set(IMPLEMENTATIONS) - {"memory", "relayed", *SLOW})
PAIRS = [(source, target) for source in NAMES for target in NAMES] + [("relayed", "storage"), ("storage", "relayed")]
SLOW_PAIRS = [pair for name in SLOW for pair in ((name, "storage"), ("storage", name))]
PARAMS = [*PAIRS, *(pytest.param(pair, marks=pytest.mark.slow) for pair in SLOW_PAIRS)]


@pytest.fixture(params=PARAMS, ids=["-".join(pair) for pair in PAIRS + SLOW_PAIRS])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        opened: list[Documents] = []
        for side, name in zip(("source", "target"), request.param, strict=True):
            folder = tmp_path / side
            folder.mkdir()
            opened.append(await stack.enter_async_context(IMPLEMENTATIONS[name].open(folder)))
        # Replication asks nothing of a database that the port Documents lacks.
        yield Pair(cast(Database, opened[0]), cast(Database, opened[1]))


async def replicate(pair: Pair, **options: Any) -> ReplicationProgress:
    async with asyncio.timeout(60):
        return await PipelinedReplicator().replicate(pair.source, pair.target, ReplicationOptions(**options))


async def fill(db: Documents, count: int, start: int = 0) -> None:
    results = await db.bulk_docs([{"_id": f"doc-{n:05}", "n": n} for n in range(start, start + count)])
    assert len(results) == count


async def state(db: Documents) -> dict[str, dict[str, Any]]:
    """Every leaf with its history, its body and its attachments' bytes."""
    found: dict[str, dict[str, Any]] = {}
    changes = await db.changes(style="all_docs")
    leaves = [RevisionRequest(row["id"], leaf["rev"]) for row in changes["results"] for leaf in row["changes"]]
    async for result in db.bulk_get(leaves, revs=True):
        assert result.doc is not None and result.rev is not None
        doc = result.doc
        for name, entry in doc.get("_attachments", {}).items():
            content = await db.get_attachment(result.id, name, rev=result.rev)
            doc["_attachments"][name] = (entry["content_type"], entry["digest"], await content.read())
        found.setdefault(result.id, {})[result.rev] = doc
    return found


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.005)


def attachment(data: bytes, content_type: str = "application/octet-stream") -> dict[str, Any]:
    return {"content_type": content_type, "data": data}


async def local_documents(db: Documents) -> list[dict[str, Any]]:
    listing = await db.local_docs(include_docs=True)
    return [row["doc"] or {} for row in listing["rows"]]


async def test_documents_deletions_and_conflicts_arrive_as_they_are(pair: Pair) -> None:
    await fill(pair.source, 700)
    doc = await pair.source.get("doc-00003")
    await pair.source.put({**doc, "n": "edited", "text": "ünï \U0001f600", "big": 2**53 - 1})
    gone = await pair.source.get("doc-00004")
    await pair.source.remove("doc-00004", gone["_rev"])
    for side in ("a" * 32, "b" * 32):
        branch = {"_id": "both", "_rev": f"2-{side}", "side": side[0]}
        history = {"start": 2, "ids": [side, "c" * 32]}
        await pair.source.bulk_docs([{**branch, "_revisions": history}], new_edits=False)
    progress = await replicate(pair)
    assert progress.ok, progress
    assert progress.docs_written == 702
    expected = await state(pair.source)
    assert await state(pair.target) == expected
    assert set(expected["both"]) == {"2-" + "a" * 32, "2-" + "b" * 32}
    with pytest.raises(NotFound):
        await pair.target.get("doc-00004")
    one, other = await pair.source.get("both", conflicts=True), await pair.target.get("both", conflicts=True)
    assert one == other


async def test_edits_after_a_replication_follow_from_the_checkpoint(pair: Pair) -> None:
    await fill(pair.source, 300)
    await replicate(pair)
    assert (await replicate(pair)).changes_read == 0
    for n in range(3):
        doc = await pair.source.get(f"doc-{n:05}")
        await pair.source.put({**doc, "edited": True})
    await fill(pair.source, 2, start=300)
    progress = await replicate(pair)
    assert progress.changes_read == progress.docs_written == 5
    assert await state(pair.target) == await state(pair.source)


async def test_both_sides_keep_the_same_checkpoint_and_a_run_without_news_writes_none(pair: Pair) -> None:
    await fill(pair.source, 10)
    await replicate(pair)
    (source,), (target,) = await local_documents(pair.source), await local_documents(pair.target)
    assert source["_id"] == target["_id"]
    assert source["history"] == target["history"]
    assert source["session_id"] == source["history"][0]["session_id"]
    assert source["history"][0]["docs_written"] == 10
    await replicate(pair)
    assert await local_documents(pair.source) == [source]


async def test_the_way_back_has_a_checkpoint_of_its_own_and_brings_nothing_twice(pair: Pair) -> None:
    await fill(pair.source, 20)
    await replicate(pair)
    back = await replicate(Pair(pair.target, pair.source))
    assert (back.missing_checked, back.docs_written) == (20, 0)
    assert len(await local_documents(pair.source)) == 2


async def test_attachments_of_every_size_arrive_byte_for_byte(pair: Pair) -> None:
    await pair.source.put({"_id": "none", "text": "no attachment"})
    await pair.source.put({"_id": "small", "_attachments": {"a.txt": attachment(b"hello", "text/plain")}})
    await pair.source.put({"_id": "empty", "_attachments": {"nothing": attachment(b"")}})
    await pair.source.put({"_id": "large", "_attachments": {"a/b c.bin": attachment(BIG), "ä": attachment(b"x" * 99)}})
    progress = await replicate(pair)
    assert progress.ok, progress
    assert progress.attachments_written == 4
    assert await state(pair.target) == await state(pair.source)
    assert progress.bytes > len(BIG)


async def test_what_is_stored_gzipped_arrives_gzipped_with_its_digest(pair: Pair) -> None:
    text = b"compressible " * 20_000
    packed = gzip.compress(text, mtime=0) + gzip.compress(BIG, 0, mtime=0)
    entry = {"content_type": "text/plain", "data": packed, "encoding": "gzip", "digest": "md5-AAAAAAAAAAAAAAAAAAAAAA=="}
    doc = {"_id": "text", "_rev": "1-" + "a" * 32, "_attachments": {"t": {**entry, "revpos": 1}}}
    await pair.source.bulk_docs([{**doc, "_revisions": {"start": 1, "ids": ["a" * 32]}}], new_edits=False)
    progress = await replicate(pair)
    assert progress.ok, progress
    stored = await pair.target.get_attachment("text", "t", encoded=True)
    assert (stored.encoding, await stored.read()) == ("gzip", packed)
    plain = await pair.target.get_attachment("text", "t")
    assert await plain.read() == text + BIG
    assert plain.digest == entry["digest"]


async def test_attachments_that_the_target_has_do_not_travel_again(pair: Pair) -> None:
    await pair.source.put({"_id": "d", "_attachments": {"kept": attachment(BIG), "changed": attachment(b"one")}})
    await replicate(pair)
    doc = await pair.source.get("d")
    doc["_attachments"]["changed"] = attachment(b"two")
    await pair.source.put(doc)
    progress = await replicate(pair)
    assert progress.ok and progress.bytes < 10_000
    assert progress.attachments_written == 1
    assert await state(pair.target) == await state(pair.source)


async def test_a_selection_by_ids_by_selector_and_by_function(pair: Pair) -> None:
    await fill(pair.source, 30)
    await replicate(pair, doc_ids=("doc-00001", "doc-00002", "absent"))
    assert sorted(await state(pair.target)) == ["doc-00001", "doc-00002"]
    await replicate(pair, selector={"n": {"$gt": 27}})
    assert sorted(await state(pair.target)) == ["doc-00001", "doc-00002", "doc-00028", "doc-00029"]
    await replicate(pair, filter=lambda doc: doc["n"] == 11)
    assert "doc-00011" in await state(pair.target)
    assert (await replicate(pair, selector={"n": {"$gt": 27}})).changes_read == 0
    await replicate(pair)
    assert await state(pair.target) == await state(pair.source)


async def test_a_document_that_the_target_forbids_is_named_and_passed(pair: Pair) -> None:
    await fill(pair.source, 3)
    doc = {"_id": "bad", "_rev": "1-" + "a" * 32, "_attachments": {"a": attachment(b"x")}}
    await pair.source.bulk_docs([{**doc, "_revisions": {"start": 1, "ids": ["a" * 32]}}], new_edits=False)
    get, missing = pair.source.bulk_get, "_unknown"

    async def corrupt(requests: Any, **options: Any) -> AsyncIterator[Any]:
        async for result in get(requests, **options):
            if result.id == "bad" and result.doc is not None:
                result.doc[missing] = True
            yield result

    pair.source.bulk_get = corrupt  # type: ignore[method-assign]
    progress = await replicate(pair)
    assert progress.state == "complete"
    assert [refused.id for refused in progress.refused] == ["bad"]
    assert len(await state(pair.target)) == 3


async def test_live_replication_follows_and_ends_when_it_is_cancelled(pair: Pair) -> None:
    await fill(pair.source, 5)
    live = PipelinedReplicator().replicate(pair.source, pair.target, ReplicationOptions(live=True))
    async with asyncio.timeout(30):
        async for progress in live:
            if progress.state == "idle":
                break
    await fill(pair.source, 5, start=5)

    async def arrived() -> bool:
        return (await pair.target.info())["doc_count"] == 10

    await until(arrived)
    async with asyncio.timeout(10):  # well before the next heartbeat
        async for progress in live:
            if progress.state == "idle" and progress.docs_written == 10:
                break
    await live.cancel()
    assert (await live).ok
    assert (await replicate(pair)).changes_read == 0
    assert await state(pair.target) == await state(pair.source)


async def test_live_sync_brings_edits_of_both_sides_to_one_winner(pair: Pair) -> None:
    # Before they know of each other: a live sync may be quicker than the second edit, which is then refused.
    await pair.source.put({"_id": "same", "side": "left"})
    await pair.target.put({"_id": "same", "side": "right"})
    both = PipelinedReplicator().sync(pair.source, pair.target, ReplicationOptions(live=True))
    await pair.source.put({"_id": "here"})
    await pair.target.put({"_id": "there"})

    async def equal() -> bool:
        one = await state(pair.source)
        return len(one) == 3 and len(one["same"]) == 2 and one == await state(pair.target)

    await until(equal)
    await both.cancel()
    assert (await pair.source.get("same")) == (await pair.target.get("same"))
    # A revision may be sent again while its first write is under way; each side had two to send.
    assert both.progress.push.docs_written >= 2 and both.progress.pull.docs_written >= 2
    assert both.progress.ok


async def test_a_long_chain_of_edits_keeps_its_history(pair: Pair) -> None:
    rev = (await pair.source.put({"_id": "chain", "n": 0})).rev
    for n in range(1, 30):
        rev = (await pair.source.put({"_id": "chain", "_rev": rev, "n": n})).rev
    await replicate(pair)
    assert (await pair.target.get("chain", revs=True)) == (await pair.source.get("chain", revs=True))


async def test_design_documents_travel_when_asked_for_and_not_otherwise(pair: Pair) -> None:
    await pair.source.put({"_id": "_design/app", "language": "query"})
    is_share = any(side.name.startswith("webrtc://") for side in pair)
    await replicate(pair, design_docs=None if is_share else False)
    assert not await state(pair.target)
    await replicate(pair, design_docs=True)
    assert list(await state(pair.target)) == ["_design/app"]


async def test_cancelling_in_the_middle_is_completed_by_the_next_run(pair: Pair) -> None:
    await fill(pair.source, 400)
    for wanted in (1, 100, 200):
        running = PipelinedReplicator().replicate(pair.source, pair.target, ReplicationOptions(batch_size=20))
        async for progress in running:
            if progress.docs_written >= wanted:
                break
        await running.cancel()
    progress = await replicate(pair)
    assert progress.ok
    assert await state(pair.target) == await state(pair.source)


async def test_a_page_of_a_live_feed_never_claims_changes_that_only_a_later_page_has(pair: Pair) -> None:
    feed = pair.source.changes(live=True, style="all_docs", batch_size=10)
    claimed: dict[str, int] = {}
    seen = 0
    async with asyncio.timeout(30), feed:
        pages = feed.pages()
        assert not (await anext(pages)).results  # caught up
        writing = asyncio.ensure_future(fill(pair.source, 300))
        async for page in pages:
            assert len(page.results) <= 10
            seen += len(page.results)
            claimed[page.last_seq] = seen
            if seen == 300:
                break
        await writing
    for last_seq, count in claimed.items():
        rest = await pair.source.changes(since=last_seq)
        assert len(rest["results"]) == 300 - count
