"""Several processes use one file at once: nothing is lost, nobody sees a lock, every live feed is complete."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import apsw
import pytest

from peerpouch.errors import DatabaseBusy
from peerpouch.storage import Storage, inotify, watch

DEADLINE = 60.0
WRITERS, TIMES = 3, 60


async def start(path: Path, name: str, times: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.worker", "count", str(path), name, str(times),
        cwd=Path(__file__).parents[2], stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def finish(process: asyncio.subprocess.Process) -> None:
    _, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()


async def test_concurrent_writers_lose_no_update_and_feeds_are_complete(path: Path) -> None:
    async with asyncio.timeout(DEADLINE), await Storage.open(path, durability="normal") as database:
        seen: Counter[str] = Counter()
        wanted = {f"p{p}-{n:05}" for p in range(WRITERS) for n in range(TIMES)}

        async def follow() -> None:
            last = 0
            async with database.changes(live=True) as feed:
                async for change in feed:
                    seq = int(change["seq"].split("-")[0])
                    assert seq > last
                    last = seq
                    seen[change["id"]] += 1
                    if wanted <= seen.keys():
                        return

        following = asyncio.create_task(follow())
        writers = [await start(path, f"p{p}", TIMES) for p in range(WRITERS)]
        for writer in writers:
            await finish(writer)
        await following
        assert (await database.get("counter"))["n"] == WRITERS * TIMES
        assert {doc_id: seen[doc_id] for doc_id in wanted} == dict.fromkeys(wanted, 1)
        assert (await database.info())["doc_count"] == WRITERS * TIMES + 1
        assert await database.check() == []


@pytest.mark.parametrize("way", ["notification", "polling"])
async def test_another_process_wakes_a_feed(path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "notification":
        monkeypatch.setattr(watch, "_POLL", 10 * DEADLINE)
    else:
        monkeypatch.setattr(inotify, "FolderWatch", _unwatchable)
    async with asyncio.timeout(DEADLINE), await Storage.open(path) as database:
        caught_up = asyncio.Event()
        found: list[str] = []

        async def follow() -> None:
            async with database.changes(live=True, since="now") as feed:
                async for page in feed.pages():
                    found.extend(change["id"] for change in page.results)
                    caught_up.set()
                    if "p-00000" in found:
                        return

        following = asyncio.create_task(follow())
        await caught_up.wait()
        await finish(await start(path, "p", 1))
        await following


def _unwatchable(*_: object, **__: object) -> object:
    """A file system that has no notifications."""
    raise OSError


async def test_a_lock_held_for_long_is_waited_for_and_then_an_error(path: Path) -> None:
    async with await Storage.open(path, busy_timeout=0.2) as database:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            await database.put({"_id": "a"})
        waiting = asyncio.create_task(database.put({"_id": "b"}))
        await asyncio.sleep(0)
        other.execute("ROLLBACK")
        other.close()
        assert (await waiting).id == "b"


async def test_many_open_a_new_file_at_once(path: Path) -> None:
    async with asyncio.timeout(DEADLINE):
        databases = await asyncio.gather(*[Storage.open(path) for _ in range(6)])
        assert len({await database.id() for database in databases}) == 1
        await asyncio.gather(*[database.put({"_id": f"{n}"}) for n, database in enumerate(databases)])
        for database in databases:
            assert (await database.info())["doc_count"] == 6
            await database.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"
