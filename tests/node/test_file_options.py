"""What a path is opened with: each option reaches the storage."""

from __future__ import annotations

from pathlib import Path

import pytest

import peerpouch
from peerpouch.errors import DatabaseNotFound, DocumentTooLarge, NotFound


@pytest.mark.parametrize("auto_compaction", [False, True])
async def test_old_bodies_go_at_once_only_with_auto_compaction(tmp_path: Path, auto_compaction: bool) -> None:
    async with peerpouch.open(tmp_path / "a.db", auto_compaction=auto_compaction) as database:
        first = await database.put({"_id": "a", "n": 1})
        await database.put({"_id": "a", "_rev": first.rev, "n": 2})
        if auto_compaction:
            with pytest.raises(NotFound):
                await database.get("a", rev=first.rev)
        else:
            assert (await database.get("a", rev=first.rev))["n"] == 1


async def test_documents_have_a_limit_that_can_be_set() -> None:
    async with peerpouch.open(":memory:", max_document_size=100) as database:
        await database.put({"_id": "small", "x": "x" * 80})
        with pytest.raises(DocumentTooLarge, match="the limit is 100"):
            await database.put({"_id": "large", "x": "x" * 100})
    async with peerpouch.open(":memory:") as database:
        await database.put({"_id": "large", "x": "x" * 7_999_000})
        with pytest.raises(DocumentTooLarge, match="8,000,000"):
            await database.put({"_id": "larger", "x": "x" * 8_000_000})


async def test_no_file_is_made_when_none_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound):
        await peerpouch.open(tmp_path / "a.db", create=False)
    assert not list(tmp_path.iterdir())
