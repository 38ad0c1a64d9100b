"""A cancelled call leaves the database usable; a write is done or not done, and never lost once acknowledged."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from peerpouch.errors import DatabaseClosed, NotFound
from peerpouch.storage import Storage
from tests.contract.test_attachments import inline, pattern

DEADLINE = 30.0


@pytest.fixture(params=["file", "memory"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Storage]:
    where = tmp_path / "test.db" if request.param == "file" else ":memory:"
    async with asyncio.timeout(DEADLINE), await Storage.open(where) as opened:
        yield opened
        if not opened.closed:
            assert await opened.check() == []


class Gate:
    """Holds the writer's thread until it is opened."""

    def __init__(self, database: Storage) -> None:
        self._database = database
        self._entered = threading.Event()
        self._open = threading.Event()

    def _hold(self, _: apsw.Connection) -> None:
        self._entered.set()
        assert self._open.wait(DEADLINE)

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._database._engine.write(self._hold))
        await asyncio.to_thread(self._entered.wait, DEADLINE)

    async def __aexit__(self, *_: object) -> None:
        self._open.set()
        await self._task


async def test_a_write_that_was_cancelled_before_it_began_is_not_done(database: Storage) -> None:
    async with Gate(database):
        writing = asyncio.create_task(database.put({"_id": "a"}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    with pytest.raises(NotFound):
        await database.get("a")


async def test_cancelling_at_any_moment_leaves_all_or_nothing(database: Storage) -> None:
    rng = random.Random(3)
    for n in range(150):
        ids = [f"{n:03}-{k}" for k in range(3)]
        writing = asyncio.create_task(database.bulk_docs([{"_id": doc_id} for doc_id in ids]))
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(rng.choice([0, 0, 0.0005]))
        writing.cancel()
        acknowledged = False
        with suppress(asyncio.CancelledError):
            await writing
            acknowledged = True
        # The next write goes through the same thread, so the cancelled one is done by then, if it ever is.
        await database.put({"_id": f"{n:03}-after"})
        found = [row.get("error") is None for row in (await database.all_docs(keys=ids))["rows"]]
        assert found in ([True] * 3, [False] * 3)
        assert all(found) or not acknowledged


async def test_a_cancelled_upload_leaves_nothing(database: Storage) -> None:
    at_the_end = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield pattern(5_000_000)
        at_the_end.set()
        await asyncio.Event().wait()

    size = (await database.info())["sizes"]["active"]
    writing = asyncio.create_task(database.put({"_id": "a", "_attachments": inline(endless())}))
    await at_the_end.wait()
    assert (await database.put({"_id": "meanwhile"})).id == "meanwhile"
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (await database.info())["sizes"]["active"] < size + 50_000


async def test_cancelled_reads_free_their_connections(database: Storage) -> None:
    await database.bulk_docs([{"_id": f"{n:05}", "text": "x" * 200} for n in range(3000)])
    for n in range(60):
        reading = asyncio.create_task(_collect(database))
        await asyncio.sleep(0.0003 * (n % 10))
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading
    assert len(await _collect(database)) == 3000


async def _collect(database: Storage) -> list[Any]:
    return [row async for row in database.all_docs(include_docs=True)]


async def test_closing_finishes_what_was_begun(tmp_path: Path) -> None:
    database = await Storage.open(tmp_path / "test.db")
    writing = [asyncio.create_task(database.put({"_id": f"{n}"})) for n in range(50)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(database.close())
    done = await asyncio.gather(*writing, return_exceptions=True)
    await closing
    assert all(isinstance(outcome, DatabaseClosed) or not isinstance(outcome, BaseException) for outcome in done)
    async with await Storage.open(tmp_path / "test.db") as again:
        kept = {row["id"] async for row in again.all_docs()}
    assert kept == {f"{n}" for n, outcome in enumerate(done) if not isinstance(outcome, BaseException)}
    assert kept


async def test_a_live_feed_ends_with_an_error_when_the_database_is_closed(tmp_path: Path) -> None:
    database = await Storage.open(tmp_path / "test.db")
    caught_up = asyncio.Event()

    async def follow() -> None:
        async for _ in database.changes(live=True).pages():
            caught_up.set()

    following = asyncio.create_task(follow())
    async with asyncio.timeout(DEADLINE):
        await caught_up.wait()
        await database.close()
        with pytest.raises(DatabaseClosed):
            await following


async def test_concurrent_writers_share_commits(tmp_path: Path) -> None:
    async with await Storage.open(tmp_path / "test.db") as database:
        commits = 0

        def committed() -> bool:
            nonlocal commits
            commits += 1
            return False

        database._engine._writer.set_commit_hook(committed)
        async with Gate(database):
            writing = [asyncio.create_task(database.put({"_id": f"{n}"})) for n in range(64)]
            await asyncio.sleep(0)
        await asyncio.gather(*writing)
        assert commits == 2
