"""An honest little database in memory, and wrappers that misbehave: what replication is tested against on its own."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from peerpouch.errors import Conflict, MissingStub, NotFound, PeerPouchError
from peerpouch.ports import (
    Attachment,
    Change,
    Changes,
    ChangesPage,
    Clock,
    Document,
    Documents,
    PlainRevisions,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    WriteFailure,
    WriteResult,
    Written,
)

Revision = tuple[list[str], Document, dict[str, tuple[dict[str, Any], bytes]]]


def generation(rev: str) -> int:
    return int(rev.partition("-")[0])


class MemoryDatabase:
    """What replication asks of a database, kept in dictionaries. Duck-typed: the rest of the port is not there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.docs: dict[str, dict[str, Revision]] = {}  # id -> revision -> history, body, attachments
        self.known: dict[str, set[str]] = {}  # id -> every revision in any history
        self.locals: dict[str, Document] = {}
        self.log: dict[str, int] = {}  # id -> sequence
        self.seq = 0
        self.calls: list[str] = []
        self.news = asyncio.Event()
        self.refuse: Callable[[Document], PeerPouchError | None] = lambda doc: None
        self.before_write: Callable[[], Any] | None = None
        self.plain = False  # whether it has a way to give revisions unparsed

    async def id(self) -> str:
        self.calls.append("id")
        return f"uuid-of-{self.name}"

    async def info(self) -> dict[str, Any]:
        self.calls.append("info")
        return {"update_seq": str(self.seq)}

    def leaves(self, doc_id: str) -> list[str]:
        revisions = self.docs.get(doc_id, {})
        parents = {history[1] for history, _, _ in revisions.values() if len(history) > 1}
        inner = {rev for history, _, _ in revisions.values() for rev in history[1:]} | parents
        return sorted((rev for rev in revisions if rev not in inner), key=lambda rev: (generation(rev), rev))

    def winner(self, doc_id: str) -> str:
        return max(
            self.leaves(doc_id),
            key=lambda rev: (not self.docs[doc_id][rev][1].get("_deleted", False), generation(rev), rev),
        )

    def state(self) -> dict[str, dict[str, Any]]:
        """All leaves with bodies and attachments, to compare two databases by."""
        return {
            doc_id: {
                rev: (self.docs[doc_id][rev][1], {n: data for n, (_, data) in self.docs[doc_id][rev][2].items()})
                for rev in self.leaves(doc_id)
            }
            for doc_id in self.docs
        }

    async def get(self, doc_id: str, **options: Any) -> Document:
        self.calls.append("get")
        if doc_id.startswith("_local/"):
            if doc_id not in self.locals:
                raise NotFound
            return copy.deepcopy(self.locals[doc_id])
        if doc_id not in self.docs:
            raise NotFound
        return self._document(doc_id, self.winner(doc_id), False, "stubs")

    async def put(self, doc: Document) -> Written:
        self.calls.append("put")
        if doc["_id"].startswith("_local/"):
            old = self.locals.get(doc["_id"], {}).get("_rev")
            if doc.get("_rev") != old:
                raise Conflict
            rev = f"0-{1 + int((old or '0-0')[2:])}"
            self.locals[doc["_id"]] = {**copy.deepcopy(doc), "_rev": rev}
            return Written(doc["_id"], rev)
        return self.edit(doc)

    def edit(self, doc: Document) -> Written:
        """Write a new revision of one document, with bytes in its attachments' ``data``."""
        parent = doc.get("_rev")
        history = self.docs[doc["_id"]][parent][0] if parent else []
        body = {key: value for key, value in doc.items() if key not in ("_rev", "_attachments")}
        stored: dict[str, tuple[dict[str, Any], bytes]] = {}
        for name, entry in doc.get("_attachments", {}).items():
            data = entry["data"] if "data" in entry else self.docs[doc["_id"]][doc["_rev"]][2][name][1]
            digest = "md5-" + hashlib.md5(data).hexdigest()
            meta = {"content_type": entry["content_type"], "digest": digest, "length": len(data)}
            stored[name] = (meta, data)
        text = json.dumps([parent, body, {n: m["digest"] for n, (m, _) in stored.items()}], sort_keys=True)
        rev = f"{len(history) + 1}-{hashlib.md5(text.encode()).hexdigest()}"
        self._store(doc["_id"], [rev, *history], body, stored)
        return Written(doc["_id"], rev)

    def _store(self, doc_id: str, history: list[str], body: Document, attachments: dict[str, Any]) -> None:
        if history[0] in self.docs.get(doc_id, {}):
            return
        self.docs.setdefault(doc_id, {})[history[0]] = (history, body, attachments)
        self.known.setdefault(doc_id, set()).update(history)
        self.seq += 1
        self.log.pop(doc_id, None)
        self.log[doc_id] = self.seq
        self.news.set()

    def forget(self, doc_id: str) -> None:
        """Purge all of a document, without a trace in the feed."""
        del self.docs[doc_id], self.known[doc_id], self.log[doc_id]

    async def bulk_docs(self, docs: Sequence[Document], *, new_edits: bool = True, guard: Any = None) -> list[Any]:
        self.calls.append("bulk_docs")
        assert not new_edits
        staged = [await self._stage(doc) for doc in docs]
        if self.before_write is not None:
            await self.before_write()
        results: list[WriteResult] = []
        for doc, attachments in zip(docs, staged, strict=True):
            error = attachments if isinstance(attachments, PeerPouchError) else self.refuse(doc)
            if error is not None:
                results.append(WriteFailure(doc["_id"], error, doc["_rev"]))
                continue
            path = doc["_revisions"]
            history = [f"{path['start'] - n}-{part}" for n, part in enumerate(path["ids"])]
            body = {k: v for k, v in doc.items() if k not in ("_rev", "_revisions", "_attachments")}
            assert not isinstance(attachments, PeerPouchError)
            self._store(doc["_id"], history, copy.deepcopy(body), attachments)
            results.append(Written(doc["_id"], doc["_rev"]))
        return results

    async def _stage(self, doc: Document) -> dict[str, Any] | MissingStub:
        staged: dict[str, Any] = {}
        for name, entry in doc.get("_attachments", {}).items():
            meta = {key: entry[key] for key in ("content_type", "digest", "length")}
            if entry.get("stub"):
                held = [r[2][name][1] for r in self.docs.get(doc["_id"], {}).values() if name in r[2]]
                held = [data for data in held if "md5-" + hashlib.md5(data).hexdigest() == entry["digest"]]
                if not held:
                    return MissingStub()
                staged[name] = (meta, held[0])
            elif isinstance(entry["data"], bytes):
                staged[name] = (meta, entry["data"])
            else:
                staged[name] = (meta, b"".join([chunk async for chunk in entry["data"]]))
        return staged

    def _document(self, doc_id: str, rev: str, revs: bool, attachments: Any) -> Document:
        history, body, stored = self.docs[doc_id][rev]
        doc = {**copy.deepcopy(body), "_id": doc_id, "_rev": rev}
        if revs:
            doc["_revisions"] = {"start": generation(rev), "ids": [r.partition("-")[2] for r in history]}
        if stored:
            doc["_attachments"] = {
                name: {**meta, **({"data": data} if attachments == "bytes" else {"stub": True})}
                for name, (meta, data) in stored.items()
            }
        return doc

    async def bulk_get(
        self, requests: Sequence[RevisionRequest], *, revs: bool = False, latest: bool = False, attachments: Any = False
    ) -> AsyncIterator[RevisionResult]:
        self.calls.append("bulk_get")
        for request in requests:
            await asyncio.sleep(0)
            assert request.rev is not None
            if request.rev in self.docs.get(request.id, {}):
                doc = self._document(request.id, request.rev, revs, attachments)
                yield RevisionResult(request.id, request.rev, doc)
            else:
                yield RevisionResult(request.id, request.rev, None, NotFound())

    async def read_plain(self, revs: Mapping[str, str]) -> PlainRevisions | None:
        if not self.plain:
            return None
        self.calls.append("read_plain")
        found = PlainRevisions([], [], [], [])
        for doc_id, rev in revs.items():
            await asyncio.sleep(0)
            history, body, stored = self.docs.get(doc_id, {}).get(rev, ([], {}, {}))
            if history and not stored and not body.get("_deleted"):
                fields = {key: value for key, value in body.items() if key != "_id"}
                ancestors = ",".join(each.partition("-")[2] for each in history[1:])
                row = (doc_id, rev, ancestors, json.dumps(fields).encode())
                for column, value in zip(found, row, strict=True):
                    column.append(value)  # type: ignore[attr-defined]
        return found

    async def write_plain(self, revisions: PlainRevisions) -> list[WriteFailure]:
        return await Documents.write_plain(self, revisions)  # type: ignore[arg-type]

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
        self.calls.append("revs_diff")
        await asyncio.sleep(0)
        result: dict[str, RevsDiff] = {}
        for doc_id, asked in revs.items():
            missing = [rev for rev in asked if rev not in self.known.get(doc_id, ())]
            if missing:
                highest = max(map(generation, missing))
                ancestors = [rev for rev in self.leaves(doc_id) if generation(rev) < highest]
                result[doc_id] = {"missing": missing}
                if ancestors:
                    result[doc_id]["possible_ancestors"] = ancestors
        return result

    def changes(self, **options: Any) -> Changes:
        self.calls.append("changes")
        return Changes(lambda: self._pages(**options))

    async def _pages(
        self,
        *,
        since: str,
        live: bool,
        batch_size: int,
        doc_ids: Sequence[str] | None = None,
        filter: Callable[[Document], bool] | None = None,
        selector: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> AsyncIterator[ChangesPage]:
        place = int(since.partition("-")[0])
        while True:
            self.news.clear()
            rows: list[Change] = []
            upto = self.seq
            for doc_id, seq in list(self.log.items()):
                if seq <= place:
                    continue
                doc = self._document(doc_id, self.winner(doc_id), False, False)
                if (
                    (doc_ids is None or doc_id in doc_ids)
                    and (filter is None or filter(doc))
                    and (selector is None or all(doc.get(key) == value for key, value in selector.items()))
                ):
                    revs = [{"rev": rev} for rev in reversed(self.leaves(doc_id))]
                    rows.append({"seq": str(seq), "id": doc_id, "changes": revs})  # type: ignore[typeddict-item]
                if len(rows) == batch_size:
                    upto = seq
                    break
            place = upto
            pending = sum(seq > place for seq in self.log.values())
            await asyncio.sleep(0)
            if rows or place != int(since.partition("-")[0]) or live:
                yield ChangesPage(rows, str(place), pending)
            if place == self.seq:
                if not live:
                    return
                await self.news.wait()

    async def get_attachment(
        self, doc_id: str, name: str, *, rev: str | None = None, start: int = 0, end: int | None = None, encoded: bool
    ) -> Attachment:
        self.calls.append("get_attachment")
        assert rev is not None
        if rev not in self.docs.get(doc_id, {}):
            raise NotFound
        meta, data = self.docs[doc_id][rev][2][name]

        async def stream() -> AsyncIterator[bytes]:
            for offset in range(start, len(data), 10_000):
                await asyncio.sleep(0)
                yield data[offset : offset + 10_000]

        return Attachment(name, meta["content_type"], len(data), meta["digest"], stream, start=start)


class ManualClock(Clock):
    """Time that moves only when it is told to."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.sleeps: list[float] = []
        self._waiting: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self.time + seconds, waiter))
        await waiter

    def advance(self, seconds: float) -> None:
        self.time += seconds
        for due, waiter in self._waiting:
            if due <= self.time and not waiter.done():
                waiter.set_result(None)
        self._waiting = [(due, waiter) for due, waiter in self._waiting if not waiter.done()]
