"""Running benchmarks: pass after pass over all of them, and in each the subjects in turn.

So what else happens on the machine meets the subjects of a benchmark alike, slow changes meet all benchmarks alike, and
a run that is cut off has measured what there was time for.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.registry import Benchmark, Measured, Run, Scale, Subject
from benchmarks.results import Result

Hands = Callable[[Benchmark, Subject, Scale], Measured]
"""Whatever runs one round of one subject, here or elsewhere, and raises what went wrong."""

UP = "not measured: the time was up"


class Failure(Exception):
    """A round failed elsewhere; says how."""


def here(benchmark: Benchmark, subject: Subject, scale: Scale) -> Measured:
    """Run one round in this process, in an empty folder.

    Raises:
        TimeoutError: it took longer than the scale's limit.
        Exception: whatever the subject raised.
    """
    gc.collect()
    with tempfile.TemporaryDirectory(prefix="peerpouch-bench-", ignore_cleanup_errors=True) as folder:
        return asyncio.run(_limited(subject, Run(Path(folder), scale)))


async def _limited(subject: Subject, run: Run) -> Measured:
    limit = asyncio.timeout(run.scale.limit)
    try:
        async with limit:
            return await subject.measure(run)
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"it took longer than {run.scale.limit:g} seconds") from None
        raise


def in_words(error: Exception) -> str:
    """As the table has it."""
    return str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}"


class Runner:
    """A run. ``say`` hears of each figure as it comes; ``after`` gets all results whenever a benchmark has been run.

    Args:
        minutes: When they are over no benchmark is begun any more, nor before one that took longer than what is left.
        clock: Seconds, from whenever.
    """

    def __init__(
        self,
        scale: Scale,
        hands: Hands = here,
        *,
        say: Callable[[str], None] = lambda text: None,
        after: Callable[[list[Result]], None] = lambda results: None,
        minutes: float | None = None,
        commit: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scale, self._hands, self._say, self._after = scale, hands, say, after
        self._seconds = float("inf") if minutes is None else minutes * 60
        self._commit, self._clock = commit, clock
        self._began = clock()

    def run(self, benchmarks: Sequence[Benchmark]) -> list[Result]:
        """Run benchmarks; gives a result for each of their subjects."""
        groups = [
            (each, [Result.of(each, subject, self._commit) for subject in chosen])
            for each in benchmarks
            if (chosen := each.chosen(self._scale))
        ]
        results = [result for _, group in groups for result in group]
        passes = max((each.rounds(self._scale) for each, _ in groups), default=0)
        for number in range(passes):
            due = [(each, group) for each, group in groups if each.rounds(self._scale) > number]
            for place, (each, group) in enumerate(due, 1):
                if self._has_time_for(group, number):
                    self._benchmark(each, group, f"{number + 1}/{passes} {place:>2}/{len(due)}")
                    self._after(results)
                elif number == 0:
                    for result in group:
                        result.error = UP
                    self._say(f"{each.name}: {UP}")
        return results

    def _has_time_for(self, group: list[Result], number: int) -> bool:
        most = min(self._seconds, self._scale.again * 60) if number else self._seconds
        left = most - (self._clock() - self._began)
        return left > sum(result.seconds[-1] for result in group if result.seconds)

    def _benchmark(self, benchmark: Benchmark, group: list[Result], place: str) -> None:
        for subject, result in zip(benchmark.chosen(self._scale), group, strict=True):
            if not result.error:
                figure = self._round(benchmark, subject, result)
                minutes, seconds = divmod(int(self._clock() - self._began), 60)
                self._say(f"{minutes:>2}:{seconds:02}  {place}  {benchmark.name:<28} {subject.name:<32} {figure}")

    def _round(self, benchmark: Benchmark, subject: Subject, result: Result) -> str:
        """Run one round; gives what it came to, in words."""
        began = self._clock()
        try:
            result.add(self._hands(benchmark, subject, self._scale))
        except Exception as error:  # noqa: BLE001 - the table says what failed; the others go on
            result.error = f"failed: {in_words(error)}"
            return result.error
        finally:
            result.seconds.append(round(self._clock() - began, 2))
        return f"{result.values[-1]:,.1f} {benchmark.unit}"
