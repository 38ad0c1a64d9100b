"""Plain revisions go from file to file unparsed, and only those."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peerpouch.errors import CorruptDatabase, NotFound, PeerPouchError
from peerpouch.ports import PlainRevisions, ReplicationOptions, RevisionRequest
from peerpouch.replication import PipelinedReplicator
from peerpouch.storage import Storage, batches, writing
from peerpouch.storage.edits import MAX_DOCUMENT_SIZE
from tests.query.databases import LocalDatabase
from tests.storage.test_cost import MANY, records, statements

GOOD = PlainRevisions(["good"], ["2-ab"], ["cd"], [b'{"a":1}'])


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[LocalDatabase]:
    async with await LocalDatabase.open(tmp_path / "source.db", durability="normal") as opened:
        yield opened


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[LocalDatabase]:
    async with await LocalDatabase.open(tmp_path / "target.db", durability="normal") as opened:
        yield opened


async def leaves(database: Storage) -> dict[str, str]:
    return {row["id"]: row["changes"][0]["rev"] async for row in database.changes()}


async def with_history(database: Storage) -> list[Any]:
    requests = [RevisionRequest(doc_id, rev) for doc_id, rev in (await leaves(database)).items()]
    return [(result.id, result.doc) async for result in database.bulk_get(requests, revs=True)]


async def test_what_was_read_plain_is_written_as_it_was(source: Storage, target: Storage) -> None:
    (first,) = await source.bulk_docs([{"_id": "z", "n": 0}])
    await source.bulk_docs([*records(300), {"_id": "empty"}, {"_id": 'ß"\\\n', "text": "\u2028ß"}])
    await source.put({"_id": "z", "_rev": first.rev, "n": 1.5, "none": None, "in": {"_a": [1e300, "_"]}})
    revs = await leaves(source)
    found = await source.read_plain(revs)
    assert [found.ids, found.revs] == [[*revs], [*revs.values()]]  # in this order
    assert await target.write_plain(found) == []
    assert await with_history(target) == await with_history(source)
    assert [*await leaves(target)] == [*revs]
    assert await target.check() == []
    assert await target.write_plain(found) == []
    assert (await target.info())["update_seq"].startswith("303-")


async def test_what_is_not_plain_is_left_to_others(source: Storage) -> None:
    await source.bulk_docs([{"_id": "plain"}, {"_id": "_design/a"}, {"_id": "exact", "n": 2**70}])
    await source.put({"_id": "attached", "_attachments": {"a": {"data": b"x"}}})
    gone = await source.put({"_id": "gone"})
    await source.remove("gone", gone.rev)
    await source.put({"_id": "large", "text": "x" * 10_000})
    old = await source.put({"_id": "edited"})
    await source.put({"_id": "edited", "_rev": old.rev, "n": 1})
    for n in range(2):
        branch = {"_id": "branched", "_rev": f"1-{n}f", "_revisions": {"start": 1, "ids": [f"{n}f"]}}
        await source.bulk_docs([branch], new_edits=False)
    revs = {**await leaves(source), "edited": old.rev, "unknown": "1-aa"}
    assert (await source.read_plain(revs)).ids == ["plain"]
    assert (await source.read_plain({})).ids == []


DAMAGED: dict[str, PlainRevisions] = {
    "an id inside": PlainRevisions(["bad"], ["1-a"], [""], [b'{"_id":"other","a":1}']),
    "a deletion inside": PlainRevisions(["bad"], ["1-a"], [""], [b'{"_deleted":true}']),
    "an escaped name": PlainRevisions(["bad"], ["1-a"], [""], [b'{"\\u005fid":"other"}']),
    "a name twice": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":1,"a":2}']),
    "another number": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":1e2}']),
    "a long number": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":123456789012345678901234567890}']),
    "white space": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a": 1}']),
    "no number": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":NaN}']),
    "no JSON": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":1']),
    "two objects": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":1},{"b":2}']),
    "no object": PlainRevisions(["bad"], ["1-a"], [""], [b"[1]"]),
    "no UTF-8": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":"\xff"}']),
    "half a character": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":"\\ud800"}']),
    "too deep": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":' + b"[" * 900 + b"]" * 900 + b"}"]),
    "too deep for Python": PlainRevisions(["bad"], ["1-a"], [""], [b'{"a":' + b"[" * 9000 + b"]" * 9000 + b"}"]),
    "no id": PlainRevisions([""], ["1-a"], [""], [b"{}"]),
    "a reserved id": PlainRevisions(["_bad"], ["1-a"], [""], [b"{}"]),
    "half a character in an id": PlainRevisions(["\ud800"], ["1-a"], [""], [b"{}"]),
    "too long an id": PlainRevisions(["x" * 5000], ["1-a"], [""], [b"{}"]),
    "no revision": PlainRevisions(["bad"], ["a"], [""], [b"{}"]),
    "a quoted revision": PlainRevisions(["bad"], ['1-a","b'], [""], [b"{}"]),
    "too long a history": PlainRevisions(["bad"], ["2-a"], ["b,c"], [b"{}"]),
    "a gap in a history": PlainRevisions(["bad"], ["3-a"], ["b,"], [b"{}"]),
}
REPAIRED: dict[str, Any] = {
    "an id inside": {"a": 1},
    "an escaped name": {},
    "a name twice": {"a": 2},
    "another number": {"a": 100.0},
    "a long number": {"a": 123456789012345678901234567890},
    "white space": {"a": 1},
}


def beside_a_good_one(bad: PlainRevisions) -> PlainRevisions:
    return PlainRevisions(
        GOOD.ids + bad.ids, GOOD.revs + bad.revs, GOOD.ancestors + bad.ancestors, GOOD.bodies + bad.bodies
    )


@pytest.mark.parametrize("what", DAMAGED)
async def test_what_is_damaged_is_seen_and_refused_or_written_as_its_document_would_be(
    target: Storage, what: str
) -> None:
    given = beside_a_good_one(DAMAGED[what])
    assert batches.taken_in(given, MAX_DOCUMENT_SIZE) is None
    failures = await target.write_plain(given)
    assert (await target.get("good"))["a"] == 1
    if what in REPAIRED:
        assert await target.get("bad") == {"_id": "bad", "_rev": "1-a", **REPAIRED[what]}
    elif what != "a deletion inside":
        assert [failure.id for failure in failures] == given.ids[1:]
        assert [*await leaves(target)] == ["good"]
    with pytest.raises(NotFound):
        await target.get("other")
    assert await target.check() == []


async def test_without_the_check_a_revision_would_pass_for_another_document(
    source: Storage, target: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(given: PlainRevisions, max_size: int) -> batches.Plain:
        histories = [[rev.partition("-")[2]] for rev in given.revs]
        return batches.Plain(given.ids, given.revs, given.bodies, None, histories)

    monkeypatch.setattr(batches, "taken_in", trusting)
    assert await target.write_plain(DAMAGED["an id inside"]) == []
    ((_, doc),) = [item async for item in _read(target, "bad")]
    assert doc["_id"] == "other"
    assert await source.write_plain(DAMAGED["no JSON"]) == []
    with pytest.raises(PeerPouchError):
        await source.get("bad")


async def _read(database: Storage, doc_id: str) -> AsyncIterator[tuple[str, Any]]:
    async for row in database.all_docs(keys=[doc_id], include_docs=True):
        yield row["key"], row["doc"]


@pytest.mark.parametrize("body", [b'{"a":1', b'{"a":"\xff"}'])
async def test_damage_in_the_file_is_not_carried_on(source: LocalDatabase, target: LocalDatabase, body: bytes) -> None:
    await source.bulk_docs(records(20))
    await source._engine.write(lambda c: c.execute("UPDATE docs SET body = ? WHERE id = 'record-000003'", (body,)))
    assert "record-000003" not in (await source.read_plain(await leaves(source))).ids
    with pytest.raises(CorruptDatabase):
        await PipelinedReplicator().replicate(source, target, ReplicationOptions())
    assert "record-000003" not in await leaves(target)
    assert await target.check() == []


async def test_a_guard_that_stands_judges_these_too(target: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    await target.put({"_id": "_design/v", "validate_doc_update": "a function"})

    def standing(docs: Any, security: Any) -> Any:
        return lambda proposal: seen.append(proposal.new["_id"])

    monkeypatch.setattr(target, "_standing_guard", lambda: standing)
    assert await target.write_plain(GOOD) == []
    assert seen == ["good"]


# What it costs.


async def test_a_replication_of_plain_documents_makes_no_documents(
    source: LocalDatabase, target: LocalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await source.bulk_docs(records(MANY))
    reads: list[object] = []
    read = source._engine.read

    async def counted(*arguments: Any, **options: Any) -> Any:
        reads.append(arguments)
        return await read(*arguments, **options)

    monkeypatch.setattr(source._engine, "read", counted)
    for database, name in ((source, "bulk_get"), (target, "bulk_docs")):
        given = getattr(database, name)

        def only_local(asked: Any, given: Any = given, **options: Any) -> Any:
            assert all(each["_id"].startswith("_local/") for each in asked)
            return given(asked, **options)

        monkeypatch.setattr(database, name, only_local)

    async def work() -> None:
        progress = await PipelinedReplicator().replicate(source, target, ReplicationOptions())
        assert (progress.docs_read, progress.docs_written) == (MANY, MANY)

    # Two batches: begin, the counters, a look into the index, the rows, two counters and commit for each; the
    # comparisons, three each; and a checkpoint.
    assert await statements(target, work) <= 50
    # A page of the feed and the end of it, a read for each batch, and what a checkpoint asks.
    assert len(reads) <= 10


async def test_a_thousand_plain_revisions_are_written_by_eight_statements_and_a_batch_read_by_one(
    source: Storage, target: Storage
) -> None:
    await source.bulk_docs(records(MANY))
    found = await source.read_plain(await leaves(source))

    async def read() -> None:
        batch = dict(zip(found.ids[:500], found.revs[:500], strict=True))
        assert (await source.read_plain(batch)).bodies == found.bodies[:500]

    assert await statements(source, read) <= 3
    assert await statements(target, lambda: target.write_plain(found)) <= 8


async def test_writes_that_tell_nothing_are_done_together_too(target: Storage) -> None:
    plain = batches.taken_in(GOOD, MAX_DOCUMENT_SIZE)
    assert plain is not None
    job = writing.WriteJob(plain, target._write_options(False, None, told=False))
    assert job.merges_with(writing.WriteJob(plain, target._write_options(False, None, told=False)))
    assert not job.merges_with(writing.WriteJob(plain, target._write_options(False, None)))
