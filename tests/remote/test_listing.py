from __future__ import annotations

import json
from typing import Any

import pytest

from peerpouch.remote import RemoteDatabase, pacing
from peerpouch.remote.client import AnswerTooLarge
from peerpouch.remote.pacing import Pacer
from tests.couchapi.support import served
from tests.remote.support import URL, Asked, Reply, database


class Shelf:
    """Answers ``_all_docs`` as CouchDB does, from a sorted list that may change between two pages."""

    def __init__(self, ids: list[str]) -> None:
        self.ids = ids
        self.size = 10

    def __call__(self, asked: Asked) -> Reply:
        if asked.method == "POST":
            found = asked.json["keys"]
        else:
            first = json.loads(asked.query.get("startkey", '""'))
            found = [doc_id for doc_id in self.ids if doc_id >= first]
            found = found[int(asked.query.get("skip", 0)) :][: int(asked.query["limit"])]
        rows = [{"id": doc_id, "key": doc_id, "value": {"rev": "1-a"}, "pad": "x" * self.size} for doc_id in found]
        return Reply({"total_rows": len(self.ids), "offset": 0, "rows": rows})


def ids(count: int) -> list[str]:
    return [f"doc{n:05}" for n in range(count)]


async def test_pages_grow_and_lose_nothing() -> None:
    shelf = Shelf(ids(3000))
    remote, server = database(answer=shelf)
    assert [row["key"] async for row in remote.all_docs()] == shelf.ids
    sizes = [int(asked.query["limit"]) for asked in server.asked]
    assert sizes == sorted(sizes)
    assert len(sizes) == 4


async def test_a_document_that_goes_between_two_pages_takes_no_neighbour_with_it() -> None:
    shelf = Shelf(ids(500))

    remote, server = database(answer=shelf)
    seen = []
    async for row in remote.all_docs():
        seen.append(row["key"])
        if row["key"] == "doc00199":  # the last of the first page
            shelf.ids.remove("doc00199")
    assert seen == ids(500)
    assert len(server.asked) == 2


@pytest.mark.parametrize("limit", [0, 1, 199, 200, 201, 350, 499, 500, 600])
async def test_a_limit_is_kept_over_pages(limit: int) -> None:
    remote, _ = database(answer=Shelf(ids(500)))
    result = await remote.all_docs(limit=limit, skip=3)
    assert [row["key"] for row in result["rows"]] == ids(500)[3 : 3 + limit]


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MAX_ANSWER", 100_000)
    shelf = Shelf(ids(300))
    shelf.size = 2000
    remote, server = database(answer=shelf)
    assert [row["key"] async for row in remote.all_docs()] == shelf.ids
    assert [row["key"] async for row in remote.all_docs(keys=shelf.ids)] == shelf.ids
    assert all(stream.given < 1_000_000 for stream in server.streams)


async def test_without_smaller_pages_it_would_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MAX_ANSWER", 100_000)
    monkeypatch.setattr(Pacer, "shrink", lambda self: setattr(self, "size", 1))
    monkeypatch.setattr(pacing, "MAX_SINGLE", 1000)
    shelf = Shelf(ids(300))
    shelf.size = 2000
    remote, _ = database(answer=shelf)
    with pytest.raises(AnswerTooLarge):
        await remote.all_docs()


async def test_keys_are_asked_for_some_at_a_time_in_their_order() -> None:
    remote, server = database(answer=Shelf([]))
    keys = ids(1000)[::-1]
    result = await remote.all_docs(keys=keys, skip=1, limit=900)
    assert [row["key"] for row in result["rows"]] == keys[1:901]
    assert [len(asked.json["keys"]) for asked in server.asked] == [200, 400, 300]


async def test_a_listing_that_is_abandoned_asks_no_further() -> None:
    remote, server = database(answer=Shelf(ids(3000)))
    async with remote.all_docs() as rows:
        async for _ in rows:
            break
    assert len(server.asked) == 1
    assert server.all_closed


def test_the_pacer_aims_at_a_size() -> None:
    pacer = Pacer(100, 1000)
    pacer.seen(100, 100 * 1_000_000)
    assert pacer.size == pacing.TARGET // 1_000_000
    pacer.seen(pacer.size, 10)
    assert pacer.size == 2 * (pacing.TARGET // 1_000_000)
    for _ in range(20):
        pacer.seen(pacer.size, 10)
    assert pacer.size == 1000
    for _ in range(5):
        pacer.shrink()
    assert pacer.size == 1
    pacer.seen(1, 10**9)
    assert pacer.size == 1


async def test_a_real_server_lists_the_same() -> None:
    async with served() as api:
        local = api.registry.databases["db"]
        await local.bulk_docs([{"_id": doc_id} for doc_id in ids(1500)])
        remote = RemoteDatabase(api.exchange, URL)
        every: list[dict[str, Any]] = [
            {},
            {"descending": True},
            {"skip": 7, "limit": 900},
            {"startkey": "doc00100", "descending": True},
        ]
        for options in every:
            assert (await remote.all_docs(**options))["rows"] == (await local.all_docs(**options))["rows"]
