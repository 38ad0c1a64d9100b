"""Documents in one SQLite file: the ports Documents and IndexStore."""

from __future__ import annotations

from peerpouch.storage.connections import Durability
from peerpouch.storage.store import Storage, open_storage

__all__ = ["Durability", "Storage", "open_storage"]
