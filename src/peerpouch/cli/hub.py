"""``peerpouch hub init|gc``."""

from __future__ import annotations

import click

from peerpouch.cli.display import write_json
from peerpouch.cli.running import json_option, run


@click.group("hub", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """For operators of a hub: the database where shares are announced."""


@command.command("init")
@click.argument("hub", metavar="HUB")
@json_option
def init(hub: str, as_json: bool) -> None:
    """Make a database a HUB; on a CouchDB it takes nothing but shares and signals then.

    HUB is the URL of a database, with the name and password of an administrator, or a file.
    """
    import peerpouch

    changed = run(peerpouch.prepare_hub(hub))
    if as_json:
        write_json({"ok": True, "changed": changed})
    else:
        print("ready" if changed else "was ready already")


@command.command("gc")
@click.argument("hub", metavar="HUB")
@json_option
def gc(hub: str, as_json: bool) -> None:
    """Delete what is dead in a HUB, and forget for good what was deleted.

    Signals older than an hour and shares that ran out a day ago go, by this machine's clock.
    """
    import peerpouch

    done = run(peerpouch.collect_hub(hub))
    if as_json:
        write_json({"deleted": done.deleted, "purged": done.purged})
    else:
        print(f"deleted {done.deleted}, purged {done.purged}")
