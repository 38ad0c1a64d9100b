"""What is prepared together is what each document by itself would be."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from peerpouch.errors import PeerPouchError
from peerpouch.ports import Document, WriteFailure, Written
from peerpouch.storage import Storage, batches, edits
from tests.core.test_jsonio import SCALARS
from tests.storage.test_cost import statements
from tests.storage.test_store import waiting

MAX_SIZE = 2000

VALUES = SCALARS | st.lists(SCALARS, max_size=2)

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(
    ["_deleted", "_rev", "_revisions", "_conflicts", "_attachments", "_bad", "_replication_id", "null", "a_b"]
)
# What JSON can't carry, or a document may not have.
ODD = st.sampled_from([
    math.nan, math.inf, {1: 2}, b"x", 2**70, "\ud800", 1.0, -0.0, 1e300, 5e-7, None, [math.nan, None], "is null",
    {"_id": 1}, {"deep_": {"_deleted": True}}, "x" * MAX_SIZE, uuid.UUID(int=1), True, "1-abc", "7-", '"_', "1.0,",
])  # fmt: skip
IDS = st.sampled_from(["a", "b", "", "_design/x", "_local/x", "_other", "é", "\ud800", "x" * 5000, 7, None, "é" * 3000])
HISTORIES = st.sampled_from([
    {"start": 1, "ids": ["ab"]}, {"start": 3, "ids": ["cd", "ef"]}, {"start": 2, "ids": ["cd", "ef", "gh"]}, {}, "x",
    {"start": 3, "ids": ["c d"]},
])  # fmt: skip
REVS = st.sampled_from(["1-ab", "3-cd", "x", None, 5])
DOCS = st.builds(
    lambda doc_id, body, odd, rev, history: {**body, **odd, **doc_id, **rev, **history},
    st.fixed_dictionaries({}, optional={"_id": IDS}),
    st.dictionaries(NAMES, VALUES, max_size=2),
    st.dictionaries(NAMES, ODD, max_size=1),
    st.fixed_dictionaries({}, optional={"_rev": REVS}),
    st.fixed_dictionaries({}, optional={"_revisions": HISTORIES}),
) | st.sampled_from([None, 5, "text", [], ["_id"]])
PLAIN = st.builds(
    lambda doc_id, body: {"_id": doc_id, **body},
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text[0] != "_"),
    st.dictionaries(st.sampled_from(["a", "b_", "null", "1.0"]), VALUES, max_size=2),
)


class Ids(edits.IdMaker):
    """Always the same one, since which document gets which does not matter."""

    def __call__(self) -> str:
        return "made"


def one_by_one(docs: list[Any], new_edits: bool) -> list[Any]:
    found: list[Any] = []
    for doc in docs:
        try:
            found.append(edits.prepare(doc, new_edits, Ids(), None, MAX_SIZE))
        except PeerPouchError as error:
            found.append(type(error))
    return found


def together(docs: list[Any], new_edits: bool) -> list[Any]:
    prepared = batches.singles(batches.prepare(docs, new_edits, Ids(), MAX_SIZE, {}))
    return [type(each.error) if isinstance(each, WriteFailure) else each for each in prepared]


def some(docs: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(docs, min_size=batches._MANY, max_size=batches._MANY + 4)


@given(some(DOCS | PLAIN), st.booleans())
@example([{"_id": "a", "x": 1e16}] * batches._MANY, True)
@example([{"_id": "a", "x": [1.0]}] * batches._MANY, True)
@example([{"_id": "a", "x": math.nan}] * batches._MANY, True)
@example([{"_id": "a", "_x": 1}, *[{"_id": "b"}] * batches._MANY], False)
def test_a_batch_is_prepared_as_its_documents_are_by_themselves(docs: list[Any], new_edits: bool) -> None:
    assert together(docs, new_edits) == one_by_one(docs, new_edits)


@given(some(PLAIN))
def test_plain_documents_are_kept_as_columns(docs: list[Document]) -> None:
    prepared = batches.prepare(docs, True, Ids(), 10**9, {})
    # Integers beyond 64 bits need an encoder of their own.
    if all(edits.prepare(doc, True, Ids()).flags == 0 for doc in docs):
        assert isinstance(prepared, batches.Plain)


@given(st.lists(some(DOCS | PLAIN), max_size=3), st.booleans())
def test_batches_that_are_joined_are_what_they_are_one_after_the_other(parts: list[list[Any]], new_edits: bool) -> None:
    prepared = [batches.prepare(docs, new_edits, Ids(), MAX_SIZE, {}) for docs in parts]
    whole = batches.singles(batches.joined(prepared)) if prepared else []
    assert [edits_of(each) for each in whole] == [edits_of(each) for part in prepared for each in batches.singles(part)]


def edits_of(single: batches.Single) -> Any:
    return type(single.error) if isinstance(single, WriteFailure) else single


def test_texts_that_are_too_long_to_be_joined_are_looked_at_by_themselves() -> None:
    docs = [{"_id": f"{n}", "x": "x" * 200_000, "n": float(n)} for n in range(20)]
    assert together(docs, True) == one_by_one(docs, True)
    assert isinstance(batches.prepare(docs, True, Ids(), 10**9, {}), batches.Plain)
    prepared = batches.prepare([*docs, {"_id": "x", "_deleted": True}], True, Ids(), 10**9, {})
    assert [each.id for each in batches.singles(prepared) if isinstance(each, edits.Edit)] == [
        *(doc["_id"] for doc in docs),
        "x",
    ]


@pytest.mark.parametrize("new_edits", [True, False])
async def test_a_batch_leaves_what_single_writes_leave(tmp_path: Path, new_edits: bool) -> None:
    docs: list[Document] = [{"_id": f"doc-{n:03d}", "n": n / 4, "nothing": None} for n in range(300)]
    docs[199]["_id"] = docs[2]["_id"]  # the last of the first batch: of one id, the later ones are written last
    if not new_edits:
        for n, doc in enumerate(docs):
            doc |= {"_rev": f"2-{n:x}", "_revisions": {"start": 2, "ids": [f"{n:x}", "aa"][: 1 + n % 2]}}
    async with await Storage.open(tmp_path / "a.db") as one, await Storage.open(tmp_path / "b.db") as other:
        for begun in (0, 150):  # the second time, half of them are known
            part = docs[begun : begun + 200]
            results = await one.bulk_docs(part, new_edits=new_edits)
            singly = [(await other.bulk_docs([doc], new_edits=new_edits))[0] for doc in part]
            assert [(type(each), each.id, getattr(each, "rev", None)) for each in results] == [
                (type(each), each.id, getattr(each, "rev", None)) for each in singly
            ]
            assert any(isinstance(each, Written) for each in results)
        assert [(row["id"], row["changes"]) async for row in one.changes(style="all_docs", include_docs=True)] == [
            (row["id"], row["changes"]) async for row in other.changes(style="all_docs", include_docs=True)
        ]
        assert [doc async for doc in one.all_docs(include_docs=True)] == [
            doc async for doc in other.all_docs(include_docs=True)
        ]
        assert await one.check() == []


async def test_batches_that_wait_together_are_written_as_one_and_know_of_each_other(tmp_path: Path) -> None:
    docs: list[Document] = [{"_id": f"doc-{n:03d}", "n": n} for n in range(60)]
    async with await Storage.open(tmp_path / "a.db") as database:
        parts = [docs[:20], docs[20:40], docs[30:50], docs[50:]]

        async def write() -> None:
            first, second, third, fourth = await waiting(database, [database.bulk_docs(part) for part in parts])
            assert all(isinstance(each, Written) for each in [*first, *second, *fourth])
            assert [type(each) for each in third] == [WriteFailure] * 10 + [Written] * 10

        assert await statements(database, write, like="INSERT INTO docs") > 1
        assert (await database.info())["doc_count"] == 60
        again = [{"_id": f"new-{doc['_id']}"} for doc in docs]

        async def write_new() -> None:
            await waiting(database, [database.bulk_docs(again[at : at + 20]) for at in range(0, 60, 20)])

        # 50, and 8, and twice 1: not 20 for each.
        assert await statements(database, write_new, like="INSERT INTO docs") == 4
        assert await database.check() == []
