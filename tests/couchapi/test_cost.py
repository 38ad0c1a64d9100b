"""What an answer costs, in ASGI messages."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from peerpouch.couchapi.responses import CHUNK
from peerpouch.storage import Storage
from tests.couchapi.support import Api, served


async def messages(api: Api, path: str, body: Any) -> list[MutableMapping[str, Any]]:
    """What the app sends for a POST."""
    sent: list[MutableMapping[str, Any]] = []
    asked = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        return asked.pop() if asked else {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"revs=true",
        "headers": [(b"content-type", b"application/json")],
        "state": {},
    }
    await api.app(scope, receive, send)
    return sent


async def test_a_few_documents_are_answered_in_one_piece_whose_length_is_told() -> None:
    async with served() as api:
        await api.put("/db/heron", {"seen": 3})
        start, body = await messages(api, "/db/_bulk_get", {"docs": [{"id": "heron"}, {"id": "none"}]})
        assert not body.get("more_body")
        assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
        first, second = json.loads(body["body"])["results"]
        assert first["docs"][0]["ok"]["seen"] == 3
        assert second["docs"][0]["error"]["error"] == "not_found"


async def test_many_documents_are_answered_in_chunks_with_nothing_left_out() -> None:
    async with served() as api:
        ids = [f"record-{n:04d}" for n in range(20)]
        for size in (CHUNK // 20, CHUNK // 10, CHUNK, 3 * CHUNK):
            api.registry.databases.clear()
            await api.put("/db", None)
            await api.post("/db/_bulk_docs", {"docs": [{"_id": doc_id, "text": "x" * size} for doc_id in ids]})
            start, *bodies = await messages(api, "/db/_bulk_get", {"docs": [{"id": doc_id} for doc_id in ids]})
            assert (b"content-length" in dict(start["headers"])) == (len(bodies) == 1)
            answer = json.loads(b"".join(message["body"] for message in bodies))
            assert [row["docs"][0]["ok"]["_id"] for row in answer["results"]] == ids


async def test_plain_documents_are_answered_unparsed_and_as_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as api:
        docs: list[Any] = [{"_id": f"doc-{n:04d}", "n": n, "text": "x" * 700} for n in range(200)]
        docs += [{"_id": "empty"}, {"_id": 'ß"', "in": {"_a": ["\u2028", None, 1.5]}}]
        written = (await api.post("/db/_bulk_docs", {"docs": docs})).json
        second = await api.put(f"/db/empty?rev={written[200]['rev']}", {})
        wanted = [{"id": row["id"], "rev": row["rev"]} for row in written[::-1]]
        wanted[1]["rev"] = second.json["rev"]
        bodies = []
        for plainly in (True, False):
            if not plainly:
                monkeypatch.setattr(Storage, "read_plain", _no_way)
            else:
                monkeypatch.setattr(Storage, "bulk_get", None)  # it is not asked
            _, *messages_ = await messages(api, "/db/_bulk_get", {"docs": wanted})
            bodies.append(json.loads(b"".join(message["body"] for message in messages_)))
            monkeypatch.undo()
        assert bodies[0] == bodies[1]
        assert [entry["id"] for entry in bodies[0]["results"]] == [each["id"] for each in wanted]
        assert bodies[0]["results"][1]["docs"][0]["ok"]["_revisions"]["start"] == 2


async def _no_way(*_: Any) -> None:
    return None
