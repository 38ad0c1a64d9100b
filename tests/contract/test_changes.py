"""What every database's changes feed gives."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerpouch.errors import BadRequest
from peerpouch.ports import Change, Changes, Documents
from tests.contract.test_revisions import foreign, store

DEADLINE = 30.0


async def take(feed: Changes, count: int) -> list[Change]:
    """The first changes of a live feed, which is closed then."""
    found: list[Change] = []
    async with asyncio.timeout(DEADLINE), feed:
        async for change in feed:
            found.append(change)
            if len(found) == count:
                break
    return found


def ids(changes: list[Change]) -> list[str]:
    return [change["id"] for change in changes]


class TestFeed:
    async def test_each_document_once_at_its_newest_sequence(self, database: Documents) -> None:
        a = await database.put({"_id": "a"})
        await database.put({"_id": "b"})
        newer = await database.put({"_id": "a", "_rev": a.rev})
        result = await database.changes()
        assert ids(result["results"]) == ["b", "a"]
        assert result["results"][1]["changes"] == [{"rev": newer.rev}]
        assert result["last_seq"] == result["results"][-1]["seq"] == (await database.info())["update_seq"]
        assert result["pending"] == 0

    async def test_an_empty_database_has_an_end_too(self, database: Documents) -> None:
        result = await database.changes()
        assert result["results"] == []
        assert (await database.changes(since=result["last_seq"]))["results"] == []

    async def test_since_goes_on_behind_a_sequence(self, database: Documents) -> None:
        for doc_id in "abc":
            await database.put({"_id": doc_id})
        everything = await database.changes()
        for n, change in enumerate(everything["results"]):
            assert ids((await database.changes(since=change["seq"]))["results"]) == list("abc")[n + 1 :]
        assert (await database.changes(since="now"))["results"] == []
        assert ids((await database.changes(since=0))["results"]) == list("abc")

    async def test_a_sequence_of_another_database_starts_over(self, database: Documents) -> None:
        await database.put({"_id": "a"})
        assert ids((await database.changes(since="1-0123456789abcdef"))["results"]) == ["a"]

    async def test_a_malformed_sequence_is_refused(self, database: Documents) -> None:
        with pytest.raises(BadRequest):
            await database.changes(since="yesterday")

    async def test_limit_and_pending(self, database: Documents) -> None:
        await database.bulk_docs([{"_id": f"{n:05}"} for n in range(2600)])
        seen: list[str] = []
        since = "0"
        for expected in (1600, 600, 0):
            result = await database.changes(since=since, limit=1000)
            assert result["pending"] == expected
            seen += ids(result["results"])
            since = result["last_seq"]
        assert seen == [f"{n:05}" for n in range(2600)]

    async def test_deletions_are_marked(self, database: Documents) -> None:
        a = await database.put({"_id": "a"})
        removed = await database.remove("a", a.rev)
        (change,) = (await database.changes(include_docs=True))["results"]
        assert change["deleted"] is True
        assert change["doc"] == {"_id": "a", "_rev": removed.rev, "_deleted": True}

    async def test_style_all_docs_names_all_leaves(self, database: Documents) -> None:
        await store(database, foreign("a", "b", "a"), foreign("a", "x", "a", n=1))
        (change,) = (await database.changes(style="all_docs", include_docs=True, conflicts=True))["results"]
        assert change["changes"] == [{"rev": "2-x"}, {"rev": "2-b"}]
        assert change["doc"] == {"_id": "a", "_rev": "2-x", "n": 1, "_conflicts": ["2-b"]}
        (change,) = (await database.changes())["results"]
        assert change["changes"] == [{"rev": "2-x"}]

    async def test_descending_begins_at_the_end(self, database: Documents) -> None:
        await database.bulk_docs([{"_id": f"{n:05}"} for n in range(2100)])
        found = ids((await database.changes(descending=True))["results"])
        assert found == [f"{n:05}" for n in reversed(range(2100))]
        assert ids((await database.changes(descending=True, limit=2))["results"]) == ["02099", "02098"]

    @pytest.mark.parametrize("options", [{"doc_ids": ["b", "d", "nothing"]}, {"selector": {"even": False}}])
    async def test_it_is_limited_to_what_is_asked_for(self, database: Documents, options: dict[str, Any]) -> None:
        await database.bulk_docs([{"_id": doc_id, "even": n % 2 == 0} for n, doc_id in enumerate("abcde")])
        result = await database.changes(**options)
        assert ids(result["results"]) == ["b", "d"]
        assert "doc" not in result["results"][0]
        assert result["last_seq"] == (await database.info())["update_seq"]
        first = await database.changes(limit=1, **options)
        assert ids(first["results"]) == ["b"]
        assert ids((await database.changes(since=first["last_seq"], **options))["results"]) == ["d"]

    async def test_a_python_function_filters(self, database: Documents) -> None:
        await database.bulk_docs([{"_id": doc_id, "n": n} for n, doc_id in enumerate("abcde")])
        result = await database.changes(filter=lambda doc: doc["n"] > 2)
        assert ids(result["results"]) == ["d", "e"]


class TestLiveFeed:
    async def test_it_goes_on_with_what_is_written_later(self, database: Documents) -> None:
        await database.put({"_id": "a"})
        following = asyncio.create_task(take(database.changes(live=True, include_docs=True), 4))
        for doc_id in "bcd":
            await database.put({"_id": doc_id, "n": doc_id})
        found = await following
        assert ids(found) == list("abcd")
        assert found[3]["doc"]["n"] == "d"

    async def test_it_misses_nothing_while_much_is_written(self, database: Documents) -> None:
        following = asyncio.create_task(take(database.changes(live=True, batch_size=7), 600))
        for start in range(0, 600, 20):
            await database.bulk_docs([{"_id": f"{n:05}"} for n in range(start, start + 20)])
        assert ids(await following) == [f"{n:05}" for n in range(600)]

    async def test_since_now_gives_only_what_is_new(self, database: Documents) -> None:
        await database.put({"_id": "old"})
        caught_up = asyncio.Event()
        found: list[str] = []

        async def follow() -> None:
            async with database.changes(live=True, since="now") as feed:
                async for page in feed.pages():
                    found.extend(ids(page.results))
                    caught_up.set()
                    if found:
                        return

        following = asyncio.create_task(follow())
        async with asyncio.timeout(DEADLINE):
            await caught_up.wait()
            await database.put({"_id": "new"})
            await following
        assert found == ["new"]

    async def test_an_idle_feed_gives_heartbeats(self, database: Documents) -> None:
        empty = 0
        async with asyncio.timeout(DEADLINE), database.changes(live=True, heartbeat=0.02) as feed:
            async for page in feed.pages():
                empty += not page.results
                if empty == 3:
                    break
        assert empty == 3

    async def test_an_idle_feed_ends_when_its_time_runs_out(self, database: Documents) -> None:
        await database.put({"_id": "a"})
        async with asyncio.timeout(DEADLINE):
            found = [change["id"] async for change in database.changes(live=True, timeout=0.05)]
        assert found == ["a"]

    async def test_it_ends_at_its_limit(self, database: Documents) -> None:
        for doc_id in "ab":
            await database.put({"_id": doc_id})
        async with asyncio.timeout(DEADLINE):
            assert [change["id"] async for change in database.changes(live=True, limit=2)] == ["a", "b"]

    async def test_cancel_ends_it_as_if_it_had_ended(self, database: Documents) -> None:
        await database.put({"_id": "a"})
        feed = database.changes(live=True)
        found: list[str] = []
        async with asyncio.timeout(DEADLINE):
            async for change in feed:
                found.append(change["id"])
                asyncio.get_running_loop().call_later(0.01, feed.cancel)
        assert found == ["a"]

    async def test_a_live_feed_filters_what_comes_later(self, database: Documents) -> None:
        following = asyncio.create_task(take(database.changes(live=True, selector={"n": {"$gt": 2}}), 2))
        for n in range(5):
            await database.put({"_id": f"{n}", "n": n})
        assert ids(await following) == ["3", "4"]
