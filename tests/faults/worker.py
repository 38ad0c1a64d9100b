"""A process that writes to a database and says what it does, for tests that kill it or let several of them compete.

python -m tests.faults.worker kill PATH            forks a writer for each line on standard input, says its pid
python -m tests.faults.worker count PATH NAME N    raises the counter of a shared document N times
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from peerpouch.errors import Conflict, NotFound
from peerpouch.storage import Storage
from tests.faults.workload import Account, work


class Spoken(Account):
    """An account that is told to whoever survives: one line, in one write, per event."""

    def begin(self, doc_id: str, version: int, moment: int) -> None:
        os.write(1, f"begin {doc_id} {version}\n".encode())

    def acknowledge(self, doc_id: str, version: int, moment: int) -> None:
        os.write(1, f"done {doc_id} {version}\n".encode())


async def write_until_killed(path: str, seed: int) -> None:
    async with await Storage.open(path) as database:
        os.write(1, b"open\n")
        await work(database, Spoken(), lambda: 0, seed, 1_000_000)


def fork_writers(path: str) -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.write(1, f"pid {os.getpid()}\n".encode())  # by itself, so that it is the first that is heard of it
            asyncio.run(write_until_killed(path, int(line)))
            os._exit(0)
        os.waitpid(pid, 0)
        os.write(1, b"dead\n")


async def count(path: str, name: str, times: int) -> None:
    async with await Storage.open(path, durability="normal") as database:
        for n in range(times):
            await database.put({"_id": f"{name}-{n:05}"})
            while True:
                try:
                    doc = await database.get("counter")
                except NotFound:
                    doc = {"_id": "counter", "n": 0}
                try:
                    await database.put(doc | {"n": doc["n"] + 1})
                except Conflict:
                    continue
                break


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        fork_writers(sys.argv[2])
    else:
        asyncio.run(count(sys.argv[2], sys.argv[3], int(sys.argv[4])))
