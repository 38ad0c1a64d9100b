"""``peerpouch sync FILE SHARE --hub HUB``."""

from __future__ import annotations

import click

from peerpouch.cli.display import ProgressView, States
from peerpouch.cli.links import path_of
from peerpouch.cli.replicate import finish
from peerpouch.cli.running import hub_option, identity_option, json_option, run
from peerpouch.cli.targets import choose


@click.command("sync")
@click.argument("file", metavar="FILE")
@click.argument("share", metavar="SHARE")
@hub_option
@click.option("--live", is_flag=True, help="Go on with what changes on either side, until Ctrl-C.")
@identity_option
@json_option
def command(file: str, share: str, hub: str, live: bool, identity: str | None, as_json: bool) -> int:
    """Synchronise FILE with somebody's share, in both directions.

    SHARE is a share's name, its id or its whole webrtc://…. FILE is made if there is none. With --live --json, one
    object a line.
    """
    return run(_sync(file, share, hub, live=live, identity=identity, as_json=as_json))


async def _sync(file: str, wanted: str, hub: str, *, live: bool, identity: str | None, as_json: bool) -> int:
    import peerpouch

    async with peerpouch.Hub(hub, identity=peerpouch.Identity.load(identity)) as meeting:
        share = choose(await meeting.get_shared_databases(), wanted, hub)
        async with peerpouch.open(file) as local, share.open() as remote:
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
