"""A large attachment in and out of a database file, in a process of its own, whose memory is looked at.

``python -m benchmarks.attachments in|out FOLDER SIZE`` is that process.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import peerpouch
from benchmarks.processes import python
from benchmarks.registry import Measured, Run, Scale, benchmark

CHUNK = 1 << 20

attachment_in = benchmark("attachment-in", "Attachment into a database", "MB/s", costly=True)
attachment_out = benchmark("attachment-out", "Attachment out of a database", "MB/s", costly=True)


def size_of(scale: Scale) -> int:
    """Bytes of the attachment: 1 GiB in the full form."""
    return scale.large


@attachment_in.subject("peerpouch", "synced to disk, with its SHA-256 and MD5; streamed")
async def _attachment_in(run: Run) -> Measured:
    return await _measure(run, "in")


@attachment_out.subject("peerpouch", "streamed")
async def _attachment_out(run: Run) -> Measured:
    await _process("in", run)
    return await _measure(run, "out")


async def _measure(run: Run, task: str) -> Measured:
    result = await _process(task, run)
    size = size_of(run.scale)
    detail = f"{size >> 20} MiB, peak memory {result['peak'] / 1e6:,.0f} MB"
    return Measured(size / result["seconds"] / 1e6, detail)


async def _process(task: str, run: Run) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        await python("benchmarks.attachments", task, str(run.folder), str(size_of(run.scale)))
    )
    return result


async def noise(size: int) -> AsyncIterator[bytes]:
    """Bytes that don't compress."""
    # Shifted copies of one random block: making new ones would cost more than storing them.
    block = random.Random(1).randbytes(CHUNK * 2)
    for number in range(-(-size // CHUNK)):
        offset = number * 4099 % CHUNK
        yield block[offset : offset + min(CHUNK, size - number * CHUNK)]


async def _work(task: str, folder: Path, size: int) -> float:
    async with peerpouch.open(folder / "bench.db") as database:
        began = time.perf_counter()
        if task == "in":
            await database.put_attachment("big", "big", noise(size))
            return time.perf_counter() - began
        read = 0
        async for chunk in await database.get_attachment("big", "big"):
            read += len(chunk)
        if read != size:
            raise RuntimeError(f"{read} bytes came out, and {size} went in")
        return time.perf_counter() - began


if __name__ == "__main__":
    seconds = asyncio.run(_work(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
    print(json.dumps({"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
