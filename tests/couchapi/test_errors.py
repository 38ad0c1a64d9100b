"""Every error has CouchDB's shape: a status, ``error`` and ``reason``, in JSON."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.responses import error_fields
from peerpouch.errors import (
    Conflict,
    DatabaseNotFound,
    InvalidJSON,
    PeerPouchError,
    from_response,
)
from tests.couchapi.support import Api, served

JSON = {"content-type": "application/json"}


def raw(content: bytes, **headers: str) -> dict[str, Any]:
    return {"content": content, "headers": {**JSON, **headers}}


CASES: list[tuple[str, str, dict[str, Any], int, str, str | None]] = [
    # what is not there
    ("GET", "/nowhere", {}, 404, "not_found", "Database does not exist."),
    ("GET", "/nowhere/doc", {}, 404, "not_found", "Database does not exist."),
    ("GET", "/db/missing", {}, 404, "not_found", "missing"),
    ("GET", "/db/gone", {}, 404, "not_found", "deleted"),
    ("GET", "/db/doc?rev=1-unknown", {}, 404, "not_found", "missing"),
    ("GET", "/db/missing?open_revs=all", {}, 404, "not_found", "missing"),
    ("GET", "/db/doc/file", {}, 404, "not_found", None),
    ("DELETE", "/db/missing", {}, 404, "not_found", "missing"),
    ("DELETE", "/db/gone?rev=1-x", {}, 404, "not_found", "deleted"),
    ("DELETE", "/db/doc/file", {}, 404, "not_found", None),
    # conflicts
    ("PUT", "/db", {}, 412, "file_exists", None),
    ("PUT", "/db/doc", {"body": {}}, 409, "conflict", "Document update conflict."),
    ("PUT", "/db/doc", {"body": {"_rev": "1-wrong"}}, 409, "conflict", "Document update conflict."),
    ("DELETE", "/db/doc", {}, 409, "conflict", "Document update conflict."),
    ("DELETE", "/db/doc?rev=1-wrong", {}, 409, "conflict", "Document update conflict."),
    ("PUT", "/db/doc/file", {"content": b"x"}, 409, "conflict", "Document update conflict."),
    # bodies that are not what they should be
    ("PUT", "/db/a", raw(b"{"), 400, "bad_request", "invalid UTF-8 JSON"),
    ("PUT", "/db/a", raw(b"{\xff}"), 400, "bad_request", "invalid UTF-8 JSON"),
    ("PUT", "/db/a", raw(b""), 400, "bad_request", "invalid UTF-8 JSON"),
    ("PUT", "/db/a", raw(b"[]"), 400, "bad_request", "Document must be a JSON object"),
    ("PUT", "/db/a", raw(b"{" * 2000 + b"}" * 2000), 400, "bad_request", "invalid UTF-8 JSON"),
    ("POST", "/db", {"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "bad_content_type", None),
    ("POST", "/db/_bulk_docs", raw(b"[]"), 400, "bad_request", "Request body must be a JSON object"),
    ("POST", "/db/_bulk_docs", {"body": {}}, 400, "bad_request", "POST body must include `docs` parameter."),
    ("POST", "/db/_bulk_docs", {"body": {"docs": 1}}, 400, "bad_request", "`docs` parameter must be an array."),
    ("POST", "/db/_bulk_docs", {"body": {"docs": [1]}}, 400, "bad_request", "Document must be a JSON object"),
    ("POST", "/db/_bulk_docs", {"body": {"docs": [], "new_edits": 1}}, 400, "bad_request", None),
    ("POST", "/db/_bulk_docs", {"body": {"docs": [{"_x": 1}]}}, 400, "doc_validation", None),
    ("POST", "/db/_bulk_docs", {"body": {"docs": [{"_deleted": 1}]}}, 400, "doc_validation", None),
    ("POST", "/db/_bulk_docs", {"body": {"docs": [{"_id": "a", "_rev": "x"}]}}, 400, "bad_request", None),
    ("POST", "/db/_bulk_docs", {"body": {"docs": [{"_id": "a"}], "new_edits": False}}, 400, "bad_request", None),
    ("POST", "/db/_bulk_get", {"body": {}}, 400, "bad_request", "Missing JSON list of 'docs'."),
    ("POST", "/db/_bulk_get", {"body": {"docs": [{}]}}, 400, "bad_request", None),
    ("POST", "/db/_bulk_get", {"body": {"docs": [{"id": "a", "rev": "x"}]}}, 400, "bad_request", "Invalid rev format"),
    ("POST", "/db/_revs_diff", {"body": {"a": "1-x"}}, 400, "bad_request", None),
    ("POST", "/db/_revs_diff", {"body": {"a": [1]}}, 400, "bad_request", "Invalid rev format"),
    ("POST", "/db/_missing_revs", {"body": []}, 400, "bad_request", None),
    ("POST", "/db/_purge", {"body": {"a": 5}}, 400, "bad_request", None),
    ("POST", "/db/_all_docs", {"body": {"keys": 1}}, 400, "bad_request", None),
    ("POST", "/db/_all_docs/queries", {"body": {}}, 400, "bad_request", None),
    ("POST", "/db/_find", {"body": {}}, 400, "bad_request", "Missing required key: selector"),
    ("POST", "/db/_find", {"body": {"selector": 1}}, 400, "invalid_selector", None),
    ("POST", "/db/_find", {"body": {"selector": {"a": {"$no": 1}}}}, 400, "invalid_operator", None),
    ("POST", "/db/_find", {"body": {"selector": {}, "limit": -1}}, 400, "query_parse_error", None),
    ("POST", "/db/_index", {"body": {"index": {"fields": []}}}, 400, "bad_request", None),
    ("PUT", "/db/_security", {"body": []}, 400, "bad_request", None),
    ("PUT", "/db/_revs_limit", {"body": 0}, 400, "bad_request", None),
    ("PUT", "/db/_revs_limit", {"body": True}, 400, "bad_request", None),
    ("PUT", "/db/a", {"body": {"_attachments": {"f": {"data": "?"}}}}, 400, "bad_request", None),
    ("PUT", "/db/a", {"body": {"_attachments": {"f": {"follows": True}}}}, 400, "bad_request", None),
    ("PUT", "/db/a", {"body": {"_attachments": {"f": {"stub": True}}}}, 412, "missing_stub", None),
    ("PUT", "/db/a", {"body": {"_unknown": 1}}, 400, "doc_validation", None),
    ("PUT", "/db/_a", {"body": {}}, 400, "illegal_docid", None),
    ("PUT", "/db/doc?rev=1-a", {"body": {"_rev": "1-b"}}, 400, "bad_request", None),
    ("PUT", "/db/a/f", {"content": b"x", "headers": {"content-encoding": "br"}}, 415, "bad_content_type", None),
    ("PUT", "/db/a", raw(b"not gzip", **{"content-encoding": "gzip"}), 400, "bad_request", None),
    ("PUT", "/db/a", raw(b"{}", **{"content-encoding": "br"}), 415, "bad_content_type", None),
    # queries that are not what they should be
    ("GET", "/db/doc?rev=nonsense", {}, 400, "bad_request", "Invalid rev format"),
    ("GET", "/db/doc?revs=perhaps", {}, 400, "query_parse_error", None),
    ("GET", "/db/doc?open_revs=[", {}, 400, "query_parse_error", None),
    ("GET", "/db/doc?open_revs=[1]", {}, 400, "query_parse_error", None),
    ("GET", "/db/_all_docs?limit=many", {}, 400, "query_parse_error", None),
    ("GET", "/db/_all_docs?limit=-1", {}, 400, "query_parse_error", None),
    ("GET", "/db/_all_docs?startkey=unquoted", {}, 400, "query_parse_error", None),
    ("GET", "/db/_all_docs?keys=%5B%22a%22%5D&startkey=%22a%22", {}, 400, "query_parse_error", None),
    ("GET", "/db/_changes?feed=sometimes", {}, 400, "bad_request", None),
    ("GET", "/db/_changes?style=baroque", {}, 400, "bad_request", None),
    ("GET", "/db/_changes?heartbeat=0", {}, 400, "bad_request", None),
    ("GET", "/db/_changes?heartbeat=soon", {}, 400, "bad_request", None),
    ("GET", "/db/_changes?limit=x", {}, 400, "query_parse_error", None),
    ("GET", "/db/_changes?since=nonsense", {}, 400, "bad_request", None),
    ("GET", "/db/_changes?filter=_doc_ids", {}, 400, "bad_request", None),
    ("POST", "/db/_changes?filter=_selector", {"body": {"selector": 1}}, 400, "bad_request", None),
    ("GET", "/_uuids?count=100000", {}, 400, "bad_request", None),
    ("GET", "/_uuids?count=x", {}, 400, "query_parse_error", None),
    ("DELETE", "/db?rev=1-a", {}, 400, "bad_request", None),
    # URLs that are malformed
    ("GET", "/db/%zz", {}, 400, "bad_request", None),
    ("GET", "/db/%ff", {}, 400, "bad_request", None),
    ("GET", "/db/doc?rev=%f", {}, 400, "bad_request", None),
    # headers
    ("PUT", "/db/doc?rev=1-a", {"body": {}, "headers": {"if-match": '"1-b"'}}, 400, "bad_request", None),
    ("COPY", "/db/doc", {}, 400, "bad_request", "Destination header is mandatory for COPY."),
    ("COPY", "/db/doc", {"headers": {"destination": "http://elsewhere/x"}}, 400, "bad_request", None),
    ("COPY", "/db/doc", {"headers": {"destination": "b?rev=x"}}, 400, "bad_request", "Invalid rev format"),
    ("COPY", "/db/doc", {"headers": {"destination": "b?batch=ok"}}, 400, "bad_request", None),
    ("COPY", "/db/doc", {"headers": {"destination": "doc"}}, 409, "conflict", None),
    ("PUT", "/db/a", {"content": b"", "headers": {"content-type": "multipart/related"}}, 400, "bad_request", None),
    # methods
    ("PATCH", "/db", {}, 405, "method_not_allowed", "Only DELETE,GET,HEAD,POST,PUT allowed"),
    ("GET", "/db/_bulk_docs", {}, 405, "method_not_allowed", "Only POST allowed"),
    ("PATCH", "/db/doc", {"body": {}}, 405, "method_not_allowed", "Only COPY,DELETE,GET,HEAD,POST,PUT allowed"),
    ("PUT", "/_up", {}, 405, "method_not_allowed", "Only GET,HEAD allowed"),
    # what is not done here
    ("GET", "/db/_changes?filter=_view&view=d/v", {}, 404, "not_found", None),
    ("PUT", "/db/_purged_infos_limit", {"body": 0}, 400, "bad_request", None),
]


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "error", "reason"), CASES, ids=[f"{case[0]} {case[1]}" for case in CASES]
)
async def test_an_error_has_couchdbs_shape(
    api: Api, method: str, path: str, more: dict[str, Any], status: int, error: str, reason: str | None
) -> None:
    await api.put("/db/doc", {"x": 1})
    first = await api.put("/db/gone", {})
    await api.delete(f"/db/gone?rev={first.json['rev']}")
    answer = await api.call(method, path, **more)
    assert (answer.status, answer.json["error"]) == (status, error)
    assert set(answer.json) == {"error", "reason"}
    assert answer.headers["content-type"] == "application/json"
    if reason is None:
        assert isinstance(answer.json["reason"], str)
        assert answer.json["reason"]
    else:
        assert answer.json["reason"] == reason


@pytest.mark.parametrize("path", ["/db/%zz", "/db/missing", "/nowhere"])
async def test_the_answer_to_head_has_a_status_and_no_body(api: Api, path: str) -> None:
    answer = await api.call("HEAD", path)
    assert answer.status in (400, 404)
    assert answer.body == b""


async def test_a_method_that_is_not_allowed_is_told_those_that_are(api: Api) -> None:
    answer = await api.call("PATCH", "/db/_all_docs")
    assert answer.headers["allow"] == "GET,HEAD,POST"


def _classes(root: type[PeerPouchError]) -> list[type[PeerPouchError]]:
    return [root, *(cls for child in root.__subclasses__() for cls in _classes(child))]


@pytest.mark.parametrize("cls", [cls for cls in _classes(PeerPouchError) if cls.__module__ == "peerpouch.errors"])
def test_an_error_comes_back_as_the_class_that_was_sent(cls: type[PeerPouchError]) -> None:
    fields = error_fields(cls("why"))
    back = from_response(cls.status, fields["error"], fields["reason"])
    # A client never sends what is not JSON, so this one has no need to be told apart.
    assert type(back) is (cls if cls is not InvalidJSON else from_response(400, "bad_request", None).__class__)


def test_a_database_that_is_missing_is_told_apart_by_its_reason() -> None:
    fields = error_fields(DatabaseNotFound("whatever path it had"))
    assert fields == {"error": "not_found", "reason": "Database does not exist."}


class TestLimits:
    async def test_a_body_that_is_announced_as_too_large_is_not_read(self) -> None:
        read: list[bytes] = []

        async def body() -> Any:
            for _ in range(100):
                read.append(b"x" * 1000)
                yield read[-1]

        async with served(Limits(json_body=2000)) as api:
            headers = {**JSON, "content-length": "100000"}
            answer = await api.put("/db/a", content=body(), headers=headers)
        assert (answer.status, answer.json["error"]) == (413, "too_large")
        assert not read

    async def test_a_body_that_turns_out_too_large_is_refused_while_it_comes(self) -> None:
        read: list[bytes] = []

        async def body() -> Any:
            for _ in range(100):
                read.append(b"x" * 1000)
                yield read[-1]

        async with served(Limits(json_body=2000)) as api:
            answer = await api.put("/db/a", content=body(), headers=JSON)
        assert (answer.status, answer.json["error"]) == (413, "too_large")
        assert len(read) < 5

    async def test_without_the_limit_the_same_body_is_read_to_its_end(self) -> None:
        async def body() -> Any:
            yield b'{"text":"'
            for _ in range(100):
                yield b"x" * 1000
            yield b'"}'

        async with served(Limits(json_body=2_000_000)) as api:
            answer = await api.put("/db/a", content=body(), headers=JSON)
        assert answer.status == 201

    async def test_an_attachment_is_not_bound_by_the_limit_of_json(self) -> None:
        async with served(Limits(json_body=2000)) as api:
            answer = await api.put("/db/a/f", content=b"x" * 100_000)
        assert answer.status == 201

    async def test_a_long_query_is_refused(self) -> None:
        async with served(Limits(query_string=100)) as api:
            answer = await api.get("/db/_all_docs?startkey=%22" + "a" * 100 + "%22")
        assert (answer.status, answer.json["error"]) == (413, "too_large")


async def test_an_error_of_one_document_has_the_same_names_as_a_response(api: Api) -> None:
    await api.put("/db/doc", {})
    (row,) = (await api.post("/db/_bulk_docs", {"docs": [{"_id": "doc"}]})).json
    assert row == {"id": "doc", **error_fields(Conflict())}


async def test_a_defect_is_an_internal_error_that_tells_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def defective(*args: Any) -> Any:
        raise RuntimeError("a secret of the program")

    monkeypatch.setattr(api.registry, "open", defective)
    answer = await api.get("/db")
    assert (answer.status, answer.json["error"]) == (500, "internal_server_error")
    assert b"secret" not in answer.body
    assert "A request failed unexpectedly" in caplog.text
