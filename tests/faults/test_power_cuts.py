"""An acknowledged write survives a power cut, and a cut leaves nothing half-written."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from peerpouch.storage import Storage, connections
from tests.faults.powercut import Disk
from tests.faults.workload import Account, losses_after, work

STEPS = 30
CUTS = 60


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk("powercut")
    yield made
    made.unregister()


async def record(disk: Disk, path: Path, monkeypatch: pytest.MonkeyPatch) -> Account:
    """Run the workload on the disk. Copies from the WAL are made often, so that cuts hit them too."""
    monkeypatch.setattr(connections, "_CHECKPOINT_PAGES", 40)
    account = Account()
    for seed in (1, 2):  # opened twice, so that a cut may also hit closing and opening
        async with await Storage.open(path, vfs=disk.name) as database:
            await work(database, account, disk.now, seed, STEPS)
    return account


async def cut_everywhere(disk: Disk, account: Account, folder: Path, moments: list[int]) -> dict[int, list[str]]:
    """What is wrong after a cut, for each of the moments."""
    rng = random.Random(42)
    found: dict[int, list[str]] = {}
    for moment in moments:
        place = folder / f"cut{moment}"
        place.mkdir()
        await asyncio.to_thread(disk.after_cut, moment, place, rng)
        wrong = await losses_after(partial(Storage.open, place / "test.db", durability="normal"), account, moment)
        if wrong:
            found[moment] = wrong
    return found


def moments_of(disk: Disk, syncs: bool) -> list[int]:
    rng = random.Random(7)
    end = disk.now()
    anywhere = {rng.randrange(end) for _ in range(CUTS // 2)}
    at_syncs = disk.syncs() if syncs else []
    # Just after a sync, and just before it, where the most is at stake.
    near = {moment - rng.randrange(2) for moment in rng.sample(at_syncs, min(CUTS // 2, len(at_syncs)))}
    making = set(range(1, 40, 3)) if syncs else set()  # while the file is made
    return sorted(anywhere | near | making)


async def test_an_acknowledged_write_survives_a_cut_at_any_moment(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await record(disk, tmp_path / "test.db", monkeypatch)
    assert len(disk.syncs()) > 60
    cuts = tmp_path / "cuts"
    cuts.mkdir()
    assert await cut_everywhere(disk, account, cuts, moments_of(disk, True)) == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_an_acknowledged_write_survives_a_cut_just_before_and_after_every_sync(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await record(disk, tmp_path / "test.db", monkeypatch)
    moments = sorted({moment - before for moment in disk.syncs() for before in (0, 1)})
    assert len(moments) > 100
    cuts = tmp_path / "cuts"
    cuts.mkdir()
    assert await cut_everywhere(disk, account, cuts, moments) == {}


async def test_without_syncs_writes_are_lost(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure = connections._configure

    def unsafe(connection: Any, location: Any, writer: bool) -> None:
        configure(connection, location, writer)
        if location.vfs:
            connection.execute("PRAGMA synchronous = OFF")

    monkeypatch.setattr(connections, "_configure", unsafe)
    account = await record(disk, tmp_path / "test.db", monkeypatch)
    cuts = tmp_path / "cuts"
    cuts.mkdir()
    moments = moments_of(disk, False)[::3]
    assert len(await cut_everywhere(disk, account, cuts, moments)) > len(moments) // 2
