"""The bounds of a pool. Every number has its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CONNECT_TIMEOUT: Final = 30.0
"""Seconds for opening a share: a hub that is polled answers within a few, and ICE through TURN takes a few more."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """The bounds of a pool; seconds, except where said otherwise.

    Attributes:
        idle: How long a link that nobody uses is kept. A few seconds make opening one share after the other cheap.
        half_open: How long an answered offer may take until its channel is open.
        half_opens: How many of them there may be. Each holds a peer connection, about a megabyte.
        links: How many connections others may have made to this end, for the same reason; an own share is for some
            hundreds at most, who then replicate among each other.
        links_per_key: How many of them may be of one key, which is one person's devices and processes.
        settle: How long to wait for the other's connection after our offer gave way to it. Its offer and our answer
            each take one way through the hub.
        alive: How long a link may take to show that it still works, when its other end seems to want a new one.
        telling: How long the error of a step that ran out of time is waited for.
        restart_pause: How long to wait after a restart before the path is judged again: what was done shows in a round
            trip or two.
        farewell: How long draining a link may take, and telling that a share is not used any more.
    """

    idle: float = 30.0
    half_open: float = 20.0
    half_opens: int = 64
    links: int = 512
    links_per_key: int = 16
    settle: float = 8.0
    alive: float = 2.0
    telling: float = 1.0
    restart_pause: float = 2.0
    farewell: float = 5.0
