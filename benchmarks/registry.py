"""What a benchmark is, and the table of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Scale:
    """How much a run does. The short form takes less than three minutes on two cores, the full one a coffee.

    Attributes:
        rounds: How often each subject runs; ``costly``: the same where each time costs seconds before it begins.
    """

    rounds: int
    costly: int
    documents: int
    single: int
    attachment: int
    live: int
    connects: int


FULL = Scale(rounds=5, costly=5, documents=100_000, single=2_000, attachment=256 << 20, live=100, connects=20)
SHORT = Scale(rounds=2, costly=1, documents=2_000, single=100, attachment=8 << 20, live=10, connects=2)


@dataclass(frozen=True)
class Run:
    """One run of one subject: an empty folder of its own, and how much to do."""

    folder: Path
    scale: Scale


@dataclass(frozen=True)
class Measured:
    """A figure in the benchmark's unit, and what else is worth saying of it."""

    value: float
    detail: str = ""


Role = Literal["peer", "limit", "other"]
"""A program of the same kind; what bounds both; or peerpouch itself, otherwise."""

Measure = Callable[[Run], Awaitable[Measured]]


@dataclass(frozen=True)
class Subject:
    """Who is measured: ``note`` names its durability, or whatever a comparison has to know; ``role`` is what it is to
    peerpouch, the first one."""

    name: str
    note: str
    measure: Measure
    role: Role = "other"


@dataclass
class Benchmark:
    """One line of the table.

    Attributes:
        name: What it is run by.
        title: What it measures.
        unit: ``docs/s``, ``MB/s`` or ``ms``.
        higher_is_better: Whether more of the unit is better.
        long: It takes minutes, and is run when it is named or asked for.
        costly: Its subjects need processes of their own, or more, before anything is measured.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool = True
    long: bool = False
    costly: bool = False
    subjects: list[Subject] = field(default_factory=list)

    def subject(self, name: str, note: str = "", role: Role = "other") -> Callable[[Measure], Measure]:
        """Add a subject; the first one is what the others are compared with."""

        def add(measure: Measure) -> Measure:
            self.subjects.append(Subject(name, note, measure, role))
            return measure

        return add


REGISTRY: dict[str, Benchmark] = {}


def benchmark(
    name: str,
    title: str,
    unit: str,
    *,
    higher_is_better: bool = True,
    long: bool = False,
    costly: bool = False,
) -> Benchmark:
    """A new line of the table."""
    if name in REGISTRY:
        raise ValueError(f"There is a benchmark {name!r} already.")
    REGISTRY[name] = Benchmark(name, title, unit, higher_is_better, long, costly)
    return REGISTRY[name]
