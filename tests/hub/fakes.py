"""A clock that tests turn, and a hub in memory that tests can break, read and forge."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal

from peerpouch.core import jsonio
from peerpouch.errors import Conflict, Forbidden, NotFound, NotSupported, PeerPouchError
from peerpouch.ports import (
    AllDocs,
    AllDocsHead,
    AllDocsRow,
    Attachment,
    AttachmentMode,
    Change,
    Changes,
    ChangesPage,
    Clock,
    DatabaseInfo,
    Document,
    Documents,
    Guard,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    Seq,
    WriteFailure,
    WriteResult,
    Written,
)

START = 1_700_000_000.0


async def settle() -> None:
    """Let every task run that can."""
    for _ in range(60):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)


class FakeClock(Clock):
    """Stands still until it is turned. ``drift`` moves the wall clock alone."""

    def __init__(self, now: float = START) -> None:
        self._offset = now - 1000.0
        self._monotonic = 1000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        return self._monotonic + self._offset

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._monotonic + max(0.0, seconds), self._count, future))
        await future

    def drift(self, seconds: float) -> None:
        self._offset += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass; whoever sleeps wakes when its time has come, and not later."""
        target = self._monotonic + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            self._monotonic, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
                await settle()
        self._monotonic = target
        await settle()


class MemoryHub(Documents):
    """As much of a database as a hub needs.

    Attributes:
        fail: Raised by whatever is asked of it, live feeds included, while set.
        selectors: Whether it evaluates selectors; otherwise it refuses them.
        purges: Whether it lets everybody purge.
        written: Every document that was ever written, in order: what an evil hub remembers.
        calls: How often each method was called.
        feeds: Live feeds that are open.
    """

    def __init__(self, clock: Clock, *, selectors: bool = True) -> None:
        self.clock = clock
        self.selectors = selectors
        self.purges = True
        self.fail: PeerPouchError | None = None
        self.written: list[Document] = []
        self.calls: Counter[str] = Counter()
        self.feeds = 0
        self.before_write: Callable[[Document], None] | None = None
        self._docs: dict[str, Document] = {}
        self._seqs: dict[str, int] = {}
        self._seq = 0
        self._woken = asyncio.Event()

    # What an evil hub does behind everybody's back.

    def raw(self, doc_id: str) -> Document | None:
        doc = self._docs.get(doc_id)
        return None if doc is None or doc.get("_deleted") else _copy(doc)

    def ids(self, prefix: str) -> list[str]:
        return [doc_id for doc_id in sorted(self._docs) if doc_id.startswith(prefix) and self.raw(doc_id)]

    def force(self, doc: Document) -> None:
        """Make this the current document, whatever there is."""
        old = self._docs.get(doc["_id"], {}).get("_rev", "0-x")
        generation = int(old.partition("-")[0]) + 1
        self._store({**_copy(doc), "_rev": f"{generation}-forced{self._seq}"})

    def lose(self, error: PeerPouchError | None) -> None:
        """Break every connection, and refuse new ones until called with None."""
        self.fail = error
        self._wake()

    # What the port asks for.

    @property
    def name(self) -> str:
        return "memory"

    async def id(self) -> str:
        return "memory"

    async def info(self) -> DatabaseInfo:
        self._called("info")
        return {
            "db_name": "memory",
            "doc_count": len(self._docs),
            "doc_del_count": 0,
            "update_seq": str(self._seq),
            "purge_seq": "0",
            "sizes": {"file": 0, "active": 0, "external": 0},
            "instance_start_time": "0",
        }

    async def get(self, doc_id: str, **options: Any) -> Document:
        self._called("get")
        doc = self._docs.get(doc_id)
        if doc is None or doc.get("_deleted"):
            raise NotFound("missing" if doc is None else "deleted")
        return _copy(doc)

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        self._called("bulk_docs")
        await asyncio.sleep(0)
        return [self._write(_copy(doc)) for doc in docs]

    def all_docs(
        self,
        *,
        keys: Sequence[str] | None = None,
        startkey: str | None = None,
        endkey: str | None = None,
        limit: int | None = None,
        include_docs: bool = False,
        **options: Any,
    ) -> AllDocs:
        self._called("all_docs")

        async def head() -> AllDocsHead:
            return AllDocsHead(len(self._docs), 0)

        async def pages() -> AsyncIterator[list[AllDocsRow]]:
            rows: list[AllDocsRow] = []
            for doc_id in sorted(self._docs):
                doc = self.raw(doc_id)
                if doc is None or not (startkey or "") <= doc_id <= (endkey or "\U0010ffff"):
                    continue
                row: AllDocsRow = {"id": doc_id, "key": doc_id, "value": {"rev": doc["_rev"]}}
                if include_docs:
                    row["doc"] = doc
                rows.append(row)
            await asyncio.sleep(0)
            yield rows[:limit]

        return AllDocs(head, pages)

    def changes(
        self,
        *,
        since: Seq | int = "0",
        limit: int | None = None,
        live: bool = False,
        selector: Mapping[str, Any] | None = None,
        heartbeat: float | None = None,
        **options: Any,
    ) -> Changes:
        if live:
            return Changes(lambda: self._feed(int(since), selector, heartbeat))

        async def once() -> AsyncIterator[ChangesPage]:
            if selector is not None and not self.selectors:
                raise NotSupported("No selectors here.")
            changes = self._later(int(since), selector)[:limit]
            yield ChangesPage(changes, changes[-1]["seq"] if changes else str(since), 0)

        return Changes(once)

    def _later(self, since: int, selector: Mapping[str, Any] | None) -> list[Change]:
        later = sorted((seq, doc_id) for doc_id, seq in self._seqs.items() if seq > since)
        return [self._change(seq, doc_id) for seq, doc_id in later if self._matches(selector, doc_id)]

    async def _feed(
        self, since: int, selector: Mapping[str, Any] | None, heartbeat: float | None
    ) -> AsyncGenerator[ChangesPage, None]:
        self._called("changes")
        if selector is not None and not self.selectors:
            raise NotSupported("No selectors here.")
        self.feeds += 1
        try:
            while True:
                if self.fail is not None:
                    raise self.fail
                woken = self._woken
                page = self._later(since, selector)
                since = self._seq
                yield ChangesPage(page, str(since), 0)
                if heartbeat is None:
                    await woken.wait()
                else:
                    waiting = [asyncio.ensure_future(woken.wait()), asyncio.ensure_future(self.clock.sleep(heartbeat))]
                    try:
                        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        for task in waiting:
                            task.cancel()
        finally:
            self.feeds -= 1

    def _change(self, seq: int, doc_id: str) -> Change:
        doc = _copy(self._docs[doc_id])
        change: Change = {"seq": str(seq), "id": doc_id, "changes": [{"rev": doc["_rev"]}], "doc": doc}
        if doc.get("_deleted"):
            change["deleted"] = True
        return change

    def _matches(self, selector: Mapping[str, Any] | None, doc_id: str) -> bool:
        return selector is None or _match(selector, self._docs[doc_id])

    def _write(self, doc: Document) -> WriteResult:
        if self.before_write is not None:
            self.before_write(doc)
        doc_id, rev = doc["_id"], doc.get("_rev")
        old = self._docs.get(doc_id)
        living = None if old is None or old.get("_deleted") else old
        if (living is None and rev is not None) or (living is not None and living["_rev"] != rev):
            return WriteFailure(doc_id, Conflict())
        generation = 1 if old is None else int(old["_rev"].partition("-")[0]) + 1
        doc["_rev"] = f"{generation}-{self._seq + 1}"
        self._store(doc)
        return Written(doc_id, doc["_rev"])

    def _store(self, doc: Document) -> None:
        self._seq += 1
        self._docs[doc["_id"]] = doc
        self._seqs[doc["_id"]] = self._seq
        self.written.append(_copy(doc))
        self._wake()

    def _wake(self) -> None:
        self._woken.set()
        self._woken = asyncio.Event()

    def _called(self, method: str) -> None:
        self.calls[method] += 1
        if self.fail is not None:
            raise self.fail

    # What a hub never asks for.

    async def open_revs(
        self, doc_id: str, revs: Sequence[str] | Literal["all"] = "all", **options: Any
    ) -> list[RevisionResult]:
        raise NotSupported

    def bulk_get(
        self,
        requests: Sequence[RevisionRequest],
        *,
        revs: bool = False,
        latest: bool = False,
        attachments: AttachmentMode = False,
    ) -> AsyncIterator[RevisionResult]:
        raise NotSupported

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
        raise NotSupported

    async def get_attachment(self, doc_id: str, name: str, **options: Any) -> Attachment:
        raise NotSupported

    def local_docs(self, *, include_docs: bool = False) -> AllDocs:
        raise NotSupported

    async def get_security(self) -> Document:
        raise NotSupported

    async def put_security(self, security: Document) -> None:
        raise NotSupported

    async def get_revs_limit(self) -> int:
        raise NotSupported

    async def put_revs_limit(self, limit: int) -> None:
        raise NotSupported

    async def purge(self, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        self._called("purge")
        if not self.purges:
            raise Forbidden("Only an administrator may purge.")
        purged: dict[str, list[str]] = {}
        for doc_id, wanted in revs.items():
            if self._docs.get(doc_id, {}).get("_rev") in wanted:
                purged[doc_id] = [self._docs.pop(doc_id)["_rev"]]
                del self._seqs[doc_id]
        return purged

    async def compact(self) -> None:
        raise NotSupported

    async def close(self) -> None:
        raise NotSupported

    async def destroy(self) -> None:
        raise NotSupported


def _copy(doc: Document) -> Document:
    copy: Document = jsonio.loads(jsonio.dumps(doc))
    return copy


def _match(selector: Mapping[str, Any], doc: Document) -> bool:
    """The few operators that the hub's selector uses."""
    for field, condition in selector.items():
        if field == "$or":
            if not any(_match(choice, doc) for choice in condition):
                return False
            continue
        if field not in doc:
            return False
        tests = {
            "$gte": doc[field] >= condition.get("$gte", ""),
            "$lte": doc[field] <= condition.get("$lte", "\U0010ffff"),
        }
        if not all(tests.values()) or condition.get("$eq", doc[field]) != doc[field]:
            return False
    return True
