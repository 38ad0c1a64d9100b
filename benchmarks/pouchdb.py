"""PouchDB with LevelDB in Node, beside peerpouch in the same run, on the same documents.

It needs Node and the npm package that the interoperability tests have (``make setup-node``); without them its subjects
are left out.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.attachments import attachment_in, attachment_out, size_of
from benchmarks.documents import SETS, record
from benchmarks.local import bulk_write, changes, concurrent_write, listing, point_read, single_write, whole
from benchmarks.peering import replication as peer_replication
from benchmarks.prepared import kept
from benchmarks.processes import output
from benchmarks.reading import READERS, TIMES, changes_from_end, concurrent_read, random_ids
from benchmarks.registry import REGISTRY, Measure, Measured, Run
from benchmarks.replicating import local_replication

HERE = Path(__file__).parent
NODE_FOLDER = HERE.parent / "tests" / "interop" / "node"
NODE = shutil.which("node")
AVAILABLE = NODE is not None and (NODE_FOLDER / "node_modules" / "pouchdb").is_dir()

NAME = "PouchDB"
UNSYNCED = "LevelDB, not synced to disk: a power cut loses what was written last"

LARGEST = 32 << 20
"""Bytes of an attachment: 128 MiB end its process, which makes an array in JSON of them for the revision's digest."""


async def _lines(count: int, kind: str) -> Path:
    """Documents as lines of JSON."""

    async def make(path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(doc)}\n" for doc in map(SETS.get(kind, record), range(count)))

    return await kept(f"documents-{kind}-{count}.jsonl", make)


async def _database(count: int, kind: str) -> Path:
    """A folder with a database of them."""

    async def make(path: Path) -> None:
        path.mkdir()
        await _node({"task": "bulk", "folder": str(path), "documents": str(await _lines(count, kind))})

    return await kept(f"leveldb-{kind}-{count}", make)


async def ask(
    run: Run, task: str, count: int | None = None, kind: str = "", *, filled: bool = False, **order: Any
) -> dict[str, Any]:
    """Run a task in a Node process of its own; gives its operations, seconds and peak of memory.

    Args:
        count: Documents that it is given; ``kind``: of one of the other sets.
        filled: It finds them in its database, and is not to write them first.

    Raises:
        RuntimeError: with what the process wrote to stderr.
    """
    if count is not None:
        order["documents"] = str(await _lines(count, kind))
        if filled:
            shutil.copytree(await _database(count, kind), run.folder, dirs_exist_ok=True)
    return await _node({**order, "task": task, "folder": str(run.folder), "filled": filled})


async def _node(order: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        await output(
            *(str(NODE), "--max-old-space-size=8192", str(HERE / "pouchdb.mjs")),
            str(NODE_FOLDER / "package.json"),
            given=json.dumps(order).encode(),  # more than a command line takes
        )
    )
    return result


def rate(result: dict[str, Any], expected: int | None = None) -> Measured:
    """Operations a second.

    Raises:
        RuntimeError: it did another number of them than it was to.
    """
    if expected is not None:
        whole(result["operations"], expected)
    return Measured(result["operations"] / result["seconds"])


async def _bulk_write(run: Run) -> Measured:
    return rate(await ask(run, "bulk", run.scale.documents), run.scale.documents)


async def _single_write(run: Run) -> Measured:
    return rate(await ask(run, "put", run.scale.single, together=1))


async def _concurrent_write(run: Run) -> Measured:
    return rate(await ask(run, "put", run.scale.single * 4, together=64))


async def _read(run: Run, together: int) -> Measured:
    ids = random_ids(run.scale)
    return rate(await ask(run, "get", run.scale.documents, filled=True, ids=ids, together=together))


async def _point_read(run: Run) -> Measured:
    return await _read(run, 1)


async def _concurrent_read(run: Run) -> Measured:
    return await _read(run, READERS)


async def _listing(run: Run) -> Measured:
    return rate(await ask(run, "list", run.scale.documents, filled=True), run.scale.documents)


async def _changes(run: Run) -> Measured:
    return rate(await ask(run, "changes", run.scale.documents, filled=True), run.scale.documents)


async def _changes_from_end(run: Run) -> Measured:
    return rate(await ask(run, "changesFromEnd", run.scale.documents, filled=True, times=TIMES))


def _replication(kind: str = "") -> Measure:
    """Of the records, or of a tenth as many of another set."""

    async def measure(run: Run) -> Measured:
        count = run.scale.documents // (10 if kind else 1)
        return rate(await ask(run, "replicate", count, kind, filled=True), count)

    return measure


async def _attachment(run: Run, task: str) -> Measured:
    size = min(size_of(run.scale), LARGEST)
    result = await ask(run, task, size=size)
    detail = f"{size >> 20} MiB, peak memory {result['peak'] / 1e6:,.0f} MB"
    return Measured(result["operations"] / result["seconds"] / 1e6, detail)


async def _attachment_in(run: Run) -> Measured:
    return await _attachment(run, "attach")


async def _attachment_out(run: Run) -> Measured:
    return await _attachment(run, "fetch")


if AVAILABLE:
    bulk_write.subject(NAME, UNSYNCED, "peer")(_bulk_write)
    single_write.subject(NAME, UNSYNCED, "peer")(_single_write)
    concurrent_write.subject(NAME, UNSYNCED, "peer")(_concurrent_write)
    point_read.subject(NAME, "", "peer")(_point_read)
    concurrent_read.subject(NAME, "", "peer")(_concurrent_read)
    listing.subject(NAME, "all rows at once: it has no other way", "peer")(_listing)
    changes.subject(NAME, "", "peer")(_changes)
    changes_from_end.subject(NAME, "", "peer")(_changes_from_end)
    local_replication.subject(NAME, UNSYNCED, "peer")(_replication())
    for _kind in ("", *SETS):
        _line = REGISTRY[f"peer-replication-{_kind}"] if _kind else peer_replication
        _line.subject(f"{NAME}, one process", UNSYNCED, "peer", short=not _kind)(_replication(_kind))
    attachment_in.subject(NAME, f"{UNSYNCED}; from one buffer in memory", "peer")(_attachment_in)
    attachment_out.subject(NAME, "into one buffer in memory", "peer")(_attachment_out)
