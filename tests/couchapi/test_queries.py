from __future__ import annotations

from typing import Any

import pytest

from peerpouch.ports import Database
from tests.couchapi.support import Api


@pytest.fixture(autouse=True)
async def documents(api: Api) -> None:
    docs = [{"_id": f"doc{n:02}", "n": n, "even": n % 2 == 0} for n in range(60)]
    await api.post("/db/_bulk_docs", {"docs": docs})


class TestMango:
    async def test_find_has_couchdbs_default_limit(self, api: Api) -> None:
        answer = (await api.post("/db/_find", {"selector": {"even": True}})).json
        assert len(answer["docs"]) == 25
        assert isinstance(answer["bookmark"], str)

    async def test_a_bookmark_goes_on(self, api: Api) -> None:
        body: dict[str, Any] = {"selector": {"even": True}, "limit": 20, "fields": ["n"]}
        first = (await api.post("/db/_find", body)).json
        second = (await api.post("/db/_find", {**body, "bookmark": first["bookmark"]})).json
        assert [doc["n"] for doc in first["docs"] + second["docs"]] == list(range(0, 60, 2))

    async def test_sort_skip_and_statistics(self, api: Api) -> None:
        await api.post("/db/_index", {"index": {"fields": ["n"]}, "name": "by-n"})
        body = {
            "selector": {"n": {"$gte": 50}},
            "sort": [{"n": "desc"}],
            "skip": 2,
            "limit": 3,
            "execution_stats": True,
        }
        answer = (await api.post("/db/_find", body)).json
        assert [doc["n"] for doc in answer["docs"]] == [57, 56, 55]
        assert "execution_stats" in answer

    async def test_indexes_come_and_go(self, api: Api) -> None:
        made = (await api.post("/db/_index", {"index": {"fields": ["n"]}, "ddoc": "d", "name": "i"})).json
        assert made == {"result": "created", "id": "_design/d", "name": "i"}
        again = (await api.post("/db/_index", {"index": {"fields": ["n"]}, "ddoc": "d", "name": "i"})).json
        assert again["result"] == "exists"
        listed = (await api.get("/db/_index")).json
        assert listed["total_rows"] == 2
        assert [index["name"] for index in listed["indexes"]] == ["_all_docs", "i"]
        plan = (await api.post("/db/_explain", {"selector": {"n": 1}})).json
        assert plan["index"]["name"] == "i"
        for path in ("d", "_design/d", "_design%2Fd"):
            assert (await api.delete(f"/db/_index/{path}/json/i")).json == {"ok": True}
            assert (await api.get("/db/_index")).json["total_rows"] == 1
            await api.post("/db/_index", {"index": {"fields": ["n"]}, "ddoc": "d", "name": "i"})

    async def test_indexes_are_deleted_by_their_documents(self, api: Api) -> None:
        await api.post("/db/_index", {"index": {"fields": ["n"]}, "ddoc": "d", "name": "i"})
        answer = (await api.post("/db/_index/_bulk_delete", {"docids": ["_design/d", "_design/none"]})).json
        assert answer["success"] == [{"id": "_design/d", "ok": True}]
        assert answer["fail"] == [{"id": "_design/none", "error": "not_found"}]

    async def test_deleting_indexes_leaves_all_other_documents(self, api: Api) -> None:
        view = {"_id": "_design/js", "views": {"v": {"map": "function (doc) {}"}}}
        await api.post("/db/_bulk_docs", {"docs": [view]})
        answer = (await api.post("/db/_index/_bulk_delete", {"docids": ["doc01", "js"]})).json
        assert [one["error"] for one in answer["fail"]] == ["not_found", "not_found"]
        assert (await api.get("/db/doc01")).status == 200
        assert (await api.get("/db/_design/js")).status == 200

    async def test_a_list_of_indexes_has_a_beginning_and_an_end(self, api: Api) -> None:
        for name in ("one", "two", "three"):
            await api.post("/db/_index", {"index": {"fields": [name]}, "name": name})
        for query, count in (("limit=2", 2), ("skip=3", 1), ("limit=5&skip=2", 2), ("skip=9", 0)):
            answer = (await api.get(f"/db/_index?{query}")).json
            assert (len(answer["indexes"]), answer["total_rows"]) == (count, 4)
        for query in ("limit=0", "skip=-1", "limit=x"):
            assert (await api.get(f"/db/_index?{query}")).status == 400

    async def test_what_is_no_index_is_none(self, api: Api) -> None:
        assert (await api.get("/db/_index/foo")).status == 405
        assert (await api.delete("/db/_index/d/text/i")).status == 404
        assert (await api.delete("/db/_index/_design/d/text/i")).status == 404

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ({}, "bad_request"),
            ({"selector": []}, "invalid_selector"),
            ({"selector": {"a": {"$beginsWith": 5}}}, "invalid_operator"),
            ({"selector": {"a": {"$size": "x"}}}, "bad_arg"),
            ({"selector": {"$gt": 2}}, "invalid_selector"),
            ({"selector": {}, "unheard": 1}, "bad_request"),
            ({"selector": {}, "r": 0}, "query_parse_error"),
            ({"selector": {}, "conflicts": "no"}, "query_parse_error"),
            ({"selector": {}, "stale": "maybe"}, "query_parse_error"),
            ({"selector": {}, "sort": [{"n": "asc"}]}, "no_usable_index"),
            ({"selector": {}, "bookmark": "bad-bookmark"}, "invalid_bookmark"),
        ],
    )
    async def test_malformed_queries_are_refused(self, api: Api, body: dict[str, Any], error: str) -> None:
        answer = await api.post("/db/_find", body)
        assert (answer.status, answer.json["error"]) == (400, error)

    async def test_what_a_cluster_is_told_is_taken(self, api: Api) -> None:
        body = {"selector": {"n": 1}, "r": 2, "stable": True, "update": False, "stale": "ok", "conflicts": True}
        assert len((await api.post("/db/_find", body)).json["docs"]) == 1
        plan = (await api.post("/db/_explain", {"selector": {"n": 1}, "sort": ["n"]})).json
        assert plan["index"] is None

    @pytest.mark.parametrize(
        "index", [{"fields": ["a"], "selector": {}}, {"fields": "a"}, {"fields": [{"a": 2}]}, {"fields": [""]}, ["a"]]
    )
    async def test_malformed_indexes_are_refused(self, api: Api, index: Any) -> None:
        assert (await api.post("/db/_index", {"index": index})).status == 400


class TestViews:
    """How a request becomes a query; what views compute is tested where they are made."""

    @pytest.fixture(autouse=True)
    def asked(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, dict[str, Any]]]:
        calls: list[tuple[Any, dict[str, Any]]] = []

        async def query(view: Any, **options: Any) -> Any:
            calls.append((view, options))
            doc = {"_id": "a", "_attachments": {"f": {"encoding": "gzip", "encoded_length": 3, "stub": True}}}
            rows = [{"id": "a", "key": n, "value": None, "doc": doc} for n in range(450)]
            return {"total_rows": 450, "offset": 0, "rows": rows}

        database: Database = api.registry.databases["db"]
        monkeypatch.setattr(database, "query", query)
        return calls

    async def test_options_are_those_of_the_port(self, api: Api, asked: list[Any]) -> None:
        query = (
            'startkey=["a"]&end_key={}&startkey_docid=x&end_key_doc_id=y&inclusive_end=false&group_level=2'
            "&descending=true&skip=1&limit=5&include_docs=true&reduce=false&stale=ok&update_seq=true"
        )
        answer = (await api.get(f"/db/_design/d/_view/v?{query}")).json
        assert len(answer["rows"]) == 450
        assert answer["total_rows"] == 450
        assert answer["rows"][0]["doc"]["_attachments"]["f"] == {"stub": True}
        ((view, options),) = asked
        assert view == "d/v"
        expected = {
            "startkey": ["a"],
            "endkey": {},
            "startkey_docid": "x",
            "endkey_docid": "y",
            "inclusive_end": False,
            "group_level": 2,
            "group": False,
            "descending": True,
            "skip": 1,
            "limit": 5,
            "include_docs": True,
            "reduce": False,
            "update": "false",
            "update_seq": True,
            "keys": None,
        }
        assert {name: options[name] for name in expected} == expected
        assert "key" not in options

    async def test_a_key_of_null_is_a_key(self, api: Api, asked: list[Any]) -> None:
        await api.get("/db/_design/d/_view/v?key=null")
        assert asked[0][1]["key"] is None

    async def test_keys_stand_in_a_body(self, api: Api, asked: list[Any]) -> None:
        await api.post("/db/_design/d/_view/v?group=true", {"keys": [1, None]})
        assert asked[0][1]["keys"] == [1, None]
        assert asked[0][1]["group"] is True

    async def test_several_queries_at_once(self, api: Api, asked: list[Any]) -> None:
        queries = [{"key": 1}, {"limit": 2, "update": "lazy"}]
        answer = (await api.post("/db/_design/d/_view/v/queries", {"queries": queries})).json
        assert len(answer["results"]) == 2
        assert asked[0][1]["key"] == 1
        assert (asked[1][1]["limit"], asked[1][1]["update"]) == (2, "lazy")

    @pytest.mark.parametrize("query", ["limit=x", "stale=maybe", "update=never", "key=x", "reduce=5", "keys=1"])
    async def test_options_that_make_no_sense_are_refused(self, api: Api, query: str) -> None:
        answer = await api.get(f"/db/_design/d/_view/v?{query}")
        assert (answer.status, answer.json["error"]) == (400, "query_parse_error")
