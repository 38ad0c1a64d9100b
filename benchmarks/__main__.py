"""``python -m benchmarks [NAME …]``; see ``docs/how-to/benchmarks.md``."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks import directions, report
from benchmarks.catalogue import REGISTRY, left_out
from benchmarks.conditions import commit, conditions
from benchmarks.registry import FULL, SHORT, Benchmark
from benchmarks.results import Report, Result, grouped
from benchmarks.runner import Runner
from benchmarks.worker import Worker

SHORT_FOLDER = report.HERE.parent / "build" / "benchmarks"
"""Where the short form's results go: they are for looking at once."""


@click.command()
@click.argument("names", nargs=-1)
@click.option("--short", is_flag=True, help="Fewer rounds and documents: less than three minutes in all.")
@click.option("--minutes", type=float, help="Begin nothing that would not be done by then.")
@click.option("--rounds", type=click.IntRange(1), help="At most so many rounds.")
@click.option("--keep", is_flag=True, help="Put what is measured into the results that there are.")
@click.option("--render", is_flag=True, help="Measure nothing; make tables and plots of the results anew.")
@click.option("--list", "only_list", is_flag=True, help="Name the benchmarks and what they took last, and stop.")
def main(
    names: tuple[str, ...],
    short: bool,
    minutes: float | None,
    rounds: int | None,
    keep: bool,
    render: bool,
    only_list: bool,
) -> None:
    """Run the benchmarks, or those named. A run of all of them writes results.md."""
    if unknown := [name for name in names if name not in REGISTRY]:
        raise click.BadParameter(f"no benchmark {', '.join(unknown)}; there are {', '.join(REGISTRY)}")
    folder, readme = (SHORT_FOLDER, None) if short else (report.HERE, report.README)
    before = Report.load(folder)
    if only_list:
        show_list(before)
        return
    if render:
        if before is None:
            raise click.UsageError(f"There is no {folder / 'results.json'} yet.")
        report.write(before, folder, readme)
        return
    for text in left_out():
        say(f"Left out: {text}.")
    scale = SHORT if short else FULL
    if rounds is not None:
        scale = replace(scale, rounds=min(rounds, scale.rounds), costly=min(rounds, scale.costly))
    made = before if keep and before is not None else Report(scale.name, conditions(scale), [])
    old, writes = made.results, keep or not names

    def after(results: list[Result]) -> None:
        made.results = merged(old, results)
        if writes:
            report.write(made, folder, readme)

    chosen = [each for name, each in REGISTRY.items() if not names or name in names]
    # Whoever ends a run that takes too long leaves no process of it behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    began = time.monotonic()
    with Worker() as worker:
        results = Runner(scale, worker, say=say, after=after, minutes=minutes, commit=commit()).run(chosen)
    after(results)
    show(results)
    say(f"Took {(time.monotonic() - began) / 60:.1f} minutes, and {processor() / 60:.1f} of a processor's time.")
    if writes:
        say(f"Written to {folder / 'results.md'}.")
    failed = [result for result in results if result.error]
    for result in failed:
        say(f"{result.benchmark}, {result.subject}: {result.error}")
    sys.exit(bool(failed))


def processor() -> float:
    """Seconds of a processor that this process and all that it waited for have used."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def say(text: str) -> None:
    click.echo(text, err=True)


def merged(old: list[Result], new: list[Result]) -> list[Result]:
    """The newest results of each benchmark, in the catalogue's order; nothing of benchmarks that are no more."""
    begun = [group for group in grouped(new).values() if any(each.seconds or each.error for each in group)]
    groups = grouped(old) | {group[0].benchmark: group for group in begun}
    return [result for name in REGISTRY for result in groups.get(name, [])]


def show(results: list[Result]) -> None:
    """Print the tables."""
    console = Console(width=None if sys.stdout.isatty() else 180)
    for columns, rows in ((report.COLUMNS, report.rows(results)), (directions.COLUMNS, directions.rows(results))):
        if rows:
            table = Table(*columns)
            for row in rows:
                table.add_row(*map(Text, row))
            console.print(table)


def show_list(before: Report | None) -> None:
    """Print every benchmark with its subjects, and how long all of its rounds took in the results that there are."""
    took = grouped(before.results) if before is not None else {}
    total = 0.0
    for each in REGISTRY.values():
        seconds = sum(sum(result.seconds) for result in took.get(each.name, []))
        total += seconds
        click.echo(f"{each.name:<28} {f'{seconds:,.0f} s' if seconds else '':>8}  {in_words(each)}")
    if total:
        click.echo(f"{'':<28} {total / 60:,.0f} min in the last results")


def in_words(each: Benchmark) -> str:
    return f"{each.title}: {'; '.join(subject.name for subject in each.subjects)}"


if __name__ == "__main__":
    main()
