"""``peerpouch shares --hub HUB``."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from peerpouch.cli.display import say, write_json, write_table
from peerpouch.cli.running import hub_option, identity_option, json_option, run

if TYPE_CHECKING:
    import peerpouch


@click.command("shares")
@hub_option
@click.option("--watch", is_flag=True, help="Go on with shares that come, change and go, until Ctrl-C.")
@identity_option
@json_option
def command(hub: str, watch: bool, identity: str | None, as_json: bool) -> None:
    """List the shares that a hub knows of.

    With --json: an array; with --watch too, one object a line.
    """
    run(_shares(hub, watch=watch, identity=identity, as_json=as_json))


async def _shares(hub: str, *, watch: bool, identity: str | None, as_json: bool) -> None:
    import peerpouch

    own = peerpouch.Identity.load(identity)
    async with peerpouch.Hub(hub, identity=own, create=False) as meeting:
        if not watch:
            _show(await meeting.get_shared_databases(), as_json=as_json)
            return

        def changed(share: peerpouch.SharedDatabase) -> None:
            if as_json:
                write_json(describe(share), lines=True)
            else:
                print(f"{'withdrawn' if share.deleted else 'shared':<10} {share.id}  {share.name}", flush=True)

        listed = await meeting.get_shared_databases(on_change=changed)
        if as_json:
            for share in listed:
                write_json(describe(share), lines=True)
        else:
            _show(list(listed), as_json=False)
            say("Watching; Ctrl-C ends it.")
        await asyncio.Event().wait()


def describe(share: peerpouch.SharedDatabase) -> dict[str, Any]:
    """A share as JSON."""
    return {
        "id": share.id,
        "name": share.name,
        "dbname": share.dbname,
        "fingerprint": share.fingerprint,
        "contact": share.contact,
        "trust": share.trust,
        "info": share.info,
        "deleted": share.deleted,
    }


def _show(shares: list[peerpouch.SharedDatabase], *, as_json: bool) -> None:
    if as_json:
        write_json([describe(share) for share in shares])
    elif not shares:
        say("No shares.")
    else:
        rows = [
            (
                share.name,
                share.id,
                _owner(share),
                "" if share.info is None else json.dumps(share.info, ensure_ascii=False),
            )
            for share in shares
        ]
        write_table(["name", "id", "owner", "info"], rows)


def _owner(share: peerpouch.SharedDatabase) -> str:
    if share.trust == "changed":
        return f"{share.fingerprint}  ANOTHER KEY than the name was first opened under"
    return f"{share.contact} ({share.fingerprint})" if share.contact else share.fingerprint
