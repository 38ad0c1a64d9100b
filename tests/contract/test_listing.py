"""What every database does when it lists its documents."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.errors import BadRequest
from peerpouch.ports import Documents
from tests.contract.test_revisions import foreign, store

IDS = ["A", "_design/d", "a", "a/b", "b", "c", "é", "☃", "𝄞"]


@pytest.fixture
async def listed(database: Documents) -> Documents:
    await database.bulk_docs([{"_id": doc_id, "n": n} for n, doc_id in enumerate(reversed(IDS))])
    gone = await database.put({"_id": "bb"})
    await database.remove("bb", gone.rev)
    return database


class TestAllDocs:
    async def test_rows_are_ordered_by_the_bytes_of_their_ids(self, listed: Documents) -> None:
        result = await listed.all_docs()
        assert [row["id"] for row in result["rows"]] == IDS
        assert result["total_rows"] == len(IDS)
        assert result["offset"] == 0
        row = result["rows"][0]
        assert row == {"id": "A", "key": "A", "value": {"rev": (await listed.get("A"))["_rev"]}}

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"startkey": "a"}, IDS[2:]),
            ({"endkey": "b"}, IDS[:5]),
            ({"endkey": "b", "inclusive_end": False}, IDS[:4]),
            ({"startkey": "a", "endkey": "b"}, IDS[2:5]),
            ({"startkey": "aa", "endkey": "zz"}, ["b", "c"]),
            ({"descending": True}, IDS[::-1]),
            ({"descending": True, "startkey": "b", "endkey": "a"}, ["b", "a/b", "a"]),
            ({"descending": True, "startkey": "b", "endkey": "a", "inclusive_end": False}, ["b", "a/b"]),
            ({"skip": 2, "limit": 3}, IDS[2:5]),
            ({"limit": 0}, []),
            ({"skip": 100}, []),
            ({"keys": ["c", "a"]}, ["c", "a"]),
            ({"keys": ["c", "a", "b"], "skip": 1, "limit": 1}, ["a"]),
            ({"keys": ["c", "a"], "descending": True}, ["a", "c"]),
            ({"keys": []}, []),
        ],
    )
    async def test_options_choose_rows(self, listed: Documents, options: dict[str, Any], expected: list[str]) -> None:
        assert [row["id"] for row in (await listed.all_docs(**options))["rows"]] == expected
        assert [row["id"] async for row in listed.all_docs(**options)] == expected

    async def test_documents_are_included_on_demand(self, listed: Documents) -> None:
        async for row in listed.all_docs(include_docs=True):
            assert row["doc"] == await listed.get(row["id"])

    async def test_keys_that_are_deleted_or_missing_have_their_rows(self, listed: Documents) -> None:
        rows = (await listed.all_docs(keys=["a", "nothing", "bb", "a"], include_docs=True))["rows"]
        assert [row.get("error") for row in rows] == [None, "not_found", None, None]
        assert rows[1] == {"key": "nothing", "error": "not_found"}
        assert rows[2]["value"]["deleted"] is True
        assert rows[2]["doc"] is None
        assert rows[0] == rows[3]

    async def test_conflicts_are_told_on_demand(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a"), foreign("a", "x", "a"))
        (row,) = (await database.all_docs(include_docs=True, conflicts=True))["rows"]
        assert row["doc"] is not None
        assert row["doc"]["_conflicts"] == ["2-b"]

    async def test_the_sequence_is_told_on_demand(self, listed: Documents) -> None:
        assert (await listed.all_docs(update_seq=True))["update_seq"] == (await listed.info())["update_seq"]
        assert "update_seq" not in await listed.all_docs()

    async def test_many_rows_come_in_pages(self, database: Documents) -> None:
        ids = [f"{n:05}" for n in range(2500)]
        await database.bulk_docs([{"_id": doc_id} for doc_id in ids])
        assert [row["id"] async for row in database.all_docs()] == ids
        assert [row["id"] async for row in database.all_docs(descending=True, skip=3, limit=2200)] == ids[::-1][3:2203]
        assert [row["key"] async for row in database.all_docs(keys=ids[::-1])] == ids[::-1]

    async def test_an_iteration_may_be_abandoned(self, database: Documents) -> None:
        await database.bulk_docs([{"_id": f"{n:05}"} for n in range(2500)])
        async with database.all_docs() as rows:
            async for row in rows:
                assert row["id"] == "00000"
                break
        assert (await database.put({"_id": "after"})).id == "after"

    @pytest.mark.parametrize("options", [{"skip": -1}, {"limit": -1}, {"keys": ["a"], "startkey": "a"}])
    async def test_options_that_make_no_sense_are_refused(self, database: Documents, options: dict[str, Any]) -> None:
        with pytest.raises(BadRequest):
            await database.all_docs(**options)


class TestLocalDocs:
    async def test_they_have_a_listing_of_their_own(self, database: Documents) -> None:
        await database.put({"_id": "_local/b", "n": 2})
        await database.put({"_id": "_local/a", "n": 1})
        await database.put({"_id": "c"})
        rows = (await database.local_docs(include_docs=True))["rows"]
        assert [row["id"] for row in rows] == ["_local/a", "_local/b"]
        assert rows[0]["doc"] == {"_id": "_local/a", "_rev": "0-1", "n": 1}
