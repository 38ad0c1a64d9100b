"""``peerpouch contacts list|add|rm``."""

from __future__ import annotations

import re
import time

import click

from peerpouch.cli.display import say, write_json, write_table
from peerpouch.cli.running import json_option

_KEY = re.compile(r"-[\w-]{42}", re.ASCII)


class _TakesKey(click.Command):
    """A command whose last argument may be a whole key: one in 64 begins with a hyphen, as an option does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" not in args:
            keys = [each for each in args if _KEY.fullmatch(each)]
            args = [*(each for each in args if each not in keys), *(["--", *keys] if keys else [])]
        return super().parse_args(ctx, args)


@click.group("contacts", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Your names for other people's keys. A share of a contact's is listed by that name."""


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List your contacts."""
    import peerpouch

    found = peerpouch.Contacts().list()
    if as_json:
        write_json([{"name": each.name, "fingerprint": each.key.fingerprint, "key": each.key.text} for each in found])
    elif not found:
        say("No contacts.")
    else:
        write_table(
            ["name", "fingerprint", "key"], [(each.name, each.key.fingerprint, each.key.text) for each in found]
        )


@command.command("add", cls=_TakesKey)
@click.argument("name", metavar="NAME")
@click.argument("key", metavar="KEY")
@click.option("--replace", is_flag=True, help="Take the name from the key that has it.")
@json_option
def add(name: str, key: str, replace: bool, as_json: bool) -> None:
    """Give NAME to a KEY: the whole key, as `peerpouch identity show` shows it to its owner."""
    import peerpouch

    now = round(1000 * time.time())
    contact = peerpouch.Contacts().add(name, peerpouch.PublicKey.parse(key), now=now, replace=replace)
    if as_json:
        write_json({"name": contact.name, "fingerprint": contact.key.fingerprint, "key": contact.key.text})
    else:
        print(f"{contact.name}  {contact.key.fingerprint}")


@command.command("rm", cls=_TakesKey)
@click.argument("contact", metavar="CONTACT")
@json_option
def rm(contact: str, as_json: bool) -> None:
    """Remove a CONTACT, by its name, fingerprint or key."""
    import peerpouch

    removed = peerpouch.Contacts().remove(contact)
    if as_json:
        write_json({"removed": removed.name})
    else:
        print(f"removed {removed.name}")
