"""What reading tells of a document's past and of its conflicts, with the options of PouchDB's."""

from __future__ import annotations

import pytest

from peerpouch.errors import BadRequest, NotFound
from peerpouch.ports import Document, Documents, WriteFailure
from tests.contract.implementations import Implementation

ROOT, LEFT, RIGHT, DEAD = "1-" + "a" * 32, "2-" + "b" * 32, "2-" + "c" * 32, "2-" + "d" * 32


@pytest.fixture
async def branched(database: Documents) -> Documents:
    """A document with a winner, a conflict, a deleted leaf, and the root that all came of."""
    root = ROOT.partition("-")[2]
    docs: list[Document] = [{"_id": "x", "_rev": ROOT, "_revisions": {"start": 1, "ids": [root]}, "at": "root"}]
    for rev in (LEFT, RIGHT, DEAD):
        doc: Document = {
            "_id": "x",
            "_rev": rev,
            "_revisions": {"start": 2, "ids": [rev.partition("-")[2], root]},
            "at": rev,
        }
        docs.append({**doc, "_deleted": True} if rev == DEAD else doc)
    for doc in docs:
        (result,) = await database.bulk_docs([doc], new_edits=False)
        assert not isinstance(result, WriteFailure)
    return database


async def test_conflicts_are_told_apart_by_whether_they_are_deleted(branched: Documents) -> None:
    doc = await branched.get("x", conflicts=True, deleted_conflicts=True)
    assert (doc["_rev"], doc["_conflicts"], doc["_deleted_conflicts"]) == (RIGHT, [LEFT], [DEAD])
    plain = await branched.get("x")
    assert plain.keys() == {"_id", "_rev", "at"}


async def test_a_deleted_leaf_has_its_fields(branched: Documents, implementation: Implementation) -> None:
    fields = {"at": DEAD} if implementation.ancestors else {}
    assert await branched.get("x", rev=DEAD) == {"_id": "x", "_rev": DEAD, "_deleted": True, **fields}


async def test_the_past_is_told_with_what_is_left_of_it(branched: Documents, implementation: Implementation) -> None:
    newest, root = {"rev": RIGHT, "status": "available"}, {"rev": ROOT, "status": "available"}
    gone = {"rev": ROOT, "status": "missing"}
    expected = [newest, root if implementation.ancestors else gone]
    assert (await branched.get("x", revs_info=True))["_revs_info"] == expected
    if implementation.administration:
        await branched.compact()
        assert (await branched.get("x", revs_info=True))["_revs_info"] == [newest, gone]
    elif implementation.ancestors:
        return
    with pytest.raises(NotFound) as caught:
        await branched.get("x", rev=ROOT)
    assert not caught.value.deleted


async def test_the_sequence_of_a_document_is_that_of_its_change(branched: Documents) -> None:
    await branched.put({"_id": "y"})
    doc = await branched.get("y", local_seq=True)
    (change,) = (await branched.changes(doc_ids=["y"]))["results"]
    assert doc["_local_seq"] == change["seq"]


async def test_keys_come_in_the_order_asked_for_and_backwards(branched: Documents) -> None:
    await branched.bulk_docs([{"_id": each} for each in "ab"])
    asked = ["b", "nothing", "x", "a", "b"]
    rows = (await branched.all_docs(keys=asked))["rows"]
    assert [row["key"] for row in rows] == asked
    assert [row.get("error") for row in rows] == [None, "not_found", None, None, None]
    rows = (await branched.all_docs(keys=asked, descending=True))["rows"]
    assert [row["key"] for row in rows] == asked[::-1]


async def test_keys_and_a_range_contradict_each_other(database: Documents) -> None:
    with pytest.raises(BadRequest):
        await database.all_docs(keys=["a"], startkey="b")
