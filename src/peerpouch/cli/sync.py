"""``peerpouch sync FILE SHARE --hub HUB``."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from peerpouch.cli.display import ProgressView, States
from peerpouch.cli.invites import read
from peerpouch.cli.links import path_of
from peerpouch.cli.replicate import finish
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.cli.targets import choose

if TYPE_CHECKING:
    import peerpouch


@click.command("sync")
@click.argument("file", metavar="FILE")
@click.argument("share", metavar="SHARE", default="-")
@click.option("--hub", metavar="HUB", help="Where the share is announced; an invite says it.")
@click.option("--invite-file", metavar="FILE", help="Read the invite from a file.")
@click.option("--confirm", is_flag=True, help="Trust a key that is not the one that the name was first opened under.")
@click.option("--live", is_flag=True, help="Go on with what changes on either side, until Ctrl-C.")
@identity_option
@json_option
def command(
    file: str,
    share: str,
    hub: str | None,
    invite_file: str | None,
    confirm: bool,
    live: bool,
    identity: str | None,
    as_json: bool,
) -> int:
    """Synchronise FILE with somebody's share, in both directions.

    SHARE is a share's name, its id or its whole webrtc://…, with --hub; or - for an invite, which is asked for, or read
    from stdin, or from $PEERPOUCH_INVITE. FILE is made if there is none. With --live --json, one object a line.
    """
    invite = read(share, invite_file)
    if invite is None and hub is None:
        raise click.UsageError("Give --hub, or an invite: - in place of SHARE.")
    return run(_sync(file, share, hub or "", invite, confirm=confirm, live=live, identity=identity, as_json=as_json))


async def _sync(
    file: str,
    wanted: str,
    hub: str,
    invite: str | None,
    *,
    confirm: bool,
    live: bool,
    identity: str | None,
    as_json: bool,
) -> int:
    import peerpouch

    own = peerpouch.Identity.load(identity)
    async with AsyncExitStack() as stack:
        opening: Any
        if invite is not None:
            opening = peerpouch.open(peerpouch.Invite.parse(invite), identity=own)
        else:
            meeting = await stack.enter_async_context(peerpouch.Hub(hub, identity=own))
            opening = choose(await meeting.get_shared_databases(), wanted, hub).open(confirm=confirm)
        # The share first: what can't be opened leaves no file behind.
        remote = await stack.enter_async_context(opening)
        local = await stack.enter_async_context(peerpouch.open(file))
        return await _run(local, remote, live=live, as_json=as_json)


async def _run(local: peerpouch.Database, remote: peerpouch.Database, *, live: bool, as_json: bool) -> int:
    import peerpouch

    path, states = await path_of(remote), States()
    with ProgressView(quiet=as_json) as view:
        push, pull = view.line("sending", path), view.line("receiving", path)
        sync = peerpouch.sync(local, remote, live=live)
        try:
            async for progress in sync:
                push.update(progress.push)
                pull.update(progress.pull)
                if live and as_json:
                    states.heard(push=progress.push, pull=progress.pull)
            result = await sync
        finally:
            # After Ctrl-C too: what is under way ends in order, with its checkpoints written.
            await sync.cancel()
        push.update(result.push)
        pull.update(result.pull)
    return finish({"push": result.push, "pull": result.pull}, as_json=as_json)
