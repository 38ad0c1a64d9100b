"""``peerpouch demo``: two processes share a database and replicate it peer to peer.

* :mod:`.story`: what happens, step by step, and what is checked;
* :mod:`.actors`: alice and bob, each a process of its own;
* :mod:`.material`: what they share: the characters of Unicode, and files of the Python installation;
* :mod:`.compare`: the proof at the end.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from peerpouch.cli.demo.material import SMALLEST
from peerpouch.cli.running import EXIT_FAILURE, EXIT_OK, json_option, run


@click.command("demo")
@click.option("--keep", type=click.Path(file_okay=False), metavar="DIR", help="Leave the databases in DIR, to look at.")
@click.option("--limit", type=click.IntRange(min=SMALLEST), help="Only so many characters, for a shorter run.")
@json_option
def command(keep: str | None, limit: int | None, as_json: bool) -> int:
    """Two processes share a database and replicate it peer to peer.

    alice loads every named Unicode character and some files of this Python installation, and shares them through a hub
    that is a file. bob finds the share, asks it questions, replicates it over a WebRTC data channel, and edits; both
    end with the same, conflicts included, and nothing of it is in the hub. Exits with 1 where anything differs.
    """
    if keep is not None:
        kept = Path(keep)
        kept.mkdir(parents=True, exist_ok=True)
        if any(kept.iterdir()):
            raise click.UsageError(f"{keep} is not empty; the demo starts from nothing.")
        return run(_demo(kept, limit, as_json=as_json))
    with tempfile.TemporaryDirectory(prefix="peerpouch-demo-") as folder:
        return run(_demo(Path(folder), limit, as_json=as_json))


async def _demo(folder: Path, limit: int | None, *, as_json: bool) -> int:
    from peerpouch.cli.demo.story import Story

    story = Story(folder, limit, quiet=as_json)
    await story.tell()
    story.show(as_json=as_json)
    return EXIT_OK if story.ok else EXIT_FAILURE
