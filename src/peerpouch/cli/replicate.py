"""``peerpouch replicate A B``."""

from __future__ import annotations

from typing import Any

import click

from peerpouch.cli.display import ProgressView, States, amount, counted, say, summary, write_json
from peerpouch.cli.links import path_of
from peerpouch.cli.running import EXIT_FAILURE, EXIT_OK, json_option, run
from peerpouch.ports import ReplicationProgress


@click.command("replicate")
@click.argument("source", metavar="A")
@click.argument("target", metavar="B")
@click.option("--live", is_flag=True, help="Go on with what changes later, until Ctrl-C.")
@json_option
def command(source: str, target: str, live: bool, as_json: bool) -> int:
    """Replicate database A into database B.

    Each is a file, the URL of a CouchDB database, or the webrtc://… of a share. A file B is made if there is none. Only
    what B lacks is sent, and a run that was cut off goes on where it was. With --live --json, one object a line.
    """
    return run(_replicate(source, target, live=live, as_json=as_json))


async def _replicate(source: str, target: str, *, live: bool, as_json: bool) -> int:
    import peerpouch

    async with peerpouch.open(source, create=False) as origin, peerpouch.open(target) as copy:
        path = await path_of(origin) or await path_of(copy)
        states = States()
        with ProgressView(quiet=as_json) as view:
            line = view.line("replicating", path)
            replication = peerpouch.replicate(origin, copy, live=live)
            try:
                async for progress in replication:
                    line.update(progress)
                    if live and as_json:
                        states.heard(replicated=progress)
                result = await replication
            finally:
                # After Ctrl-C too: what is under way ends in order, with its checkpoint written.
                await replication.cancel()
            line.update(result)
    return finish({"replicated": result}, as_json=as_json)


def finish(results: dict[str, ReplicationProgress], *, as_json: bool, **extra: Any) -> int:
    """Say what replications did, to scripts with what else is given; gives the exit code: failure where a document was
    refused."""
    if as_json:
        shown = {label: summary(result) for label, result in results.items()}
        write_json(next(iter(shown.values())) if len(shown) == 1 else {**shown, **extra})
    else:
        for label, result in results.items():
            seconds = (result.ended or result.started) - result.started
            print(f"{label}: {counted(result.docs_written, 'document')}, {amount(result.bytes)} in {seconds:.1f} s")
            for refused in result.refused:
                say(f"refused: {refused.id} {refused.rev}: {refused.reason}")
    return EXIT_FAILURE if any(result.docs_failed for result in results.values()) else EXIT_OK
