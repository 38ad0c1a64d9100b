"""``peerpouch identity show``."""

from __future__ import annotations

import click

from peerpouch.cli.display import write_json
from peerpouch.cli.running import identity_option, json_option


@click.group("identity", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Who you are to others: a key in a file of your own, made at first use."""


@command.command("show")
@identity_option
@json_option
def show(identity: str | None, as_json: bool) -> None:
    """Show your fingerprint, which people compare, and your whole public key."""
    import peerpouch

    own = peerpouch.Identity.load(identity)
    if as_json:
        write_json({"fingerprint": own.fingerprint, "key": own.key.text})
    else:
        print(f"fingerprint  {own.fingerprint}\nkey          {own.key.text}")
