"""What operations cost, in counts that hold on any machine: statements, not seconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from peerpouch.ports import RevisionRequest
from peerpouch.storage import Storage
from tests.storage.test_store import waiting

MANY = 1000


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Storage]:
    async with await Storage.open(path, durability="normal") as opened:
        yield opened


def records(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"_id": f"record-{number:06d}", "number": number, **fields} for number in range(count)]


async def statements(database: Storage, work: Callable[[], Awaitable[Any]], like: str = "") -> int:
    """How many statements some work ran, on all connections; of those that have a text in them, if one is given."""
    engine = database._engine
    connections = [engine._writer, *engine._readers.queue]
    if engine._inline is not None:
        connections.append(engine._inline)
    ran: list[str] = []

    def trace(cursor: Any, sql: str, bindings: Any) -> bool:
        if like in sql:
            ran.append(sql)
        return True

    for connection in connections:
        connection.exec_trace = trace
    try:
        await work()
    finally:
        for connection in connections:
            connection.exec_trace = None
    return len(ran)


async def read_all(database: Storage) -> tuple[list[RevisionRequest], list[dict[str, Any]]]:
    requests = [RevisionRequest(row["id"], row["changes"][0]["rev"]) async for row in database.changes()]
    return requests, [result.doc async for result in database.bulk_get(requests, revs=True) if result.doc is not None]


async def test_one_document_is_written_by_seven_statements(database: Storage) -> None:
    # Begin, the counters, a look for the document, its row, two counters, commit.
    assert await statements(database, lambda: database.put({"_id": "a"})) <= 7


async def test_a_thousand_new_documents_are_written_by_eight_statements(database: Storage) -> None:
    # Begin, the counters, one look into the index, two portions of 500 rows, two counters, commit.
    assert await statements(database, lambda: database.bulk_docs(records(MANY))) <= 8


async def test_a_thousand_documents_of_a_replication_are_written_by_eight_statements(database: Storage) -> None:
    docs = [{**doc, "_rev": "2-b", "_revisions": {"start": 2, "ids": ["b", "a"]}} for doc in records(MANY)]
    assert await statements(database, lambda: database.bulk_docs(docs, new_edits=False)) <= 8


async def test_an_attachment_is_written_by_three_statements(database: Storage) -> None:
    docs = records(100)
    for doc in docs:
        doc["_attachments"] = {"a": {"data": f"{doc['number']}".encode()}}
    # A look for the content, it, and its bytes; and what begins and ends a batch, and the rows that refer to it.
    assert await statements(database, lambda: database.bulk_docs(docs)) <= 3 * 100 + 11


async def test_a_thousand_documents_between_others_are_written_by_ten_statements(database: Storage) -> None:
    await database.bulk_docs([{"_id": "record-0000"}, {"_id": "record-1"}, {"_id": "record-000500x"}])
    assert await statements(database, lambda: database.bulk_docs(records(MANY))) <= 10


async def test_a_thousand_updates_cost_two_statements_for_each_portion_and_a_lookup(database: Storage) -> None:
    written = await database.bulk_docs(records(MANY))
    again = [{**doc, "_rev": result.rev} for doc, result in zip(records(MANY, more=1), written, strict=True)]
    assert await statements(database, lambda: database.bulk_docs(again)) <= 13


async def test_a_batch_of_a_replication_is_compared_by_one_statement_and_read_by_one(database: Storage) -> None:
    await database.bulk_docs(records(500))
    requests, docs = await read_all(database)
    assert len(docs) == 500

    async def compare() -> None:
        assert await database.revs_diff({request.id: [request.rev or ""] for request in requests}) == {}

    async def read() -> None:
        assert [result.doc async for result in database.bulk_get(requests, revs=True)] == docs

    # Each with a begin and a rollback for the snapshot around it; comparing also looks whether all are new.
    assert await statements(database, compare) <= 4
    assert await statements(database, read) <= 3


async def test_documents_that_are_all_new_are_told_by_one_look_into_the_index(database: Storage) -> None:
    await database.bulk_docs([{"_id": "a"}, {"_id": "z"}])

    async def compare() -> None:
        missing = await database.revs_diff({doc["_id"]: ["1-a"] for doc in records(500)})
        assert missing == {doc["_id"]: {"missing": ["1-a"]} for doc in records(500)}

    assert await statements(database, compare) <= 3


async def test_a_thousand_changes_are_read_by_a_dozen_statements(database: Storage) -> None:
    await database.bulk_docs(records(MANY))

    async def read() -> None:
        assert len([row async for row in database.changes(style="all_docs")]) == MANY

    # Where to begin, the page, and an empty one behind it that says that this was all; each in its snapshot.
    assert await statements(database, read) <= 14


async def test_a_document_that_lies_among_the_new_ones_is_found(database: Storage) -> None:
    (first,) = await database.bulk_docs([{"_id": "record-000007"}])
    results = await database.bulk_docs(records(10))
    assert [index for index, result in enumerate(results) if hasattr(result, "error")] == [7]
    assert (await database.get("record-000007"))["_rev"] == first.rev


async def test_writers_at_once_share_the_statements_of_one(database: Storage) -> None:
    docs = records(200)
    # What one by itself needs, and what begins and ends a batch of so many.
    assert await statements(database, lambda: waiting(database, [database.put(doc) for doc in docs])) <= 12
    assert [row["id"] async for row in database.all_docs()] == [doc["_id"] for doc in docs]


async def test_writers_that_go_on_together_share_each_commit_and_each_waking_of_the_loop(database: Storage) -> None:
    waiting = iter(records(64 * 5))

    async def write() -> None:
        for doc in islice(waiting, 5):
            await database.put(doc)

    woken = 0
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe

    def counted(*args: Any, **options: Any) -> asyncio.Handle:
        nonlocal woken
        woken += 1
        return wake(*args, **options)

    async def work() -> None:
        await asyncio.gather(*(write() for _ in range(64)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", counted)
        assert await statements(database, work, like="BEGIN IMMEDIATE") == 5
    # For the feeds, and for the writers.
    assert woken <= 10
    assert (await database.info())["doc_count"] == 64 * 5


async def test_a_live_change_takes_no_thread_but_the_writers(
    database: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.changes(live=True) as feed:
        pages = feed.pages()
        assert not (await anext(pages)).results  # it has caught up
        waiting_for = asyncio.ensure_future(anext(pages))
        hops = []
        read = database._engine.read

        async def counted(*arguments: Any, **options: Any) -> Any:
            hops.append(arguments)
            return await read(*arguments, **options)

        monkeypatch.setattr(database._engine, "read", counted)
        rev = (await database.put({"_id": "heron"})).rev
        assert [change["id"] for change in (await waiting_for).results] == ["heron"]
        assert await database.revs_diff({"heron": [rev], "none": ["1-a"]}) == {"none": {"missing": ["1-a"]}}
        (found,) = [result async for result in database.bulk_get([RevisionRequest("heron", rev)], revs=True)]
        assert found.doc is not None and found.doc["_revisions"]["start"] == 1
        assert not hops
        # What may take longer goes through a thread.
        await database.revs_diff({f"{n}": ["1-a"] for n in range(100)})
        assert [result.doc async for result in database.bulk_get([RevisionRequest("none", None)])] == [None]
        assert len(hops) == 2


async def test_an_open_database_has_eleven_mebibytes_for_its_pages(database: Storage) -> None:
    engine = database._engine
    assert engine._inline is not None
    connections = [engine._writer, engine._inline, *engine._readers.queue]
    sizes = [-int(connection.pragma("cache_size")) for connection in connections]  # of KiB, as it is negative
    assert all(size > 0 for size in sizes) and sum(sizes) == 11 * 1024
