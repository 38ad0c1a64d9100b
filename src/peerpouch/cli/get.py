"""``peerpouch get DATABASE ID``."""

from __future__ import annotations

from typing import Any

import click

from peerpouch.cli.databases import database_argument, naming, opened
from peerpouch.cli.display import write_json
from peerpouch.cli.running import identity_option, json_option, run


@click.command("get")
@database_argument
@click.argument("doc_id", metavar="ID")
@click.option("--rev", metavar="REV", help="This revision, and not the winning one.")
@click.option("--latest", is_flag=True, help="With --rev: the leaf that came of it, if it was replaced.")
@click.option("--all-leaves", is_flag=True, help="An array of all leaves: conflicts and deletions too.")
@click.option("--revs", is_flag=True, help="With the ids of the revisions before it.")
@click.option("--revs-info", is_flag=True, help="With the revisions before it, and which of them are still there.")
@click.option("--conflicts", is_flag=True, help="With the revisions that are in conflict with it, deleted ones too.")
@click.option("--local-seq", is_flag=True, help="With its sequence in this database.")
@click.option("--attachments", is_flag=True, help="With the bytes of its attachments, as base64.")
@identity_option
@json_option
def command(
    database: str, doc_id: str, rev: str | None, all_leaves: bool, identity: str | None, as_json: bool, **wanted: bool
) -> None:
    """Show a document, as JSON.

    DATABASE is a file, the URL of a CouchDB database, or the webrtc://… of a share.
    """
    write_json(run(_get(database, doc_id, rev, all_leaves, identity, wanted)))


async def _get(
    target: str, doc_id: str, rev: str | None, all_leaves: bool, identity: str | None, wanted: dict[str, Any]
) -> Any:
    async with opened(target, identity) as database, naming(doc_id):
        if all_leaves:
            leaves = await database.open_revs(doc_id, with_revisions=wanted["revs"], attachments=wanted["attachments"])
            return [leaf.doc for leaf in leaves if leaf.doc is not None]
        return await database.get(doc_id, rev=rev, deleted_conflicts=wanted["conflicts"], **wanted)
