"""How long a fresh process takes until peerpouch is there."""

from __future__ import annotations

import statistics
import sys
import time

from benchmarks.processes import output
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
        await output(sys.executable, *arguments)
        times.append((time.perf_counter() - began) * 1000)
    return Measured(statistics.median(times))


for _line, _arguments in ((importing, ("-c", "import peerpouch")), (helping, ("-m", "peerpouch.cli", "--help"))):

    @_line.subject("peerpouch")
    async def _ours(run: Run, arguments: tuple[str, ...] = _arguments) -> Measured:
        return await _started(*arguments)

    @_line.subject("Python alone", "", "limit")
    async def _bare(run: Run) -> Measured:
        return await _started(*BARE)
