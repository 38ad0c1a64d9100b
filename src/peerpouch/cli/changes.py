"""``peerpouch changes DATABASE``."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any, Literal

import click

from peerpouch.cli.databases import database_argument, json_value, opened
from peerpouch.cli.display import printable
from peerpouch.cli.pipes import Output
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.ports import Change


@click.command("changes")
@database_argument
@click.option("--follow", "live", is_flag=True, help="Go on with what changes later, until Ctrl-C.")
@click.option("--since", metavar="SEQ", default="0", help="Only what came after this sequence; now: nothing yet.")
@click.option("--limit", type=click.IntRange(min=1), help="So many at most.")
@click.option("--descending", is_flag=True, help="The newest first.")
@click.option("--all-leaves", is_flag=True, help="Each document with all its leaves, and not the winner alone.")
@click.option("--id", "doc_ids", metavar="ID", multiple=True, help="Only this document; may be repeated.")
@click.option("--selector", metavar="JSON", callback=json_value, help="Only documents that match a selector.")
@click.option("--docs", "include_docs", is_flag=True, help="With the documents; for --json.")
@identity_option
@json_option
def command(
    database: str, all_leaves: bool, doc_ids: tuple[str, ...], identity: str | None, as_json: bool, **options: Any
) -> None:
    """Show what changed: each document once, at its last change, in the order of changes.

    A line has sequence, revisions and id. DATABASE is a file, a URL, or the webrtc://… of a share. With --json, one
    change a line, as CouchDB has it.
    """
    if options["live"] and options["descending"]:
        raise click.UsageError("--follow has no end to begin at; leave out --descending.")
    style: Literal["main_only", "all_docs"] = "all_docs" if all_leaves else "main_only"

    def line(change: Change) -> str:
        if as_json:
            return json.dumps(change, ensure_ascii=False)
        revs = " ".join(printable(leaf["rev"]) for leaf in change["changes"])
        deleted = "  deleted" if change.get("deleted") else ""
        return f"{printable(str(change['seq']))}  {revs}  {printable(change['id'])}{deleted}"

    async def work() -> None:
        async with opened(database, identity) as source, Output() as out:
            feed = source.changes(style=style, doc_ids=list(doc_ids) or None, **options)
            async with aclosing(feed.pages()) as pages:
                async for page in pages:
                    await out.text([line(change) for change in page.results])

    run(work())
