"""The tables: on the terminal, in ``results.md`` and in the README, all made of ``results.json`` and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import directions, plots
from benchmarks.results import Report, Result, grouped, number, times_as_good

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
PLOTS = HERE / "plots"
COLUMNS = ("benchmark", "subject", "median", "unit", "spread", "to the peer", "to the limit", "note")
BEGIN, END = "<!-- figures: `make bench` writes what is between these lines -->", "<!-- figures end -->"
NONE_YET = "`make bench` measures it beside PouchDB and bare SQLite; no run of the full form is kept here yet."


def rows(results: Iterable[Result]) -> list[tuple[str, ...]]:
    """The table's rows. A ratio says how many times as good peerpouch is, so that more than 1 is better in any unit."""
    cells: list[tuple[str, ...]] = []
    for group in grouped(results).values():
        first = group[0]
        for result in group:
            median, spread = result.median, result.spread
            times = None if result is first else times_as_good(first, result)
            ratio = "" if times is None else f"{times:.2f}"
            cells.append(
                (
                    result.title if result is first else "",
                    result.subject,
                    "failed" if median is None else number(median),
                    result.unit,
                    "" if spread is None or len(result.values) == 1 else f"± {spread:.0%}",
                    ratio if result.role != "limit" else "",
                    ratio if result.role == "limit" else "",
                    "; ".join(part for part in (result.note, result.detail, result.error) if part),
                )
            )
    return cells


def table(columns: Sequence[str], cells: Iterable[Sequence[str]], right: Sequence[str] = ()) -> list[str]:
    """A table in Markdown; ``right`` are the columns of numbers."""
    return [
        f"| {' | '.join(columns)} |",
        f"|{'|'.join('--:' if name in right else '---' for name in columns)}|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells),
    ]


def markdown(report: Report) -> str:
    """The whole of ``results.md``."""
    results = report.results
    held = directions.rows(results)
    met = sum(row[3] == directions.MET for row in held)
    lines = [
        "# Figures",
        "",
        "Made by `make bench`; [how to run and read it](../docs/how-to/benchmarks.md).",
        "",
        *(f"* {name}: {text}" for name, text in report.conditions.items()),
        "",
        *_failures(report),
        "## Directions against measurements",
        "",
        f"{met} of {len(held)} are met. A ratio says how many times as good peerpouch is as the other in the same run.",
        "",
        *table(directions.COLUMNS, held, ("measured",)),
        "",
        "## All figures",
        "",
        "Medians of the rounds; spread is half of their range. The ratios say how many times as good the first subject",
        "is: as its peer (or as itself under other conditions), and as the limit that bounds both.",
        "",
        *table(COLUMNS, rows(results), ("median", "to the peer", "to the limit")),
        "",
        "## Plots",
        "",
        *(f"![{group[0].title}](plots/{name}.svg)" for name, group in grouped(results).items()),
        "",
    ]
    return "\n".join(lines)


def _failures(report: Report) -> list[str]:
    """What a reader must not overlook."""
    failed = [f"* {each.title}, {each.subject}: {each.error}" for each in report.results if each.error]
    commit = report.conditions.get("commit")
    others = sorted({f"{each.benchmark} ({each.commit})" for each in report.results if each.commit != commit})
    if others:
        failed.append(f"* Measured at other commits: {', '.join(others)}.")
    return ["What failed, is missing or differs:", "", *failed, ""] if failed else []


README_LINES = (
    "bulk-write",
    "concurrent-write",
    "point-read",
    "listing",
    "changes",
    "local-replication",
    "peer-replication",
    "peer-attachment",
    "live-latency",
    "connect",
)
"""Of these benchmarks the README has peerpouch's figure beside the first peer's, or the limit's where there is none."""


def for_readme(report: Report) -> str:
    """The README's table, without what was not measured."""
    groups = grouped(report.results)
    cells = [row for name in README_LINES if (row := _readme_row(groups.get(name, []))) is not None]
    conditions = report.conditions
    return "\n".join(
        [
            *table(
                ("", "peerpouch", "beside it", "has", "times as good"), cells, ("peerpouch", "has", "times as good")
            ),
            "",
            f"On {conditions.get('machine', '')}; {conditions.get('versions', '')}.",
        ]
    )


def _readme_row(group: list[Result]) -> tuple[str, ...] | None:
    if not group or group[0].median is None:
        return None
    ours, *others = group
    figure = f"{number(group[0].median)} {ours.unit}"
    beside = [each for role in ("peer", "limit") for each in others if each.role == role and each.median is not None]
    if not beside:
        return (ours.title, figure, "", "", "")
    other, times = beside[0], times_as_good(ours, beside[0])
    return (
        ours.title,
        figure,
        other.subject,
        f"{number(other.median or 0)} {other.unit}",
        "" if times is None else f"{times:.1f}",
    )


def with_figures(text: str, figures: str) -> str:
    """A page with other figures between the two lines that mark their place; as it is where there is no such place."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    return f"{head}{begin}\n\n{figures}\n\n{end}{tail}" if begin and end else text


def write(report: Report, folder: Path, readme: Path | None = None) -> None:
    """``results.json``, ``results.md``, a plot of each benchmark that was measured, and the README's figures."""
    pictures = folder / "plots"
    pictures.mkdir(parents=True, exist_ok=True)
    groups = grouped(report.results)
    for old in pictures.glob("*.svg"):
        if old.stem not in groups:
            old.unlink()
    for name, group in groups.items():
        (pictures / f"{name}.svg").write_text(plots.plot(group), "utf-8")
    report.save(folder)
    (folder / "results.md").write_text(markdown(report), "utf-8")
    if readme is not None:
        readme.write_text(with_figures(readme.read_text("utf-8"), for_readme(report)), "utf-8")
