"""``peerpouch identity show|new|export|import``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from peerpouch.cli.display import say, write_json
from peerpouch.cli.running import identity_option, json_option
from peerpouch.errors import InvalidIdentity

if TYPE_CHECKING:
    import peerpouch

_MOST = 1 << 16
"""Bytes read of an identity; one has some 200."""


@click.group("identity", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Who you are to others: a key in a file of your own, made at first use."""


@command.command("show")
@identity_option
@json_option
def show(identity: str | None, as_json: bool) -> None:
    """Show your fingerprint, which people compare, and your whole public key."""
    import peerpouch

    _show(peerpouch.Identity.load(identity), as_json=as_json)


@command.command("new")
@click.option("--replace", is_flag=True, help="Even if there is one. It is then gone for good, unless you exported it.")
@identity_option
@json_option
def new(replace: bool, identity: str | None, as_json: bool) -> None:
    """Make a new key. To everybody who knows you by the old one you are somebody else then."""
    import peerpouch

    made = peerpouch.Identity.ephemeral()
    try:
        made.save(identity, replace=replace)
    except InvalidIdentity as error:
        if replace:
            raise
        raise InvalidIdentity(f"{error.reason.rstrip('.')}; --replace overwrites it.") from None
    _show(made, as_json=as_json)


@command.command("export")
@click.argument("file", metavar="FILE", default="-")
@identity_option
def export(file: str, identity: str | None) -> None:
    """Write your key, the private part included, to FILE (- is stdout): whoever has it can act in your name."""
    import peerpouch

    text = peerpouch.Identity.load(identity).export()
    if file == "-":
        if sys.stdout.isatty():
            say("This is a secret: whoever reads it can act in your name.")
        sys.stdout.write(text)
        return
    try:
        # Its own from the start: never readable by others, and never in place of another file.
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidIdentity(f"{file} can't be made: {error.strerror}.") from None
    with os.fdopen(descriptor, "w") as made:
        made.write(text)


@command.command("import")
@click.argument("file", metavar="FILE", default="-")
@click.option("--replace", is_flag=True, help="Even if there is one. It is then gone for good, unless you exported it.")
@identity_option
@json_option
def import_(file: str, replace: bool, identity: str | None, as_json: bool) -> None:
    """Take over a key that was exported, from FILE (- is stdin)."""
    import peerpouch

    try:
        if file == "-":
            text = sys.stdin.read(_MOST)
        else:
            with Path(file).open(encoding="utf-8") as opened:
                text = opened.read(_MOST)
    except (OSError, UnicodeDecodeError):
        raise InvalidIdentity(f"{file} can't be read.") from None
    taken = peerpouch.Identity.parse(text)
    taken.save(identity, replace=replace)
    _show(taken, as_json=as_json)


def _show(own: peerpouch.Identity, *, as_json: bool) -> None:
    if as_json:
        write_json({"fingerprint": own.fingerprint, "key": own.key.text})
    else:
        print(f"fingerprint  {own.fingerprint}\nkey          {own.key.text}")
