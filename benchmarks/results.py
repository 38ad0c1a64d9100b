"""What was measured: as values, and as the file ``results.json`` that tables and plots are made of."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.registry import Benchmark, Measured, Role, Subject

FILE = "results.json"


@dataclass
class Result:
    """What the rounds of one subject gave. ``error`` is set where one failed; the rounds before it still count.

    Attributes:
        values: Of each round, in the benchmark's unit; ``more``: other figures of each round, by name.
        seconds: What each round took as a whole.
        commit: What was measured.
    """

    benchmark: str
    title: str
    unit: str
    higher_is_better: bool
    subject: str
    note: str = ""
    role: Role = "other"
    values: list[float] = field(default_factory=list)
    more: dict[str, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    detail: str = ""
    error: str = ""
    commit: str = ""

    @classmethod
    def of(cls, benchmark: Benchmark, subject: Subject, commit: str = "") -> Result:
        """One without any round yet."""
        return cls(
            benchmark=benchmark.name,
            title=benchmark.title,
            unit=benchmark.unit,
            higher_is_better=benchmark.higher_is_better,
            subject=subject.name,
            note=subject.note,
            role=subject.role,
            commit=commit,
        )

    def add(self, measured: Measured) -> None:
        """One round more."""
        self.values.append(measured.value)
        self.detail = measured.detail or self.detail
        for name, value in measured.more.items():
            self.more.setdefault(name, []).append(value)

    def of_rounds(self, name: str = "") -> list[float]:
        """The figures of all rounds: the benchmark's own, or another by its name."""
        return self.more.get(name, []) if name else self.values

    @property
    def median(self) -> float | None:
        """The middle of the rounds."""
        return statistics.median(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Half of the range, as a share of the median."""
        middle = self.median
        return (max(self.values) - min(self.values)) / 2 / middle if middle else None


def grouped(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The results of each benchmark, by its name."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.benchmark, []).append(result)
    return groups


def times_as_good(ours: Result, other: Result) -> float | None:
    """How many times as good the first is: more than 1 is better in any unit. Nothing where one has no figure."""
    if not ours.median or not other.median:
        return None
    ratio = ours.median / other.median
    return ratio if ours.higher_is_better else 1 / ratio


def number(value: float) -> str:
    """As tables and plots have it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


@dataclass
class Report:
    """A run, as it is kept.

    Attributes:
        scale: The name of the form.
        conditions: What the figures are of, in words, by what they say: machine, versions, sizes.
    """

    scale: str
    conditions: dict[str, str]
    results: list[Result]

    def save(self, folder: Path) -> None:
        """Write the file, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"
        whole = folder / f".{FILE}.new"
        whole.write_text(text, "utf-8")
        whole.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Report | None:
        """What the file holds; nothing if there is none."""
        try:
            read: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8"))
        except FileNotFoundError:
            return None
        return cls(read["scale"], read["conditions"], [Result(**each) for each in read["results"]])
