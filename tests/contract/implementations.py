"""The implementations of the port Documents that the contract runs over.

To add one, add an entry to ``IMPLEMENTATIONS``: an asynchronous context manager over a folder of its own, which gives
an open, empty database and closes it with all that it started.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from peerpouch.access.gate import GatedDatabase
from peerpouch.core.policy import Access
from peerpouch.node.databases import open_file
from peerpouch.ports import Database, Documents, Peer
from peerpouch.remote import RemoteDatabase
from peerpouch.storage import open_storage
from tests.couchapi.support import served
from tests.node.support import opened_share

VISITOR = Peer(b"v" * 32, "session")

Open = Callable[[Path], AbstractAsyncContextManager[Documents]]


@dataclass(frozen=True)
class Implementation:
    """How a database is opened, and what it can do.

    Attributes:
        administration: Whether it may be compacted, purged, limited and destroyed, or answers ``Forbidden``.
        guards: Whether ``bulk_docs`` takes a guard; a guard can't travel.
        ancestors: Whether revisions that are no leaves, and more of a deletion than that it is one, can be read.
        slow: Whether it is tested with the slow tests.
    """

    open: Open
    administration: bool = True
    guards: bool = True
    ancestors: bool = True
    slow: bool = False


@asynccontextmanager
async def _storage(folder: Path) -> AsyncIterator[Documents]:
    async with await open_storage(folder / "contract.db", durability="normal") as database:
        yield database


@asynccontextmanager
async def _memory(folder: Path) -> AsyncIterator[Documents]:
    async with await open_storage(":memory:") as database:
        yield database


@asynccontextmanager
async def _share(folder: Path) -> AsyncIterator[Documents]:
    """Another peer's database, over WebRTC, with all that an owner can grant."""
    async with opened_share(folder) as database:
        yield database


@asynccontextmanager
async def _share_of_remote(folder: Path) -> AsyncIterator[Documents]:
    """A server's database that somebody shares onward."""
    async with _remote(folder) as database, opened_share(folder, database) as share:
        yield share


@asynccontextmanager
async def _share_of_share(folder: Path) -> AsyncIterator[Documents]:
    """Another peer's database that its visitor shares onward."""
    (folder / "onward").mkdir()
    async with opened_share(folder) as database, opened_share(folder / "onward", database) as share:
        yield share


@asynccontextmanager
async def _remote(folder: Path) -> AsyncIterator[Database]:
    """A server's database, reached without a wire."""
    async with served() as api, RemoteDatabase(api.exchange, "http://in.process/db") as database:
        yield database


@asynccontextmanager
async def _relayed(folder: Path) -> AsyncIterator[Documents]:
    """A server's database that a second server shares onward."""
    async with served() as origin, served() as relay:
        await relay.registry.databases["db"].close()
        relay.registry.databases["db"] = RemoteDatabase(origin.exchange, "http://origin.example/db")
        async with RemoteDatabase(relay.exchange, "http://relay.example/db") as database:
            yield database


@asynccontextmanager
async def _limited(folder: Path) -> AsyncIterator[Documents]:
    """A database as it looks through a selector that lets every document through."""
    async with await open_file(str(folder / "limited.db"), durability="normal") as database:
        access = Access(select={})
        object.__setattr__(access, "admin", True)  # which nobody gets together with a selector: for design documents
        yield GatedDatabase(database, VISITOR, access, name="limited")


IMPLEMENTATIONS: dict[str, Implementation] = {
    "storage": Implementation(_storage),
    "memory": Implementation(_memory),
    "limited": Implementation(_limited, administration=False, ancestors=False),
    "relayed": Implementation(_relayed, guards=False),
    "remote": Implementation(_remote, guards=False),
    "share": Implementation(_share, guards=False),
    "onward-of-remote": Implementation(_share_of_remote, guards=False, slow=True),
    "onward-of-share": Implementation(_share_of_share, guards=False, slow=True),
}
