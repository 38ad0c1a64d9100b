from __future__ import annotations

import json
from typing import Any

from tests.couchapi.support import UUID, Api
from tests.couchapi.test_documents import parts_of


class TestServer:
    async def test_the_welcome_has_the_uuid(self, api: Api) -> None:
        answer = (await api.get("/")).json
        assert answer["couchdb"] == "Welcome"
        assert answer["uuid"] == UUID
        assert answer["vendor"]["name"] == "peerpouch"
        assert int(answer["version"].split(".")[0]) >= 3

    async def test_it_is_up(self, api: Api) -> None:
        assert (await api.get("/_up")).json == {"status": "ok", "seeds": {}}

    async def test_uuids_are_made_up(self, api: Api) -> None:
        answer = await api.get("/_uuids?count=3")
        uuids = answer.json["uuids"]
        assert len(set(uuids)) == 3
        assert all(len(uuid) == 32 and int(uuid, 16) >= 0 for uuid in uuids)
        assert len((await api.get("/_uuids")).json["uuids"]) == 1

    async def test_databases_are_listed(self, api: Api) -> None:
        for name in ("c", "a", "b"):
            assert (await api.put(f"/{name}")).status == 201
        assert (await api.get("/_all_dbs")).json == ["a", "b", "c", "db"]
        assert (await api.get('/_all_dbs?startkey="b"&limit=1')).json == ["b"]
        assert (await api.get('/_all_dbs?descending=true&endkey="b"&inclusive_end=false')).json == ["db", "c"]
        infos = (await api.get("/_dbs_info")).json
        assert [row["key"] for row in infos] == ["a", "b", "c", "db"]
        assert infos[0]["info"]["doc_count"] == 0
        (row,) = (await api.post("/_dbs_info", {"keys": ["nowhere"]})).json
        assert row == {"key": "nowhere", "error": "not_found"}


class TestDatabase:
    async def test_it_is_created_and_deleted(self, api: Api) -> None:
        answer = await api.put("/new%2Fdb")
        assert (answer.status, answer.json) == (201, {"ok": True})
        assert answer.headers["location"] == "http://db.example/new%2Fdb"
        assert (await api.get("/new%2Fdb")).json["db_name"] == "new/db"
        assert (await api.delete("/new%2Fdb")).json == {"ok": True}
        assert (await api.get("/new%2Fdb")).status == 404

    async def test_it_tells_its_identity(self, api: Api) -> None:
        info = (await api.get("/db")).json
        assert info["uuid"] == await api.registry.databases["db"].id()
        assert info["incarnation"]
        assert info["compact_running"] is False

    async def test_security_and_limits_are_kept(self, api: Api) -> None:
        security = {"admins": {"names": ["a"], "roles": []}, "members": {"names": [], "roles": ["r"]}}
        assert (await api.put("/db/_security", security)).json == {"ok": True}
        assert (await api.get("/db/_security")).json == security
        assert (await api.put("/db/_revs_limit", 7)).json == {"ok": True}
        assert (await api.get("/db/_revs_limit")).json == 7
        assert (await api.get("/db/_purged_infos_limit")).json == 1000

    async def test_maintenance(self, api: Api) -> None:
        for path in ("_compact", "_compact/design", "_view_cleanup"):
            answer = await api.post(f"/db/{path}")
            assert (answer.status, answer.json) == (202, {"ok": True})
        answer = await api.post("/db/_ensure_full_commit")
        assert answer.status == 201
        assert answer.json["instance_start_time"] == (await api.get("/db")).json["instance_start_time"]

    async def test_purging(self, api: Api) -> None:
        rev = (await api.put("/db/a", {})).json["rev"]
        answer = await api.post("/db/_purge", {"a": [rev], "b": ["1-x"]})
        assert (answer.status, answer.json) == (201, {"purge_seq": None, "purged": {"a": [rev], "b": []}})
        assert (await api.get("/db/a")).json["reason"] == "missing"
        answer = await api.post("/db/_purge", {f"doc{n}": ["1-x"] for n in range(101)})
        assert (answer.status, answer.json["reason"]) == (400, "Exceeded maximum number of documents.")
        answer = await api.post("/db/_purge", {"a": [f"1-{n}" for n in range(1001)]})
        assert (answer.status, answer.json["reason"]) == (400, "Exceeded maximum number of revisions.")


class TestBulk:
    async def test_each_document_has_its_result(self, api: Api) -> None:
        await api.put("/db/b", {})
        docs: list[Any] = [{"_id": "a"}, {"_id": "b"}, {"x": 1}, {"_id": ""}]
        answer = await api.post("/db/_bulk_docs", {"docs": docs})
        assert answer.status == 201
        kinds = [row.get("error", "ok") for row in answer.json]
        assert kinds == ["ok", "conflict", "ok", "illegal_docid"]

    async def test_what_is_stored_as_given_is_only_mentioned_when_it_fails(self, api: Api) -> None:
        docs = [{"_id": "a", "_rev": "1-a"}, {"_id": "b", "_rev": "1-b", "_revisions": {"start": 2, "ids": ["c", "b"]}}]
        answer = await api.post("/db/_bulk_docs", {"docs": docs, "new_edits": False})
        (row,) = answer.json
        assert (row["id"], row["rev"], row["error"]) == ("b", "1-b", "bad_request")
        assert (await api.get("/db/a")).json["_rev"] == "1-a"

    async def test_a_member_that_no_document_has_fails_the_whole_request(self, api: Api) -> None:
        for new_edits in (True, False):
            docs = [{"_id": "a", "_rev": "1-a"}, {"_id": "b", "_rev": "1-b", "_zing": 4}]
            answer = await api.post("/db/_bulk_docs", {"docs": docs, "new_edits": new_edits})
            assert (answer.status, answer.json["error"]) == (400, "doc_validation")
            assert answer.json["reason"] == "Bad special document member: _zing"
            assert (await api.get("/db/a")).status == 404

    async def test_many_documents_are_read_at_once(self, api: Api) -> None:
        docs = [{"_id": "a", "_rev": rev} for rev in ("1-a", "1-b")] + [{"_id": "b", "_rev": "1-c"}]
        await api.post("/db/_bulk_docs", {"docs": docs, "new_edits": False})
        wanted = [{"id": "a"}, {"id": "b", "rev": "1-c"}, {"id": "b", "rev": "9-z"}, {"id": "none"}]
        results = (await api.post("/db/_bulk_get?revs=true", {"docs": wanted})).json["results"]
        assert [entry["id"] for entry in results] == ["a", "b", "b", "none"]
        assert [len(entry["docs"]) for entry in results] == [2, 1, 1, 1]
        assert results[1]["docs"][0]["ok"]["_revisions"] == {"start": 1, "ids": ["c"]}
        assert results[2]["docs"][0]["error"]["rev"] == "9-z"
        assert results[3]["docs"][0]["error"] == {
            "id": "none",
            "rev": "undefined",
            "error": "not_found",
            "reason": "missing",
        }
        assert (await api.post("/db/_bulk_get", {"docs": []})).json == {"results": []}

    async def test_the_same_document_asked_for_twice_is_answered_twice(self, api: Api) -> None:
        docs = [{"_id": "a", "_rev": rev} for rev in ("1-a", "1-b")]
        await api.post("/db/_bulk_docs", {"docs": docs, "new_edits": False})
        wanted = [{"id": "a", "rev": "1-a"}, {"id": "a", "rev": "1-b"}]
        results = (await api.post("/db/_bulk_get", {"docs": wanted})).json["results"]
        assert [[item["ok"]["_rev"] for item in entry["docs"]] for entry in results] == [["1-a"], ["1-b"]]

    async def test_many_documents_are_read_as_multipart(self, api: Api) -> None:
        await api.put("/db/a/f", content=b"content", headers={"content-type": "text/plain"})
        await api.put("/db/b", {})
        headers = {"accept": "multipart/mixed"}
        wanted = [{"id": "a"}, {"id": "b"}, {"id": "none"}]
        answer = await api.post("/db/_bulk_get?attachments=true", {"docs": wanted}, headers=headers)
        first, second, third = parts_of(answer.headers["content-type"], answer.body)
        assert first[0]["x-doc-id"] == "a"
        assert parts_of(first[0]["content-type"], first[1])[1][1] == b"content"
        assert json.loads(second[1])["_id"] == "b"
        assert third[0]["content-type"] == 'application/json; error="true"'

    async def test_what_is_missing(self, api: Api) -> None:
        rev = (await api.put("/db/a", {})).json["rev"]
        asked = {"a": [rev, "2-x"], "b": ["1-y"]}
        diff = (await api.post("/db/_revs_diff", asked)).json
        assert diff["a"]["missing"] == ["2-x"]
        assert diff["b"]["missing"] == ["1-y"]
        missing = (await api.post("/db/_missing_revs", asked)).json
        assert missing == {"missing_revs": {"a": ["2-x"], "b": ["1-y"]}}
        assert (await api.post("/db/_revs_diff", {"a": [rev]})).json == {}
