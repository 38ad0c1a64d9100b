"""``peerpouch query DATABASE VIEW``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import click

from peerpouch.cli.databases import database_argument, json_value, opened
from peerpouch.cli.display import printable
from peerpouch.cli.pipes import Output
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.ports import Database, ViewRow

PAGE: Final = 1000
"""Rows that are asked for at a time, so that memory does not grow with the view."""

_GIVEN: Final = ("key", "startkey", "endkey")


def _key(ctx: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """A key that was given; null is one too."""
    return ... if value is None else json_value(ctx, parameter, value)


@click.command("query")
@database_argument
@click.argument("view", metavar="VIEW")
@click.option("--key", metavar="JSON", callback=_key, help="Only rows with this key.")
@click.option("--keys", metavar="JSON", callback=json_value, help="Only rows with these keys, an array, in its order.")
@click.option("--start", "startkey", metavar="JSON", callback=_key, help="Begin at this key.")
@click.option("--end", "endkey", metavar="JSON", callback=_key, help="End with this key.")
@click.option("--start-id", "startkey_docid", metavar="ID", help="With --start: begin at this document.")
@click.option("--end-id", "endkey_docid", metavar="ID", help="With --end: end with this document.")
@click.option("--exclusive-end", is_flag=True, help="Leave out what --end names.")
@click.option(
    "--reduce/--no-reduce", default=None, help="Whether to reduce; by default if the view has a function for it."
)
@click.option("--group", is_flag=True, help="Reduce the rows of each key.")
@click.option("--group-level", type=click.IntRange(min=0), help="Reduce the rows whose keys begin with the same parts.")
@click.option("--descending", is_flag=True, help="From the last key to the first; --start is then the greater one.")
@click.option("--skip", type=click.IntRange(min=0), default=0, help="Leave out the first so many rows.")
@click.option("--limit", type=click.IntRange(min=0), help="So many rows at most.")
@click.option("--docs", "include_docs", is_flag=True, help="With the documents; for --json.")
@click.option(
    "--update",
    type=click.Choice(["true", "false", "lazy"]),
    default="true",
    help="Whether the view is brought up to date before, not at all, or afterwards.",
)
@identity_option
@json_option
def command(database: str, view: str, exclusive_end: bool, identity: str | None, as_json: bool, **options: Any) -> None:
    """Show the rows of a stored view, DESIGNDOCUMENT/VIEW.

    A line has key, id and value, or key and value where rows are reduced, with tabs between. DATABASE is a file, a URL,
    or the webrtc://… of a share. With --json, one row a line, as CouchDB has it.
    """

    def line(row: ViewRow) -> str:
        if as_json:
            return json.dumps(row, ensure_ascii=False)
        parts = [json.dumps(row["key"], ensure_ascii=False), *([row["id"]] if "id" in row else [])]
        parts.append(json.dumps(row["value"], ensure_ascii=False))
        return "\t".join(map(printable, parts))

    async def work() -> None:
        async with opened(database, identity) as source, Output() as out:
            async for rows in _pages(source, view, {**options, "inclusive_end": not exclusive_end}):
                await out.text([line(row) for row in rows])

    run(work())


async def _pages(database: Database, view: str, options: dict[str, Any]) -> AsyncIterator[list[ViewRow]]:
    whole = options["keys"] is not None or options["group"] or options["group_level"] is not None
    left = options["limit"]
    options = {name: value for name, value in options.items() if value is not ...}
    while True:
        asked = left if whole else PAGE if left is None else min(PAGE, left)
        rows = (await database.query(view, **{**options, "limit": asked}))["rows"]
        yield rows
        left = None if left is None else left - len(rows)
        if whole or left == 0 or len(rows) < PAGE or "id" not in rows[-1]:
            return
        options = {**options, **_behind(rows, options)}


def _behind(rows: list[ViewRow], options: dict[str, Any]) -> dict[str, Any]:
    """Where to go on: at the last row's key and document, of whose rows so many are known."""
    key, doc_id = rows[-1]["key"], rows[-1]["id"]
    known = 0
    for row in reversed(rows):
        if row["key"] != key or row["id"] != doc_id:
            break
        known += 1
    if known == len(rows):
        # How many came before these is not known, but from where they were counted.
        return {"skip": options["skip"] + len(rows)}
    place: dict[str, Any] = {"startkey": key, "startkey_docid": doc_id, "skip": known}
    if "key" in options:
        # One key is a range from it to it.
        place |= {"key": ..., "endkey": options["key"]}
    return place
