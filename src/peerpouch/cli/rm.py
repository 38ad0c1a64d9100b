"""``peerpouch rm DATABASE ID…``."""

from __future__ import annotations

import click

from peerpouch.cli.databases import database_argument, naming, opened
from peerpouch.cli.put import show
from peerpouch.cli.running import identity_option, json_option, run


@click.command("rm")
@database_argument
@click.argument("doc_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--rev", metavar="REV", help="The leaf to delete; by default the winning one. With one ID only.")
@identity_option
@json_option
def command(database: str, doc_ids: tuple[str, ...], rev: str | None, identity: str | None, as_json: bool) -> None:
    """Delete documents: each gets a last revision that says so, and is replicated as such.

    It ends at the first one that can't be deleted. DATABASE is a file, a URL, or the webrtc://… of a share.
    """
    if rev is not None and len(doc_ids) > 1:
        raise click.UsageError("--rev is of one document; give one ID with it.")
    run(_remove(database, doc_ids, rev, identity, as_json=as_json))


async def _remove(
    target: str, doc_ids: tuple[str, ...], rev: str | None, identity: str | None, *, as_json: bool
) -> None:
    async with opened(target, identity) as database:
        for doc_id in doc_ids:
            async with naming(doc_id):
                wanted = rev or (await database.get(doc_id))["_rev"]
                show(await database.remove(doc_id, wanted), as_json=as_json)
