"""One of two peerpouch processes that share a database, for the benchmarks between peers."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Literal

import peerpouch
from benchmarks.attachments import noise
from benchmarks.documents import SETS, record
from benchmarks.prepared import fill
from benchmarks.usage import usage
from peerpouch.cli.links import path_of
from peerpouch.cli.processes import Served, serve
from peerpouch.errors import NotFound
from peerpouch.exchange import Request, Response
from peerpouch.peers.lease import LeasedExchange
from peerpouch.ports import ChangesPage, Database, Sync

NAME = "bench"
BIG = "big"


class BenchPeer(Served):
    """A database, a hub, and what it opened of the other's. ``folder`` is its own, ``hub`` is common."""

    def __init__(self, folder: Path, hub: str) -> None:
        self._folder = folder
        self._hub_target = hub
        self._stack = AsyncExitStack()
        self._remote: Database | None = None
        self._sync: Sync | None = None
        self._downloading = asyncio.Event()

    async def start(self, compression: Literal["auto", "on", "off"] = "auto") -> None:
        """Open database and hub, with an identity that ends with the process."""
        self._local = await self._stack.enter_async_context(peerpouch.open(self._folder / "bench.db"))
        own = peerpouch.Identity.ephemeral()
        hub = peerpouch.Hub(self._hub_target, identity=own, ice_servers=[], compression=compression)
        self._hub = await self._stack.enter_async_context(hub)

    async def settled(self) -> None:
        """Wait until the hub has loaded what it makes connections with."""
        await self._hub._preparing

    async def close(self) -> None:
        await self._stack.aclose()

    async def fill(self, count: int, kind: str = "") -> None:
        """Write records, or documents of another set."""
        await fill(self._local, count, SETS[kind] if kind else record)

    async def attach(self, size: int) -> None:
        """Write a document with one attachment of ``size`` bytes that don't compress."""
        await self._local.put_attachment(BIG, BIG, noise(size))

    async def share(self) -> None:
        await self._hub.share_database(self._local, name=NAME)

    async def unshare(self) -> None:
        await self._hub.unshare_database(self._local)

    async def open(self) -> dict[str, float | str]:
        """List, connect, and read the first document; gives the milliseconds of the latter two, and the path."""
        (share,) = await self._hub.get_shared_databases()
        began = time.perf_counter()
        self._remote = await self._stack.enter_async_context(await share.open())
        async for _ in self._remote.all_docs(limit=1, include_docs=True):
            pass
        return {"ms": (time.perf_counter() - began) * 1000, "path": await path_of(self._remote)}

    async def pull(self) -> dict[str, float]:
        """Replicate the other's database into one's own; gives documents and seconds."""
        began = time.perf_counter()
        result = await peerpouch.replicate(self._opened(), self._local)
        return {"docs": result.docs_written, "seconds": time.perf_counter() - began}

    async def pull_again(self, count: int) -> dict[str, float]:
        """Replicate so often, when there is nothing new; gives the median of the seconds, and the requests of each."""
        times, before = [], _requests
        for _ in range(count):
            times.append((await self.pull())["seconds"])
        return {"seconds": statistics.median(times), "requests": (_requests - before) / count}

    async def download(self) -> dict[str, float]:
        """Read the attachment in place and drop it; gives bytes and seconds."""
        began, size = time.perf_counter(), 0
        async for chunk in await self._opened().get_attachment(BIG, BIG):
            size += len(chunk)
            self._downloading.set()
        return {"bytes": size, "seconds": time.perf_counter() - began}

    async def flowing(self) -> None:
        """Wait until a download has begun to arrive."""
        await self._downloading.wait()

    async def gets(self, count: int) -> list[float]:
        """Read the first document in place, again and again; gives the seconds of each time."""
        times = []
        for _ in range(count):
            began = time.perf_counter()
            await self._opened().get(record(0)["_id"])
            times.append(time.perf_counter() - began)
        return times

    async def used(self) -> dict[str, float]:
        """What this process has used by now."""
        return usage()

    async def live(self) -> None:
        """Start live replication both ways."""
        self._sync = peerpouch.sync(self._local, self._opened(), live=True)

    async def settle(self) -> None:
        """End live replication."""
        if self._sync is not None:
            await self._sync.cancel()
            await self._sync

    async def write(self, doc_id: str) -> float:
        """Write a document; gives the wall-clock time at which it was begun."""
        began = time.time()
        await self._local.put({"_id": doc_id, "text": "x" * 200})
        return began

    async def expect(self, doc_id: str) -> None:
        """Look out for a document from now on."""
        pages = self._local.changes(since="now", live=True, doc_ids=[doc_id]).pages()
        await anext(pages)  # it waits
        self._expected = asyncio.create_task(_seen(pages))

    async def arrival(self) -> float:
        """Wait for the document; gives the wall-clock time at which it was seen."""
        return await self._expected

    def _opened(self) -> Database:
        if self._remote is None:
            raise NotFound("No share is open yet.")
        return self._remote


async def _seen(pages: AsyncGenerator[ChangesPage, None]) -> float:
    async with aclosing(pages):
        while not (await anext(pages)).results:
            continue
        return time.time()


_requests = 0
"""That this process has sent to peers."""


def _count_requests() -> None:
    send = LeasedExchange.handle_async_request

    async def counted(self: LeasedExchange, request: Request) -> Response:
        global _requests
        _requests += 1
        return await send(self, request)

    LeasedExchange.handle_async_request = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    _count_requests()
    serve(BenchPeer(Path(sys.argv[1]), sys.argv[2]))
