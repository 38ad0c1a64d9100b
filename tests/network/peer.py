"""A process with a database and a hub, called by the tests: ``python -m tests.network.peer FOLDER HUB``."""

from __future__ import annotations

import asyncio
import hashlib
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import peerpouch
from peerpouch.cli.processes import Served, serve
from peerpouch.errors import ConnectionFailed, DatabaseExists, DeadlineExceeded, HubUnreachable, NotFound, ShareNotFound
from peerpouch.ports import ReplicationProgress, Sync
from peerpouch.remote import RemoteDatabase

NAME = "notes"
FILE = "file"
CHUNK = 64 << 10
PAUSE = 0.1
"""Seconds between two looks at a hub or a share that is not there yet."""


class NetworkPeer(Served):
    """What a peer in a namespace does. ``folder`` is its own; ``hub`` a path or a URL."""

    def __init__(self, folder: Path, hub: str) -> None:
        self._folder = folder
        self._hub_target = hub
        self._stack = AsyncExitStack()
        self._remote: peerpouch.RemoteShare | None = None
        self._replication: peerpouch.Replication | None = None
        self._sync: Sync | None = None

    async def close(self) -> None:
        await self._stack.aclose()

    async def start(self, seed: str, ice: dict[str, Any]) -> None:
        """Open the database."""
        self._identity = peerpouch.Identity.ephemeral(bytes.fromhex(seed * 32))
        self._ice = ice
        self._local = await self._stack.enter_async_context(
            peerpouch.open(self._folder / "notes.db", durability="normal")
        )

    async def meet(self) -> None:
        """Reach the hub, as long as that takes."""
        if "://" in self._hub_target:
            await _again(self._make_hub)
        self._meeting = await _again(self._open_hub)

    async def _make_hub(self) -> None:
        async with peerpouch.open(self._hub_target, timeout=10) as database:
            assert isinstance(database, RemoteDatabase)
            with suppress(DatabaseExists):  # the other peer was faster
                await database.create()

    async def _open_hub(self) -> peerpouch.Hub:
        contacts = peerpouch.Contacts(memory=True)
        hub = peerpouch.Hub(self._hub_target, identity=self._identity, contacts=contacts, **self._ice)
        return await self._stack.enter_async_context(hub)

    async def share(self) -> None:
        await _again(lambda: self._meeting.share_database(self._local, name=NAME))

    async def open(self, patience: float) -> dict[str, Any]:
        """Find the share and open it; gives how long the connection took, in seconds, and its path."""
        async with asyncio.timeout(patience):
            began, remote = await _again(self._open_share)
        self._remote = remote
        took = time.monotonic() - began
        return {"seconds": took, **await self.stats()}

    async def _open_share(self) -> tuple[float, peerpouch.RemoteShare]:
        shares = [share for share in await self._meeting.get_shared_databases() if share.name == NAME]
        if not shares:
            raise ShareNotFound
        began = time.monotonic()
        return began, await self._stack.enter_async_context(shares[0].open())

    async def stats(self) -> dict[str, Any]:
        """What is known of the connection."""
        stats = await self._opened().stats()
        if stats is None:
            return {"path": None}
        return {"path": stats.path, "local": stats.local, "remote": stats.remote, "round_trip": stats.round_trip}

    # Documents

    async def fill(self, count: int, prefix: str) -> None:
        """Write small documents in bulk."""
        chance = random.Random(prefix)
        for start in range(0, count, 1000):
            docs = [
                {"_id": f"{prefix}-{number:06}", "n": number, "text": chance.randbytes(80).hex()}
                for number in range(start, min(start + 1000, count))
            ]
            await self._local.bulk_docs(docs)

    async def attach(self, size: int) -> None:
        """Write a document with one attachment that does not compress."""
        await self._local.put_attachment(FILE, FILE, _noise(size))

    async def put(self, doc: dict[str, Any]) -> str:
        """Write one document; gives its revision."""
        return (await self._local.put(doc)).rev

    async def current(self, doc_id: str) -> dict[str, Any]:
        return dict(await self._local.get(doc_id))

    async def has(self, doc_id: str) -> bool:
        with suppress(NotFound):
            await self._local.get(doc_id)
            return True
        return False

    async def hub(self) -> str:
        """Where it meets others."""
        return self._hub_target

    async def digest(self) -> dict[str, Any]:
        """What is in the database: documents, and one hash over all ids, leaves and attachments' content."""
        count, overall = 0, hashlib.sha256()
        rows: list[tuple[str, list[str]]] = []
        async with self._local.changes(style="all_docs") as changes:
            async for row in changes:
                rows.append((row["id"], sorted(change["rev"] for change in row["changes"])))
        for doc_id, leaves in sorted(rows):
            count += 1
            overall.update(f"{doc_id} {leaves}".encode())
            if doc_id == FILE:
                async for chunk in await self._local.get_attachment(FILE, FILE):
                    overall.update(chunk)
        return {"documents": count, "hash": overall.hexdigest()}

    async def trees(self) -> dict[str, dict[str, Any]]:
        """For each document its leaves, and all revisions of their histories."""
        found: dict[str, dict[str, Any]] = {}
        async with self._local.changes(style="all_docs") as changes:
            async for row in changes:
                leaves = sorted(change["rev"] for change in row["changes"])
                known: set[str] = set()
                for leaf in leaves:
                    history = (await self._local.get(row["id"], rev=leaf, revs=True))["_revisions"]
                    known |= {f"{history['start'] - step}-{rev}" for step, rev in enumerate(history["ids"])}
                found[row["id"]] = {"leaves": leaves, "known": sorted(known)}
        return found

    # Replication

    async def replicate(self, direction: str) -> dict[str, Any]:
        """Copy to ("push") or from ("pull") the share; gives documents, bytes and seconds."""
        ends = (self._local, self._opened()) if direction == "push" else (self._opened(), self._local)
        began = time.monotonic()
        self._replication = peerpouch.replicate(*ends, retry=True)
        result = await self._replication
        return {**_told(result), "seconds": time.monotonic() - began}

    async def progress(self) -> dict[str, Any]:
        """Where that stands."""
        return {} if self._replication is None else _told(self._replication.progress)

    async def follow(self) -> None:
        """Sync live, from now on."""
        self._sync = peerpouch.sync(self._local, self._opened(), live=True)

    async def forever(self) -> None:
        """Return, or raise, when the live sync ends, which it never should."""
        if self._sync is None:
            await asyncio.Event().wait()
        else:
            await self._sync

    def _opened(self) -> peerpouch.RemoteShare:
        assert self._remote is not None, "No share is open yet."
        return self._remote


def _told(progress: ReplicationProgress) -> dict[str, Any]:
    return {
        "state": progress.state,
        "docs_written": progress.docs_written,
        "docs_failed": progress.docs_failed,
        "bytes": progress.bytes,
        "error": None if progress.error is None else str(progress.error),
    }


async def _again(work: Any) -> Any:
    """Try until the hub can be reached and the share is there."""
    while True:
        try:
            return await work()
        except (HubUnreachable, ShareNotFound, ConnectionFailed, DeadlineExceeded):
            await asyncio.sleep(PAUSE)


async def _noise(size: int) -> AsyncIterator[bytes]:
    chance = random.Random(1)
    for start in range(0, size, CHUNK):
        yield chance.randbytes(min(CHUNK, size - start))


if __name__ == "__main__":
    serve(NetworkPeer(Path(sys.argv[1]), sys.argv[2]))
