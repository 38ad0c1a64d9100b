from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerpouch.errors import NotFound
from peerpouch.ports import IndexPosition, IndexState
from peerpouch.storage import Storage


async def fill(database: Storage) -> None:
    rows: dict[str, list[tuple[bytes, bytes | None]]] = {
        "a": [(b"1", b"va"), (b"3", None), (b"3", b"again")],
        "b": [(b"2", b"vb")],
        "c": [(b"3", b"vc")],
        "none": [],
    }
    assert await database.update_index("i", rows, since=None, upto="5-x")


async def keys(database: Storage, **options: Any) -> list[tuple[bytes, str, int]]:
    return [(row.key, row.doc_id, row.ordinal) for row in await database.read_index("i", **options)]


async def test_rows_are_ordered_by_key_document_and_ordinal(database: Storage) -> None:
    await fill(database)
    everything = [(b"1", "a", 0), (b"2", "b", 0), (b"3", "a", 1), (b"3", "a", 2), (b"3", "c", 0)]
    assert await keys(database) == everything
    assert await keys(database, descending=True) == everything[::-1]
    assert await keys(database, skip=1, limit=2) == everything[1:3]
    assert await keys(database, start=IndexPosition(b"2")) == everything[1:]
    assert await keys(database, end=IndexPosition(b"3", "a", 2)) == everything[:3]
    assert await keys(database, start=IndexPosition(b"3", "a", 2), descending=True) == everything[:2:-1]
    assert await database.count_index("i") == 5
    assert await database.count_index("i", start=IndexPosition(b"2"), end=IndexPosition(b"3")) == 1
    assert await database.index_state("i") == IndexState("5-x", 5)
    assert await database.index_names() == ["i"]


async def test_an_update_replaces_the_rows_of_its_documents(database: Storage) -> None:
    await fill(database)
    assert await database.update_index("i", {"a": [(b"9", None)], "b": []}, since="5-x", upto="7-x")
    assert await keys(database) == [(b"3", "c", 0), (b"9", "a", 0)]
    assert await database.index_state("i") == IndexState("7-x", 2)


async def test_an_update_from_another_state_is_not_written(database: Storage) -> None:
    await fill(database)
    assert not await database.update_index("i", {"a": []}, since="4-x", upto="7-x")
    assert not await database.update_index("i", {"a": []}, since=None, upto="7-x")
    assert not await database.update_index("other", {"a": []}, since="4-x", upto="7-x")
    assert await database.index_state("i") == IndexState("5-x", 5)
    assert await database.index_state("other") is None


async def test_of_two_concurrent_updates_one_is_written(database: Storage) -> None:
    await fill(database)
    written = await asyncio.gather(
        *[database.update_index("i", {"a": [(b"%d" % n, None)]}, since="5-x", upto="6-x") for n in range(5)]
    )
    assert sorted(written) == [False] * 4 + [True]


async def test_a_dropped_index_is_gone_and_may_be_made_again(database: Storage) -> None:
    await fill(database)
    await database.drop_index("i")
    await database.drop_index("i")
    assert await database.index_names() == []
    with pytest.raises(NotFound):
        await database.read_index("i")
    await fill(database)
    assert await database.count_index("i") == 5


async def test_purged_documents_leave_no_rows(database: Storage) -> None:
    written = await database.put({"_id": "a"})
    await fill(database)
    await database.purge({"a": [written.rev]})
    assert await keys(database) == [(b"2", "b", 0), (b"3", "c", 0)]
    assert await database.index_state("i") == IndexState("5-x", 2)
