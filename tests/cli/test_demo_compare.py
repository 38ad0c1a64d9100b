"""The demo's proof would notice: every kind of difference between two databases is found, and every trace in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import peerpouch
from peerpouch.cli.demo.compare import compare, files_of, find_in
from peerpouch.ports import Database

Pair = tuple[Database, Database]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two databases that hold the same: documents, a conflict, a deletion and an attachment."""
    async with peerpouch.open(tmp_path / "a.db") as ours, peerpouch.open(tmp_path / "b.db") as theirs:
        await ours.bulk_docs([{"_id": f"doc-{number}", "n": number} for number in range(20)])
        await ours.put_attachment("with-file", "file.txt", b"content " * 1000, "text/plain")
        await ours.remove("doc-3", (await ours.get("doc-3"))["_rev"])
        await peerpouch.replicate(ours, theirs)
        for database in (ours, theirs):
            await database.put(await database.get("doc-5") | {"by": database.name})
        await peerpouch.sync(ours, theirs)
        yield ours, theirs


async def test_equal_databases_are_equal_and_everything_is_counted(pair: Pair) -> None:
    result = await compare(*pair)
    assert (result.differing, result.differences) == (0, [])
    assert (result.documents, result.leaves, result.conflicts) == (21, 22, 1)
    assert (result.attachments, result.attachment_bytes) == (1, 8000)


async def _new_document(database: Database) -> None:
    await database.put({"_id": "new"})


async def _edit(database: Database) -> None:
    await database.put(await database.get("doc-7") | {"n": -1})


async def _delete(database: Database) -> None:
    await database.remove("doc-8", (await database.get("doc-8"))["_rev"])


async def _same_revision_other_body(database: Database) -> None:
    await database.purge({"doc-9": [(doc := await database.get("doc-9", revs=True))["_rev"]]})
    await database.bulk_docs([doc | {"n": "forged"}], new_edits=False)


async def _other_attachment(database: Database) -> None:
    doc = await database.get("with-file", revs=True)
    await database.purge({"with-file": [doc["_rev"]]})
    doc["_attachments"] = {"file.txt": {"content_type": "text/plain", "data": b"CONTENT " * 1000}}
    await database.bulk_docs([doc], new_edits=False)


@pytest.mark.parametrize("change", [_new_document, _edit, _delete, _same_revision_other_body, _other_attachment])
async def test_a_difference_is_found(pair: Pair, change: Callable[[Database], Awaitable[None]]) -> None:
    await change(pair[1])
    assert (await compare(*pair)).differing > 0


def test_a_trace_is_found_in_every_file_of_a_database_and_nowhere_else(tmp_path: Path) -> None:
    hub = tmp_path / "hub.db"
    hub.write_bytes(b"\0clean\0")
    (tmp_path / "hub.db-wal").write_bytes(b"before planted-1 after")
    (tmp_path / "other.db").write_bytes(b"planted-2")
    assert [path.name for path in files_of(hub)] == ["hub.db", "hub.db-wal"]
    assert find_in(files_of(hub), [b"planted-1", b"planted-2"]) == ["planted-1 in hub.db-wal"]
