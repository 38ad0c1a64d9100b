"""A :class:`~peerpouch.ports.Database` that is elsewhere, over an :class:`~peerpouch.exchange.Exchange`."""

from __future__ import annotations

from peerpouch.remote.database import RemoteDatabase

__all__ = ["RemoteDatabase"]
