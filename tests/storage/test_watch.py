"""Other processes' writes are noticed at once, and waiting for them costs next to nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from peerpouch.storage import inotify, watch
from peerpouch.storage.watch import FileWatch

DEADLINE = 60.0
NEVER = 3600.0
LAST = 0.02
# At once, and 1, 3, 7, 15, 31 and 63 ms after a notification.
MOST_LOOKS = 7


class Looks:
    """Counts them."""

    def __init__(self) -> None:
        self.count = 0
        self.came = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self.came.set()


async def quiet(watching: FileWatch) -> None:
    """Wait until no more looks are due."""
    async with asyncio.timeout(DEADLINE):
        while watching._again is not None:
            await asyncio.sleep(0.001)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(autouse=True)
def only_notifications(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_POLL", NEVER)
    monkeypatch.setattr(watch, "_LAST", LAST)


@pytest.mark.skipif(not inotify.available(), reason="this system has no inotify")
async def test_a_write_is_looked_for_a_few_times_and_then_no_more(tmp_path: Path) -> None:
    looks = Looks()
    watching = FileWatch(tmp_path / "one.db", looks)
    with watching:
        await quiet(watching)
        assert 0 < looks.count <= MOST_LOOKS  # what was written just before it began
        before = looks.count
        looks.came.clear()
        (tmp_path / "one.db-wal").write_bytes(b"x")
        async with asyncio.timeout(DEADLINE):
            await looks.came.wait()
        await quiet(watching)
        # Making the file and writing it are two notifications; the second may come after the first look.
        assert before < looks.count <= before + 2 * MOST_LOOKS
    await watching.aclose()


@pytest.mark.skipif(not inotify.available(), reason="this system has no inotify")
async def test_other_files_of_the_folder_are_nothing_to_it(tmp_path: Path) -> None:
    looks = Looks()
    watching = FileWatch(tmp_path / "one.db", looks)
    with watching:
        await quiet(watching)
        before = looks.count
        for number in range(100):
            (tmp_path / f"other-{number}.db-wal").write_bytes(b"x")
        heard = asyncio.Event()
        marker = inotify.FolderWatch(tmp_path, ["last"], heard.set)
        (tmp_path / "last").write_bytes(b"x")
        async with asyncio.timeout(DEADLINE):
            await heard.wait()
        marker.close()
        assert looks.count == before
    await watching.aclose()


async def test_a_burst_of_notifications_is_one_look_at_once(tmp_path: Path) -> None:
    looks = Looks()
    watching = FileWatch(tmp_path / "one.db", looks)
    with watching:
        for _ in range(1000):
            watching._noticed()
        assert looks.count == 1
        await quiet(watching)
        assert looks.count <= MOST_LOOKS
    await watching.aclose()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files can't be counted here")
async def test_it_leaves_nothing_open(tmp_path: Path) -> None:
    tasks, files = len(asyncio.all_tasks()), open_files()
    for _ in range(20):
        watching = FileWatch(tmp_path / "one.db", Looks())
        with watching, watching:
            await asyncio.sleep(0)
        await watching.aclose()
        with watching:  # whoever waits when the database is closed
            await watching.aclose()
    assert open_files() == files
    assert len(asyncio.all_tasks()) == tasks


async def test_a_folder_that_is_not_there_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_POLL_ALONE", 0.001)
    looks = Looks()
    watching = FileWatch(tmp_path / "gone" / "one.db", looks)
    with watching:
        await quiet(watching)
        looks.came.clear()
        async with asyncio.timeout(DEADLINE):
            await looks.came.wait()
    await watching.aclose()
