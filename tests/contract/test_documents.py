"""What every database does with single documents and batches."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.errors import (
    BadRequest,
    Conflict,
    DocumentTooLarge,
    Forbidden,
    InvalidDocument,
    InvalidDocumentId,
    NotFound,
)
from peerpouch.ports import Documents, Proposal, WriteFailure, Written
from tests.contract.implementations import Implementation

VALUES: list[Any] = [
    {"text": 'naïve ☃ 𝄞 \u0000 \n "', "empty": "", "": "empty key"},
    {"numbers": [0, -1, 1.5, 1e-7, 1e300, 2**53, 2**63, 2**64, -(2**200), 0.1]},
    {"nothing": None, "yes": True, "no": False, "list": [[], {}, [None]]},
    {"deep": "x"},
]


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


VALUES[3]["deep"] = _deep(300)


class TestPutAndGet:
    async def test_a_document_comes_back_as_it_was_put(self, database: Documents) -> None:
        written = await database.put({"_id": "a", "x": 1, "y": [True, None]})
        assert written.id == "a"
        assert written.rev.startswith("1-")
        assert await database.get("a") == {"_id": "a", "_rev": written.rev, "x": 1, "y": [True, None]}

    @pytest.mark.parametrize("value", VALUES)
    async def test_every_json_value_is_kept_exactly(self, database: Documents, value: Any) -> None:
        await database.put({"_id": "v", **value})
        doc = await database.get("v")
        assert {name: doc[name] for name in value} == value
        assert [type(item) for item in doc.get("numbers", [])] == [type(item) for item in value.get("numbers", [])]

    @pytest.mark.parametrize(
        "doc_id", ["a/b/c", "ünï ☃ 𝄞", "with space", "a%2Fb", "?q=1&x#f", "+", "_design/d", "a\u0000b", "a\nb"]
    )
    async def test_any_unicode_text_is_an_id(self, database: Documents, doc_id: str) -> None:
        written = await database.put({"_id": doc_id, "n": 1})
        assert (await database.get(doc_id))["_rev"] == written.rev
        assert [row["id"] async for row in database.all_docs()] == [doc_id]
        assert (await database.remove(doc_id, written.rev)).id == doc_id

    async def test_post_makes_up_an_id(self, database: Documents) -> None:
        first, second = await database.post({"n": 1}), await database.post({"n": 2})
        assert first.id != second.id
        assert (await database.get(first.id))["n"] == 1

    @pytest.mark.parametrize("doc", [None, [1], "text"])
    async def test_what_is_no_object_is_refused(self, database: Documents, doc: Any) -> None:
        for write in (database.put, database.post):
            with pytest.raises(BadRequest):
                await write(doc)

    async def test_put_needs_an_id(self, database: Documents) -> None:
        with pytest.raises(BadRequest):
            await database.put({"n": 1})

    async def test_an_update_needs_the_current_revision(self, database: Documents) -> None:
        first = await database.put({"_id": "a", "n": 1})
        second = await database.put({"_id": "a", "_rev": first.rev, "n": 2})
        assert second.rev.startswith("2-")
        for stale in (first.rev, "1-abc", "7-abc", None):
            with pytest.raises(Conflict):
                await database.put({"_id": "a", "n": 3} | ({"_rev": stale} if stale else {}))
        assert (await database.get("a"))["n"] == 2

    async def test_a_revision_for_a_document_that_is_not_there_conflicts(self, database: Documents) -> None:
        with pytest.raises(Conflict):
            await database.put({"_id": "a", "_rev": "1-abc"})

    async def test_missing_and_deleted_are_told_apart(self, database: Documents) -> None:
        with pytest.raises(NotFound) as missing:
            await database.get("a")
        assert missing.value.reason == "missing"
        written = await database.put({"_id": "a"})
        await database.remove("a", written.rev)
        with pytest.raises(NotFound) as deleted:
            await database.get("a")
        assert deleted.value.deleted

    async def test_a_deleted_revision_can_be_read_by_its_id(
        self, database: Documents, implementation: Implementation
    ) -> None:
        if not implementation.ancestors:
            pytest.skip("this implementation gives leaves only")
        written = await database.put({"_id": "a", "n": 1})
        removed = await database.put({"_id": "a", "_rev": written.rev, "_deleted": True, "why": "test"})
        assert await database.get("a", rev=removed.rev) == {
            "_id": "a", "_rev": removed.rev, "_deleted": True, "why": "test",
        }  # fmt: skip

    async def test_a_deleted_document_is_revived_without_its_revision(self, database: Documents) -> None:
        written = await database.put({"_id": "a", "n": 1})
        await database.remove("a", written.rev)
        revived = await database.put({"_id": "a", "n": 2})
        assert revived.rev.startswith("3-")
        assert (await database.get("a"))["n"] == 2

    async def test_deleting_twice_conflicts(self, database: Documents) -> None:
        written = await database.put({"_id": "a"})
        await database.remove("a", written.rev)
        with pytest.raises(Conflict):
            await database.remove("a", written.rev)

    async def test_the_same_edit_gets_the_same_revision_everywhere(self, database: Documents) -> None:
        first = await database.put({"_id": "a", "x": 1, "y": 2})
        second = await database.put({"_id": "b", "y": 2.0, "x": 1.0})
        assert first.rev == second.rev

    async def test_old_revisions_can_be_read(self, database: Documents, implementation: Implementation) -> None:
        if not implementation.ancestors:
            pytest.skip("this implementation gives leaves only")
        first = await database.put({"_id": "a", "n": 1})
        second = await database.put({"_id": "a", "_rev": first.rev, "n": 2})
        assert (await database.get("a", rev=first.rev))["n"] == 1
        assert (await database.get("a", rev=first.rev, latest=True))["_rev"] == second.rev
        with pytest.raises(NotFound):
            await database.get("a", rev="1-abc")

    async def test_history_is_told_on_demand(self, database: Documents, implementation: Implementation) -> None:
        first = await database.put({"_id": "a", "n": 1})
        second = await database.put({"_id": "a", "_rev": first.rev, "n": 2})
        doc = await database.get("a", revs=True, revs_info=True)
        assert doc["_revisions"] == {"start": 2, "ids": [second.rev[2:], first.rev[2:]]}
        assert doc["_revs_info"] == [
            {"rev": second.rev, "status": "available"},
            {"rev": first.rev, "status": "available" if implementation.ancestors else "missing"},
        ]

    async def test_fields_that_reading_adds_may_be_written_back(self, database: Documents) -> None:
        first = await database.put({"_id": "a", "n": 1})
        doc = await database.get("a", revs=True, revs_info=True, conflicts=True, local_seq=True)
        assert doc["_local_seq"]
        second = await database.put(doc | {"n": 2})
        assert await database.get("a") == {"_id": "a", "_rev": second.rev, "n": 2}
        assert second.rev > first.rev


class TestRefusals:
    @pytest.mark.parametrize("doc_id", ["", "_x", "_design/", "_local/", 7, None])
    async def test_ids_that_are_not_allowed(self, database: Documents, doc_id: Any) -> None:
        with pytest.raises(InvalidDocumentId):
            await database.put({"_id": doc_id})

    @pytest.mark.parametrize("letter", ["x", "%", "\u00e9", "\U0001f426"])
    async def test_the_longest_id_and_name_can_be_read_back_and_longer_ones_are_refused(
        self, database: Documents, letter: str
    ) -> None:
        size = len(letter.encode())
        doc_id, name = letter * (4096 // size), letter * (1024 // size)
        written = await database.put_attachment(doc_id, name, b"data", content_type="text/plain")
        assert await (await database.get_attachment(doc_id, name, rev=written.rev)).read() == b"data"
        assert (await database.get(doc_id))["_id"] == doc_id
        with pytest.raises(InvalidDocumentId, match="4,096"):
            await database.put({"_id": doc_id + letter})
        with pytest.raises(BadRequest, match="1,024"):
            await database.put_attachment("a", name + letter, b"data", content_type="text/plain")
        await database.remove(doc_id, written.rev)

    @pytest.mark.parametrize("field", ["_x", "_attachment", "_"])
    async def test_reserved_fields(self, database: Documents, field: str) -> None:
        with pytest.raises(InvalidDocument):
            await database.put({"_id": "a", field: 1})

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}, object(), {1: 2}, _deep(600)])
    async def test_values_that_are_not_json(self, database: Documents, value: Any) -> None:
        with pytest.raises(InvalidDocument):
            await database.put({"_id": "a", "x": value})
        with pytest.raises(NotFound):
            await database.get("a")

    @pytest.mark.parametrize("rev", ["x", "1", "0-a", "-1-a", "1-", 3, "1-a b"])
    async def test_revisions_that_are_malformed(self, database: Documents, rev: Any) -> None:
        with pytest.raises(BadRequest):
            await database.put({"_id": "a", "_rev": rev})

    async def test_a_document_above_the_limit(self, database: Documents) -> None:
        with pytest.raises(DocumentTooLarge):
            await database.put({"_id": "a", "x": "x" * 8_000_001})


class TestBulkDocs:
    async def test_results_are_in_order_with_an_error_in_its_place(self, database: Documents) -> None:
        results = await database.bulk_docs(
            [{"_id": "a"}, {"_id": "_bad"}, {"_id": "b", "_rev": "1-abc"}, {"n": 1}, {"_id": "c"}]
        )
        assert [type(result) for result in results] == [Written, WriteFailure, WriteFailure, Written, Written]
        assert [result.id for result in results][:3] == ["a", "_bad", "b"]
        assert isinstance(results[1], WriteFailure)
        assert isinstance(results[1].error, InvalidDocumentId)
        assert isinstance(results[2], WriteFailure)
        assert isinstance(results[2].error, Conflict)

    async def test_the_first_of_two_with_one_id_wins(self, database: Documents) -> None:
        first, second = await database.bulk_docs([{"_id": "a", "n": 1}, {"_id": "a", "n": 2}])
        assert isinstance(first, Written)
        assert isinstance(second, WriteFailure)
        assert isinstance(second.error, Conflict)
        assert (await database.get("a"))["n"] == 1

    async def test_no_documents_give_no_results(self, database: Documents) -> None:
        assert await database.bulk_docs([]) == []

    async def test_a_large_batch_is_there_afterwards(self, database: Documents) -> None:
        results = await database.bulk_docs([{"_id": f"{n:05}", "n": n} for n in range(3000)])
        assert all(isinstance(result, Written) for result in results)
        assert (await database.info())["doc_count"] == 3000
        updates = [
            {"_id": result.id, "_rev": result.rev, "n": -1} for result in results[:1500] if isinstance(result, Written)
        ]
        assert all(isinstance(result, Written) for result in await database.bulk_docs(updates))
        assert (await database.info())["doc_count"] == 3000
        assert (await database.get("00007"))["n"] == -1


class TestGuard:
    async def test_a_guard_sees_the_new_document_and_the_leaves(
        self, database: Documents, implementation: Implementation
    ) -> None:
        if not implementation.guards:
            pytest.skip("a guard does not travel")
        first = await database.put({"_id": "a", "n": 1})
        seen: list[tuple[Proposal, list[dict[str, Any]]]] = []

        def guard(proposal: Proposal) -> None:
            seen.append((proposal, proposal.leaves()))
            if proposal.new.get("n") == 3:
                raise Forbidden("no threes")

        results = await database.bulk_docs(
            [{"_id": "a", "_rev": first.rev, "n": 2}, {"_id": "b", "n": 3}, {"_id": "c"}], guard=guard
        )
        assert isinstance(results[1], WriteFailure)
        assert isinstance(results[1].error, Forbidden)
        assert isinstance(results[0], Written)
        proposal, leaves = seen[0]
        assert proposal.parent == first.rev
        assert proposal.new == {
            "_id": "a",
            "_rev": results[0].rev,
            "_revisions": {"start": 2, "ids": [results[0].rev[2:], first.rev[2:]]},
            "n": 2,
        }
        assert leaves == [{"_id": "a", "_rev": first.rev, "n": 1}]
        assert seen[2][1] == []
        assert (await database.info())["doc_count"] == 2
        with pytest.raises(NotFound):
            await database.get("b")


class TestLocalDocuments:
    async def test_they_have_revisions_of_their_own(self, database: Documents) -> None:
        first = await database.put({"_id": "_local/x", "n": 1})
        assert first.rev == "0-1"
        assert await database.get("_local/x") == {"_id": "_local/x", "_rev": "0-1", "n": 1}
        with pytest.raises(Conflict):
            await database.put({"_id": "_local/x", "n": 2})
        second = await database.put({"_id": "_local/x", "_rev": "0-1", "n": 2})
        assert second.rev == "0-2"
        await database.remove("_local/x", "0-2")
        with pytest.raises(NotFound):
            await database.get("_local/x")

    async def test_they_have_no_attachments(self, database: Documents) -> None:
        with pytest.raises(InvalidDocument):
            await database.put({"_id": "_local/x", "_attachments": {"f": {"data": "", "content_type": "a/b"}}})

    async def test_they_are_never_listed(self, database: Documents) -> None:
        await database.put({"_id": "_local/x", "n": 1})
        assert [row async for row in database.all_docs()] == []
        assert [change async for change in database.changes()] == []
        assert (await database.info())["doc_count"] == 0
