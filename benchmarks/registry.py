"""What a benchmark is, and the table of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Scale:
    """How much a run does. The short form takes less than three minutes on two cores, the full one forty.

    Attributes:
        name: ``full`` or ``short``.
        rounds: How often each subject runs; ``costly``: the same where each time costs seconds before it begins.
        again: Minutes after which nothing is begun that has been measured once.
        whole: Whether all subjects run, or those only that the short form has too.
        documents: Records of a database. The same where an index is built of them: ``indexed``; where a record takes
            PouchDB a millisecond or more: ``slow``; through a server or over a link with latency: ``far``; and where
            they are to be many: ``million``.
        single: Operations that are timed one by one.
        attachment: Bytes; ``large``: the same where it is to be large.
        live: Changes that are followed each way.
        connects: Connections, each of fresh processes.
        gets: Reads beside something that flows; ``feeds``: that are open at once.
        seconds: Of a benchmark that asks for a time.
        limit: Seconds after which a round counts as failed.
    """

    name: str
    whole: bool
    rounds: int
    costly: int
    again: float
    documents: int
    indexed: int
    slow: int
    far: int
    million: int
    single: int
    attachment: int
    large: int
    live: int
    connects: int
    gets: int
    feeds: int
    seconds: int
    limit: float


FULL = Scale(
    name="full",
    whole=True,
    rounds=5,
    costly=3,
    again=40.0,
    documents=50_000,
    indexed=100_000,
    slow=5_000,
    far=20_000,
    million=1_000_000,
    single=2_000,
    attachment=256 << 20,
    large=1 << 30,
    live=100,
    connects=8,
    gets=50,
    feeds=1_000,
    seconds=3,
    limit=300.0,
)
SHORT = Scale(
    name="short",
    whole=False,
    rounds=2,
    costly=1,
    again=2.7,
    documents=2_000,
    indexed=2_000,
    slow=200,
    far=1_000,
    million=10_000,
    single=100,
    attachment=8 << 20,
    large=8 << 20,
    live=10,
    connects=2,
    gets=10,
    feeds=100,
    seconds=1,
    limit=60.0,
)


@dataclass(frozen=True)
class Run:
    """One run of one subject: an empty folder of its own, and how much to do."""

    folder: Path
    scale: Scale


@dataclass(frozen=True)
class Measured:
    """A figure in the benchmark's unit, what else is worth saying of it in words, and more figures by name."""

    value: float
    detail: str = ""
    more: Mapping[str, float] = field(default_factory=dict)


Role = Literal["peer", "limit", "other"]
"""A program of the same kind; what bounds both; or peerpouch itself, otherwise."""

Measure = Callable[[Run], Awaitable[Measured]]


@dataclass(frozen=True)
class Subject:
    """Who is measured: ``note`` names its durability, or whatever a comparison has to know; ``role`` is what it is to
    peerpouch, the first one; ``short``: the short form has it too."""

    name: str
    note: str
    measure: Measure
    role: Role = "other"
    short: bool = True


@dataclass
class Benchmark:
    """One line of the table.

    Attributes:
        name: What it is run by.
        title: What it measures.
        unit: ``docs/s``, ``MB/s``, ``ms`` or ``MB``.
        higher_is_better: Whether more of the unit is better.
        once: It takes minutes, and runs once in a run.
        costly: Its subjects need processes of their own, or more, before anything is measured.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool = True
    once: bool = False
    costly: bool = False
    subjects: list[Subject] = field(default_factory=list)

    def subject(
        self, name: str, note: str = "", role: Role = "other", *, short: bool = True
    ) -> Callable[[Measure], Measure]:
        """Add a subject; the first one is what the others are compared with."""

        def add(measure: Measure) -> Measure:
            if any(each.name == name for each in self.subjects):
                raise ValueError(f"{self.name} has a subject {name!r} already.")
            self.subjects.append(Subject(name, note, measure, role, short))
            return measure

        return add

    def chosen(self, scale: Scale) -> list[Subject]:
        """The subjects that run."""
        return [each for each in self.subjects if each.short or scale.whole]

    def rounds(self, scale: Scale) -> int:
        """How often each subject runs."""
        return 1 if self.once else scale.costly if self.costly else scale.rounds


REGISTRY: dict[str, Benchmark] = {}


def benchmark(
    name: str,
    title: str,
    unit: str,
    *,
    higher_is_better: bool = True,
    once: bool = False,
    costly: bool = False,
) -> Benchmark:
    """A new line of the table."""
    if name in REGISTRY:
        raise ValueError(f"There is a benchmark {name!r} already.")
    REGISTRY[name] = Benchmark(name, title, unit, higher_is_better, once, costly)
    return REGISTRY[name]
