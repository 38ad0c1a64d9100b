"""``peerpouch fetch DATABASE ID NAME``."""

from __future__ import annotations

import sys
from contextlib import aclosing

import click

from peerpouch.cli.databases import database_argument, naming, opened
from peerpouch.cli.display import Amounts, ProgressView, amount, printable, say
from peerpouch.cli.invites import read
from peerpouch.cli.pipes import DASH, Output, Partial
from peerpouch.cli.receiving import Receiving, receive_into
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.errors import BadRequest


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

    FILE has its name only once it is whole, and its digest is right. What broke off goes on from there, also when the
    command is given again later. However large it is, it is never in memory as a whole. DATABASE is a file,
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
        receiving = Receiving(database, doc_id, attachment, rev=rev)
        try:
            if output == DASH and sys.stdout.isatty() and not attachment.content_type.startswith("text/"):
                raise BadRequest(f"{attachment.content_type} is nothing for a terminal; give a file with --output.")
            with ProgressView(quiet=quiet or output == DASH) as view:
                amounts = Amounts(view.line(f"fetching {printable(name)}"), attachment.length)
                if output != DASH and receiving.tag is not None:
                    async with Partial(output, receiving.tag) as partial:
                        return await receive_into(partial, receiving, amounts.add)
                async with Output(output) as out, aclosing(receiving.rest(0)) as data:
                    return await out.copy(data, amounts.add)
        finally:
            await receiving.close()
