"""``peerpouch put DATABASE DOCUMENT``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from peerpouch.cli.databases import database_argument, naming, opened
from peerpouch.cli.display import printable, write_json
from peerpouch.cli.pipes import DASH
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.errors import Conflict, NotFound
from peerpouch.ports import Database, Written

ATTEMPTS = 10
"""How often --replace tries again when somebody else was faster."""


@click.command("put")
@database_argument
@click.argument("document", metavar="[DOCUMENT]", default=DASH)
@click.option("--replace", is_flag=True, help="Take the place of the current revision, whatever it is.")
@identity_option
@json_option
def command(database: str, document: str, replace: bool, identity: str | None, as_json: bool) -> None:
    """Write a document, given as JSON; without DOCUMENT, or for -, it is read from standard input.

    Without an _id it gets one. A document that exists is replaced if the new one has its _rev, or with --replace.
    DATABASE is a file, made if there is none, a URL, or the webrtc://… of a share.
    """
    text = sys.stdin.buffer.read() if document == DASH else document
    try:
        doc = json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"The document is not JSON: {error}") from None
    if type(doc) is not dict:
        raise click.UsageError("The document must be an object.")
    show(run(_put(database, doc, replace=replace, identity=identity)), as_json=as_json)


def show(written: Written, *, as_json: bool) -> None:
    """Say what was written: its id and revision."""
    if as_json:
        write_json({"ok": True, "id": written.id, "rev": written.rev}, lines=True)
    else:
        print(f"{printable(written.id)}  {written.rev}")


async def _put(target: str, doc: dict[str, Any], *, replace: bool, identity: str | None) -> Written:
    async with opened(target, identity, create=True) as database:
        if not replace or "_id" not in doc:
            async with naming(str(doc.get("_id"))):
                return await database.post(doc)
        for _ in range(ATTEMPTS):
            doc.pop("_rev", None)
            if (rev := await current(database, doc["_id"])) is not None:
                doc["_rev"] = rev
            try:
                return await database.put(doc)
            except Conflict:
                continue
        raise Conflict(f"{doc['_id']!r} was changed by others {ATTEMPTS} times meanwhile; nothing was written.")


async def current(database: Database, doc_id: str) -> str | None:
    """The winning revision of a document; ``None`` where there is none, or it is deleted."""
    try:
        doc = await database.get(doc_id)
    except NotFound:
        return None
    rev: str = doc["_rev"]
    return rev
