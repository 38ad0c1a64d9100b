"""PouchDB with LevelDB in Node, beside peerpouch in the same run, on the same documents.

It needs Node and the npm package that the interoperability tests have (``make setup-node``); without them its subjects
are left out.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.attachments import attachment_in, attachment_out, size_of
from benchmarks.documents import record
from benchmarks.local import bulk_write, changes, concurrent_write, listing, point_read, single_write
from benchmarks.peering import replication as peer_replication
from benchmarks.reading import TIMES, changes_from_end, concurrent_read, random_ids
from benchmarks.registry import Measured, Run
from benchmarks.replicating import local_replication

HERE = Path(__file__).parent
NODE_FOLDER = HERE.parent / "tests" / "interop" / "node"
NODE = shutil.which("node")
AVAILABLE = NODE is not None and (NODE_FOLDER / "node_modules" / "pouchdb").is_dir()

NAME = "PouchDB"
UNSYNCED = "LevelDB, not synced to disk: a power cut loses what was written last"

LARGEST = 64 << 20
"""Bytes of an attachment: 128 MiB end its process, which makes an array in JSON of them for the revision's digest."""


async def ask(run: Run, task: str, documents: Iterable[dict[str, Any]] | None = None, **order: Any) -> dict[str, Any]:
    """Run a task in a Node process of its own; gives its operations, seconds and peak of memory.

    Raises:
        RuntimeError: with what the process wrote to stderr.
    """
    if documents is not None:
        path = run.folder / "documents.jsonl"
        path.write_text("".join(f"{json.dumps(doc)}\n" for doc in documents), "utf-8")
        order["documents"] = str(path)
    order |= {"task": task, "folder": str(run.folder)}
    process = await asyncio.create_subprocess_exec(
        *(str(NODE), "--max-old-space-size=8192", str(HERE / "pouchdb.mjs")),
        *(str(NODE_FOLDER / "package.json"), json.dumps(order)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"node ended with {process.returncode}: {err.decode()[-500:]}")
    result: dict[str, Any] = json.loads(out)
    return result


def rate(result: dict[str, Any]) -> Measured:
    """Operations a second."""
    return Measured(result["operations"] / result["seconds"])


def records(count: int) -> Iterable[dict[str, Any]]:
    """The documents that peerpouch's own benchmarks write."""
    return map(record, range(count))


async def _bulk_write(run: Run) -> Measured:
    return rate(await ask(run, "bulk", records(run.scale.documents)))


async def _single_write(run: Run) -> Measured:
    return rate(await ask(run, "put", records(run.scale.single), together=1))


async def _concurrent_write(run: Run) -> Measured:
    return rate(await ask(run, "put", records(run.scale.single * 4), together=64))


async def _point_read(run: Run) -> Measured:
    return rate(await ask(run, "get", records(run.scale.documents), ids=random_ids(run.scale), together=1))


async def _concurrent_read(run: Run) -> Measured:
    return rate(await ask(run, "get", records(run.scale.documents), ids=random_ids(run.scale), together=16))


async def _listing(run: Run) -> Measured:
    return rate(await ask(run, "list", records(run.scale.documents)))


async def _changes(run: Run) -> Measured:
    return rate(await ask(run, "changes", records(run.scale.documents)))


async def _changes_from_end(run: Run) -> Measured:
    return rate(await ask(run, "changesFromEnd", records(run.scale.documents), times=TIMES))


async def _replication(run: Run) -> Measured:
    return rate(await ask(run, "replicate", records(run.scale.documents)))


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
    local_replication.subject(NAME, UNSYNCED, "peer")(_replication)
    peer_replication.subject(f"{NAME}, one process", UNSYNCED, "peer")(_replication)
    attachment_in.subject(NAME, f"{UNSYNCED}; from one buffer in memory", "peer")(_attachment_in)
    attachment_out.subject(NAME, "into one buffer in memory", "peer")(_attachment_out)
