"""What the package's public names need of layers below ``node``."""

from __future__ import annotations

from peerpouch.archive.exporting import ExportProgress, export_database
from peerpouch.archive.importing import ImportProgress, import_database
from peerpouch.core.policy import Access
from peerpouch.hub.events import RemoteEvent, RemotePeer
from peerpouch.identity.contacts import Contacts, Trust
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import Identity, PublicKey

__all__ = [
    "Access",
    "Contacts",
    "ExportProgress",
    "Identity",
    "ImportProgress",
    "Invite",
    "PublicKey",
    "RemoteEvent",
    "RemotePeer",
    "Trust",
    "export_database",
    "import_database",
]
