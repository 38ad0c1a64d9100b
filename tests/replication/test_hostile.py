"""Sources and targets that lie: nothing that was not asked for is stored, and the end is a ProtocolError."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from peerpouch.core import replication_plan as plan
from peerpouch.errors import ProtocolError
from peerpouch.ports import Attachment, ChangesPage, ReplicationOptions, RevisionResult
from peerpouch.replication import PipelinedReplicator
from tests.replication.faulty import Lying
from tests.replication.memory import MemoryDatabase
from tests.replication.test_replicator import BIG, attach, fill

REV = "1-" + "a" * 32


def row(**changed: Any) -> dict[str, Any]:
    return {"seq": "1", "id": "x", "changes": [{"rev": REV}], **changed}


GARBAGE: list[Any] = [
    None,
    7,
    "row",
    [],
    {},
    row(id=None),
    row(id=""),
    row(id=["x"]),
    row(id="_local/secret"),
    row(id="_security"),
    row(seq=None),
    row(seq=7),
    row(seq=["1"]),
    row(changes=None),
    row(changes={}),
    row(changes=[]),
    row(changes=["1-a"]),
    row(changes=[{"rev": 7}]),
    row(changes=[{"rev": "0-" + "a" * 32}]),
    row(changes=[{"rev": "garbage"}]),
    row(changes=[{"rev": "1-"}]),
    row(changes=[{"rev": "1-a\n"}]),
    row(changes=[{"rev": "1-" + "a" * 10_000}]),
]


async def fail(source: Any, target: Any, **options: Any) -> None:
    with pytest.raises(ProtocolError):
        async with asyncio.timeout(10):
            await PipelinedReplicator().replicate(source, target, ReplicationOptions(**options))


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
async def test_a_row_of_garbage_ends_in_a_protocol_error(
    garbage: Any, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 3)
    await fail(Lying(source, page=lambda page: ChangesPage([garbage], "9", 0)), target)
    assert not target.docs


async def test_a_page_larger_than_was_asked_for_ends_in_a_protocol_error(
    source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 20)
    rows: Any = [row(id=f"d{n}") for n in range(41)]
    await fail(Lying(source, page=lambda page: ChangesPage(rows, "9", 0)), target, batch_size=10)
    assert not target.docs


async def test_a_page_without_a_sequence_ends_in_a_protocol_error(
    source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 2)
    await fail(Lying(source, page=lambda page: ChangesPage(page.results, None, 0)), target)  # type: ignore[arg-type]


async def test_a_change_that_was_not_asked_for_is_refused(source: MemoryDatabase, target: MemoryDatabase) -> None:
    fill(source, 5)

    def page(page: ChangesPage) -> ChangesPage:
        return ChangesPage([row(id="doc-00003")], "9", 0)  # type: ignore[list-item]

    await fail(Lying(source, page=page), target, doc_ids=("doc-00001",))
    assert not target.docs


def as_other_id(result: RevisionResult, mode: Any) -> list[Any]:
    return [result._replace(id="other", doc={**(result.doc or {}), "_id": "other"})]


def as_other_rev(result: RevisionResult, mode: Any) -> list[Any]:
    return [result._replace(rev=REV, doc={**(result.doc or {}), "_rev": REV})]


def as_other_doc(result: RevisionResult, mode: Any) -> list[Any]:
    return [result._replace(doc={**(result.doc or {}), "_id": "other"})]


def as_other_doc_rev(result: RevisionResult, mode: Any) -> list[Any]:
    return [result._replace(doc={**(result.doc or {}), "_rev": REV})]


def twice(result: RevisionResult, mode: Any) -> list[Any]:
    return [result, result]


def never(result: RevisionResult, mode: Any) -> list[Any]:
    return []


def nothing(result: RevisionResult, mode: Any) -> list[Any]:
    return [result._replace(doc=None, error=None)]


def with_revisions(revisions: Any) -> Callable[[RevisionResult, Any], list[Any]]:
    return lambda result, mode: [result._replace(doc={**(result.doc or {}), "_revisions": revisions})]


def as_text(result: RevisionResult, mode: Any) -> list[Any]:
    return [result._replace(doc="text")]  # type: ignore[arg-type]


LIES = [
    as_other_id,
    as_other_rev,
    as_other_doc,
    as_other_doc_rev,
    twice,
    never,
    nothing,
    as_text,
    with_revisions(None),
    with_revisions({}),
    with_revisions({"start": 1, "ids": []}),
    with_revisions({"start": 1, "ids": ["a" * 32]}),
    with_revisions({"start": "1", "ids": "abc"}),
]


@pytest.mark.parametrize("lie", LIES)
async def test_an_answer_to_another_question_is_not_stored(
    lie: Callable[[RevisionResult, Any], list[Any]], source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 3)
    await fail(Lying(source, result=lie), target)
    assert set(target.docs) <= set(source.docs)


@pytest.mark.parametrize("lie", [as_other_doc, with_revisions({"start": 1, "ids": ["a" * 32]})])
async def test_without_the_check_the_lie_would_be_stored(
    lie: Callable[[RevisionResult, Any], list[Any]],
    source: MemoryDatabase,
    target: MemoryDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fill(source, 3)
    monkeypatch.setattr(plan, "check_document", lambda *arguments: None)
    await PipelinedReplicator().replicate(Lying(source, result=lie), target, ReplicationOptions())  # type: ignore[arg-type]
    stored = {rev for revs in target.docs.values() for rev in revs}
    assert "other" in target.docs or REV in stored


async def test_without_the_check_of_ids_a_change_that_was_not_asked_for_would_be_stored(
    source: MemoryDatabase, target: MemoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(source, 5)
    genuine = plan.read_change
    monkeypatch.setattr(plan, "read_change", lambda row: ("doc-00001", *genuine(row)[1:]))
    unasked: Any = {"seq": "9", "id": "doc-00003", "changes": [{"rev": source.winner("doc-00001")}]}
    lying = Lying(source, page=lambda page: ChangesPage([unasked], "9", 0))
    await PipelinedReplicator().replicate(lying, target, ReplicationOptions(doc_ids=("doc-00001",)))  # type: ignore[arg-type]
    assert target.docs


async def test_an_inline_attachment_of_another_length_is_refused(
    source: MemoryDatabase, target: MemoryDatabase
) -> None:
    source.edit({"_id": "d", "_attachments": {"a": attach(b"abc")}})

    def longer(result: RevisionResult, mode: Any) -> list[Any]:
        if mode == "bytes" and result.doc is not None:
            result.doc["_attachments"]["a"]["data"] = b"x" * 1_000_000
        return [result]

    await fail(Lying(source, result=longer), target)
    assert not target.docs


async def test_content_that_is_smuggled_in_beside_a_stub_is_dropped(
    source: MemoryDatabase, target: MemoryDatabase
) -> None:
    source.edit({"_id": "d", "_attachments": {"a": attach(BIG)}})

    def smuggle(result: RevisionResult, mode: Any) -> list[Any]:
        if mode is False and result.doc is not None:
            result.doc["_attachments"]["a"] |= {"data": b"other", "follows": True}
        return [result]

    await PipelinedReplicator().replicate(Lying(source, result=smuggle), target, ReplicationOptions())  # type: ignore[arg-type]
    assert target.state() == source.state()


@pytest.mark.parametrize(
    "change",
    [{"length": 5}, {"length": len(BIG) + 1}, {"digest": "md5-x"}, {"start": 9}, {"encoding": "gzip"}],
    ids=repr,
)
async def test_a_stream_that_is_not_what_the_document_says_is_refused(
    change: dict[str, Any], source: MemoryDatabase, target: MemoryDatabase
) -> None:
    source.edit({"_id": "d", "_attachments": {"a": attach(BIG)}})

    def lie(found: Attachment) -> Attachment:
        for key, value in change.items():
            setattr(found, key, value)
        return found

    await fail(Lying(source, attachment=lie), target)
    assert not target.docs


async def test_a_stream_that_goes_on_past_its_length_is_cut(source: MemoryDatabase, target: MemoryDatabase) -> None:
    source.edit({"_id": "d", "_attachments": {"a": attach(BIG)}})

    def endless(found: Attachment) -> Attachment:
        async def stream() -> Any:
            while True:
                await asyncio.sleep(0)
                yield b"x" * 10_000

        return Attachment(found.name, found.content_type, found.length, found.digest, stream)

    await fail(Lying(source, attachment=endless), target)
    assert not target.docs


@pytest.mark.parametrize(
    "answer",
    [None, [], {"doc-00000": None}, {"doc-00000": {}}, {"doc-00000": {"missing": [REV]}}, {"x": {"missing": [REV]}}],
    ids=repr,
)
async def test_a_comparison_of_garbage_ends_in_a_protocol_error(
    answer: Any, source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 1)

    async def lie(revs: Any) -> Any:
        return answer

    target.revs_diff = lie  # type: ignore[method-assign]
    await fail(source, target)
    assert "bulk_get" not in source.calls


async def test_too_few_results_of_a_write_end_in_a_protocol_error(
    source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 2)

    async def lie(docs: Any, **options: Any) -> Any:
        return []

    target.bulk_docs = lie  # type: ignore[method-assign]
    await fail(source, target)


@pytest.mark.parametrize(
    "document",
    [
        {"history": None},
        {"history": "x"},
        {"history": [None, 7, {"session_id": 7}, {"session_id": "s", "recorded_seq": 7}]},
        {"history": [], "refused_by": "source"},
        {"refused_by": ["source"], "history": [{}]},
    ],
    ids=repr,
)
async def test_a_checkpoint_of_garbage_counts_as_none(
    document: dict[str, Any], source: MemoryDatabase, target: MemoryDatabase
) -> None:
    fill(source, 3)
    await PipelinedReplicator().replicate(source, target, ReplicationOptions())  # type: ignore[arg-type]
    (doc_id,) = source.locals
    for side in (source, target):
        side.locals[doc_id] = {"_id": doc_id, "_rev": "0-1", **document}
    progress = await PipelinedReplicator().replicate(source, target, ReplicationOptions())  # type: ignore[arg-type]
    assert progress.missing_checked == 3
