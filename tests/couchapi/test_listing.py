from __future__ import annotations

from typing import Any

import pytest

from peerpouch.errors import DatabaseBusy
from peerpouch.ports import AllDocs, AllDocsHead, Database
from tests.couchapi.support import Api

IDS = ["_design/x", "_design/y", "a", "b", "c", "d"]


@pytest.fixture(autouse=True)
async def documents(api: Api) -> None:
    await api.post("/db/_bulk_docs", {"docs": [{"_id": doc_id, "n": n} for n, doc_id in enumerate(IDS)]})
    for name in ("one", "three", "two"):
        await api.put(f"/db/_local/{name}", {"x": 1})


def keys(answer: Any) -> list[str]:
    return [row["key"] for row in answer["rows"]]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", IDS),
        ("descending=true", IDS[::-1]),
        ('startkey="b"', ["b", "c", "d"]),
        ('start_key="b"&end_key="c"', ["b", "c"]),
        ('startkey="b"&endkey="c"&inclusive_end=false', ["b"]),
        ('startkey="c"&endkey="b"&descending=true', ["c", "b"]),
        ('startkey="a"&skip=1&limit=2', ["b", "c"]),
        ('key="b"', ["b"]),
        ("key=5", []),
        ("limit=0", []),
        ('startkey="a"&endkey={}', []),
        ("startkey=null", IDS),
        ("startkey={}&descending=true", []),
        ("endkey=null&descending=true", IDS[::-1]),
        ('keys=["c","zz","a"]', ["c", "zz", "a"]),
    ],
)
async def test_what_is_listed(api: Api, query: str, expected: list[str]) -> None:
    answer = (await api.get(f"/db/_all_docs?{query}")).json
    assert keys(answer) == expected
    assert answer["total_rows"] == len(IDS)


async def test_options_may_stand_in_a_body(api: Api) -> None:
    assert keys((await api.post("/db/_all_docs", {"keys": ["c", "zz"]})).json) == ["c", "zz"]
    body = {"startkey": "a", "limit": 2, "include_docs": True}
    answer = (await api.post("/db/_all_docs", body)).json
    assert [row["doc"]["n"] for row in answer["rows"]] == [2, 3]
    assert keys((await api.post("/db/_all_docs")).json) == IDS


async def test_a_key_without_a_document_has_an_error(api: Api) -> None:
    (row,) = (await api.get('/db/_all_docs?keys=["zz"]')).json["rows"]
    assert row == {"key": "zz", "error": "not_found"}


async def test_the_sequence_is_told_on_demand(api: Api) -> None:
    assert "update_seq" not in (await api.get("/db/_all_docs")).json
    answer = (await api.get("/db/_all_docs?update_seq=true")).json
    assert answer["update_seq"] == (await api.get("/db")).json["update_seq"]


async def test_several_listings_at_once(api: Api) -> None:
    queries = [{"keys": ["a"]}, {"startkey": "c"}, {"limit": 0}]
    answer = (await api.post("/db/_all_docs/queries", {"queries": queries})).json
    assert [keys(result) for result in answer["results"]] == [["a"], ["c", "d"], []]
    assert (await api.post("/db/_all_docs/queries", {"queries": []})).json == {"results": []}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["_design/x", "_design/y"]),
        ("descending=true", ["_design/y", "_design/x"]),
        ("limit=1", ["_design/x"]),
        ("skip=1", ["_design/y"]),
        ('startkey="_design/y"', ["_design/y"]),
        ('startkey="a"', []),
        ('endkey="_design/x"', ["_design/x"]),
        ('endkey="_design/y"&inclusive_end=false', ["_design/x"]),
        ('startkey="_design/x"&descending=true', ["_design/x"]),
        ('endkey="_design/y"&descending=true', ["_design/y"]),
        ('keys=["_design/y"]', ["_design/y"]),
    ],
)
async def test_design_documents_alone(api: Api, query: str, expected: list[str]) -> None:
    assert keys((await api.get(f"/db/_design_docs?{query}")).json) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["one", "three", "two"]),
        ("limit=2", ["one", "three"]),
        ("skip=1&limit=1", ["three"]),
        ('startkey="_local/p"', ["three", "two"]),
        ('endkey="_local/three"', ["one", "three"]),
        ('endkey="_local/three"&inclusive_end=false', ["one"]),
    ],
)
async def test_local_documents_alone(api: Api, query: str, expected: list[str]) -> None:
    answer = (await api.get(f"/db/_local_docs?{query}")).json
    assert keys(answer) == [f"_local/{name}" for name in expected]


async def test_design_and_local_listings_at_once(api: Api) -> None:
    answer = (await api.post("/db/_design_docs/queries", {"queries": [{"limit": 1}]})).json
    assert [keys(result) for result in answer["results"]] == [["_design/x"]]
    answer = (await api.post("/db/_local_docs/queries", {"queries": [{"limit": 1}]})).json
    assert [keys(result) for result in answer["results"]] == [["_local/one"]]


async def test_a_long_listing_is_one_json_value(api: Api) -> None:
    docs = [{"_id": f"doc{n:05}", "text": "x" * 100} for n in range(3000)]
    await api.post("/db/_bulk_docs", {"docs": docs})
    answer = (await api.get('/db/_all_docs?include_docs=true&startkey="doc"')).json
    assert [row["doc"]["_id"] for row in answer["rows"]] == [doc["_id"] for doc in docs]


async def test_a_listing_that_fails_at_its_head_has_a_status(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def head() -> AllDocsHead:
        raise DatabaseBusy

    database: Database = api.registry.databases["db"]
    monkeypatch.setattr(database, "all_docs", lambda **options: AllDocs(head, lambda: pytest.fail("no pages")))
    assert (await api.get("/db/_all_docs")).status == 503
