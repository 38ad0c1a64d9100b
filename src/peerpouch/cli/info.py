"""``peerpouch info FILE``."""

from __future__ import annotations

import click

from peerpouch.cli.display import amount, printable, write_json
from peerpouch.cli.running import json_option, run
from peerpouch.ports import DatabaseInfo


@click.command("info")
@click.argument("file", metavar="FILE")
@json_option
def command(file: str, as_json: bool) -> None:
    """Show a database's counts, sequences and sizes. FILE may be a URL too."""
    found = run(_info(file))
    if as_json:
        write_json(found)
        return
    sizes = found["sizes"]
    rows = [
        ("name", printable(found["db_name"])),
        ("documents", f"{found['doc_count']:,}"),
        ("deleted", f"{found['doc_del_count']:,}"),
        ("update sequence", printable(found["update_seq"])),
        ("on disk", amount(sizes["file"])),
        ("in use", amount(sizes["active"])),
        ("documents and attachments", amount(sizes["external"])),
        ("uuid", printable(str(found.get("uuid", "unknown")))),
        ("incarnation", printable(str(found.get("incarnation", "unknown")))),
    ]
    for label, value in rows:
        print(f"{label:<26} {value}")


async def _info(file: str) -> DatabaseInfo:
    import peerpouch

    async with peerpouch.open(file, create=False) as database:
        return await database.info()
