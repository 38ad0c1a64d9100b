"""The way that data takes to a peer, in words."""

from __future__ import annotations

from peerpouch.ports import Database, LinkStats


async def path_of(database: Database) -> str:
    """The path that ICE chose to a share; empty for a database that is not reached through a peer connection."""
    import peerpouch

    stats = await database.stats() if isinstance(database, peerpouch.RemoteShare) else None
    return "" if stats is None else describe(stats)


def describe(stats: LinkStats) -> str:
    """``direct, 192.0.2.1:40000 to 192.0.2.7:40001``, as far as the engine tells."""
    ends = f", {stats.local} to {stats.remote}" if stats.local and stats.remote else ""
    return f"{stats.path or 'unknown path'}{ends}"
