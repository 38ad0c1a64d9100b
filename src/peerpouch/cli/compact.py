"""``peerpouch compact DATABASE``."""

from __future__ import annotations

import click

from peerpouch.cli.databases import database_argument, opened
from peerpouch.cli.display import amount, write_json
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.ports import Sizes


@click.command("compact")
@database_argument
@identity_option
@json_option
def command(database: str, identity: str | None, as_json: bool) -> None:
    """Drop the bodies of old revisions and the attachments that nothing refers to, and give their space back.

    Others may read and write meanwhile. DATABASE is a file or a URL; a server may go on with it afterwards.
    """
    before, after = run(_compact(database, identity))
    if as_json:
        write_json({"before": before, "after": after})
    else:
        print(f"{amount(before['file'])} before, {amount(after['file'])} now")


async def _compact(target: str, identity: str | None) -> tuple[Sizes, Sizes]:
    async with opened(target, identity) as database:
        before = (await database.info())["sizes"]
        await database.compact()
        return before, (await database.info())["sizes"]
