"""Running benchmarks: subjects in turn, round by round, each in a folder of its own."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.registry import Benchmark, Run, Scale, Subject

LIMIT = 600.0
"""Seconds that one run of one subject may take before it counts as failed."""


@dataclass
class Result:
    """What the rounds of one subject gave. ``error`` is set where one failed; the rounds before it still count."""

    benchmark: Benchmark
    subject: Subject
    values: list[float] = field(default_factory=list)
    detail: str = ""
    error: str = ""

    @property
    def median(self) -> float | None:
        """The middle of the rounds."""
        return statistics.median(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Half of the range, as a share of the median."""
        middle = self.median
        return (max(self.values) - min(self.values)) / 2 / middle if middle is not None else None


def run_all(benchmarks: Iterable[Benchmark], scale: Scale, say: Callable[[str], None]) -> list[Result]:
    """Run benchmarks one after the other; ``say`` hears of each figure as it comes."""
    return [result for each in benchmarks for result in _run(each, scale, say)]


def _run(benchmark: Benchmark, scale: Scale, say: Callable[[str], None]) -> list[Result]:
    results = [Result(benchmark, subject) for subject in benchmark.subjects]
    for _ in range(scale.costly if benchmark.costly else scale.rounds):
        for result in results:
            if not result.error:
                say(f"{benchmark.name:<24} {result.subject.name:<24} {_round(result, scale)}")
    return results


def _round(result: Result, scale: Scale) -> str:
    """Run one round; gives what it came to, in words."""
    gc.collect()
    with tempfile.TemporaryDirectory(prefix="peerpouch-bench-") as folder:
        try:
            measured = asyncio.run(asyncio.wait_for(result.subject.measure(Run(Path(folder), scale)), LIMIT))
        except Exception as error:  # noqa: BLE001 - the table says what failed; the other benchmarks go on
            traceback.print_exc()
            result.error = f"failed: {type(error).__name__}: {error}"
            return result.error
    result.values.append(measured.value)
    result.detail = measured.detail or result.detail
    return f"{measured.value:,.1f} {result.benchmark.unit}"
