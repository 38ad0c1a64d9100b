"""A document database in your Python process that replicates straight to other people's machines.

    async with peerpouch.open("notes.db") as notes, peerpouch.Hub("hub.db") as hub:
        await hub.share_database(notes, name="Field notes")

Names are loaded when they are first used (PEP 562): importing peerpouch loads no engine and no server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peerpouch import errors
    from peerpouch.errors import PeerPouchError
    from peerpouch.node.databases import LocalDatabase
    from peerpouch.node.doctor import Check, diagnose
    from peerpouch.node.entry import open
    from peerpouch.node.hubs import Hub
    from peerpouch.node.names import (
        Access,
        Contacts,
        ExportProgress,
        Identity,
        ImportProgress,
        Invite,
        PublicKey,
        RemoteEvent,
        RemotePeer,
        Trust,
        export_database,
        import_database,
    )
    from peerpouch.node.operating import collect_hub, prepare_hub
    from peerpouch.node.remotes import RemoteShare
    from peerpouch.node.replicating import replicate, sync
    from peerpouch.node.serving import Server
    from peerpouch.node.sharing import OwnShare, SharedDatabase, SharedDatabases
    from peerpouch.node.standing import ShareOptions
    from peerpouch.ports import (
        Database,
        LinkStats,
        Replication,
        ReplicationOptions,
        ReplicationProgress,
        Sync,
        SyncProgress,
    )

__all__ = [
    "Access",
    "Check",
    "Contacts",
    "Database",
    "ExportProgress",
    "Hub",
    "Identity",
    "ImportProgress",
    "Invite",
    "LinkStats",
    "LocalDatabase",
    "OwnShare",
    "PeerPouchError",
    "PublicKey",
    "RemoteEvent",
    "RemotePeer",
    "RemoteShare",
    "Replication",
    "ReplicationOptions",
    "ReplicationProgress",
    "Server",
    "ShareOptions",
    "SharedDatabase",
    "SharedDatabases",
    "Sync",
    "SyncProgress",
    "Trust",
    "collect_hub",
    "diagnose",
    "errors",
    "export_database",
    "import_database",
    "open",
    "prepare_hub",
    "replicate",
    "sync",
]

_WHERE = {
    "Access": "node.names",
    "Check": "node.doctor",
    "Contacts": "node.names",
    "Database": "ports",
    "ExportProgress": "node.names",
    "Hub": "node.hubs",
    "Identity": "node.names",
    "ImportProgress": "node.names",
    "Invite": "node.names",
    "LinkStats": "ports",
    "LocalDatabase": "node.databases",
    "OwnShare": "node.sharing",
    "PeerPouchError": "errors",
    "PublicKey": "node.names",
    "RemoteEvent": "node.names",
    "RemotePeer": "node.names",
    "RemoteShare": "node.remotes",
    "Replication": "ports",
    "ReplicationOptions": "ports",
    "ReplicationProgress": "ports",
    "Server": "node.serving",
    "ShareOptions": "node.standing",
    "SharedDatabase": "node.sharing",
    "SharedDatabases": "node.sharing",
    "Sync": "ports",
    "SyncProgress": "ports",
    "Trust": "node.names",
    "collect_hub": "node.operating",
    "diagnose": "node.doctor",
    "export_database": "node.names",
    "import_database": "node.names",
    "open": "node.entry",
    "prepare_hub": "node.operating",
    "replicate": "node.replicating",
    "sync": "node.replicating",
}


def __getattr__(name: str) -> Any:
    if name == "errors":  # so that `except peerpouch.errors.NotFound` needs no import of its own
        return import_module(f"{__name__}.errors")
    where = _WHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{where}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
