"""``peerpouch fetch DATABASE ID NAME``."""

from __future__ import annotations

import sys

import click

from peerpouch.cli.databases import database_argument, naming, opened
from peerpouch.cli.display import Amounts, ProgressView, amount, printable, say
from peerpouch.cli.invites import read
from peerpouch.cli.pipes import DASH, Output
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.errors import BadRequest, ConnectionFailed


@click.command("fetch")
@database_argument
@click.argument("doc_id", metavar="ID")
@click.argument("name", metavar="NAME")
@click.option("--output", "-o", metavar="FILE", default=DASH, help="Where to; by default standard output.")
@click.option("--rev", metavar="REV", help="Of this revision, and not of the winning one.")
@identity_option
@json_option
def command(
    database: str, doc_id: str, name: str, output: str, rev: str | None, identity: str | None, as_json: bool
) -> None:
    """Write the attachment NAME of the document ID to a file, or to standard output.

    FILE has its name only once it is whole. However large it is, it is never in memory as a whole. DATABASE is a file,
    a URL, or the webrtc://… of a share; or - for an invite, or a link with one, which is asked for, or read from stdin,
    or from $PEERPOUCH_INVITE.
    """
    target = read(database, None) or database
    size = run(_fetch(target, doc_id, name, output, rev, identity, quiet=as_json))
    if output != DASH and not as_json:
        say(f"{printable(output)}: {amount(size)}")


async def _fetch(
    target: str, doc_id: str, name: str, output: str, rev: str | None, identity: str | None, *, quiet: bool
) -> int:
    async with opened(target, identity) as database:
        async with naming(doc_id):
            attachment = await database.get_attachment(doc_id, name, rev=rev)
        try:
            if output == DASH and sys.stdout.isatty() and not attachment.content_type.startswith("text/"):
                raise BadRequest(f"{attachment.content_type} is nothing for a terminal; give a file with --output.")
            with ProgressView(quiet=quiet or output == DASH) as view:
                amounts = Amounts(view.line(f"fetching {printable(name)}"), attachment.length)
                async with Output(output) as out:
                    size = await out.copy(attachment, amounts.add)
                    if size != attachment.length:
                        raise ConnectionFailed(f"{name} broke off after {size:,} of {attachment.length:,} bytes.")
                return size
        finally:
            await attachment.aclose()
