"""Alice and bob: each a process of its own, with a database, an identity and a folder that the other never sees.

``python -m peerpouch.cli.demo.actors FOLDER HUB`` serves an :class:`Actor` by lines of JSON; the story calls it.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import peerpouch
from peerpouch.cli.demo import material
from peerpouch.cli.display import summary
from peerpouch.cli.links import path_of
from peerpouch.cli.processes import Served, serve
from peerpouch.cli.targets import choose
from peerpouch.errors import NotFound
from peerpouch.ports import Database, Document, Replication, ReplicationProgress, Sync, WriteFailure

BATCH = 1000
"""Characters that are written at a time."""

PROGRESS_INTERVAL = 0.1
"""Seconds between two reports of progress to the story."""

HALF = "U+00BD"
"""VULGAR FRACTION ONE HALF: early enough for every limit, and it has a numeric value to ask for."""


class Actor(Served):
    """One of the two: a local database, a hub, and what it opened of the other's."""

    def __init__(self, folder: Path, hub: str) -> None:
        self._folder = folder
        self._hub_target = hub
        self._stack = AsyncExitStack()
        self._remote: Database | None = None
        self._sync: Sync | None = None

    async def start(self) -> dict[str, Any]:
        """Open the database, the identity and the hub; gives the fingerprint."""
        identity = peerpouch.Identity.load(self._folder / "identity.json")
        self._local = await self._stack.enter_async_context(peerpouch.open(self._folder / "characters.db"))
        # All is on one machine: to ask a STUN server for the network's address would only take time.
        hub = peerpouch.Hub(self._hub_target, identity=identity, ice_servers=[])
        self._hub = await self._stack.enter_async_context(hub)
        return {"fingerprint": identity.fingerprint}

    async def close(self) -> None:
        await self._stack.aclose()

    # What alice does.

    async def load(self, limit: int | None, plants: Sequence[str]) -> dict[str, Any]:
        """Write the characters, and the files as attachments; ``plants`` are hidden in documents and an attachment."""
        began, count, size = time.monotonic(), 0, 0
        batch: list[Document] = [
            {"_id": f"planted:{n}", "type": "planted", "text": text} for n, text in enumerate(plants)
        ]
        for doc in material.characters(limit):
            batch.append(doc)
            if len(batch) >= BATCH:
                count += await self._write(batch)
                self.emit(loaded=count)
                batch = []
        count += await self._write(batch)
        paths = material.files()
        for path in paths:
            entry = {"content_type": material.content_type(path), "data": material.chunks(path)}
            count += await self._write([material.file_document(path) | {"_attachments": {path.name: entry}}])
            size += path.stat().st_size
        planted = "".join(f"{text}\n" for text in plants).encode()
        await self._local.put_attachment("planted:attachment", "planted.txt", planted, "text/plain")
        count += 1
        return {
            "documents": count,
            "files": len(paths) + 1,
            "bytes": size + len(planted),
            "seconds": time.monotonic() - began,
        }

    async def share(self, name: str, info: Any) -> dict[str, Any]:
        """Share the database; whoever opens it is reported."""

        def opened(event: peerpouch.RemoteEvent) -> None:
            self.emit(opened_by=event.peer.fingerprint, info=event.info)

        share = await self._hub.share_database(self._local, name=name, info=info, on_remote=opened)
        return {"id": share.id, "dbname": share.dbname}

    async def unshare(self) -> None:
        await self._hub.unshare_database(self._local)

    # What bob does.

    async def shares(self) -> list[dict[str, Any]]:
        """What the hub lists."""
        listed = await self._hub.get_shared_databases()
        return [
            {"name": each.name, "id": each.id, "fingerprint": each.fingerprint, "info": each.info} for each in listed
        ]

    async def open(self, share: str, info: Any) -> dict[str, Any]:
        """Connect to a share's owner; gives the seconds until the first document and the path."""
        began = time.monotonic()
        found = choose(await self._hub.get_shared_databases(), share, self._hub_target)
        self._remote = await self._stack.enter_async_context(await found.open(info=info))
        await self._remote.get(HALF)
        return {"seconds": time.monotonic() - began, "path": await path_of(self._remote)}

    async def ask(self, file: str) -> dict[str, Any]:
        """Query the other's database in place: a document, a range, a selector, the feed, an attachment."""
        remote = self._opened()
        document = await remote.get(HALF)
        digits = [row["id"] async for row in remote.all_docs(startkey="U+0030", endkey="U+0039")]
        fractions = {"numeric": {"$gt": 0, "$lt": 1}}
        found = await remote.find(fractions, fields=["name"], limit=3)
        changed = [change["id"] async for change in remote.changes(selector=fractions, limit=3)]
        digest, size = hashlib.sha256(), 0
        async for chunk in await remote.get_attachment(f"file:{file}", file):
            digest.update(chunk)
            size += len(chunk)
        return {
            "name": document["name"],
            "digits": digits,
            "found": [doc["name"] for doc in found["docs"]],
            "changed": changed,
            "attachment": {"name": file, "bytes": size, "sha256": digest.hexdigest()},
        }

    async def replicate(self, direction: str) -> dict[str, Any]:
        """Pull the other's database into one's own, or push back; reports progress."""
        source, target = (self._opened(), self._local) if direction == "pull" else (self._local, self._opened())
        return await self._follow(peerpouch.replicate(source, target))

    async def live(self) -> None:
        """Start live replication in both directions."""
        self._sync = peerpouch.sync(self._local, self._opened(), live=True)

    async def settle(self) -> dict[str, Any]:
        """End live replication; gives what it sent."""
        if self._sync is None:
            return {}
        await self._sync.cancel()
        result = await self._sync
        self._sync = None
        return {"push": summary(result.push), "pull": summary(result.pull)}

    # What both do.

    async def edit(self, ids: Iterable[str], fields: Mapping[str, Any]) -> dict[str, str]:
        """Change documents of one's own; gives their new revisions."""
        revs = {}
        for doc_id in ids:
            written = await self._local.put(await self._local.get(doc_id) | dict(fields))
            revs[doc_id] = written.rev
        return revs

    async def delete(self, doc_id: str) -> str:
        """Delete a document of one's own; gives the tombstone's revision."""
        doc = await self._local.get(doc_id)
        return (await self._local.remove(doc_id, doc["_rev"])).rev

    async def read(self, doc_id: str) -> Document | None:
        """A document of one's own, with the revisions that it conflicts with; None where it is gone."""
        try:
            return await self._local.get(doc_id, conflicts=True)
        except NotFound:
            return None

    async def write(self, doc: Document) -> float:
        """Write a document; gives the wall-clock time at which it was begun."""
        began = time.time()
        await self._local.put(doc)
        return began

    async def arrival(self, doc_id: str) -> float:
        """Wait until a document is in one's own database; gives the wall-clock time."""
        # The sequence is taken before looking, so what comes in between is in the feed.
        since = (await self._local.info())["update_seq"]
        if await self.read(doc_id) is None:
            async with aclosing(self._local.changes(since=since, live=True, doc_ids=[doc_id])) as changes:
                async for change in changes:
                    if not change.get("deleted"):
                        break
        return time.time()

    async def _write(self, docs: list[Document]) -> int:
        for result in await self._local.bulk_docs(docs):
            if isinstance(result, WriteFailure):
                raise result.error
        return len(docs)

    def _opened(self) -> Database:
        if self._remote is None:
            raise NotFound("No share is open yet.")
        return self._remote

    async def _follow(self, replication: Replication) -> dict[str, Any]:
        path, reported = await path_of(self._opened()), 0.0
        async for progress in replication:
            if time.monotonic() - reported >= PROGRESS_INTERVAL:
                reported = time.monotonic()
                self._report(progress, path)
        result = await replication
        path = await path_of(self._opened())
        self._report(result, path)
        return summary(result) | {"path": path}

    def _report(self, progress: ReplicationProgress, path: str) -> None:
        self.emit(progress=summary(progress) | {"changes_read": progress.changes_read}, path=path)


if __name__ == "__main__":
    serve(Actor(Path(sys.argv[1]), sys.argv[2]))
