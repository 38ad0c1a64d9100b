"""``peerpouch import DATABASE FILE``."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from peerpouch.cli import pipes
from peerpouch.cli.databases import database_argument, opened
from peerpouch.cli.display import Amounts, ProgressView, amount, counted, printable, say, write_json
from peerpouch.cli.running import EXIT_FAILURE, EXIT_OK, identity_option, json_option, run

if TYPE_CHECKING:
    import peerpouch


@click.command("import")
@database_argument
@click.argument("file", metavar="[FILE]", default=pipes.DASH)
@click.option("--settings", is_flag=True, help="Take over _security and the limit of revisions from an export too.")
@identity_option
@json_option
def command(database: str, file: str, settings: bool, identity: str | None, as_json: bool) -> int:
    """Read lines of JSON into a database: an export, or any documents, one in each line.

    Without FILE, or for -, they are read from standard input. Documents with a _rev are written with their history, as
    they are; the same import once more changes nothing. Those without are new, and refused where their id is taken.
    DATABASE is a file, made if there is none, a URL, or the webrtc://… of a share.
    """
    done = run(_import(database, file, identity, settings=settings, quiet=as_json))
    refused = [{"id": each.id, "rev": each.rev, "reason": each.reason} for each in done.refused]
    if as_json:
        write_json({"written": done.written, "failed": done.failed, "bytes": done.bytes, "refused": refused})
    else:
        print(f"imported: {counted(done.written, 'revision')}, {amount(done.bytes)}")
        for each in done.refused:
            say(f"refused: {printable(each.id)} {each.rev}: {each.reason}")
        if done.failed > len(done.refused):
            say(f"refused: {done.failed - len(done.refused):,} more")
    return EXIT_FAILURE if done.failed else EXIT_OK


async def _import(
    target: str, file: str, identity: str | None, *, settings: bool, quiet: bool
) -> peerpouch.ImportProgress:
    import peerpouch

    with ProgressView(quiet=quiet) as view:
        amounts = Amounts(view.line("importing"), pipes.size_of(file))
        async with (
            opened(target, identity, create=True) as database,
            aclosing(pipes.read(file, amounts.add)) as data,
        ):
            return await peerpouch.import_database(database, data, settings=settings)
