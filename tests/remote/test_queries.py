from __future__ import annotations

from typing import Any

import pytest

from peerpouch.errors import NotSupported
from tests.remote.support import Asked, Reply, database


def shelf(count: int, *, bookmarks: bool) -> Any:
    """Answers ``_find`` as CouchDB does, or as PouchDB, which knows no bookmarks."""
    docs = [{"_id": f"doc{n:04}"} for n in range(count)]

    def answer(asked: Asked) -> Reply:
        body = asked.json
        start = int(body.get("bookmark", "at-0")[3:]) + body["skip"]
        found = docs[start : start + body["limit"]]
        bookmark = f"at-{start + len(found)}" if bookmarks else "nil"
        stats = {"total_docs_examined": len(found), "kind": "x"}
        return Reply({"docs": found, "bookmark": bookmark, "execution_stats": stats, "warning": "slow"})

    return answer


@pytest.mark.parametrize("bookmarks", [True, False])
@pytest.mark.parametrize(("skip", "limit"), [(0, None), (7, None), (7, 900), (0, 10), (0, 200), (1990, 100)])
async def test_all_that_match_are_found_over_pages(bookmarks: bool, skip: int, limit: int | None) -> None:
    remote, _ = database(answer=shelf(2000, bookmarks=bookmarks))
    found = await remote.find({"x": 1}, skip=skip, limit=limit)
    end = 2000 if limit is None else min(2000, skip + limit)
    assert [doc["_id"] for doc in found["docs"]] == [f"doc{n:04}" for n in range(skip, end)]
    assert found["warning"] == "slow"


async def test_what_is_asked_and_told() -> None:
    remote, server = database(answer=shelf(500, bookmarks=True))
    found = await remote.find(
        {"x": 1}, fields=["x"], sort=["x", {"y": "desc"}], use_index=("d", "i"), execution_stats=True
    )
    body = server.asked[0].json
    assert (body["selector"], body["fields"], body["sort"]) == ({"x": 1}, ["x"], ["x", {"y": "desc"}])
    assert (body["use_index"], body["execution_stats"]) == (["d", "i"], True)
    assert found["execution_stats"] == {"total_docs_examined": 500, "kind": "x"}


async def test_a_bookmark_is_passed_on() -> None:
    remote, _ = database(answer=shelf(30, bookmarks=True))
    first = await remote.find({}, limit=20)
    second = await remote.find({}, limit=20, bookmark=first["bookmark"])
    assert len(second["docs"]) == 10


async def test_indexes() -> None:
    made = {"result": "created", "id": "_design/d", "name": "i"}
    remote, server = database(made, {"indexes": []}, {"ok": True}, {"index": {}})
    assert await remote.create_index(["x"], name="i", ddoc="d", partial_filter_selector={"y": 1}) == made
    assert await remote.get_indexes() == {"indexes": []}
    await remote.delete_index("_design/d", "a/b")
    await remote.explain({"x": 1}, limit=5)
    assert server.asked[0].json == {
        "index": {"fields": ["x"], "partial_filter_selector": {"y": 1}},
        "type": "json",
        "name": "i",
        "ddoc": "d",
    }
    assert (server.asked[2].method, server.asked[2].path) == ("DELETE", "/_index/_design/d/json/a/b")
    assert server.asked[3].json == {"selector": {"x": 1}, "limit": 5, "skip": 0}


class TestViews:
    async def test_options_are_parameters(self) -> None:
        remote, server = database({"rows": [], "total_rows": 0, "offset": 0})
        await remote.query(
            "d/v", key=None, startkey=["a"], endkey={}, inclusive_end=False, reduce=False, limit=3, group_level=2
        )
        (asked,) = server.asked
        assert (asked.method, asked.path) == ("GET", "/_design/d/_view/v")
        expected = {
            "key": "null",
            "startkey": '["a"]',
            "endkey": "{}",
            "inclusive_end": "false",
            "reduce": "false",
            "limit": "3",
            "group_level": "2",
        }
        assert expected.items() <= asked.query.items()
        assert not {"descending", "group", "skip", "update", "stale"} & asked.query.keys()

    async def test_keys_are_a_body(self) -> None:
        remote, server = database({"rows": []})
        await remote.query("v", keys=[1, "a"])
        (asked,) = server.asked
        assert (asked.method, asked.path, asked.json) == ("POST", "/_design/v/_view/v", {"keys": [1, "a"]})

    async def test_functions_can_not_be_sent(self) -> None:
        remote, server = database()
        with pytest.raises(NotSupported):
            await remote.query(lambda doc, emit: None)
        with pytest.raises(NotSupported):
            await remote.query("d/v", reduce="_sum")
        assert server.asked == []

    async def test_documents_of_rows_have_their_attachments_in_the_form_asked_for(self) -> None:
        doc = {"_id": "a", "_attachments": {"f": {"data": "eA=="}}}
        remote, _ = database({"rows": [{"id": "a", "key": 1, "value": None, "doc": doc}, {"id": "b", "doc": None}]})
        result = await remote.query("d/v", include_docs=True, attachments="bytes")
        row = result["rows"][0]
        assert row["doc"] is not None
        assert row["doc"]["_attachments"]["f"]["data"] == b"x"
