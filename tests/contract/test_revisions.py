"""What every database does with conflicts, and with revisions that replication brings."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.errors import BadRequest, NotFound
from peerpouch.ports import Documents, RevisionRequest, WriteFailure, Written


def foreign(doc_id: str, *hashes: str, deleted: bool = False, **fields: Any) -> dict[str, Any]:
    """A document as replication writes it; hashes newest first, down to the root."""
    doc = {"_id": doc_id, "_rev": f"{len(hashes)}-{hashes[0]}", **fields}
    doc["_revisions"] = {"start": len(hashes), "ids": list(hashes)}
    return doc | ({"_deleted": True} if deleted else {})


async def store(database: Documents, *docs: dict[str, Any]) -> None:
    for result in await database.bulk_docs(docs, new_edits=False):
        assert isinstance(result, Written), result


class TestStoringAsGiven:
    async def test_revision_and_history_are_kept(self, database: Documents) -> None:
        await store(database, foreign("a", "c", "b", "a", n=3))
        doc = await database.get("a", revs=True)
        assert doc == {"_id": "a", "_rev": "3-c", "n": 3, "_revisions": {"start": 3, "ids": ["c", "b", "a"]}}

    async def test_a_revision_without_history_is_a_root(self, database: Documents) -> None:
        await store(database, {"_id": "a", "_rev": "5-x", "n": 1})
        assert (await database.get("a", revs=True))["_revisions"] == {"start": 5, "ids": ["x"]}

    async def test_storing_again_changes_nothing(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a", n=1), foreign("a", "x", "a", n=2))
        before = await database.info()
        await store(database, foreign("a", "b", "a", n=9), foreign("a", "a", n=9), foreign("a", "x", "a", n=9))
        after = await database.info()
        assert after["update_seq"] == before["update_seq"]
        assert (await database.get("a"))["n"] == 2

    async def test_the_winner_does_not_depend_on_the_order(self, database: Documents) -> None:
        docs = [
            foreign("{}", "b", "a", n="b"),
            foreign("{}", "x", "a", n="x"),
            foreign("{}", "z", "y", "a", deleted=True),
            foreign("{}", "d", "c", "q", n="d"),
        ]
        for number, order in enumerate([(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2)]):
            await store(database, *[docs[n] | {"_id": f"doc{number}"} for n in order])
            doc = await database.get(f"doc{number}", conflicts=True, deleted_conflicts=True)
            assert doc["n"] == "d"
            assert doc["_conflicts"] == ["2-x", "2-b"]
            assert doc["_deleted_conflicts"] == ["3-z"]

    async def test_a_batch_may_hold_many_revisions_of_one_document(self, database: Documents) -> None:
        hashes = [f"{n:04x}" for n in range(40)]
        await store(database, *[foreign("a", item, n=item) for item in hashes], foreign("b", "x"))
        found = await database.open_revs("a")
        assert [item.rev for item in found] == [f"1-{item}" for item in reversed(hashes)]
        assert all(item.doc is not None and item.doc["n"] == (item.rev or "")[2:] for item in found)
        assert (await database.info())["doc_count"] == 2

    @pytest.mark.parametrize(
        "doc",
        [
            {"_id": "a"},
            {"_id": "a", "_rev": "x"},
            {"_id": "a", "_rev": "2-b", "_revisions": {"start": 1, "ids": ["b"]}},
            {"_id": "a", "_rev": "1-b", "_revisions": {"start": 1, "ids": ["b", "c"]}},
            {"_id": "a", "_rev": "1-b", "_revisions": {"start": 1, "ids": []}},
            {"_id": "a", "_rev": "1-b", "_revisions": [1]},
            {"_id": "a", "_rev": f"{10**30}-b"},
        ],
    )
    async def test_a_malformed_history_is_refused(self, database: Documents, doc: dict[str, Any]) -> None:
        (result,) = await database.bulk_docs([doc], new_edits=False)
        assert isinstance(result, WriteFailure)
        assert isinstance(result.error, BadRequest)


class TestConflicts:
    async def test_deleting_the_winner_brings_up_the_other(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a", n=1), foreign("a", "x", "a", n=2))
        removed = await database.remove("a", "2-x")
        doc = await database.get("a", conflicts=True, deleted_conflicts=True)
        assert doc == {"_id": "a", "_rev": "2-b", "n": 1, "_deleted_conflicts": [removed.rev]}
        assert (await database.info())["doc_count"] == 1

    async def test_a_losing_leaf_can_be_edited(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a", n=1), foreign("a", "x", "a", n=2))
        edited = await database.put({"_id": "a", "_rev": "2-b", "n": 3})
        doc = await database.get("a", conflicts=True)
        assert (doc["_rev"], doc["n"], doc["_conflicts"]) == (edited.rev, 3, ["2-x"])

    async def test_a_document_is_deleted_when_all_leaves_are(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a"), foreign("a", "x", "a"))
        await database.remove("a", "2-x")
        await database.remove("a", "2-b")
        with pytest.raises(NotFound) as raised:
            await database.get("a")
        assert raised.value.deleted
        info = await database.info()
        assert (info["doc_count"], info["doc_del_count"]) == (0, 1)

    async def test_history_that_joins_two_leaves_resolves_them(self, database: Documents) -> None:
        await store(database, {"_id": "a", "_rev": "1-a", "n": 1}, {"_id": "a", "_rev": "3-c", "n": 3})
        assert (await database.get("a", conflicts=True))["_conflicts"] == ["1-a"]
        await store(database, foreign("a", "d", "c", "b", "a", n=4))
        doc = await database.get("a", conflicts=True)
        assert (doc["_rev"], doc.get("_conflicts")) == ("4-d", None)
        assert [item.rev for item in await database.open_revs("a")] == ["4-d"]


class TestOpenRevs:
    async def test_all_leaves_deleted_ones_too(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a", n=1), foreign("a", "x", "a", deleted=True))
        found = await database.open_revs("a", with_revisions=True)
        assert [(item.rev, item.doc and item.doc.get("_deleted")) for item in found] == [("2-b", None), ("2-x", True)]
        assert found[0].doc is not None
        assert found[0].doc["_revisions"] == {"start": 2, "ids": ["b", "a"]}

    async def test_what_is_missing_is_an_error_in_its_place(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a", n=1))
        found = await database.open_revs("a", ["2-b", "2-q"])
        assert [item.rev for item in found] == ["2-b", "2-q"]
        assert isinstance(found[1].error, NotFound)
        with pytest.raises(NotFound):
            await database.open_revs("nothing")

    async def test_latest_gives_the_leaves_above(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a", n=1), foreign("a", "x", "a", n=2))
        found = await database.open_revs("a", ["1-a"], latest=True)
        assert [item.rev for item in found] == ["2-x", "2-b"]


class TestBulkGet:
    async def test_results_follow_the_requests(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a", n=1), foreign("a", "x", "a", n=2), foreign("c", "y", n=3))
        requests = [
            RevisionRequest("c", "1-y"),
            RevisionRequest("a"),
            RevisionRequest("nothing"),
            RevisionRequest("a", "2-b"),
            RevisionRequest("a", "9-z"),
        ]
        results = [item async for item in database.bulk_get(requests, revs=True)]
        assert [(item.id, item.rev if item.doc else None) for item in results] == [
            ("c", "1-y"), ("a", "2-x"), ("a", "2-b"), ("nothing", None), ("a", "2-b"), ("a", None),
        ]  # fmt: skip
        assert results[0].doc is not None
        assert results[0].doc["_revisions"] == {"start": 1, "ids": ["y"]}
        assert isinstance(results[3].error, NotFound)
        assert isinstance(results[5].error, NotFound)

    async def test_many_are_given_in_full(self, database: Documents) -> None:
        await database.bulk_docs([{"_id": f"{n:05}", "n": n} for n in range(2500)])
        requests = [RevisionRequest(f"{n:05}") for n in range(2500)]
        results = [item async for item in database.bulk_get(requests)]
        assert [item.doc and item.doc["n"] for item in results] == list(range(2500))


class TestRevsDiff:
    async def test_it_names_what_is_missing_and_possible_ancestors(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a"), foreign("a", "x", "a"), foreign("c", "y"))
        diff = await database.revs_diff(
            {"a": ["2-b", "1-a", "3-q", "1-z"], "c": ["1-y"], "new": ["1-n", "2-n"], "none": []}
        )
        assert set(diff) == {"a", "new"}
        assert diff["a"]["missing"] == ["3-q", "1-z"]
        assert sorted(diff["a"]["possible_ancestors"]) == ["2-b", "2-x"]
        assert diff["new"] == {"missing": ["1-n", "2-n"]}
        assert await database.missing_revs({"a": ["2-b"], "c": ["5-q"]}) == {"c": ["5-q"]}

    async def test_many_documents_at_once(self, database: Documents) -> None:
        await store(database, *[foreign(f"{n}", "a") for n in range(700)])
        asked = {f"{n}": ["1-a", "2-b"] if n % 2 else ["1-a"] for n in range(700)}
        diff = await database.revs_diff(asked)
        assert set(diff) == {f"{n}" for n in range(1, 700, 2)}


class TestRevsLimit:
    async def test_history_is_stemmed_to_it(self, database: Documents) -> None:
        await store(database, foreign("a", *[f"{n}" for n in range(1500, 0, -1)]))
        history = (await database.get("a", revs=True))["_revisions"]
        assert history["start"] == 1500
        assert len(history["ids"]) == await database.get_revs_limit() == 1000
        rev = "1500-1500"
        for _ in range(3):
            rev = (await database.put({"_id": "a", "_rev": rev})).rev
        history = (await database.get("a", revs=True))["_revisions"]
        assert (history["start"], len(history["ids"])) == (1503, 1000)
