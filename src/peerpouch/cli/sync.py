"""``peerpouch sync FILE SHARE --hub HUB``."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from peerpouch.cli.display import ProgressView, States, say
from peerpouch.cli.invites import read
from peerpouch.cli.links import as_json as stats_as_json
from peerpouch.cli.links import path_of, report, stats_of, watch
from peerpouch.cli.replicate import finish
from peerpouch.cli.running import (
    HUB_VARIABLE,
    identity_option,
    json_option,
    network,
    network_options,
    run,
    warn_of_password,
)
from peerpouch.cli.targets import choose

if TYPE_CHECKING:
    import peerpouch


@click.command("sync")
@click.argument("file", metavar="FILE")
@click.argument("share", metavar="SHARE", default="-")
@click.option(
    "--hub",
    metavar="HUB",
    envvar=HUB_VARIABLE,
    callback=warn_of_password,
    help="Where the share is announced; an invite says it.",
)
@click.option("--invite-file", metavar="FILE", help="Read the invite from a file.")
@click.option("--confirm", is_flag=True, help="Trust a key that is not the one that the name was first opened under.")
@click.option("--live", is_flag=True, help="Go on with what changes on either side, until Ctrl-C.")
@click.option("--verbose", "-v", is_flag=True, help="Tell every few seconds what the connection does.")
@identity_option
@network_options
@json_option
def command(
    file: str,
    share: str,
    hub: str | None,
    invite_file: str | None,
    confirm: bool,
    live: bool,
    verbose: bool,
    identity: str | None,
    relay: bool,
    compression: str,
    as_json: bool,
) -> int:
    """Synchronise FILE with somebody's share, in both directions.

    SHARE is a share's name, its id or its whole webrtc://…, with --hub; or - for an invite, which is asked for, or read
    from stdin, or from $PEERPOUCH_INVITE. FILE is made if there is none. With --live --json, one object a line.
    """
    invite = read(share, invite_file)
    if invite is None and hub is None:
        raise click.UsageError("Give --hub, or an invite: - in place of SHARE.")
    asked = _Asked(
        file,
        share,
        hub or "",
        invite,
        confirm=confirm,
        live=live,
        verbose=verbose,
        identity=identity,
        network=network(relay, compression),
        as_json=as_json,
    )
    return run(_sync(asked))


@dataclass(frozen=True)
class _Asked:
    """The options."""

    file: str
    share: str
    hub: str
    invite: str | None
    confirm: bool
    live: bool
    verbose: bool
    identity: str | None
    network: dict[str, Any]
    as_json: bool


async def _sync(asked: _Asked) -> int:
    import peerpouch

    own = peerpouch.Identity.load(asked.identity)
    async with AsyncExitStack() as stack:
        opening: Any
        if asked.invite is not None:
            opening = peerpouch.open(peerpouch.Invite.parse(asked.invite), identity=own, **asked.network)
        else:
            meeting = await stack.enter_async_context(
                peerpouch.Hub(asked.hub, identity=own, create=False, **asked.network)
            )
            shares = await meeting.get_shared_databases()
            opening = choose(shares, asked.share, asked.hub).open(confirm=asked.confirm)
        # The share first: what can't be opened leaves no file behind.
        remote = await stack.enter_async_context(opening)
        local = await stack.enter_async_context(peerpouch.open(asked.file))
        return await _run(local, remote, asked)


async def _run(local: peerpouch.Database, remote: peerpouch.Database, asked: _Asked) -> int:
    import peerpouch

    path, states = await path_of(remote), States()
    watching = asyncio.create_task(watch(remote)) if asked.verbose else None
    with ProgressView(quiet=asked.as_json or asked.verbose) as view:
        push, pull = view.line("sending", path), view.line("receiving", path)
        sync = peerpouch.sync(local, remote, live=asked.live)
        try:
            async for progress in sync:
                push.update(progress.push)
                pull.update(progress.pull)
                if asked.live and asked.as_json:
                    states.heard(push=progress.push, pull=progress.pull)
            result = await sync
        finally:
            # After Ctrl-C too: what is under way ends in order, with its checkpoints written.
            await sync.cancel()
            if watching is not None:
                watching.cancel()
        push.update(result.push)
        pull.update(result.pull)
    extra: dict[str, Any] = {}
    if asked.verbose:
        stats = await stats_of(remote)
        if stats is not None and not asked.as_json:
            say(report(stats))
        extra["connection"] = stats_as_json(stats)
    return finish({"push": result.push, "pull": result.pull}, as_json=asked.as_json, **extra)
