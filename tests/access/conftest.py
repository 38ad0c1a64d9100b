"""A database that records what reaches it, and keeps documents without history: all that the gate needs of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from peerpouch.errors import Conflict, NotFound
from peerpouch.ports import (
    AllDocs,
    AllDocsHead,
    AllDocsRow,
    Attachment,
    Changes,
    ChangesPage,
    Database,
    Document,
    Guard,
    RevisionRequest,
    RevisionResult,
    WriteFailure,
    WriteResult,
    Written,
)


def _record(name: str) -> Any:
    async def method(self: RecordingDatabase, *arguments: Any, **options: Any) -> Any:
        self.calls.append(name)
        return None

    return method


class RecordingDatabase(Database):
    """Every call is noted in ``calls``; documents live in ``docs`` and have one revision each."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.docs: dict[str, Document] = {}
        self.closed = False

    @property
    def name(self) -> str:
        return "/home/owner/secret path.db"

    async def id(self) -> str:
        self.calls.append("id")
        return "the-id"

    async def info(self) -> Any:
        self.calls.append("info")
        return {"db_name": self.name, "doc_count": 0}

    async def get(self, doc_id: str, **options: Any) -> Document:
        self.calls.append(f"get {doc_id}")
        if doc_id not in self.docs:
            raise NotFound
        return dict(self.docs[doc_id])

    async def open_revs(self, doc_id: str, *arguments: Any, **options: Any) -> list[RevisionResult]:
        self.calls.append(f"open_revs {doc_id}")
        return []

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        results: list[WriteResult] = []
        for doc in docs:
            doc_id = doc.get("_id", "made-up")
            self.calls.append(f"write {doc_id}")
            old = self.docs.get(doc_id)
            if new_edits and doc.get("_rev") != (None if old is None else old["_rev"]):
                results.append(WriteFailure(doc_id, Conflict()))
                continue
            rev = f"0-{1 if old is None else int(old['_rev'][2:]) + 1}"
            if doc.get("_deleted"):
                del self.docs[doc_id]
            else:
                self.docs[doc_id] = {**doc, "_id": doc_id, "_rev": rev}
            results.append(Written(doc_id, rev))
        return results

    async def bulk_get(self, requests: Sequence[RevisionRequest], **options: Any) -> AsyncIterator[RevisionResult]:
        self.calls.append("bulk_get")
        for request in requests:
            yield RevisionResult(request.id, request.rev, {"_id": request.id})

    async def revs_diff(self, revs: Any) -> Any:
        self.calls.append("revs_diff")
        return {doc_id: {"missing": list(wanted)} for doc_id, wanted in revs.items()}

    def all_docs(self, **options: Any) -> AllDocs:
        async def head() -> AllDocsHead:
            self.calls.append("all_docs")
            return AllDocsHead(0, 0)

        async def pages() -> AsyncIterator[list[AllDocsRow]]:
            self.calls.append("all_docs")
            yield [{"key": "a"}]
            yield [{"key": "b"}]

        return AllDocs(head, pages)

    def changes(self, **options: Any) -> Changes:
        async def pages() -> AsyncIterator[ChangesPage]:
            self.calls.append("changes")
            yield ChangesPage([{"seq": "1", "id": "a", "changes": []}], "1", 0)
            if options.get("live"):
                await asyncio.Event().wait()

        return Changes(pages)

    async def get_attachment(self, doc_id: str, name: str, **options: Any) -> Attachment:
        self.calls.append("get_attachment")

        async def stream() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        return Attachment(name, "text/plain", 6, "md5-x", stream)

    def local_docs(self, *, include_docs: bool = False) -> AllDocs:
        raise AssertionError("the owner's own _local documents were listed")

    async def close(self) -> None:
        self.calls.append("close")
        self.closed = True

    get_security = _record("get_security")
    put_security = _record("put_security")
    get_revs_limit = _record("get_revs_limit")
    put_revs_limit = _record("put_revs_limit")
    purge = _record("purge")
    compact = _record("compact")
    destroy = _record("destroy")
    find = _record("find")
    explain = _record("explain")
    create_index = _record("create_index")
    get_indexes = _record("get_indexes")
    delete_index = _record("delete_index")
    query = _record("query")
    run_update = _record("run_update")
    view_cleanup = _record("view_cleanup")


@pytest.fixture
def database() -> RecordingDatabase:
    return RecordingDatabase()
