"""``peerpouch share FILE --hub HUB --name N``."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from peerpouch.cli.display import say, write_json
from peerpouch.cli.running import hub_option, identity_option, json_option, run

if TYPE_CHECKING:
    import peerpouch

OPEN_TO_ALL = (
    "Everybody who can read the hub may read AND CHANGE this database. To let them only read, add --read-only; "
    "to choose who may come, share it from Python with on_remote= or access=."
)


def _json_value(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    try:
        return None if value is None else json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"it is not JSON: {error}") from None


@click.command("share")
@click.argument("file", metavar="FILE")
@hub_option
@click.option("--name", required=True, help="What people see in the list of shares.")
@click.option("--info", metavar="JSON", callback=_json_value, help="Anything that openers shall know beforehand.")
@click.option("--read-only", is_flag=True, help="Let others read, and refuse their changes.")
@identity_option
@json_option
def command(file: str, hub: str, name: str, info: Any, read_only: bool, identity: str | None, as_json: bool) -> None:
    """Share a database file with other people, until Ctrl-C.

    The share is announced in HUB, under NAME. Whoever opens it connects to this process, peer to peer.
    With --json, one object a line: the share, then everybody who opens it.
    """
    run(_share(file, hub, name, info, read_only=read_only, identity=identity, as_json=as_json))


async def _share(
    file: str, hub: str, name: str, info: Any, *, read_only: bool, identity: str | None, as_json: bool
) -> None:
    import peerpouch

    def opened(event: peerpouch.RemoteEvent) -> None:
        if as_json:
            write_json({"opened_by": event.peer.fingerprint, "info": event.info}, lines=True)
        else:
            told = "" if event.info is None else f", who says {json.dumps(event.info, ensure_ascii=False)}"
            say(f"opened by {event.peer.fingerprint}{told}")

    own = peerpouch.Identity.load(identity)
    async with peerpouch.open(file, create=False) as database, peerpouch.Hub(hub, identity=own) as meeting:
        share = await meeting.share_database(
            database, name=name, info=info, on_remote=opened, access="read-only" if read_only else "read-write"
        )
        if as_json:
            write_json(
                {"id": share.id, "name": share.name, "dbname": share.dbname, "fingerprint": share.fingerprint},
                lines=True,
            )
        else:
            print(f"sharing  {file} as {name!r}\nid       {share.id}\nopen it  {share.dbname}", flush=True)
            say(f"Your fingerprint is {own.fingerprint}. Ctrl-C ends the share.")
            if not read_only:
                say(OPEN_TO_ALL)
        # Leaving the hub withdraws the share.
        await asyncio.Event().wait()
