"""A full disk is a clear error; nothing is half-written, and the database is usable as soon as there is room."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import pytest

from peerpouch.errors import DiskFull
from peerpouch.ports import Written
from peerpouch.storage import Storage
from tests.contract.test_attachments import inline, pattern, stream


async def limit(database: Storage, extra_pages: int | None) -> None:
    """Let the file grow by so many pages at most."""

    def job(connection: apsw.Connection) -> None:
        pages = connection.pragma("page_count")
        most = 0xFFFFFFFE if extra_pages is None else pages + extra_pages
        connection.pragma("max_page_count", most)

    await database._engine.alone(job)


@pytest.fixture(params=["file", "memory"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "test.db") if request.param == "file" else ":memory:"


async def test_a_batch_that_does_not_fit_leaves_nothing(where: str) -> None:
    async with await Storage.open(where) as database:
        await database.put({"_id": "before", "n": 1})
        info = await database.info()
        await limit(database, 20)
        with pytest.raises(DiskFull):
            await database.bulk_docs([{"_id": f"{n:05}", "text": "x" * 500} for n in range(1000)])
        assert (await database.info())["update_seq"] == info["update_seq"]
        assert [row["id"] async for row in database.all_docs()] == ["before"]
        assert (await database.put({"_id": "small"})).id == "small"
        await limit(database, None)
        results = await database.bulk_docs([{"_id": f"{n:05}", "text": "x" * 500} for n in range(1000)])
        assert all(isinstance(result, Written) for result in results)
        assert await database.check() == []


async def test_a_small_write_beside_a_large_one_succeeds(where: str) -> None:
    async with await Storage.open(where) as database:
        await limit(database, 20)
        large = [{"_id": f"{n:05}", "text": "x" * 500} for n in range(90)]
        outcomes = await asyncio.gather(
            *[database.put({"_id": f"s{n}"}) for n in range(5)],
            database.bulk_docs([doc | {"text": "x" * 5000} for doc in large]),
            *[database.put({"_id": f"t{n}"}) for n in range(5)],
            return_exceptions=True,
        )
        assert isinstance(outcomes[5], DiskFull)
        assert all(isinstance(outcome, Written) for n, outcome in enumerate(outcomes) if n != 5)
        assert (await database.info())["doc_count"] == 10
        assert await database.check() == []


async def test_an_upload_that_does_not_fit_leaves_nothing(where: str) -> None:
    async with await Storage.open(where) as database:
        before = await database.put({"_id": "a", "n": 1})
        await limit(database, 1000)
        with pytest.raises(DiskFull):
            await database.put_attachment("a", "f", stream(pattern(9_000_000)), rev=before.rev)
        assert (await database.get("a"))["_rev"] == before.rev
        await database.put({"_id": "b", "_attachments": inline(b"small")})
        await limit(database, None)
        await database.put_attachment("a", "f", stream(pattern(9_000_000)), rev=before.rev)
        assert await (await database.get_attachment("a", "f")).read() == pattern(9_000_000)
        assert await database.check() == []
