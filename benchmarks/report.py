"""The table: on the terminal and in ``results.md``, with the commit and the machine it is of."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import plots
from benchmarks.registry import Scale
from benchmarks.runner import Result

RESULTS = Path(__file__).parent / "results.md"
COLUMNS = ("benchmark", "subject", "median", "unit", "spread", "to the peer", "to the limit", "note")
PLOTS = Path(__file__).parent / "plots"


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
    """The table's rows. A ratio says how many times as good peerpouch is, so that more than 1 is better in any unit."""
    table: list[tuple[str, ...]] = []
    for group in grouped(results):
        first = group[0]
        for result in group:
            median, spread = result.median, result.spread
            ratio = "" if result is first else _ratio(first, result)
            table.append(
                (
                    result.benchmark.title if result is first else "",
                    result.subject.name,
                    "failed" if median is None else number(median),
                    result.benchmark.unit,
                    "" if spread is None else f"± {spread:.0%}",
                    ratio if result.subject.role != "limit" else "",
                    ratio if result.subject.role == "limit" else "",
                    "; ".join(part for part in (result.subject.note, result.detail, result.error) if part),
                )
            )
    return table


def grouped(results: Sequence[Result]) -> list[list[Result]]:
    """The results of each benchmark."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.benchmark.name, []).append(result)
    return list(groups.values())


def _ratio(ours: Result, other: Result) -> str:
    if not ours.median or not other.median:
        return ""
    ratio = ours.median / other.median
    return f"{ratio if ours.benchmark.higher_is_better else 1 / ratio:.2f}"


def markdown(results: Sequence[Result], scale: Scale) -> str:
    """The whole of ``results.md``."""
    lines = [
        "# Figures",
        "",
        conditions(scale),
        "",
        "Medians of the rounds; spread is half of their range. The ratios say how many times as good peerpouch is: as",
        "its peer (or as itself under other conditions), and as the limit that bounds both.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|---|--:|---|---|--:|--:|---|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows(results)),
        "",
        *(f"![{group[0].benchmark.title}](plots/{group[0].benchmark.name}.svg)" for group in grouped(results)),
        "",
    ]
    return "\n".join(lines)


def write(results: Sequence[Result], scale: Scale) -> None:
    """``results.md`` and a plot of each benchmark; those of benchmarks that are no more are removed."""
    PLOTS.mkdir(exist_ok=True)
    for old in PLOTS.glob("*.svg"):
        old.unlink()
    for group in grouped(results):
        (PLOTS / f"{group[0].benchmark.name}.svg").write_text(plots.plot(group), "utf-8")
    RESULTS.write_text(markdown(results, scale), "utf-8")


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
