"""A process that is killed in the middle of its work loses nothing that it had acknowledged."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from peerpouch.storage import Storage
from tests.faults.workload import Account, losses

DEADLINE = 60.0


async def kill_again_and_again(path: Path, rounds: int) -> tuple[Account, int]:
    """Start writers and kill each after a random time. Gives what they said, and how many died between two answers."""
    rng = random.Random(rounds)
    account = Account()
    in_the_middle = 0
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.worker", "kill", str(path),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        for seed in range(1, rounds + 1):
            worker.stdin.write(f"{seed}\n".encode())
            open_writes: set[str] = set()
            pid = 0
            # Kills at a random number of events, and then a random moment later, land everywhere.
            kill_at = rng.randrange(1, 120)
            events = 0
            async with asyncio.timeout(DEADLINE):
                while (line := (await worker.stdout.readline()).decode().split()) != ["dead"]:
                    assert line, "the worker ended by itself"
                    if line[0] == "pid":
                        pid = int(line[1])
                    elif line[0] == "begin":
                        account.begin(line[1], int(line[2]), 0)
                        open_writes.add(line[1])
                    elif line[0] == "done":
                        account.acknowledge(line[1], int(line[2]), 0)
                        open_writes.discard(line[1])
                    events += 1
                    if events == kill_at:
                        await asyncio.sleep(rng.random() * 0.01)
                        assert pid > 0, "0 would be everybody in this process's group"
                        os.kill(pid, signal.SIGKILL)
            in_the_middle += bool(open_writes)
    finally:
        worker.stdin.close()
        await worker.wait()
    return account, in_the_middle


@pytest.mark.parametrize("rounds", [25, pytest.param(300, marks=pytest.mark.slow)])
async def test_every_acknowledged_write_survives_being_killed(path: Path, rounds: int) -> None:
    account, in_the_middle = await kill_again_and_again(path, rounds)
    assert in_the_middle > rounds // 2, "too few kills landed in the middle of a write"
    assert len(account.acknowledged) > rounds
    async with await Storage.open(path, durability="normal") as database:
        assert await losses(database, account, 0) == []
        await database.compact()
        assert await losses(database, account, 0) == []


async def test_the_account_would_notice_a_loss(path: Path) -> None:
    account, _ = await kill_again_and_again(path, 2)
    lost = sorted(account.acknowledged)[0]
    async with await Storage.open(path, durability="normal") as database:
        doc = await database.get(lost)
        await database.purge({lost: [doc["_rev"]]})
        assert len(await losses(database, account, 0)) == 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"
