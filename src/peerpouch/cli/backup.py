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
@json_option
def command(file: str, copy: str, as_json: bool) -> None:
    """Make a consistent copy of a database file, as it is now, while others go on reading and writing.

    COPY must not exist yet. It is complete, old revisions and settings included, and can be put in FILE's place or
    opened beside it: whoever replicated with FILE notices that it is not the same, and nothing is missed.
    """
    size = run(_backup(file, copy))
    if as_json:
        write_json({"file": copy, "bytes": size})
    else:
        print(f"{copy}: {amount(size)}")


async def _backup(file: str, copy: str) -> int:
    async with opened(file) as database:
        await local(database, "backed up").backup(copy)
        return (await asyncio.to_thread(Path(copy).stat)).st_size
