"""``peerpouch contacts list|add|rm``."""

from __future__ import annotations

import time

import click

from peerpouch.cli.display import say, write_json, write_table
from peerpouch.cli.running import json_option


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


@command.command("add")
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


@command.command("rm")
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
