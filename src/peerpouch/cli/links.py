"""The way that data takes to a peer, in words."""

from __future__ import annotations

from peerpouch.ports import Database


async def path_of(database: Database) -> str:
    """The path that ICE chose to a remote database; empty for one that is not reached through a peer connection."""
    ...
