"""Two people on one machine who share databases through a hub, over real WebRTC on loopback."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import peerpouch
from peerpouch.ports import Database


class Person:
    """An identity, a hub object and databases of one's own; all files are in one folder."""

    def __init__(self, folder: Path, name: str, hub: Any = None, identity: peerpouch.Identity | None = None) -> None:
        self.folder = folder
        self.name = name
        self.identity = peerpouch.Identity.ephemeral() if identity is None else identity
        self.hub = new_hub(folder / "hub.db" if hub is None else hub, self.identity)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Person:
        await self._stack.enter_async_context(self.hub)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def database(self, name: str = "db") -> Database:
        """A database file of this person's, closed with the person."""
        path = self.folder / f"{self.name}-{name}.db"
        return await self._stack.enter_async_context(peerpouch.open(path, durability="normal"))

    async def open(self, name: str, **options: Any) -> peerpouch.RemoteShare:
        """Somebody's share, by its name."""
        return await (await self.find(name)).open(**options)

    async def find(self, name: str) -> peerpouch.SharedDatabase:
        """Somebody's share in the listing, which it may take a moment to reach another hub object's feed."""

        async def listed() -> list[peerpouch.SharedDatabase]:
            return [share for share in await self.hub.get_shared_databases() if share.name == name]

        shares: list[peerpouch.SharedDatabase] = await eventually(listed)
        (share,) = shares
        return share


def new_hub(target: Any, identity: peerpouch.Identity) -> peerpouch.Hub:
    """A hub object that asks no server on the network."""
    return peerpouch.Hub(target, identity=identity, contacts=peerpouch.Contacts(memory=True), ice_servers=[])


@asynccontextmanager
async def people(folder: Path, *names: str) -> AsyncIterator[list[Person]]:
    """Some people who meet in the same hub file."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Person(folder, name)) for name in names]


@asynccontextmanager
async def opened_share(folder: Path, database: Database | None = None) -> AsyncIterator[peerpouch.RemoteShare]:
    """An empty database of one person's, as another one opened it who may do everything.

    Args:
        database: What is shared; by default a file.
    """
    async with people(folder, "alice", "bob") as (alice, bob):
        everything = peerpouch.Access(admin=True)
        shared = await alice.database() if database is None else database
        await alice.hub.share_database(shared, name="share", access=everything)
        async with await bob.open("share") as remote:
            yield remote


async def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until a condition, which may be a coroutine function, holds; gives its value. The test's limit ends it."""
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        await asyncio.sleep(0.005)
