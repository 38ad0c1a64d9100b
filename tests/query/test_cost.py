"""What queries cost, in counts that hold on any machine: statements, and turns of a thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import peerpouch.query.rows as module
from peerpouch.core import jsonio
from peerpouch.core.collation import encode_key
from peerpouch.ports import IndexPosition
from peerpouch.query.indexer import Rows
from peerpouch.query.rows import StoredRows, encode_rows
from peerpouch.query.viewoptions import Range
from peerpouch.storage.engine import Engine
from tests.query.databases import LocalDatabase, database, ids
from tests.storage.test_cost import statements


async def threads(work: Callable[[], Awaitable[Any]]) -> int:
    """How often some work handed a read over to a thread."""
    turns = 0
    original = Engine.read

    async def read(self: Engine, *arguments: Any, **options: Any) -> Any:
        nonlocal turns
        turns += 1
        return await original(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "read", read)
        await work()
    return turns


async def filled(db: LocalDatabase) -> Callable[[], Awaitable[Any]]:
    """A query by an index, all built."""
    await db.bulk_docs([{"_id": f"{n:04}", "n": n} for n in range(1000)])
    await db.create_index(["n"])

    async def find() -> None:
        assert ids((await db.find({"n": {"$gte": 500}}, limit=100))["docs"]) == [f"{n:04}" for n in range(500, 600)]

    await find()
    return find


async def test_finding_a_hundred_by_an_index_takes_one_turn_of_a_thread(tmp_path: Path) -> None:
    async with database((), str(tmp_path / "a.db")) as db:
        find = await filled(db)
        assert await threads(find) == 1
        # What is the newest change, twice; how far the index is; its number, its rows' size, its rows; begin, rollback.
        assert await statements(db, find) <= 8


async def test_what_another_process_wrote_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "a.db")
    async with database((), path) as one, database((), path) as two:
        find = await filled(one)
        await two.put({"_id": "0999x", "n": 599.5})
        found = await one.find({"n": {"$gt": 598}}, limit=3)
        assert ids(found["docs"]) == ["0599", "0999x", "0600"]
        await find()
        # An index, too.
        await two.create_index(["n", "m"], ddoc="d")
        assert (await one.explain({"n": 1, "m": 1}))["index"]["ddoc"] == "_design/d"


async def test_large_documents_are_found_one_by_one(tmp_path: Path) -> None:
    async with database((), str(tmp_path / "a.db")) as db:
        await db.bulk_docs([{"_id": f"{n}", "n": n, "text": "x" * 1_000_000} for n in range(8)])
        await db.create_index(["n"])
        await db.remove("3", (await db.get("3"))["_rev"])
        found = await db.find({"n": {"$gt": 1}}, fields=["_id"])
        assert ids(found["docs"]) == ["2", "4", "5", "6", "7"]


async def test_a_feed_that_finds_nothing_new_takes_no_turn_of_a_thread(tmp_path: Path) -> None:
    async with database(({"_id": f"{n}"} for n in range(10)), str(tmp_path / "a.db")) as db:
        since = (await db.info())["update_seq"]

        async def look() -> None:
            found = await db.changes(since=since, include_docs=True)
            assert (found["results"], found["last_seq"], found["pending"]) == ([], since, 0)

        assert await threads(look) == 0
        await db.put({"_id": "new"})
        assert [row["id"] for row in (await db.changes(since=since))["results"]] == ["new"]


async def test_a_grouped_sum_takes_a_turn_of_a_thread_for_some_thousand_rows(tmp_path: Path) -> None:
    async with database(({"_id": f"{n:05}", "n": n % 3} for n in range(10_500)), str(tmp_path / "a.db")) as db:
        rows: dict[str, Rows] = {f"{n:05}": encode_rows([(n % 3, 1)]) for n in range(10_500)}
        assert await db.update_index("i", rows, since=None, upto="0")
        found: list[dict[bytes, int]] = []

        async def count() -> None:
            pages = StoredRows(db, "i").groups(Range(None, None), descending=False)
            found.extend([{group.key: len(group.values) for group in page} async for page in pages])

        assert await threads(count) == 3
        assert {key: sum(page.get(key, 0) for page in found) for key in map(encode_key, range(3))} == dict.fromkeys(
            map(encode_key, range(3)), 3500
        )


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("page", [1, 2, 3, 100])
@pytest.mark.parametrize("length", [1, 200_000])
async def test_rows_by_keys_are_the_rows_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, descending: bool, page: int, length: int
) -> None:
    monkeypatch.setattr(module, "GROUPED_PAGE", page)
    pairs: list[tuple[Any, Any]] = [(1, 2**70), (1.0, 1.5), ("a,\0", "x" * length), (None, None), ([1], {"\0": "ü"})]
    async with database((), str(tmp_path / "a.db")) as db:
        rows: dict[str, Rows] = {f"{n:02}": encode_rows([pairs[n % 5], ("twice", n)]) for n in range(25)}
        assert await db.update_index("i", rows, since=None, upto="0")
        source = StoredRows(db, "i")
        for part in (
            Range(None, None),
            Range(IndexPosition(encode_key(1), "05"), IndexPosition(encode_key("twice"), "20")),
        ):
            plain = [row async for rows in source.pages(part, descending) for row in rows]
            grouped = [group async for groups in source.groups(part, descending) for group in groups]
            assert [(group.key, value) for group in grouped for value in group.values] == [
                (row.key, jsonio.loads(row.value or b"")) for row in plain
            ]
            if page == 100 and length == 1:
                assert len({group.key for group in grouped}) == len(grouped)
