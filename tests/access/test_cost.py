"""What a selector costs, in counts that hold on any machine: statements, not seconds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peerpouch.access.gate import GatedDatabase
from peerpouch.access.selection import Selection
from peerpouch.core.policy import Access
from peerpouch.node.databases import LocalDatabase, open_file
from peerpouch.ports import RevisionRequest, Written
from tests.access.world import PEER
from tests.storage.test_cost import records, statements

BATCH = 500
EVEN = Access(select={"even": True})


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[LocalDatabase]:
    async with await open_file(str(tmp_path / "owner.db"), durability="normal") as database:
        yield database


def visit(owner: LocalDatabase, access: Access = EVEN) -> GatedDatabase:
    return GatedDatabase(owner, PEER, access, name="share")


async def test_a_batch_is_read_through_a_selector_by_hardly_more_statements_than_without(owner: LocalDatabase) -> None:
    await owner.bulk_docs(records(BATCH, even=True))
    requests = [RevisionRequest(row["id"], row["changes"][0]["rev"]) async for row in owner.changes()]
    gate = visit(owner)

    async def read() -> None:
        assert [result.rev async for result in gate.bulk_get(requests, revs=True)] == [each.rev for each in requests]

    await read()  # which makes the index
    # Whether anything is new; the documents; each in its snapshot.
    assert await statements(owner, read) <= 12


async def test_a_batch_is_written_through_a_selector_by_a_constant_number_of_statements(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await gate.info()

    async def write() -> None:
        docs = [{**doc, "_rev": "1-" + "a" * 32} for doc in records(BATCH, even=True)]
        results = await gate.bulk_docs(docs, new_edits=False)
        assert all(isinstance(result, Written) for result in results)

    count = await statements(owner, write)
    assert count <= 30, count


async def test_what_is_pending_is_counted_once_however_many_pages_are_read(
    owner: LocalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await owner.bulk_docs(records(BATCH, even=True))
    gate = visit(owner)
    counts: list[int] = []
    count = Selection.count

    async def counted(*arguments: object) -> int:
        counts.append(await count(*arguments))  # type: ignore[arg-type]
        return counts[-1]

    monkeypatch.setattr(Selection, "count", counted)
    told = []
    async with gate.changes(batch_size=50) as feed:
        async for page in feed.pages():
            told.append(page.pending)
    assert told[:10] == [450 - 50 * number for number in range(10)]
    assert counts == [450]
    # By requests of their own, as over HTTP, it is the same.
    since, told = "0", []
    for _ in range(10):
        async with gate.changes(since=since, limit=50) as feed:
            page = await anext(aiter(feed.pages()))
        since = page.last_seq
        told.append(page.pending)
    assert told == [450 - 50 * number for number in range(10)]
    assert counts == [450]


async def test_what_is_pending_is_counted_anew_when_something_changed(owner: LocalDatabase) -> None:
    await owner.bulk_docs(records(100, even=True))
    gate = visit(owner)

    async def pending(since: str) -> tuple[str, int | None]:
        async with gate.changes(since=since, limit=10) as feed:
            page = await anext(aiter(feed.pages()))
        return page.last_seq, page.pending

    since, left = await pending("0")
    assert left == 90
    await owner.bulk_docs([{"_id": f"new-{number}", "even": True} for number in range(5)])
    await owner.bulk_docs([{"_id": f"odd-{number}", "even": False} for number in range(5)])
    since, left = await pending(since)
    assert left == 85
    first = await owner.get("record-000000")
    await owner.put({**first, "even": False})  # it is not shown any more; it was read already
    assert (await pending(since))[1] == 75
    last = await owner.get("record-000099")
    await owner.put({**last, "even": False})
    assert (await pending(since))[1] == 74
