"""The port Queries: what every implementation gives, local, over HTTP and from another peer's share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from peerpouch.errors import BadRequest, InvalidBookmark, InvalidQuery, InvalidSelector, NotFound, NoUsableIndex
from peerpouch.node.databases import open_file
from peerpouch.ports import Database
from tests.contract.implementations import IMPLEMENTATIONS

DOCS: list[dict[str, Any]] = [
    {"_id": f"{n:03}", "kind": "even" if n % 2 == 0 else "odd", "n": n, "tags": [str(n % 3)]} for n in range(60)
]


@pytest.fixture(params=["storage", "remote", "share"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """A database with some documents."""
    if request.param == "storage":
        async with await open_file(":memory:") as local:
            await local.bulk_docs(DOCS)
            yield local
    else:
        async with IMPLEMENTATIONS[request.param].open(tmp_path) as opened:
            await opened.bulk_docs(DOCS)
            yield cast("Database", opened)


def ids(result: Any) -> list[str]:
    return [row["_id"] for row in result["docs"]]


async def test_documents_are_found_with_and_without_an_index(db: Database) -> None:
    selector = {"kind": "odd", "n": {"$gte": 50}, "tags": {"$in": ["2"]}}
    expected = ["053", "059"]
    found = await db.find(selector)
    assert ids(found) == expected
    assert "index" in found["warning"]
    assert (await db.create_index(["kind", "n"], ddoc="by", name="kind-n"))["result"] == "created"
    found = await db.find(selector, execution_stats=True)
    assert ids(found) == expected
    assert "warning" not in found
    assert found["execution_stats"]["results_returned"] == 2
    assert (await db.explain(selector))["index"]["name"] == "kind-n"


async def test_everything_is_found_without_a_limit(db: Database) -> None:
    assert len((await db.find({}))["docs"]) == 60
    assert len((await db.find({}, limit=7, skip=55))["docs"]) == 5
    assert (await db.find({"n": 3}, fields=["n", "kind"]))["docs"] == [{"n": 3, "kind": "odd"}]


async def test_sorted_results_are_paged_with_bookmarks(db: Database) -> None:
    with pytest.raises(NoUsableIndex):
        await db.find({"n": {"$gt": None}}, sort=[{"n": "desc"}])
    await db.create_index(["n"])
    found: list[str] = []
    bookmark = None
    while page := await db.find({"n": {"$gt": 3}}, sort=[{"n": "desc"}], limit=25, bookmark=bookmark):
        if not page["docs"]:
            break
        found += ids(page)
        bookmark = page["bookmark"]
    assert found == [f"{n:03}" for n in range(59, 3, -1)]
    with pytest.raises(InvalidBookmark):
        await db.find({"n": {"$gt": 3}}, bookmark="nonsense")


async def test_malformed_queries_are_refused_by_the_same_classes(db: Database) -> None:
    with pytest.raises(InvalidSelector, match=r"\$bad"):
        await db.find({"a": {"$bad": 1}})
    with pytest.raises(BadRequest):
        await db.find({}, sort=[{"a": "up"}])
    with pytest.raises(BadRequest):
        await db.create_index([])


async def test_indexes_are_made_listed_and_deleted(db: Database) -> None:
    made = await db.create_index(["n"], ddoc="d", name="x", partial_filter_selector={"kind": "odd"})
    assert made == {"result": "created", "id": "_design/d", "name": "x"}
    assert (await db.create_index(["n"], ddoc="d", name="x", partial_filter_selector={"kind": "odd"}))[
        "result"
    ] == "exists"
    listed = await db.get_indexes()
    assert [(index["ddoc"], index["name"]) for index in listed["indexes"]] == [(None, "_all_docs"), ("_design/d", "x")]
    assert ids(await db.find({"n": {"$lt": 4}}, use_index="d")) == ["001", "003"]
    await db.delete_index("d", "x")
    assert (await db.get_indexes())["total_rows"] == 1
    with pytest.raises(NotFound):
        await db.delete_index("d", "x")


async def test_stored_views_are_queried(db: Database) -> None:
    pytest.importorskip("quickjs")
    by_kind = "function (doc) { emit([doc.kind, doc.n], doc.n); }"
    await db.put({"_id": "_design/d", "views": {"v": {"map": by_kind, "reduce": "_sum"}}})
    result = await db.query("d/v", group_level=1)
    assert result["rows"] == [{"key": ["even"], "value": 870}, {"key": ["odd"], "value": 900}]
    assert (await db.query("d/v"))["rows"] == [{"key": None, "value": 1770}]
    rows = await db.query("d/v", reduce=False, startkey=["odd", 55], endkey=["odd", {}], include_docs=True)
    assert [(row["id"], row["key"]) for row in rows["rows"]] == [
        ("055", ["odd", 55]),
        ("057", ["odd", 57]),
        ("059", ["odd", 59]),
    ]
    assert all(row["doc"] and row["doc"]["kind"] == "odd" for row in rows["rows"])
    assert rows["total_rows"] == 60
    assert rows["offset"] == 57
    last = await db.query("d/v", reduce=False, descending=True, limit=2, skip=1)
    assert [row["id"] for row in last["rows"]] == ["057", "055"]
    several = await db.query("d/v", reduce=False, keys=[["odd", 3], ["even", 2], ["odd", 4]])
    assert [row["id"] for row in several["rows"]] == ["003", "002"]
    with pytest.raises(InvalidQuery):
        await db.query("d/v", reduce=False, startkey=2, endkey=1)
    with pytest.raises(NotFound):
        await db.query("d/gone")
    await db.view_cleanup()
