"""Details in which clients of CouchDB, and its own tests, expect exactly what CouchDB does."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from tests.couchapi.support import Api

TEXT = b"some plain text"
DATA = base64.b64encode(TEXT).decode()


async def put_attached(api: Api, doc_id: str = "a") -> str:
    doc = {"_attachments": {"x.bin": {"content_type": "application/octet-stream", "data": DATA}}}
    rev: str = (await api.put(f"/db/{doc_id}", doc)).json["rev"]
    return rev


def refusal(answer: Any) -> tuple[int, str, str]:
    return answer.status, answer.json["error"], answer.json["reason"]


class TestHeaders:
    async def test_a_request_has_an_id_the_clients_own_if_it_gives_one(self, api: Api) -> None:
        first, second = await api.get("/"), await api.get("/db?open_revs=all")
        assert first.headers["x-couch-request-id"] != second.headers["x-couch-request-id"]
        assert first.headers["x-couchdb-body-time"] == "0"
        for own, taken in (("E7498DE1-B661", True), ("a b\x7f", False), ("x" * 129, False)):
            answer = await api.get("/", headers={"x-couch-request-id": own})
            assert (answer.headers["x-couch-request-id"] == own) is taken

    async def test_what_is_unmodified_has_no_length(self, api: Api) -> None:
        rev = (await api.put("/db/a", {})).json["rev"]
        answer = await api.get("/db/a", headers={"if-none-match": f'"{rev}"'})
        assert (answer.status, answer.headers["content-length"], answer.body) == (304, "0", b"")

    async def test_uuids_are_never_cached_and_come_in_order(self, api: Api) -> None:
        answer = await api.get("/_uuids?count=50")
        assert "no-cache" in answer.headers["cache-control"]
        assert answer.headers["pragma"] == "no-cache"
        assert answer.headers["etag"]
        assert answer.json["uuids"] == sorted(answer.json["uuids"])

    async def test_a_location_names_the_attachment(self, api: Api) -> None:
        answer = await api.put("/db/do%0Ac/dir/x.txt", content=b"x", headers={"content-type": "text/plain"})
        assert answer.headers["location"] == "http://db.example/db/do%0Ac/dir/x.txt"


class TestMethods:
    async def test_a_post_may_stand_for_another_method(self, api: Api) -> None:
        answer = await api.post("/db/a", {"n": 1}, headers={"x-http-method-override": "PUT"})
        assert answer.status == 201
        gone = await api.post(f"/db/a?rev={answer.json['rev']}", headers={"X-HTTP-Method-Override": "DELETE"})
        assert gone.status == 200
        assert (await api.get("/db/a", headers={"x-http-method-override": "PUT"})).status == 404

    async def test_a_form_adds_attachments(self, api: Api) -> None:
        rev = (await api.put("/db/a", {"n": 1})).json["rev"]
        answer = await self._submit(api, rev)
        assert answer.status == 201
        doc = (await api.get("/db/a")).json
        assert (doc["n"], doc["_attachments"]["f.txt"]["length"]) == (1, 6)
        assert (await api.get("/db/a/f.txt")).body == b"line\r\n"
        assert (await self._submit(api, rev)).status == 409

    async def test_a_form_of_another_site_does_not(self, api: Api) -> None:
        rev = (await api.put("/db/a", {"n": 1})).json["rev"]
        assert (await self._submit(api, rev, referer="http://evil.example/")).status == 400
        assert (await self._submit(api, rev, referer=None)).status == 400
        encoded = {"content-type": "application/x-www-form-urlencoded", "referer": "http://db.example/"}
        answer = await api.call("POST", "/db/a", content=b"a=b", headers=encoded)
        assert refusal(answer) == (415, "bad_content_type", "Content-Type must be multipart/form-data")

    async def _submit(self, api: Api, rev: str, referer: str | None = "http://db.example/page") -> Any:
        body = (
            f'--B\r\nContent-Disposition: form-data; name="_rev"\r\n\r\n{rev}\r\n'
            '--B\r\nContent-Disposition: form-data; name="_attachments"; filename="f.txt"\r\n'
            "Content-Type: text/plain\r\n\r\nline\r\n\r\n--B--"
        )
        headers = {"content-type": "multipart/form-data; boundary=B"}
        if referer is not None:
            headers["referer"] = referer
        return await api.call("POST", "/db/a", content=body.encode(), headers=headers)


class TestDocuments:
    @pytest.mark.parametrize("path", ["_local", "_local/", "_local%2F", "_local/foo/bar"])
    async def test_a_local_id_needs_a_name_and_no_more(self, api: Api, path: str) -> None:
        assert refusal(await api.put(f"/db/{path}", {}))[:2] == (400, "bad_request")

    async def test_an_id_that_none_can_have_fails_a_whole_batch(self, api: Api) -> None:
        for doc, reason in (
            ({"_id": "_invalid"}, "Only reserved document ids may start with underscore."),
            ({"_id": 1}, "Document id must be a string"),
        ):
            assert refusal(await api.post("/db/_bulk_docs", {"docs": [{"_id": "good"}, doc]})) == (
                400,
                "illegal_docid",
                reason,
            )
        assert (await api.get("/db/good")).status == 404

    async def test_all_or_nothing_is_not_there(self, api: Api) -> None:
        answer = await api.post("/db/_bulk_docs", {"docs": [{}, {}], "all_or_nothing": True})
        assert answer.status == 417
        assert [row["error"] for row in answer.json] == ["not_implemented"] * 2
        assert (await api.get("/db")).json["doc_count"] == 0

    async def test_two_revisions_that_differ_are_told_by_where_they_stand(self, api: Api) -> None:
        rev = (await api.put("/db/a", {})).json["rev"]
        query = await api.put("/db/a?rev=1-foobar", {"_rev": rev})
        assert query.json["reason"] == "Document rev from request body and query string have different values"
        header = await api.put("/db/a", {"_rev": rev}, headers={"if-match": "1-foobar"})
        assert header.json["reason"] == "Document rev and etag have different values"

    async def test_a_database_is_not_deleted_for_a_document(self, api: Api) -> None:
        assert "?=rev parameter" in (await api.delete("/db/?rev=1-a")).json["reason"]

    async def test_purge_infos_have_a_limit_that_is_remembered(self, api: Api) -> None:
        assert (await api.get("/db/_purged_infos_limit")).json == 1000
        assert (await api.put("/db/_purged_infos_limit", 1500)).json == {"ok": True}
        assert (await api.get("/db/_purged_infos_limit")).json == 1500
        assert (await api.put("/db/_purged_infos_limit", "many")).status == 400


class TestAttachments:
    async def test_a_missing_one_is_told_in_couchdbs_words(self, api: Api) -> None:
        rev = await put_attached(api)
        for method, path in (("GET", "/db/a/none"), ("DELETE", f"/db/a/none?rev={rev}")):
            assert refusal(await api.call(method, path)) == (404, "not_found", "Document is missing attachment")
        answer = await api.delete("/db/a/x.bin?rev=4-garbage")
        assert refusal(answer) == (409, "not_found", "missing_rev")

    async def test_an_underscore_may_not_begin_its_name(self, api: Api) -> None:
        answer = await api.put("/db/a", {"_attachments": {"_foo.txt": {"data": DATA}}})
        assert refusal(answer) == (
            400,
            "bad_request",
            "Attachment name '_foo.txt' starts with prohibited character '_'",
        )

    @pytest.mark.parametrize("data", ["notBase64Encoded=", "YQ", "YQ==="])
    async def test_base64_has_its_padding(self, api: Api, data: str) -> None:
        assert (await api.put("/db/a", {"_attachments": {"x": {"data": data}}})).status == 400

    async def test_a_stub_of_another_generation_is_none(self, api: Api) -> None:
        rev = await put_attached(api)
        stub: dict[str, Any] = {"stub": True}
        rev = (await api.put("/db/a", {"_rev": rev, "_attachments": {"x.bin": stub}})).json["rev"]
        kept = await api.put("/db/a", {"_rev": rev, "_attachments": {"x.bin": {**stub, "revpos": 1}}})
        assert kept.status == 201
        answer = await api.put("/db/a", {"_rev": kept.json["rev"], "_attachments": {"x.bin": {**stub, "revpos": 10}}})
        assert refusal(answer)[:2] == (412, "missing_stub")

    async def test_a_body_is_what_its_digest_says_or_is_refused(self, api: Api) -> None:
        digest = base64.b64encode(hashlib.md5(TEXT, usedforsecurity=False).digest()).decode()
        headers = {"content-type": "text/plain", "content-md5": digest}
        assert (await api.put("/db/201/x", content=TEXT, headers=headers)).status == 201
        answer = await api.put("/db/400/x", content=TEXT[1:], headers=headers)
        assert refusal(answer) == (400, "content_md5_mismatch", "Possible message corruption.")
        assert (await api.get("/db/400")).status == 404

    async def test_a_range_of_everything_is_everything(self, api: Api) -> None:
        await put_attached(api)
        for span, status in (("bytes=0-", 200), (f"bytes=0-{len(TEXT) - 1}", 206), ("bytes:0-", 200)):
            answer = await api.get("/db/a/x.bin", headers={"range": span})
            assert (answer.status, answer.body) == (status, TEXT)


class TestListings:
    async def test_keys_may_be_of_local_documents_or_nothing_at_all(self, api: Api) -> None:
        await api.put("/db/a", {})
        await api.put("/db/_local/one", {"n": 1})
        keys = ["_local/one", 7, "a", "_local/none"]
        answer = await api.post("/db/_all_docs", {"keys": keys, "include_docs": True})
        rows = answer.json["rows"]
        assert [row["key"] for row in rows] == keys
        assert rows[0]["doc"] == {"_id": "_local/one", "_rev": "0-1", "n": 1}
        assert [row.get("error") for row in rows] == [None, "not_found", None, "not_found"]
        part = await api.post("/db/_all_docs", {"keys": keys, "descending": True, "skip": 1, "limit": 2})
        assert [row["key"] for row in part.json["rows"]] == ["a", 7]
        answer = await api.post("/db/_all_docs", {"keys": 1})
        assert refusal(answer) == (400, "bad_request", "`keys` body member must be an array.")

    async def test_the_query_comes_before_the_body_and_one_of_several_before_the_query(self, api: Api) -> None:
        for doc_id in "abc":
            await api.put(f"/db/{doc_id}", {})
        answer = await api.post("/db/_all_docs?limit=1", {"limit": 2})
        assert len(answer.json["rows"]) == 1
        answer = await api.post("/db/_all_docs/queries?limit=1", {"queries": [{"limit": 2}, {}]})
        assert [len(result["rows"]) for result in answer.json["results"]] == [2, 1]

    async def test_local_documents_are_listed_by_keys_and_backwards(self, api: Api) -> None:
        for name in ("a", "b", "c"):
            await api.put(f"/db/_local/{name}", {})
        answer = await api.get('/db/_local_docs?descending=true&startkey="_local/b"')
        assert [row["key"] for row in answer.json["rows"]] == ["_local/b", "_local/a"]
        answer = await api.post("/db/_local_docs?limit=1", {"keys": ["_local/c", "_local/a"]})
        assert [row["key"] for row in answer.json["rows"]] == ["_local/c"]

    async def test_a_heartbeat_that_is_none_is_told_apart_from_a_negative_one(self, api: Api) -> None:
        negative = await api.get("/db/_changes?feed=continuous&heartbeat=-1000")
        assert negative.json["reason"] == "The heartbeat value should be a positive integer (in milliseconds)."
        word = await api.get("/db/_changes?feed=continuous&heartbeat=a1000")
        assert word.json["reason"].startswith("Invalid heartbeat value.")


class TestViews:
    async def test_a_design_document_tells_of_its_index(self, api: Api) -> None:
        await api.put("/db/_design/d", {"views": {"v": {"map": "function (doc) { emit(doc._id); }"}}})
        first = (await api.get("/db/_design/d/_info")).json
        assert (first["name"], first["view_index"]["language"]) == ("d", "javascript")
        await api.put("/db/a", {})
        rev = (await api.get("/db/_design/d")).json["_rev"]
        assert (await api.get("/db/_design/d/_info")).json["view_index"]["signature"] == (
            first["view_index"]["signature"]
        )
        await api.put("/db/_design/d", {"_rev": rev, "views": {"v": {"map": "function (doc) { emit(1); }"}}})
        changed = (await api.get("/db/_design/d/_info")).json
        assert changed["view_index"]["signature"] != first["view_index"]["signature"]
        assert (await api.get("/db/_design/none/_info")).status == 404

    async def test_temporary_views_are_gone_and_other_endpoints_are_none(self, api: Api) -> None:
        gone = await api.post("/db/_temp_view", {"map": "function (doc) {}"})
        assert refusal(gone) == (410, "gone", "Temporary views are not supported in CouchDB")
        assert refusal(await api.post("/db/_fnid", {"selector": {}}))[:2] == (400, "illegal_docid")
