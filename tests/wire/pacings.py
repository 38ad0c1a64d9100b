"""What a pacer is told over three simulated lines and what it says, for the other implementation: ``python -m
tests.wire.pacings`` writes the vectors."""

from __future__ import annotations

import json
from pathlib import Path as File
from typing import Any

from peerpouch.wire import Pacer
from tests.wire.path import Line, Path
from tests.wire.test_pacing import drive, in_bursts

FILE = File(__file__).parents[1] / "vectors" / "pacing.json"

#: A line, seconds, seconds of a turn, and bytes of a burst each second if it is one: a slow one, one that becomes slow,
#: and a fast one. The turns are odd, so that no time falls on a limit, where rounding would decide.
_RUNS = (
    (Line(125e3, 0.0501), 1.2, 0.0113, None),
    (Line(1.25e6, 0.0201, bunched=0.0313, falls=((0.8, 250e3),)), 2.0, 0.0113, None),
    (Line(1.25e6, 0.0201), 2.2, 0.0077, 375e3),
    (Line(60e6, 0.0007), 0.2, 0.0033, None),
)


class _Recorder(Pacer):
    def __init__(self) -> None:
        super().__init__()
        self.steps: list[list[Any]] = []

    def sent(self, size: int) -> None:
        super().sent(size)
        self.steps.append(["sent", size])

    def room(self, now: float, buffered: int) -> int:
        room = super().room(now, buffered)
        self.steps.append(["room", now, buffered, room, self.low])
        return room

    def asks(self, now: float) -> bool:
        asks = super().asks(now)
        self.steps.append(["asks", now, asks])
        return asks

    def answered(self, now: float, took: float) -> None:
        super().answered(now, took)
        self.steps.append(["answered", now, took, self.mark, self.rate])


def record() -> list[dict[str, Any]]:
    """The runs: the round trip, and each call with its arguments and what came of it. Seconds and bytes."""
    runs = []
    for line, seconds, turn, burst in _RUNS:
        pacer = _Recorder()
        for _ in drive(Path(line), pacer, seconds, turn, *([in_bursts(burst)] if burst else [])):
            pass
        runs.append({"round_trip": line.round_trip, "steps": pacer.steps})
    return runs


if __name__ == "__main__":
    FILE.write_text(json.dumps(record()).replace('[["', '[\n["').replace("], [", "],\n[") + "\n", encoding="utf-8")
