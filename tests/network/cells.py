"""The networks that replication is tried in: every combination, and a small selection that has every pair of values."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, fields, replace
from typing import Any

from tests.network.internet import PATHS, Path_
from tests.network.shaper import Shape

LATENCIES = (0, 20, 100, 300)
LOSSES = (0, 1, 5)
RATES = (None, 1)
LARGEST = (None, 1280)

ENGINES = (("aiortc", "aiortc"), ("aiortc", "wrtc"), ("wrtc", "aiortc"))
"""Engines of who shares and who opens, beside the default one on both sides, in which all networks are tried."""

SLOW_ENGINE = 5_000_000
"""Bytes of the largest attachment where one end is pure Python, which takes ten times the processor time."""

SECONDS = 3.0
"""About how long a cell's attachment is to flow."""

SMALLEST, BIGGEST = 256_000, 50_000_000
"""Bytes of an attachment in the worst cell, and in one without trouble."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One network.

    Attributes:
        path: How the peers can reach each other.
        latency: Milliseconds of a round trip.
        loss: Percent of the packets, each way.
        rate: Megabits per second, or ``None`` for as fast as it goes.
        reorder: Whether some packets overtake others.
        largest: Bytes of the largest packet that gets through, or ``None``.
        engines: Of who shares, and of who opens.
    """

    path: Path_
    latency: int = 0
    loss: int = 0
    rate: int | None = None
    reorder: bool = False
    largest: int | None = None
    engines: tuple[str, str] = ("wrtc", "wrtc")

    def __str__(self) -> str:
        parts = [self.path, f"{self.latency}ms", f"{self.loss}%"]
        parts += [f"{self.rate}Mbit"] if self.rate else []
        parts += ["reordered"] if self.reorder else []
        parts += [f"{self.largest}B"] if self.largest else []
        parts += ["to".join(self.engines)] if self.engines in ENGINES else []
        return "-".join(parts)

    def shape(self, seed: int) -> Shape:
        """How the line behaves."""
        return Shape(
            round_trip=self.latency / 1000,
            loss=self.loss / 100,
            rate=None if self.rate is None else self.rate * 125_000.0,
            reorder=0.02 if self.reorder else 0.0,
            largest=self.largest,
            seed=seed,
        )

    @property
    def speed(self) -> float:
        """Bytes per second that one may expect: what a rule of thumb for TCP-like congestion control says."""
        speed = float(BIGGEST) / SECONDS
        round_trip = max(self.latency / 1000, 0.002)
        loss = self.loss / 100 + (0.01 if self.reorder else 0.0)
        if loss:  # Mathis et al. 1997: MSS / RTT * 1.22 / sqrt(p)
            speed = min(speed, 1150 / round_trip * 1.22 / loss**0.5)
        if self.rate is not None:
            speed = min(speed, self.rate * 125_000 * 0.9)
        return speed

    @property
    def attachment(self) -> int:
        """Bytes of the attachment to send."""
        return int(min(max(self.speed * SECONDS, SMALLEST), SLOW_ENGINE if self.engines in ENGINES else BIGGEST))

    @property
    def documents(self) -> int:
        """How many documents to send each way, of some 250 bytes."""
        return int(min(max(self.speed / 500, 50), 2000))


def matrix() -> list[Cell]:
    """Every combination. A machine without a network has nothing that could be shaped."""
    combinations = itertools.product(PATHS, LATENCIES, LOSSES, RATES, (False, True), LARGEST)
    return [cell for values in combinations if (cell := Cell(*values)).path != "loopback"] + [Cell("loopback")]


def pairwise(seed: int) -> list[Cell]:
    """Cells among which every two values of two properties meet, drawn by chance and few."""
    candidates = [cell for cell in matrix() if cell.path != "loopback"]
    return [Cell("loopback"), *_covering(candidates, {pair for cell in candidates for pair in _pairs(cell)}, seed)]


def other_engines(seed: int, *, everything: bool) -> list[Cell]:
    """Cells for the second engine: with ``everything`` each two engines in each path, with each latency and so on;
    without, each two engines and each path, drawn by chance."""
    candidates = [replace(cell, engines=engines) for cell in matrix() for engines in ENGINES]
    if everything:
        return _covering(candidates, {pair for cell in candidates for pair in _pairs(cell) if _engines_in(pair)}, seed)
    paths = list(PATHS)
    random.Random(seed).shuffle(paths)
    wanted = {frozenset({("engines", ENGINES[n % 3]), ("path", path)}) for n, path in enumerate(paths)}
    return _covering([cell for cell in candidates if cell.speed > 200_000], wanted, seed)


def _covering(candidates: list[Cell], uncovered: set[Any], seed: int) -> list[Cell]:
    """Few of them, drawn by chance, in which all these pairs are."""
    chance = random.Random(seed)
    chance.shuffle(candidates)
    chosen = []
    while uncovered:
        best = max(candidates, key=lambda cell: len(uncovered & _pairs(cell)))
        uncovered -= _pairs(best)
        chosen.append(best)
    return chosen


def _pairs(cell: Cell) -> set[Any]:
    values = [(field.name, getattr(cell, field.name)) for field in fields(cell)]
    return {frozenset(pair) for pair in itertools.combinations(values, 2)}


def _engines_in(pair: frozenset[tuple[str, Any]]) -> bool:
    return any(name == "engines" for name, _ in pair)
