"""The table: on the terminal and in ``results.md``, with the commit and the machine it is of."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.registry import Scale
from benchmarks.runner import Result

RESULTS = Path(__file__).parent / "results.md"
COLUMNS = ("benchmark", "subject", "median", "unit", "spread", "ratio", "note")


def commit() -> str:
    """The commit that is measured, marked where the tree has changes beyond it."""
    try:
        text = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return text.strip()


def conditions(scale: Scale) -> str:
    """A line that says what the figures are of."""
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"Commit {commit()}, {when}, {machine}, {python}, {scale.rounds} rounds of {scale.documents:,} documents."


def rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The table's rows. ``ratio`` is peerpouch's figure over the subject's, so more than 1 is more of the unit."""
    first: dict[str, float | None] = {}
    table: list[tuple[str, ...]] = []
    for result in results:
        name, median, spread = result.benchmark.name, result.median, result.spread
        base = first.setdefault(name, median)
        is_first = result.subject is result.benchmark.subjects[0]
        table.append(
            (
                result.benchmark.title if is_first else "",
                result.subject.name,
                "failed" if median is None else _number(median),
                result.benchmark.unit,
                "" if spread is None else f"± {spread:.0%}",
                "" if is_first or not base or not median else f"{base / median:.2f}",
                "; ".join(part for part in (result.subject.note, result.detail, result.error) if part),
            )
        )
    return table


def markdown(results: Sequence[Result], scale: Scale) -> str:
    """The whole of ``results.md``."""
    lines = [
        "# Figures",
        "",
        conditions(scale),
        "",
        "Medians of the rounds; spread is half of their range. Ratio is peerpouch's figure over that of the subject.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|---|--:|---|---|--:|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows(results)),
        "",
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
