"""What the package's public names need of layers below ``node``."""

from __future__ import annotations

from peerpouch.core.policy import Access
from peerpouch.hub.events import RemoteEvent, RemotePeer
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.keys import Identity, PublicKey

__all__ = ["Access", "Contacts", "Identity", "PublicKey", "RemoteEvent", "RemotePeer"]
