from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from peerpouch.errors import DatabaseNotFound, NotFound, ProtocolError
from peerpouch.ports import RevisionRequest, RevisionResult
from peerpouch.remote import pacing
from tests.remote.support import Asked, Reply, database


def doc(doc_id: str, rev: str = "1-a", **more: Any) -> dict[str, Any]:
    return {"_id": doc_id, "_rev": rev, **more}


def entry(doc_id: str, *items: Any) -> dict[str, Any]:
    return {"id": doc_id, "docs": list(items)}


async def gather(remote: Any, *wanted: RevisionRequest, **options: Any) -> list[RevisionResult]:
    return [result async for result in remote.bulk_get(wanted, **options)]


async def test_results_come_in_the_order_of_the_requests() -> None:
    results = [entry("b", {"ok": doc("b")}), entry("a", {"ok": doc("a", "1-x")}, {"ok": doc("a", "1-y")})]
    remote, server = database({"results": results})
    found = await gather(remote, RevisionRequest("b", "1-a"), RevisionRequest("a"), revs=True, latest=True)
    assert [(result.id, result.rev) for result in found] == [("b", "1-a"), ("a", "1-x"), ("a", "1-y")]
    (asked,) = server.asked
    assert asked.json == {"docs": [{"id": "b", "rev": "1-a"}, {"id": "a"}]}
    assert (asked.query["revs"], asked.query["latest"]) == ("true", "true")


async def test_a_server_that_gathers_a_documents_revisions_is_understood() -> None:
    results = [entry("b", {"ok": doc("b")}), entry("a", {"ok": doc("a", "1-x")}, {"ok": doc("a", "1-y")})]
    remote, _ = database({"results": results})
    found = await gather(remote, RevisionRequest("a", "1-x"), RevisionRequest("b", "1-a"), RevisionRequest("a", "1-y"))
    assert [(result.id, result.rev) for result in found] == [("a", "1-x"), ("a", "1-y"), ("b", "1-a")]


async def test_what_is_missing_has_an_error_in_its_place() -> None:
    couchdb = {"error": {"id": "a", "rev": "1-x", "error": "not_found", "reason": "missing"}}
    undefined = {"error": {"id": "b", "rev": "undefined", "error": "not_found", "reason": "deleted"}}
    remote, _ = database(
        {"results": [entry("a", couchdb), entry("b", undefined), entry("c", {"missing": "1-z"}), entry("d", {})]}
    )
    found = await gather(remote, *(RevisionRequest(doc_id) for doc_id in "abcd"))
    assert [result.rev for result in found] == ["1-x", None, "1-z", None]
    assert all(isinstance(result.error, NotFound) and result.doc is None for result in found)
    assert found[1].error is not None
    assert found[1].error.reason == "deleted"


@pytest.mark.parametrize(
    "results",
    [
        [entry("other", {"ok": doc("other")})],
        [entry("a", {"ok": doc("other")})],
        [entry("a", {"ok": 5})],
        [entry("a", {"ok": {"_id": "a"}})],
        [entry("a", 5)],
        [5],
        5,
    ],
    ids=repr,
)
async def test_what_nobody_asked_for_is_refused(results: Any) -> None:
    remote, _ = database({"results": results})
    with pytest.raises(ProtocolError):
        await gather(remote, RevisionRequest("a"))


async def test_many_are_asked_for_some_at_a_time_by_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MAX_ANSWER", 50_000)

    def answer(asked: Asked) -> Reply:
        return Reply(
            {"results": [entry(item["id"], {"ok": doc(item["id"], x="x" * 1000)}) for item in asked.json["docs"]]}
        )

    remote, server = database(answer=answer)
    wanted = [RevisionRequest(f"doc{n}") for n in range(600)]
    assert [result.id for result in await gather(remote, *wanted)] == [request.id for request in wanted]
    assert [len(asked.json["docs"]) for asked in server.asked][:2] == [500, 62]


async def test_a_reader_that_stops_asks_no_further() -> None:
    def answer(asked: Asked) -> Reply:
        return Reply({"results": [entry(item["id"], {"ok": doc(item["id"])}) for item in asked.json["docs"]]})

    remote, server = database(answer=answer)
    async for _ in remote.bulk_get([RevisionRequest(f"doc{n}") for n in range(5000)]):
        break
    assert len(server.asked) == 1


class TestOlderServer:
    @pytest.mark.parametrize("status", [404, 405, 501])
    async def test_revisions_are_asked_for_one_by_one(self, status: int) -> None:
        def answer(asked: Asked) -> Reply:
            if asked.path == "/_bulk_get":
                return Reply({"error": "not_found", "reason": "missing"}, status=status)
            if asked.path == "/none":
                return Reply({"error": "not_found", "reason": "missing"}, status=404)
            return Reply([{"ok": doc(asked.path[1:])}, {"missing": "1-z"}])

        remote, server = database(answer=answer)
        wanted = [RevisionRequest("a", "1-a", ["1-k"]), RevisionRequest("none")]
        found = await gather(remote, *wanted, revs=True)
        assert [(result.id, result.rev, result.doc is None) for result in found] == [
            ("a", "1-a", False),
            ("a", "1-z", True),
            ("none", None, True),
        ]
        await gather(remote, *wanted)
        assert [asked.path for asked in server.asked].count("/_bulk_get") == 1
        assert server.asked[1].query["open_revs"] == '["1-a"]'
        assert server.asked[1].query["atts_since"] == '["1-k"]'
        assert server.asked[1].query["revs"] == "true"

    async def test_a_database_that_is_gone_is_no_older_server(self) -> None:
        remote, server = database(Reply({"error": "not_found", "reason": "Database does not exist."}, status=404))
        with pytest.raises(DatabaseNotFound):
            await gather(remote, RevisionRequest("a"))
        assert len(server.asked) == 1


async def test_many_open_revisions_are_asked_for_in_urls_of_a_decent_length() -> None:
    def answer(asked: Asked) -> Reply:
        return Reply([{"missing": rev} for rev in json.loads(asked.query["open_revs"])])

    remote, server = database(answer=answer)
    revs = [f"1-{n:032x}" for n in range(120)]
    found = await remote.open_revs("a", revs)
    assert [result.rev for result in found] == revs
    assert len(server.asked) == 3


async def test_inline_attachments_come_decoded_in_the_form_that_was_asked_for() -> None:
    data = base64.b64encode(b"content").decode()
    file = {"content_type": "text/plain", "data": data, "encoding": "gzip", "encoded_length": 3}
    for mode, expected in ((True, data), ("bytes", b"content")):
        remote, server = database(doc("a", _attachments={"f": dict(file), "g": {"stub": True}}))
        found = await remote.get("a", attachments=mode)  # type: ignore[arg-type]
        assert found["_attachments"] == {"f": {"content_type": "text/plain", "data": expected}, "g": {"stub": True}}
        assert server.asked[0].query["attachments"] == "true"
    remote, _ = database(doc("a", _attachments={"f": {"data": 5}}))
    with pytest.raises(ProtocolError):
        await remote.get("a", attachments="bytes")
