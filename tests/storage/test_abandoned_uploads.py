"""An upload that rests for longer than a day, while the file is compacted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from peerpouch.errors import NotFound, StorageError
from peerpouch.ports import WriteFailure, Written
from peerpouch.storage import Storage, contents, open_storage


async def rest_and_go_on(db: Storage, path: Path) -> None:
    """Store an attachment whose stream rests in the middle, until it is taken for abandoned and collected."""
    rests, goes_on = asyncio.Event(), asyncio.Event()

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * (1 << 17)
        rests.set()
        await goes_on.wait()
        yield b"y" * (1 << 17)

    entry = {"content_type": "application/octet-stream", "data": stream()}
    writing = asyncio.ensure_future(db.put({"_id": "d", "_attachments": {"a": entry}}))
    await asyncio.wait([writing, asyncio.ensure_future(rests.wait())], return_when=asyncio.FIRST_COMPLETED)
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(10_000)
    connection.execute("UPDATE contents SET touched = 0")
    connection.close()
    await db.compact()
    goes_on.set()
    await writing


async def test_it_fails_rather_than_linking_what_was_collected(tmp_path: Path) -> None:
    async with await open_storage(tmp_path / "a.db") as db:
        with pytest.raises(StorageError, match="abandoned"):
            await rest_and_go_on(db, tmp_path / "a.db")
        with pytest.raises(NotFound):
            await db.get("d")


async def test_without_the_check_a_document_would_name_bytes_that_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "_check_kept", lambda connection: None)
    async with await open_storage(tmp_path / "a.db") as db:
        await rest_and_go_on(db, tmp_path / "a.db")
        with pytest.raises(NotFound):
            await db.get_attachment("d", "a")


async def test_a_document_whose_content_is_gone_when_it_is_written_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> int:
        raise StorageError("An upload rested for so long that it was taken for abandoned.")

    async with await open_storage(tmp_path / "a.db") as db:
        large = {"content_type": "application/octet-stream", "data": bytes(2 << 20)}
        monkeypatch.setattr(contents, "finish", gone)
        refused, written = await db.bulk_docs([{"_id": "a", "_attachments": {"x": large}}, {"_id": "b"}])
        assert isinstance(refused, WriteFailure)
        assert isinstance(written, Written)
        assert [row["id"] async for row in db.all_docs()] == ["b"]
        assert await db.check() == []
