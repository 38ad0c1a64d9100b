"""How long a fresh process takes until peerpouch is there."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path

from benchmarks.registry import Measured, Run, benchmark

TIMES = 7
"""Processes in one round, of which the middle one counts: the first reads from the disk."""

importing = benchmark("import", "A fresh process that imports peerpouch", "ms", higher_is_better=False)
helping = benchmark("help", "peerpouch --help", "ms", higher_is_better=False)

BARE = ("-c", "pass")


async def _started(*arguments: str) -> Measured:
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *arguments), cwd=Path(__file__).parent.parent, stdout=asyncio.subprocess.DEVNULL
        )
        if await process.wait():
            raise RuntimeError(f"the process ended with {process.returncode}")
        times.append((time.perf_counter() - began) * 1000)
    return Measured(statistics.median(times))


for _line, _arguments in ((importing, ("-c", "import peerpouch")), (helping, ("-m", "peerpouch.cli", "--help"))):

    @_line.subject("peerpouch")
    async def _ours(run: Run, arguments: tuple[str, ...] = _arguments) -> Measured:
        return await _started(*arguments)

    @_line.subject("Python alone", "", "limit")
    async def _bare(run: Run) -> Measured:
        return await _started(*BARE)
