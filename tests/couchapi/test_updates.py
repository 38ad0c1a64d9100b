"""Update functions over HTTP, as CouchDB's own tests ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.couchapi.support import Api

pytest.importorskip("quickjs")

FUNCTIONS = {
    "hello": """function (doc, req) {
        if (!doc) { return req.id ? [{_id: req.id, by: req.userCtx}, "<p>New</p>"] : [null, "<p>Empty</p>"]; }
        doc.world = "hello";
        return [doc, "<p>hello doc</p>"];
    }""",
    "in-place": "function (doc, req) { doc[req.query.field] = req.query.value; return [doc, 'set']; }",
    "form": "function (doc, req) { Object.assign(doc, req.form); return [doc, 'done']; }",
    "bump": """function (doc, req) {
        doc.counter = (doc.counter || 0) + 1;
        return [doc, {code: 302, body: "bumped", headers: {"X-Own": "yes", "Set-Cookie": "a=b"}}];
    }""",
    "uuid": "function (doc, req) { return [null, req.uuid]; }",
    "json": "function (doc, req) { return [{_id: req.uuid}, {code: 202, json: {ok: true}}]; }",
    "binary": """function (doc, req) {
        return [doc, {headers: {"Content-Type": "application/octet-stream"}, base64: "aGVsbG8gd29ybGQh"}];
    }""",
    "echo": "function (doc, req) { return [null, {json: req}]; }",
    "empty": "function (doc, req) { return [{}, 'oops']; }",
    "delete": "function (doc, req) { doc._deleted = true; return [doc, 'gone']; }",
    "module": "function (doc, req) { return [null, require('lib/word').word + this.language]; }",
    "error": "function (doc, req) { superFail.badCrash; }",
    "forbids": "function (doc, req) { throw {forbidden: 'not you'}; }",
    "nothing": "function (doc, req) {}",
    "code": "function (doc, req) { return [null, {code: 'x'}]; }",
    "strange": "function (doc, req) { return [null, {bodi: 'x'}]; }",
    "number": 5,
}
PATH = "/db/_design/d/_update"


@pytest.fixture(autouse=True)
async def design(api: Api) -> None:
    lib = {"word": "exports.word = 'java';"}
    doc = {"_id": "_design/d", "language": "javascript", "updates": FUNCTIONS, "lib": lib}
    await api.post("/db/_bulk_docs", {"docs": [doc, {"_id": "a", "word": "plankton"}]})


async def test_a_document_is_changed_and_the_function_answers(api: Api) -> None:
    answer = await api.call("PUT", f"{PATH}/hello/a")
    assert (answer.status, answer.body) == (201, b"<p>hello doc</p>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == "sandbox"
    doc = (await api.get("/db/a")).json
    assert (doc["world"], doc["word"]) == ("hello", "plankton")
    assert (answer.headers["x-couch-id"], answer.headers["x-couch-update-newrev"]) == ("a", doc["_rev"])


async def test_a_document_is_made(api: Api) -> None:
    answer = await api.call("PUT", f"{PATH}/hello/with/slash")
    assert (answer.status, answer.body) == (201, b"<p>New</p>")
    assert answer.headers["x-couch-id"] == "with%2Fslash"
    assert (await api.get("/db/with%2Fslash")).json["by"] == {"db": "db", "name": None, "roles": ["_admin"]}


async def test_without_a_document_nothing_is_written(api: Api) -> None:
    before = (await api.get("/db")).json["update_seq"]
    answer = await api.call("POST", f"{PATH}/hello")
    assert (answer.status, answer.body) == (200, b"<p>Empty</p>")
    assert len((await api.call("POST", f"{PATH}/uuid")).body) == 32
    assert (await api.get("/db")).json["update_seq"] == before


async def test_the_query_and_a_form_are_told(api: Api) -> None:
    assert (await api.call("PUT", f"{PATH}/in-place/a?field=title&value=x%20y")).body == b"set"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    await api.call("PUT", f"{PATH}/form/a", content=b"one=1&two=a+b", headers=headers)
    doc = (await api.get("/db/a")).json
    assert (doc["title"], doc["one"], doc["two"]) == ("x y", "1", "a b")


async def test_an_answer_has_its_own_code_headers_and_form(api: Api) -> None:
    bumped = await api.call("POST", f"{PATH}/bump/a")
    assert (bumped.status, bumped.body, bumped.headers["x-own"]) == (302, b"bumped", "yes")
    assert "set-cookie" not in bumped.headers
    assert (await api.get("/db/a")).json["counter"] == 1
    answer = await api.call("POST", f"{PATH}/json")
    assert (answer.status, answer.json, answer.headers["content-type"]) == (202, {"ok": True}, "application/json")
    answer = await api.call("POST", f"{PATH}/binary/a")
    assert (answer.body, answer.headers["content-type"]) == (b"hello world!", "application/octet-stream")


async def test_a_function_sees_the_request_but_no_secrets(api: Api) -> None:
    headers = {"authorization": "Basic YTpi", "cookie": "AuthSession=x", "x-mine": "1", "content-type": "text/plain"}
    answer = await api.call("POST", f"{PATH}/echo/a?key=[1]&b=2", content=b"text", headers=headers)
    told = answer.json
    assert (told["method"], told["id"], told["body"]) == ("POST", "a", "text")
    assert told["query"] == {"key": [1], "b": "2"}
    assert told["path"] == told["requested_path"] == ["db", "_design", "d", "_update", "echo", "a"]
    assert told["headers"]["x-mine"] == "1"
    assert told["secObj"] == (await api.get("/db/_security")).json
    assert told["info"]["db_name"] == (await api.get("/db")).json["db_name"]
    assert not {"authorization", "cookie"} & {name.lower() for name in told["headers"]}


async def test_a_document_is_deleted_and_made_again(api: Api) -> None:
    assert (await api.call("POST", f"{PATH}/delete/a")).status == 201
    assert (await api.get("/db/a")).status == 404
    assert (await api.call("POST", f"{PATH}/hello/a")).body == b"<p>New</p>"


async def test_modules_and_the_design_document_are_at_hand(api: Api) -> None:
    assert (await api.call("POST", f"{PATH}/module")).body == b"javajavascript"


async def test_a_document_in_conflict_keeps_its_other_leaves(api: Api) -> None:
    await api.post("/db/_bulk_docs", {"docs": [{"_id": "a", "_rev": "1-00"}], "new_edits": False})
    assert (await api.call("POST", f"{PATH}/hello/a")).status == 201
    assert (await api.get("/db/a?conflicts=true")).json["_conflicts"] == ["1-00"]


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("", 404, "Invalid path."),
        ("/absent", 404, "missing update function absent on design doc _design/d"),
        ("/number", 404, "missing"),
        ("/error", 500, "superFail"),
        ("/forbids", 403, "not you"),
        ("/nothing", 500, "must return"),
        ("/empty/foo", 400, ""),
        ("/code", 500, "status"),
        ("/strange", 500, "bodi"),
    ],
)
async def test_what_goes_wrong_is_told(api: Api, name: str, status: int, reason: str) -> None:
    answer = await api.call("POST", PATH + name)
    assert answer.status == status
    assert reason in answer.json["reason"]


async def test_other_methods_and_design_documents_are_none(api: Api) -> None:
    assert (await api.get(f"{PATH}/hello")).status == 405
    assert (await api.call("POST", "/db/_design/none/_update/hello")).status == 404


async def test_a_form_on_another_site_changes_nothing(api: Api) -> None:
    async def sent(origin: str | None, kind: str) -> int:
        headers: dict[str, Any] = {"content-type": kind, "host": "here:5984"}
        if origin is not None:
            headers["origin"] = origin
        return (await api.call("POST", f"{PATH}/bump/a", content=b"{}", headers=headers)).status

    form = "application/x-www-form-urlencoded"
    assert await sent("http://elsewhere", form) == 403
    assert await sent("null", "text/plain") == 403
    assert "counter" not in (await api.get("/db/a")).json
    # JSON is asked about by the browser first, and answered by what is set up for CORS.
    assert await sent("http://elsewhere", "application/json") == 302
    assert await sent("http://here:5984", form) == 302
    assert await sent(None, form) == 302
