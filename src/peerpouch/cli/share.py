"""``peerpouch share FILE --hub HUB --name N``."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from peerpouch.cli.databases import json_value
from peerpouch.cli.display import say, write_json
from peerpouch.cli.invites import seconds, show_code
from peerpouch.cli.running import hub_option, identity_option, json_option, network, network_options, run

if TYPE_CHECKING:
    import peerpouch

OPEN_TO_ALL = (
    "OPEN TO ALL: everybody who can read the hub may read AND CHANGE this database. "
    "To let them only read, add --read-only; to let in only those whom you choose, add --invite or --peer."
)
INVITED_ONLY = (
    "Only the invited may come, because there were invites before. To let in everybody, add --anybody; to invite more, "
    "--invite."
)
READ_BY_ALL = "Everybody who can read the hub may read this database. To choose who may, add --invite or --peer."


@dataclass(frozen=True)
class _Asked:
    """The options."""

    file: str
    hub: str
    name: str
    info: Any
    read_only: bool
    select: Any
    peers: tuple[str, ...]
    anybody: bool
    invite: bool
    once: bool
    expires: float | None
    with_credentials: bool
    identity: str | None
    relay: bool
    compression: str
    as_json: bool


@click.command("share")
@click.argument("file", metavar="FILE")
@hub_option
@click.option("--name", required=True, help="What people see in the list of shares.")
@click.option("--info", metavar="JSON", callback=json_value, help="Anything that openers shall know beforehand.")
@click.option("--read-only", is_flag=True, help="Let others read, and refuse their changes.")
@click.option(
    "--select", metavar="JSON", callback=json_value, help="Share the documents that match this selector only."
)
@click.option("--peer", "peers", metavar="WHO", multiple=True, help="Let in this key, fingerprint or contact.")
@click.option("--anybody", is_flag=True, help="Let in everybody, although people were invited before.")
@click.option("--invite", is_flag=True, help="Print an invite, and let in nobody without one.")
@click.option("--once", is_flag=True, help="With --invite: for the first person who uses it.")
@click.option("--expires", metavar="TIME", callback=seconds, help="With --invite: for how long, such as 90m or 1d.")
@click.option("--with-credentials", is_flag=True, help="With --invite: put the hub's name and password into it.")
@identity_option
@network_options
@json_option
def command(**options: Any) -> None:
    """Share a database file with other people, until Ctrl-C.

    The share is announced in HUB, under NAME. Whoever opens it connects to this process, peer to peer.
    With --json, one object a line: the share, then everybody who opens it.
    """
    asked = _Asked(**options)
    if not asked.invite and (asked.once or asked.expires is not None or asked.with_credentials):
        raise click.UsageError("--once, --expires and --with-credentials go with --invite.")
    if asked.anybody and (asked.invite or asked.peers):
        raise click.UsageError("--anybody goes with neither --invite nor --peer.")
    run(_share(asked))


async def _share(asked: _Asked) -> None:
    import peerpouch

    def opened(event: peerpouch.RemoteEvent) -> None:
        who = event.peer.contact or event.peer.fingerprint
        if asked.as_json:
            write_json({"opened_by": event.peer.fingerprint, "info": event.info}, lines=True)
        else:
            told = "" if event.info is None else f", who says {json.dumps(event.info, ensure_ascii=False)}"
            say(f"opened by {who}{told}")

    own = peerpouch.Identity.load(asked.identity)
    async with (
        peerpouch.open(asked.file, create=False) as database,
        peerpouch.Hub(asked.hub, identity=own, **network(asked.relay, asked.compression)) as meeting,
    ):
        # Whoever was let in by an invite of an earlier run did not come to a place that is open to everybody.
        invited = not asked.anybody and await meeting.has_invites(database)
        restricted = asked.invite or bool(asked.peers) or invited
        share = await meeting.share_database(
            database,
            name=asked.name,
            info=asked.info,
            on_remote=opened,
            access=peerpouch.Access(write=not asked.read_only, select=asked.select),
            peers=asked.peers if restricted else None,
        )
        invite = ""
        if asked.invite:
            invite = str(await share.invite(once=asked.once, expires=asked.expires, credentials=asked.with_credentials))
        _show(asked, share, invite)
        if not restricted:
            say(READ_BY_ALL if asked.read_only else OPEN_TO_ALL)
        elif not asked.invite and not asked.peers:
            say(INVITED_ONLY)
        # Leaving the hub withdraws the share.
        await asyncio.Event().wait()


def _show(asked: _Asked, share: peerpouch.OwnShare, invite: str) -> None:
    if asked.as_json:
        shown = {"id": share.id, "name": share.name, "dbname": share.dbname, "fingerprint": share.fingerprint}
        write_json({**shown, "invite": invite} if invite else shown, lines=True)
    else:
        print(f"sharing  {asked.file} as {asked.name!r}\nid       {share.id}\nopen it  {share.dbname}", flush=True)
        if invite:
            print(f"invite   {invite}", flush=True)
            show_code(invite)
            say("Whoever has this invite may come in: send it over a way that you trust.")
        say(f"Your fingerprint is {share.fingerprint}. Ctrl-C ends the share.")
