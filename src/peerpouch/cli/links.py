"""The connection to a peer, in words and for scripts."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any, Final

from peerpouch.cli.display import amount, counted, say
from peerpouch.ports import Database, LinkStats

EVERY: Final = 5.0
"""Seconds between two lines of ``--verbose``."""


async def stats_of(database: Database) -> LinkStats | None:
    """What is known of the connection to a share; nothing for other databases, and while there is none."""
    import peerpouch

    return await database.stats() if isinstance(database, peerpouch.RemoteShare) else None


async def path_of(database: Database) -> str:
    """The path that ICE chose to a share; empty for a database that is not reached through a peer connection."""
    stats = await stats_of(database)
    return "" if stats is None else describe(stats)


def describe(stats: LinkStats) -> str:
    """``direct, 192.0.2.1:40000 to 192.0.2.7:40001``, as far as the engine tells."""
    ends = f", {stats.local} to {stats.remote}" if stats.local and stats.remote else ""
    return f"{stats.path or 'unknown path'}{ends}"


def report(stats: LinkStats) -> str:
    """Everything that a person may want to know of a connection, on one line."""
    parts = [describe(stats)]
    if stats.round_trip is not None:
        parts.append(f"round trip {stats.round_trip * 1000:.1f} ms")
    parts.append(f"sent {amount(stats.sent)} ({amount(stats.sending)}/s)")
    parts.append(f"received {amount(stats.received)} ({amount(stats.receiving)}/s)")
    parts.append(counted(stats.streams, "stream"))
    wire = stats.extra.get("wire_sent")
    if wire:
        parts.append(f"{amount(wire)} with all that the path takes")
    taken, given = stats.extra.get("uncompressed"), stats.extra.get("compressed")
    if taken and given:
        parts.append(f"JSON compressed to {given / taken:.0%}")
    return ", ".join([*parts, stats.engine])


def as_json(stats: LinkStats | None) -> dict[str, Any] | None:
    """The same for scripts: the fields of :class:`~peerpouch.LinkStats`."""
    return None if stats is None else asdict(stats)


async def watch(database: Database) -> None:
    """Say on stderr what the connection does, now and again, until cancelled."""
    while True:
        stats = await stats_of(database)
        say("not connected" if stats is None else report(stats))
        await asyncio.sleep(EVERY)
