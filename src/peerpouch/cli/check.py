"""``peerpouch check FILE``."""

from __future__ import annotations

import click

from peerpouch.cli.databases import local, opened
from peerpouch.cli.display import write_json
from peerpouch.cli.running import EXIT_FAILURE, EXIT_OK, json_option, run


@click.command("check")
@click.argument("file", metavar="FILE")
@json_option
def command(file: str, as_json: bool) -> int:
    """Verify a database file: revision trees, sequences, references, and every attachment's digest.

    It reads everything, and changes nothing. What is wrong is written to standard output, a sentence in each line.
    """
    problems = run(_check(file))
    if as_json:
        write_json({"ok": not problems, "problems": problems})
    else:
        print("\n".join(problems) or f"{file}: no problems")
    return EXIT_FAILURE if problems else EXIT_OK


async def _check(file: str) -> list[str]:
    async with opened(file) as database:
        problems: list[str] = await local(database, "checked").check()
        return problems
