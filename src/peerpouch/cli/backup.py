"""``peerpouch backup FILE COPY``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from peerpouch.cli.databases import local, opened
from peerpouch.cli.display import amount, write_json
from peerpouch.cli.running import json_option, run


@click.command("backup")
@click.argument("file", metavar="FILE")
@click.argument("copy", metavar="COPY")
@click.option("--as-new", is_flag=True, help="Make COPY another database, to be shared beside FILE.")
@json_option
def command(file: str, copy: str, as_new: bool, as_json: bool) -> None:
    """Make a consistent copy of a database file, as it is now, while others go on reading and writing.

    COPY must not exist yet. It is complete, old revisions and settings included, and is to be put in FILE's place some
    day: whoever replicated with FILE notices that it is not the same, and nothing is missed. To use and share both at
    the same time, make it with --as-new: of FILE and a mere copy only one can be shared on a hub.
    """
    size = run(_backup(file, copy, as_new))
    if as_json:
        write_json({"file": copy, "bytes": size})
    else:
        print(f"{copy}: {amount(size)}")


async def _backup(file: str, copy: str, as_new: bool) -> int:
    async with opened(file) as database:
        await local(database, "backed up").backup(copy, as_new=as_new)
        return (await asyncio.to_thread(Path(copy).stat)).st_size
