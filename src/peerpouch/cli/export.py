"""``peerpouch export DATABASE``."""

from __future__ import annotations

from contextlib import aclosing

import click

from peerpouch.cli.databases import database_argument, opened
from peerpouch.cli.display import Amounts, ProgressView, amount, counted, say, write_json
from peerpouch.cli.pipes import DASH, Output
from peerpouch.cli.running import identity_option, json_option, run


@click.command("export")
@database_argument
@click.option("--output", "-o", metavar="FILE", default=DASH, help="Where to; by default standard output.")
@identity_option
@json_option
def command(database: str, output: str, identity: str | None, as_json: bool) -> None:
    """Write a whole database as lines of JSON, which `peerpouch import` makes an equal one of.

    That is: every document with all its leaves (conflicts and deletions too), their histories and their attachments.
    FILE has its name only once it is whole. DATABASE is a file, a URL, or the webrtc://… of a share. With --json,
    counts as JSON, where the export itself does not go to standard output.
    """
    counts = run(_export(database, output, identity, quiet=as_json))
    if output == DASH:
        return
    if as_json:
        write_json(counts)
    else:
        say(
            f"{output}: {counted(counts['documents'], 'document')} in {counted(counts['revisions'], 'revision')}, "
            f"{counted(counts['attachments'], 'attachment')}, {amount(counts['bytes'])}"
        )


async def _export(target: str, output: str, identity: str | None, *, quiet: bool) -> dict[str, int]:
    import peerpouch

    counts = dict.fromkeys(("documents", "revisions", "attachments", "bytes"), 0)
    with ProgressView(quiet=quiet) as view:
        amounts = Amounts(view.line("exporting"))

        def heard(progress: peerpouch.ExportProgress) -> None:
            counts.update({name: getattr(progress, name) for name in counts})
            amounts.documents(progress.documents, progress.bytes, progress.pending)

        async with (
            opened(target, identity) as database,
            Output(output) as out,
            aclosing(peerpouch.export_database(database, on_progress=heard)) as blocks,
        ):
            counts["bytes"] = await out.copy(blocks)
    return counts
