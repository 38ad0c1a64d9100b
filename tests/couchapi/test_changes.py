from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from peerpouch.exchange import Request
from tests.couchapi.support import Api

TIMEOUT = 20.0


@asynccontextmanager
async def feed(api: Api, query: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """A feed's lines, heartbeats included."""
    request = Request("GET", f"http://db.example/db/_changes?{query}")
    response = await api.exchange.handle_async_request(request)
    assert response.status_code == 200

    async def lines() -> AsyncIterator[bytes]:
        buffer = b""
        async for chunk in response.aiter_raw():
            *whole, buffer = (buffer + chunk).split(b"\n")
            for line in whole:
                yield line

    async with asyncio.timeout(TIMEOUT):
        try:
            yield lines()
        finally:
            await response.aclose()


async def write(api: Api, *ids: str) -> None:
    rows = (await api.post("/db/_bulk_docs", {"docs": [{"_id": doc_id} for doc_id in ids]})).json
    assert all("ok" in row for row in rows)


def ids(answer: Any) -> list[str]:
    return [row["id"] for row in answer["results"]]


class TestNormal:
    async def test_changes_come_with_the_last_sequence_and_what_is_pending(self, api: Api) -> None:
        await write(api, "a", "b", "c")
        answer = (await api.get("/db/_changes?limit=2")).json
        assert ids(answer) == ["a", "b"]
        assert answer["pending"] == 1
        assert answer["last_seq"] == answer["results"][-1]["seq"]
        rest = (await api.get(f"/db/_changes?since={answer['last_seq']}")).json
        assert (ids(rest), rest["pending"]) == (["c"], 0)
        quoted = (await api.get(f"/db/_changes?since=%22{answer['last_seq']}%22")).json
        assert ids(quoted) == ["c"]

    async def test_nothing_has_changed(self, api: Api) -> None:
        answer = (await api.get("/db/_changes")).json
        assert answer["results"] == []
        await write(api, "a")
        assert ids((await api.get("/db/_changes?since=now")).json) == []

    async def test_a_limit_of_nought_is_one(self, api: Api) -> None:
        await write(api, "a", "b")
        assert ids((await api.get("/db/_changes?limit=0")).json) == ["a"]

    async def test_filters(self, api: Api) -> None:
        await write(api, "a", "b", "c")
        body: dict[str, Any] = {"doc_ids": ["a", "c"]}
        assert ids((await api.post("/db/_changes?filter=_doc_ids", body)).json) == ["a", "c"]
        assert ids((await api.get('/db/_changes?filter=_doc_ids&doc_ids=["b"]')).json) == ["b"]
        body = {"selector": {"_id": {"$gt": "a"}}}
        assert ids((await api.post("/db/_changes?filter=_selector", body)).json) == ["b", "c"]
        await write(api, "_design/d")
        assert ids((await api.get("/db/_changes?filter=_design")).json) == ["_design/d"]

    async def test_options(self, api: Api) -> None:
        await write(api, "a", "b")
        other = {"_id": "a", "_rev": "1-zzz", "x": 1}
        await api.post("/db/_bulk_docs", {"docs": [other], "new_edits": False})
        answer = (await api.get("/db/_changes?style=all_docs&include_docs=true&conflicts=true&descending=true")).json
        assert ids(answer) == ["a", "b"]
        assert len(answer["results"][0]["changes"]) == 2
        assert answer["results"][0]["doc"]["_conflicts"]

    async def test_a_long_feed_is_one_json_value(self, api: Api) -> None:
        await write(api, *(f"doc{n:05}" for n in range(3000)))
        assert len(ids((await api.get("/db/_changes")).json)) == 3000


class TestLongpoll:
    async def test_what_is_there_is_given_at_once(self, api: Api) -> None:
        await write(api, "a", "b")
        assert ids((await api.get("/db/_changes?feed=longpoll")).json) == ["a", "b"]

    async def test_it_waits_for_the_next_change(self, api: Api) -> None:
        await write(api, "a")
        async with feed(api, "feed=longpoll&since=now&heartbeat=20") as lines:
            got = [await anext(lines), await anext(lines), await anext(lines)]
            assert got == [b'{"results":[', b"", b""]
            await write(api, "b")
            rest = [line async for line in lines]
        answer = json.loads(b'{"results":[' + b"".join(rest))
        assert ids(answer) == ["b"]
        assert answer["last_seq"] == answer["results"][0]["seq"]

    async def test_it_ends_when_its_time_is_up(self, api: Api) -> None:
        await write(api, "a")
        answer = (await api.get("/db/_changes?feed=longpoll&since=now&timeout=50")).json
        assert answer["results"] == []
        assert answer["last_seq"].startswith("1-")

    async def test_what_the_filter_does_not_want_does_not_end_it(self, api: Api) -> None:
        query = 'feed=longpoll&filter=_doc_ids&doc_ids=["b"]&heartbeat=60000'
        async with feed(api, query) as lines:
            assert await anext(lines) == b'{"results":['
            await write(api, "a")
            await write(api, "b")
            rest = b"".join([line async for line in lines])
        assert ids(json.loads(b'{"results":[' + rest)) == ["b"]


class TestContinuous:
    async def test_a_row_to_a_line_for_as_long_as_it_is_read(self, api: Api) -> None:
        await write(api, "a")
        async with feed(api, "feed=continuous&heartbeat=60000") as lines:
            seen = []
            for doc_id in ("b", "c", "d"):
                while not (line := await anext(lines)):
                    pass
                seen.append(json.loads(line)["id"])
                await write(api, doc_id)
        assert seen == ["a", "b", "c"]

    async def test_empty_lines_are_heartbeats(self, api: Api) -> None:
        async with feed(api, "feed=continuous&heartbeat=10") as lines:
            for _ in range(5):
                assert await anext(lines) == b""

    @pytest.mark.parametrize("name", ["continuous", "live"])
    async def test_the_last_line_has_the_last_sequence(self, api: Api, name: str) -> None:
        await write(api, "a", "b")
        lines = (await api.get(f"/db/_changes?feed={name}&timeout=30")).body.split()
        assert [json.loads(line).get("id") for line in lines] == ["a", "b", None]
        assert json.loads(lines[-1])["last_seq"] == json.loads(lines[-2])["seq"]

    async def test_it_ends_at_its_limit(self, api: Api) -> None:
        await write(api, "a", "b", "c")
        lines = (await api.get("/db/_changes?feed=continuous&limit=2&heartbeat=60000")).body.split()
        assert [json.loads(line).get("id") for line in lines] == ["a", "b", None]

    async def test_a_database_that_goes_ends_it_with_the_error(self, api: Api) -> None:
        async with feed(api, "feed=continuous&heartbeat=60000") as lines:
            assert await anext(lines) == b""
            await api.delete("/db")
            rest = [line async for line in lines if line]
        assert json.loads(rest[-1])["error"] == "database_closed"

    async def test_small_revisions_come_along_where_that_is_asked_for(self, api: Api) -> None:
        async with feed(api, "feed=continuous&style=all_docs&heartbeat=60000&ahead=4096") as lines:
            assert await anext(lines) == b""
            await api.put("/db/small", {"n": 1})
            row = json.loads(await anext(lines))
            (doc,) = row["ahead"]
            asked = {"docs": [{"id": "small", "rev": row["changes"][0]["rev"]}]}
            (found,) = (await api.post("/db/_bulk_get?revs=true", asked)).json["results"]
            assert doc == found["docs"][0]["ok"]
            await api.put("/db/large", {"text": "x" * 4096})
            await api.put("/db/attached", {"_attachments": {"a": {"content_type": "text/plain", "data": "AAAA"}}})
            await write(api, *(f"burst-{n}" for n in range(9)))
            seen: list[str] = []
            while len(seen) < 11:
                line = await anext(lines)
                if line:
                    seen.append(json.loads(line)["id"])
                    assert "ahead" not in json.loads(line)

    @pytest.mark.parametrize("query", ["", "&ahead=0", "&ahead=20", "&ahead=of%20time"])
    async def test_nothing_comes_along_that_was_not_asked_for(self, api: Api, query: str) -> None:
        await write(api, "a")
        answer = await api.get(f"/db/_changes?feed=continuous&timeout=1{query}")
        assert answer.body.count(b'"changes"') == 1 and b"ahead" not in answer.body


class TestEventsource:
    async def test_events_have_data_and_id(self, api: Api) -> None:
        await write(api, "a")
        async with feed(api, "feed=eventsource&heartbeat=10") as lines:
            got: list[bytes] = []
            while b"event: heartbeat" not in got:
                got.append(await anext(lines))
        data = next(line for line in got if line.startswith(b"data: {"))
        row = json.loads(data[6:])
        assert row["id"] == "a"
        assert b"id: " + json.dumps(row["seq"]).encode() in got

    async def test_it_goes_on_after_the_last_event_that_was_seen(self, api: Api) -> None:
        await write(api, "a", "b")
        seq = (await api.get("/db/_changes?limit=1")).json["last_seq"]
        path = "/db/_changes?feed=eventsource&timeout=30"
        answer = await api.get(path, headers={"last-event-id": json.dumps(seq)})
        assert b'"id":"b"' in answer.body
        assert b'"id":"a"' not in answer.body
