"""``peerpouch doctor --hub HUB``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import click

from peerpouch.cli.display import printable, write_json
from peerpouch.cli.running import EXIT_FAILURE, EXIT_OK, hub_option, identity_option, json_option, run

MARKS: Final = {"ok": "ok", "warning": "warning", "failed": "FAILED", "skipped": "skipped"}


@click.command("doctor")
@hub_option
@identity_option
@click.option("--relay", is_flag=True, help="Check connections by TURN servers only.")
@json_option
def command(hub: str, identity: str | None, relay: bool, as_json: bool) -> int:
    """Check step by step what connections to peers need, and say what to do about what fails.

    A small share for your own key only is announced in the hub meanwhile, opened, and withdrawn. Ends with 1 if a step
    failed. The STUN and TURN servers are those of $PEERPOUCH_ICE_SERVERS.
    """
    return run(_examine(hub, identity, relay=relay, as_json=as_json))


async def _examine(hub: str, identity: str | None, *, relay: bool, as_json: bool) -> int:
    import peerpouch

    checks = []
    async for check in peerpouch.diagnose(hub, identity=identity, ice_transport_policy="relay" if relay else "all"):
        checks.append(check)
        if not as_json:
            print(f"{MARKS[check.state]:9}{check.name:12}{printable(check.text)}", flush=True)
            if check.advice is not None:
                print(f"{'':21}{printable(check.advice)}", flush=True)
    failed = any(check.state == "failed" for check in checks)
    if as_json:
        write_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    return EXIT_FAILURE if failed else EXIT_OK
