"""``peerpouch find DATABASE QUERY``."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Any, Final

import click

from peerpouch.cli.databases import database_argument, opened
from peerpouch.cli.display import say, write_json
from peerpouch.cli.pipes import DASH, Output
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.ports import Database, FindResult

PAGE: Final = 500
"""Documents that are asked for at a time, so that memory does not grow with how many match."""

_PARTS: Final = frozenset(("selector", "fields", "sort", "limit", "skip", "use_index", "bookmark", "conflicts"))


@click.command("find")
@database_argument
@click.argument("query", metavar="QUERY", default=DASH)
@click.option("--explain", is_flag=True, help="Show which index would be used and how, and find nothing.")
@identity_option
@json_option
def command(database: str, query: str, explain: bool, identity: str | None, as_json: bool) -> None:
    """Find documents that match a selector; each is written as JSON on one line.

    QUERY is an object as CouchDB's _find takes it, {"selector": {…}}, with fields, sort, limit, skip, use_index,
    conflicts and bookmark if wanted; without it, or for -, it is read from standard input. Without a limit all
    documents are found. DATABASE is a file, a URL, or the webrtc://… of a share.
    """
    text = sys.stdin.buffer.read().decode("utf-8", "replace") if query == DASH else query
    run(_find(database, _parsed(text), explain, identity))


async def _find(target: str, query: dict[str, Any], explain: bool, identity: str | None) -> None:
    async with opened(target, identity) as database:
        if explain:
            query.pop("bookmark", None)
            write_json(await database.explain(**query))
            return
        warned = False
        async with Output() as out:
            async for page in _pages(database, query):
                if "warning" in page and not warned:
                    say(f"peerpouch: {page['warning']}")
                    warned = True
                await out.text([json.dumps(doc, ensure_ascii=False) for doc in page["docs"]])


def _parsed(text: str) -> dict[str, Any]:
    try:
        query = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"QUERY is not JSON: {error}") from None
    if not isinstance(query, dict) or "selector" not in query:
        raise click.UsageError('QUERY must be an object with a selector: {"selector": {…}}')
    if unknown := query.keys() - _PARTS:
        raise click.UsageError(f"QUERY has {', '.join(sorted(unknown))}; there are {', '.join(sorted(_PARTS))}.")
    return query


async def _pages(database: Database, query: dict[str, Any]) -> AsyncIterator[FindResult]:
    left, skip, bookmark = query.get("limit"), query.get("skip", 0), query.get("bookmark")
    if left is not None and type(left) is not int:
        raise click.UsageError("limit must be a number.")
    while True:
        asked = PAGE if left is None else min(PAGE, left)
        page = await database.find(**{**query, "limit": asked, "skip": skip, "bookmark": bookmark})
        yield page
        found = len(page["docs"])
        left = None if left is None else left - found
        if found < asked or left == 0:
            return
        given = page.get("bookmark")
        if given and given not in ("nil", bookmark):
            bookmark, skip = given, 0
        else:
            skip += found  # a server without bookmarks
