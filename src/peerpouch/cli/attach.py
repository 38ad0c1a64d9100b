"""``peerpouch attach DATABASE ID FILE``."""

from __future__ import annotations

import mimetypes
from contextlib import aclosing
from pathlib import Path

import click

from peerpouch.cli import pipes
from peerpouch.cli.databases import database_argument, naming, opened
from peerpouch.cli.display import Amounts, ProgressView
from peerpouch.cli.put import current, show
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.ports import Written

UNKNOWN = "application/octet-stream"


@click.command("attach")
@database_argument
@click.argument("doc_id", metavar="ID")
@click.argument("file", metavar="FILE")
@click.option("--name", metavar="NAME", help="What the attachment is called; by default as FILE is.")
@click.option("--type", "content_type", metavar="TYPE", help="Its MIME type; by default what its name suggests.")
@click.option("--rev", metavar="REV", help="The revision that it is added to; by default the winning one.")
@identity_option
@json_option
def command(
    database: str,
    doc_id: str,
    file: str,
    name: str | None,
    content_type: str | None,
    rev: str | None,
    identity: str | None,
    as_json: bool,
) -> None:
    """Attach FILE to the document ID, in place of an attachment of the same name; FILE may be - for standard input.

    A document that does not exist is made. However large FILE is, it is never in memory as a whole. DATABASE is a file,
    made if there is none, a URL, or the webrtc://… of a share.
    """
    if name is None:
        if file == pipes.DASH:
            raise click.UsageError("Standard input has no name; give one with --name.")
        name = Path(file).name
    if file != pipes.DASH and not Path(file).is_file():
        raise click.BadParameter(f"there is no file {file}.", param_hint="FILE")
    kind = content_type or mimetypes.guess_type(name)[0] or UNKNOWN
    show(run(_attach(database, doc_id, file, name, kind, rev, identity, quiet=as_json)), as_json=as_json)


async def _attach(
    target: str, doc_id: str, file: str, name: str, kind: str, rev: str | None, identity: str | None, *, quiet: bool
) -> Written:
    async with opened(target, identity, create=True) as database:
        with ProgressView(quiet=quiet) as view:
            amounts = Amounts(view.line(f"attaching {name}"), pipes.size_of(file))
            parent = rev or await current(database, doc_id)
            async with naming(doc_id), aclosing(pipes.read(file, amounts.add)) as data:
                return await database.put_attachment(doc_id, name, data, kind, rev=parent)
