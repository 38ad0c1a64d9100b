"""``peerpouch ls DATABASE``."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import click

from peerpouch.cli.databases import database_argument, opened
from peerpouch.cli.display import printable
from peerpouch.cli.pipes import Output
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.ports import AllDocsRow

LAST = "\U0010ffff"
"""The last character that there is: ids with a prefix end before it."""


@click.command("ls")
@database_argument
@click.option("--prefix", metavar="TEXT", help="Only ids that begin with this.")
@click.option("--start", "startkey", metavar="ID", help="Begin at this id.")
@click.option("--end", "endkey", metavar="ID", help="End with this id.")
@click.option("--descending", is_flag=True, help="From the last id to the first.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Leave out the first so many.")
@click.option("--limit", type=click.IntRange(min=0), help="So many at most.")
@click.option("--long", "in_full", is_flag=True, help="With revisions.")
@click.option("--docs", is_flag=True, help="The documents, one as JSON in each line.")
@identity_option
@json_option
def command(
    database: str, prefix: str | None, in_full: bool, docs: bool, identity: str | None, as_json: bool, **options: Any
) -> None:
    """List a database's documents by their ids, however many they are.

    DATABASE is a file, a URL, or the webrtc://… of a share. With --json, one row a line.
    """
    if prefix is not None:
        if options["startkey"] is not None or options["endkey"] is not None:
            raise click.UsageError("--prefix is a --start and --end of its own.")
        bounds = (prefix, prefix + LAST)
        options["startkey"], options["endkey"] = bounds[::-1] if options["descending"] else bounds

    def line(row: AllDocsRow) -> str:
        if as_json or docs:
            return json.dumps(row if as_json else row["doc"], ensure_ascii=False)
        return f"{row['value']['rev']}  {printable(row['id'])}" if in_full else printable(row["id"])

    async def work() -> None:
        async with opened(database, identity) as source, Output() as out:
            listing = source.all_docs(include_docs=docs, **options)
            async with aclosing(listing.pages()) as pages:
                async for page in pages:
                    await out.text([line(row) for row in page])

    run(work())
