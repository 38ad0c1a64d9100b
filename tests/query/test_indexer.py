"""Indexes under concurrency, across restarts and processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import peerpouch.query.indexer as module
from peerpouch.ports import Changes, ChangesPage
from peerpouch.query.indexer import Indexer, Rows, in_thread
from tests.query.databases import LocalDatabase, database, ids


def rows_of(doc: dict[str, Any]) -> Rows:
    return [(doc["n"].to_bytes(2, "big"), None)]


async def keys(db: LocalDatabase, index: str = "i") -> list[int]:
    return [int.from_bytes(row.key, "big") for row in await db.read_index(index)]


async def test_refreshing_concurrently_maps_each_change_once() -> None:
    mapped: list[str] = []

    def counting(doc: dict[str, Any]) -> Rows:
        mapped.append(doc["_id"])
        return rows_of(doc)

    async with database({"_id": str(n), "n": n} for n in range(10)) as db:
        indexer = Indexer(db, db)
        await asyncio.gather(*(indexer.refresh("i", in_thread(counting)) for _ in range(5)))
        assert sorted(mapped) == sorted(str(n) for n in range(10))
        assert await keys(db) == list(range(10))


async def test_the_rows_of_a_few_batches_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write copies most of a large index to the WAL and back."""
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "WRITTEN", 40)
    written: list[int] = []
    update = LocalDatabase.update_index

    async def counted(self: LocalDatabase, index: str, rows: Any, *, since: Any, upto: Any) -> bool:
        written.append(len(rows))
        return await update(self, index, rows, since=since, upto=upto)

    monkeypatch.setattr(LocalDatabase, "update_index", counted)
    async with database({"_id": str(n), "n": n} for n in range(95)) as db:
        seq = await Indexer(db, db).refresh("i", in_thread(rows_of))
        assert written == [40, 40, 15]
        assert await keys(db) == list(range(95))
        state = await db.index_state("i")
        assert state is not None and (state.seq, state.rows) == (seq, 95)
        # Large rows are written sooner.
        monkeypatch.setattr(module, "WRITTEN_BYTES", 20)
        await Indexer(db, db).refresh("j", in_thread(rows_of))
        assert written[3:] == [10] * 9 + [5]


async def test_of_a_document_that_changes_while_rows_are_gathered_the_newest_rows_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    async with database({"_id": f"{n:02}", "n": n} for n in range(30)) as db:
        changed = False

        async def meddled(docs: list[dict[str, Any]]) -> list[Rows]:
            nonlocal changed
            if not changed:
                changed = True
                await db.put({**await db.get("03"), "n": 300})
                await db.remove("04", (await db.get("04"))["_rev"])
            return [rows_of(doc) for doc in docs]

        await Indexer(db, db).refresh("i", meddled)
        assert await keys(db) == sorted([*(n for n in range(30) if n not in (3, 4)), 300])


async def test_while_documents_are_mapped_the_next_are_read_and_those_before_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "WRITTEN", 10)
    read, writing, mapping = 0, asyncio.Event(), asyncio.Event()
    pages_read = asyncio.Condition()
    update, pages = LocalDatabase.update_index, Changes.pages

    async def slow(self: LocalDatabase, index: str, rows: Any, *, since: Any, upto: Any) -> bool:
        writing.set()
        await mapping.wait()
        return await update(self, index, rows, since=since, upto=upto)

    async def counted(self: Changes) -> AsyncIterator[ChangesPage]:
        nonlocal read
        async for page in pages(self):
            async with pages_read:
                read += 1
                pages_read.notify_all()
            yield page

    async def mapped(docs: list[dict[str, Any]]) -> list[Rows]:
        if docs[0]["n"] == 10:
            await writing.wait()
            async with pages_read:
                await pages_read.wait_for(lambda: read == 3)
            mapping.set()
        return [rows_of(doc) for doc in docs]

    async with database({"_id": f"{n:02}", "n": n} for n in range(50)) as db:
        monkeypatch.setattr(LocalDatabase, "update_index", slow)
        monkeypatch.setattr(Changes, "pages", counted)
        async with asyncio.timeout(30):
            await Indexer(db, db).refresh("i", mapped)
        assert await keys(db) == list(range(50))


@pytest.mark.parametrize("failure", [ValueError, asyncio.CancelledError])
async def test_what_was_gathered_before_an_error_is_kept_and_no_task_is_left(
    monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(module, "WRITTEN", 10)

    async def mapped(docs: list[dict[str, Any]]) -> list[Rows]:
        if docs[0]["n"] == 20:
            raise failure
        return [rows_of(doc) for doc in docs]

    async with database({"_id": f"{n:02}", "n": n} for n in range(50)) as db:
        before = asyncio.all_tasks()
        with pytest.raises(failure):
            await Indexer(db, db).refresh("i", mapped)
        assert asyncio.all_tasks() == before
        if failure is ValueError:
            assert await keys(db) == list(range(20))
        await Indexer(db, db).refresh("i", in_thread(rows_of))
        assert await keys(db) == list(range(50))


async def test_nothing_new_writes_nothing() -> None:
    async with database([{"_id": "a", "n": 1}]) as db:
        indexer = Indexer(db, db)
        seq = await indexer.refresh("i", in_thread(rows_of))
        state = await db.index_state("i")
        assert state is not None
        assert await indexer.refresh("i", in_thread(rows_of)) == seq == state.seq


async def test_an_empty_database_has_an_empty_index() -> None:
    async with database() as db:
        await Indexer(db, db).refresh("i", in_thread(rows_of))
        assert await keys(db) == []


async def test_two_indexers_of_one_file_never_leave_stale_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "shared.db")
    async with database(({"_id": f"{n}", "n": n} for n in range(50)), path) as one, database((), path) as two:
        slow_began, go_on = asyncio.Event(), asyncio.Event()

        async def slow(docs: list[dict[str, Any]]) -> list[Rows]:
            slow_began.set()
            await go_on.wait()
            return [rows_of(doc) for doc in docs]

        behind = asyncio.create_task(Indexer(one, one).refresh("i", slow))
        await slow_began.wait()
        doc = await two.get("7")
        await two.put({**doc, "n": 700})
        await Indexer(two, two).refresh("i", in_thread(rows_of))
        go_on.set()
        await behind
        expected = sorted([*(n for n in range(50) if n != 7), 700])
        assert await keys(one) == await keys(two) == expected


async def test_without_comparing_sequences_a_slow_indexer_would_leave_stale_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin of the test above, with the defence taken away."""
    update = LocalDatabase.update_index

    async def careless(self: LocalDatabase, index: str, rows: Any, *, since: Any, upto: Any) -> bool:
        state = await self.index_state(index)
        return await update(self, index, rows, since=None if state is None else state.seq, upto=upto)

    monkeypatch.setattr(LocalDatabase, "update_index", careless)
    path = str(tmp_path / "shared.db")
    async with database([{"_id": "7", "n": 7}], path) as one, database((), path) as two:
        began, go_on = asyncio.Event(), asyncio.Event()

        async def slow(docs: list[dict[str, Any]]) -> list[Rows]:
            began.set()
            await go_on.wait()
            return [rows_of(doc) for doc in docs]

        behind = asyncio.create_task(Indexer(one, one).refresh("i", slow))
        await began.wait()
        doc = await two.get("7")
        await two.put({**doc, "n": 700})
        await Indexer(two, two).refresh("i", in_thread(rows_of))
        go_on.set()
        await behind
        # What the slow one overwrote is healed by its own next refresh only; until then it is wrong.
        assert await keys(two) == [7]


async def test_a_cancelled_refresh_is_gone_on_with(tmp_path: Path) -> None:
    path = str(tmp_path / "c.db")
    async with database(({"_id": f"{n:04}", "n": n} for n in range(30)), path) as db:
        started = asyncio.Event()

        async def never(docs: list[dict[str, Any]]) -> list[Rows]:
            started.set()
            await asyncio.Event().wait()
            raise AssertionError

        task = asyncio.create_task(Indexer(db, db).refresh("i", never))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await Indexer(db, db).refresh("i", in_thread(rows_of))
        assert await keys(db) == list(range(30))


async def test_indexes_survive_a_restart_and_are_not_built_again(tmp_path: Path) -> None:
    path = str(tmp_path / "r.db")
    async with database([{"_id": "a", "n": 1}], path) as db:
        await db.create_index(["n"])
        assert ids((await db.find({"n": 1}))["docs"]) == ["a"]
        (name,) = await db.index_names()
        state = await db.index_state(name)
    async with database([], path) as db:
        assert await db.index_state(name) == state
        assert ids((await db.find({"n": 1}))["docs"]) == ["a"]
        assert await db.index_state(name) == state


async def test_a_changed_definition_gets_new_rows() -> None:
    async with database([{"_id": "a", "n": 1, "m": 2}]) as db:
        await db.create_index(["n"], ddoc="d", name="x")
        assert ids((await db.find({"n": 1}))["docs"]) == ["a"]
        await db.create_index(["m"], ddoc="d", name="x")
        found = await db.find({"m": 2}, execution_stats=True)
        assert ids(found["docs"]) == ["a"]
        assert found["execution_stats"]["total_keys_examined"] == 1


async def test_purged_documents_leave_no_rows() -> None:
    async with database([{"_id": "a", "n": 1}, {"_id": "b", "n": 2}]) as db:
        indexer = Indexer(db, db)
        await indexer.refresh("i", in_thread(rows_of))
        rev = (await db.get("a"))["_rev"]
        await db.purge({"a": [rev]})
        await indexer.refresh("i", in_thread(rows_of))
        assert await keys(db) == [2]
