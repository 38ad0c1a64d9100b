"""Databases that are made once in a run and copied for each round that reads them: making takes longer than reading.

They are kept beside the folders of the rounds, and go with the process that measures.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

import peerpouch
from benchmarks.documents import Make, batches, record
from peerpouch.ports import Database, WriteFailure


async def fill(database: Database, count: int, make: Make = record) -> None:
    """Write documents, a batch at a time.

    Raises:
        PeerPouchError: the first one that was refused.
    """
    for batch in batches(count, make=make):
        for result in await database.bulk_docs(batch):
            if isinstance(result, WriteFailure):
                raise result.error


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="peerpouch-bench-kept-")


async def kept(name: str, make: Callable[[Path], Awaitable[object]]) -> Path:
    """The file or folder that ``make`` makes at a path, the first time."""
    path = Path(_folder().name) / name
    if not path.exists():
        begun = path.with_name(f"begun-{name}")
        if begun.is_dir():
            shutil.rmtree(begun)
        begun.unlink(missing_ok=True)
        await make(begun)
        begun.rename(path)
    return path


async def records(count: int, name: str = "records") -> Path:
    """A closed database file with so many records, not to be written to unless the name is one's own."""

    async def make(path: Path) -> None:
        async with peerpouch.open(path, durability="normal") as database:
            await fill(database, count)

    return await kept(f"{name}-{count}.db", make)


async def copy_of_records(folder: Path, count: int, name: str = "bench.db") -> Path:
    """A copy of them in a folder."""
    path = folder / name
    shutil.copyfile(await records(count), path)
    return path
