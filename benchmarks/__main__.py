"""``python -m benchmarks [NAME …] [--short] [--long] [--list]``."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Importing a module of benchmarks puts them into the registry.
import benchmarks.attachments
import benchmarks.browsing
import benchmarks.feeds
import benchmarks.growth
import benchmarks.local
import benchmarks.peering
import benchmarks.pouchdb
import benchmarks.querying
import benchmarks.reading
import benchmarks.replicating
import benchmarks.serving
import benchmarks.sets
import benchmarks.shaped
import benchmarks.starting
import benchmarks.trusting
from benchmarks import report
from benchmarks.registry import FULL, REGISTRY, SHORT
from benchmarks.runner import run_all


@click.command()
@click.argument("names", nargs=-1)
@click.option("--short", is_flag=True, help="Fewer rounds and documents.")
@click.option("--long", is_flag=True, help="Those with a million documents too.")
@click.option("--list", "only_list", is_flag=True, help="Name the benchmarks and stop.")
def main(names: tuple[str, ...], short: bool, long: bool, only_list: bool) -> None:
    """Run the benchmarks, or those named. A run of all of them writes results.md."""
    if unknown := [name for name in names if name not in REGISTRY]:
        raise click.BadParameter(f"no benchmark {', '.join(unknown)}; there are {', '.join(REGISTRY)}")
    if only_list:
        for each in REGISTRY.values():
            click.echo(f"{each.name:<24} {each.title}: {', '.join(subject.name for subject in each.subjects)}")
        return
    scale = SHORT if short else FULL
    chosen = [each for name, each in REGISTRY.items() if name in names or (not names and (long or not each.long))]
    if not benchmarks.pouchdb.AVAILABLE:
        click.echo("PouchDB is left out: it needs Node, and `make setup-node`.", err=True)
    if not benchmarks.browsing.AVAILABLE:
        click.echo("Pages are left out: they need Chromium, and `make setup-browser`.", err=True)
    if benchmarks.shaped.LACKING is not None:
        click.echo(f"Links with latency and loss are left out: that {benchmarks.shaped.LACKING}.", err=True)
    results = run_all(chosen, scale, say=lambda text: click.echo(text, err=True))
    table = Table(*report.COLUMNS, title=report.conditions(scale), title_justify="left")
    for row in report.rows(results):
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 180).print(table)
    if not names:
        report.write(results, scale)
        click.echo(f"Written to {report.RESULTS}.", err=True)
    if any(result.error for result in results):
        sys.exit(1)


main()
