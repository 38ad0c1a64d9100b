"""Running a command's coroutine, and the options that commands have in common."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from click.core import ParameterSource

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

SWITCH_INTERVAL = 0.0005
"""Seconds after which a busy event loop lets the database's threads run. With the default, ten times that,
a small write beside a busy loop takes a tenth of a second, since SQLite's binding waits for its turn at every row."""

COLLECT_AFTER = 10_000
"""Containers made, and not freed, before the collector of cycles looks at them: a batch of documents is some thousands.
With the default, 700, it looks at each batch while all of it is alive, which took a sixth of a replication's time. What
could wait for it takes a few megabytes."""

Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Settings:
    """What the command line as a whole knows: click hands it on as ``ctx.obj``."""

    as_json: bool = False


class Terminated(BaseException):
    """The process was asked to end by a signal. Not an ``Exception``: nothing should take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = number


def settle_process() -> None:
    """Settings of the whole process, which a program may choose for itself, and a library must not."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.set_threshold(COLLECT_AFTER, 10, 10)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end in an event loop. Ctrl-C and SIGTERM cancel it, so that it withdraws and closes what it opened.

    Raises:
        KeyboardInterrupt: after Ctrl-C. A second one does not wait for the cleaning up.
        Terminated: after SIGTERM.
    """
    settle_process()
    # Two fifths of the time that `--help` takes, which needs no event loop.
    import asyncio

    async def with_sigterm() -> Result:
        task = asyncio.ensure_future(work)
        terminated = False

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        # Windows has no SIGTERM that a loop could handle.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        try:
            return await task
        except asyncio.CancelledError:
            if terminated:
                raise Terminated(signal.SIGTERM) from None
            raise

    return asyncio.run(with_sigterm())


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> bool:
    if value and isinstance(ctx.obj, Settings):
        ctx.obj.as_json = True
    return value


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    is_eager=True,
    callback=_set_json,
    help="Write JSON to stdout, and errors as JSON to stderr.",
)
"""Eager, so that an error in another option is already reported in the form asked for."""

HUB_VARIABLE = "PEERPOUCH_HUB"

SEEN_BY_ALL = (
    "A password on the command line can be read by every user of this machine while the command runs. "
    f"Put the hub's URL into ${HUB_VARIABLE} instead."
)


def warn_of_password(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """For ``--hub``: say that an argument is no place for a password."""
    given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    if given and value is not None and "://" in value and "@" in value.partition("://")[2].partition("/")[0]:
        click.echo(SEEN_BY_ALL, err=True)
    return value


hub_option = click.option(
    "--hub",
    "hub",
    required=True,
    metavar="HUB",
    envvar=HUB_VARIABLE,
    callback=warn_of_password,
    help="Where shares are announced: a database file, or the URL of a database.",
)


_RELAY = "Connect by TURN servers only, so that peers don't learn your address: those of $PEERPOUCH_ICE_SERVERS."


def network_options(command: Function) -> Function:
    """``--relay`` and ``--compression``, for commands that connect to peers; both name where ICE servers come from."""
    relay = click.option("--relay", is_flag=True, help=_RELAY)
    compression = click.option(
        "--compression",
        type=click.Choice(["auto", "on", "off"]),
        default="auto",
        show_default=True,
        help="Compress JSON on its way to peers: where it helps, always or never.",
    )
    return relay(compression(command))


def network(relay: bool, compression: str) -> dict[str, Any]:
    """What :func:`network_options` gave, as ``peerpouch.Hub`` and ``peerpouch.open`` take it."""
    return {"ice_transport_policy": "relay" if relay else "all", "compression": compression}


identity_option = click.option(
    "--identity",
    "identity",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The key file to act as. By default the one in your data folder.",
)
