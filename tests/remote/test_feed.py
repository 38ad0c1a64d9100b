from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.errors import ConnectionFailed, DatabaseBusy, NotFound, ProtocolError
from peerpouch.exchange import Request, Response
from peerpouch.ports import Change, Changes
from peerpouch.remote import RemoteDatabase, pacing
from peerpouch.remote import feed as feed_module
from tests.couchapi.support import served
from tests.remote.support import URL, Asked, Reply, Server, database

TIMEOUT = 20.0


def row(n: int, **more: Any) -> dict[str, Any]:
    return {"seq": f"{n}-x", "id": f"doc{n}", "changes": [{"rev": "1-a"}], **more}


def line(n: int, **more: Any) -> bytes:
    return json.dumps(row(n, **more)).encode() + b"\n"


def page(first: int, last: int, pending: int | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"results": [row(n) for n in range(first, last)], "last_seq": f"{last - 1}-x"}
    if pending is not None:
        answer["pending"] = pending
    return answer


async def take(changes: Changes, count: int) -> list[str]:
    seen: list[str] = []
    async with asyncio.timeout(TIMEOUT), changes:
        async for change in changes:
            seen.append(change["id"])
            if len(seen) == count:
                break
    return seen


class TestPages:
    async def test_pages_are_asked_for_until_one_is_not_full(self) -> None:
        remote, server = database(page(1, 4), page(4, 7), page(7, 8))
        result = await remote.changes(batch_size=3)
        assert [change["id"] for change in result["results"]] == [f"doc{n}" for n in range(1, 8)]
        assert result["last_seq"] == "7-x"
        assert [asked.query.get("since") for asked in server.asked] == ["0", "3-x", "6-x"]

    async def test_what_is_pending_saves_the_last_request(self) -> None:
        remote, server = database(page(1, 4, pending=0))
        await remote.changes(batch_size=3)
        assert len(server.asked) == 1

    @pytest.mark.parametrize("said", [-5, "many", 1.5, True, [3], 2**63, {"a": 1}], ids=str)
    async def test_what_is_no_number_of_changes_is_not_pending(self, said: Any) -> None:
        """It is added to what was read, and divided by the sum: -5 after five changes would be nought."""
        remote, _ = database({**page(1, 4), "pending": said}, page(4, 4))
        async with remote.changes(batch_size=100) as changes:
            assert [found.pending async for found in changes.pages()] == [None]

    async def test_a_limit_is_kept_over_pages(self) -> None:
        remote, server = database(page(1, 4), page(4, 5, pending=9))
        result = await remote.changes(batch_size=3, limit=4)
        assert len(result["results"]) == 4
        assert result["pending"] == 9
        assert [asked.query["limit"] for asked in server.asked] == ["3", "1"]

    async def test_a_python_filter_is_applied_here(self) -> None:
        rows = [row(n, doc={"_id": f"doc{n}", "n": n}) for n in range(1, 6)]
        remote, server = database({"results": rows, "last_seq": "5-x", "pending": 0})
        result = await remote.changes(filter=lambda doc: doc["n"] % 2 == 0)
        assert [change["id"] for change in result["results"]] == ["doc2", "doc4"]
        assert all("doc" not in change for change in result["results"])
        assert result["last_seq"] == "5-x"
        assert server.asked[0].query["include_docs"] == "true"

    async def test_a_limit_counts_what_the_filter_lets_pass(self) -> None:
        rows = [row(n, doc={"n": n}) for n in range(1, 6)]
        remote, _ = database({"results": rows, "last_seq": "5-x", "pending": 7})
        result = await remote.changes(filter=lambda doc: doc["n"] % 2 == 0, limit=1)
        assert [change["id"] for change in result["results"]] == ["doc2"]
        # Who goes on from here must not miss what was read and not given.
        assert result["last_seq"] == "2-x"

    async def test_filters_of_the_server(self) -> None:
        empty = page(1, 1)
        remote, server = database(empty, {"couchdb": "Welcome"}, empty, empty)
        await remote.changes(doc_ids=["a"])
        await remote.changes(selector={"x": 1})
        await remote.changes(filter="app/mine", query={"who": "me"})
        first, _, second, third = server.asked
        assert (first.method, first.query["filter"], first.json) == ("POST", "_doc_ids", {"doc_ids": ["a"]})
        assert (second.query["filter"], second.json) == ("_selector", {"selector": {"x": 1}})
        assert (third.method, third.query["filter"], third.query["who"]) == ("GET", "app/mine", "me")

    async def test_a_server_that_a_selector_would_end_is_not_given_one(self) -> None:
        found = page(1, 1) | {"results": [row(n, doc={"_id": f"doc{n}", "x": n}) for n in (1, 2, 3)], "pending": 0}
        remote, server = database({"express-pouchdb": "Welcome!"}, found)
        result = await remote.changes(selector={"x": {"$gt": 1}})
        assert [(change["id"], "doc" in change) for change in result["results"]] == [("doc2", False), ("doc3", False)]
        assert "filter" not in server.asked[1].query
        assert server.asked[1].query["include_docs"] == "true"

    @pytest.mark.parametrize(("given", "text"), [(7, "7"), ([3, "abc"], '[3,"abc"]'), ("7-x", "7-x")])
    async def test_a_sequence_is_text_whatever_the_server_has(self, given: Any, text: str) -> None:
        remote, _ = database({"results": [row(1) | {"seq": given}], "last_seq": given}, page(1, 1))
        result = await remote.changes(batch_size=1, limit=1)
        assert (result["results"][0]["seq"], result["last_seq"]) == (text, text)

    async def test_too_much_at_once_is_asked_for_in_smaller_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pacing, "MAX_ANSWER", 50_000)

        def answer(asked: Asked) -> Reply:
            first = int(asked.query["since"].partition("-")[0]) + 1
            last = min(first + int(asked.query["limit"]), 101)
            rows = [row(n, doc={"text": "x" * 5000}) for n in range(first, last)]
            return Reply({"results": rows, "last_seq": f"{last - 1}-x", "pending": 101 - last})

        remote, _ = database(answer=answer)
        result = await remote.changes(include_docs=True)
        assert [change["id"] for change in result["results"]] == [f"doc{n}" for n in range(1, 101)]


def live(stream: AsyncIterator[bytes], caught_up: Any = None) -> tuple[RemoteDatabase, Server]:
    """A server that has nothing but what its feed tells."""
    remote, server = database(Reply(page(1, 1) if caught_up is None else caught_up), Reply(stream))
    return remote, server


class TestLive:
    async def test_rows_come_line_by_line_however_they_are_cut(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            for byte in line(1) + b"\n" + line(2):
                yield bytes([byte])
            yield line(3) + line(4)
            await asyncio.Event().wait()

        remote, server = live(stream())
        assert await take(remote.changes(live=True), 4) == ["doc1", "doc2", "doc3", "doc4"]
        assert server.asked[1].query["feed"] == "continuous"
        assert server.all_closed

    async def test_an_empty_page_says_that_it_has_caught_up(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield line(3)
            await asyncio.Event().wait()

        remote, _ = live(stream(), page(1, 3, pending=0))
        async with asyncio.timeout(TIMEOUT):
            pages = remote.changes(live=True).pages()
            sizes = [len((await anext(pages)).results) for _ in range(3)]
            await pages.aclose()
        assert sizes == [2, 0, 1]

    async def test_heartbeats_are_pages_for_who_asked_for_them(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield b"\n"
            yield b"\n"
            yield line(1)
            await asyncio.Event().wait()

        for heartbeat, expected in ((5.0, [0, 0, 0, 1]), (None, [0, 1])):
            remote, server = live(stream())
            sizes: list[int] = []
            async with asyncio.timeout(TIMEOUT):
                pages = remote.changes(live=True, heartbeat=heartbeat).pages()
                next_page = await anext(pages)  # there is nothing to catch up with
                assert next_page.results == []
                while 1 not in sizes:
                    sizes.append(len((await anext(pages)).results))
                await pages.aclose()
            assert sizes == expected
            assert server.asked[1].query["heartbeat"] == ("5000" if heartbeat else "30000")

    async def test_a_feed_that_falls_silent_is_dead(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield b"\n"
            await asyncio.Event().wait()

        remote, server = live(stream())
        with pytest.raises(ConnectionFailed):
            await take(remote.changes(live=True, heartbeat=0.01), 1)
        assert server.all_closed

    async def test_a_feed_whose_answer_does_not_begin_is_dead(self) -> None:
        """As upon a connection that was kept for later, and hangs on an address that the machine no longer has."""

        class Hanging(Server):
            async def handle_async_request(self, request: Request) -> Response:
                if self.asked:
                    await asyncio.Event().wait()
                return await super().handle_async_request(request)

        remote = RemoteDatabase(Hanging([Reply(page(1, 1))]), URL)
        with pytest.raises(ConnectionFailed):
            await take(remote.changes(live=True, heartbeat=0.01), 1)

    async def test_without_the_watch_a_silent_feed_would_be_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield b"\n"
            await released.wait()
            yield line(1)
            await asyncio.Event().wait()

        released = asyncio.Event()
        monkeypatch.setattr(feed_module, "MISSED", 10**9)
        remote, _ = live(stream())
        waiting = asyncio.create_task(take(remote.changes(live=True, heartbeat=0.01), 1))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done
        released.set()
        assert await waiting == ["doc1"]

    async def test_a_feed_that_is_cut_off_fails(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield line(1) + line(2)[:10]

        remote, _ = live(stream())
        seen: list[Change] = []
        with pytest.raises(ConnectionFailed):
            async for change in remote.changes(live=True):
                seen.append(change)
        assert [change["id"] for change in seen] == ["doc1"]

    async def test_an_error_in_the_feed_is_raised(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield b'{"error":"database_busy","reason":"why"}\n'

        remote, _ = live(stream())
        with pytest.raises(DatabaseBusy, match="why"):
            await take(remote.changes(live=True), 1)

    @pytest.mark.parametrize("junk", [b"junk\n", b"5\n", b'{"id":5,"seq":"1","changes":[]}\n', b'{"id":"a"}\n'])
    async def test_what_is_no_row_is_a_breach_of_the_protocol(self, junk: bytes) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield junk
            await asyncio.Event().wait()

        remote, server = live(stream())
        with pytest.raises(ProtocolError):
            await take(remote.changes(live=True), 1)
        assert server.all_closed

    async def test_a_row_without_an_end_is_a_breach_of_the_protocol(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def stream() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 1000

        monkeypatch.setattr(feed_module, "MAX_ANSWER", 10_000)
        remote, server = live(stream())
        with pytest.raises(ProtocolError):
            await take(remote.changes(live=True), 1)
        assert server.streams[1].given < 20_000

    async def test_a_feed_that_the_server_ends_is_opened_again_where_it_was(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def first() -> AsyncIterator[bytes]:
            yield line(1) + b'{"last_seq":"1-x","pending":0}\n'

        async def second() -> AsyncIterator[bytes]:
            yield line(2)
            await asyncio.Event().wait()

        remote, server = database(page(1, 1), Reply(first()), Reply(second()))
        assert await take(remote.changes(live=True), 2) == ["doc1", "doc2"]
        assert server.asked[2].query["since"] == "1-x"

    async def test_a_time_limit_ends_it(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield line(1)
            await asyncio.Event().wait()

        remote, server = live(stream())
        assert await take(remote.changes(live=True, timeout=0.05), 2) == ["doc1"]
        assert server.all_closed

    async def test_a_limit_ends_it(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield line(1) + line(2) + line(3)
            await asyncio.Event().wait()

        remote, server = live(stream())
        assert await take(remote.changes(live=True, limit=2), 3) == ["doc1", "doc2"]
        assert server.all_closed

    async def test_a_server_without_continuous_feeds_is_polled(self) -> None:
        refusal = Reply({"error": "bad_request", "reason": "no such feed"}, status=400)
        remote, server = database(page(1, 1), refusal, page(1, 3), page(3, 4), Reply(b"", status=404))
        with pytest.raises(NotFound):
            await take(remote.changes(live=True), 4)
        assert [asked.query.get("feed") for asked in server.asked[1:4]] == ["continuous", "longpoll", "longpoll"]
        assert server.asked[3].query["since"] == "2-x"

    async def test_closing_the_database_ends_its_feeds(self) -> None:
        async with served() as api:
            remote = RemoteDatabase(api.exchange, "http://in.process/db")
            await remote.put({"_id": "a"})
            changes = remote.changes(live=True)
            async with asyncio.timeout(TIMEOUT):
                async for _ in changes:
                    await changes.aclose()
                    break
                await remote.close()

    async def test_cancelling_frees_the_connection(self) -> None:
        async def stream() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        remote, server = live(stream())
        waiting = asyncio.create_task(take(remote.changes(live=True), 1))
        while len(server.streams) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        async with asyncio.timeout(TIMEOUT):
            await server.streams[1].closed.wait()


async def test_a_real_feed_wakes_for_each_change() -> None:
    async with served() as api:
        remote = RemoteDatabase(api.exchange, URL)
        await remote.put({"_id": "doc0"})
        seen: list[str] = []
        async with asyncio.timeout(TIMEOUT), remote.changes(live=True) as changes:
            async for change in changes:
                seen.append(change["id"])
                if len(seen) == 5:
                    break
                await remote.put({"_id": f"doc{len(seen)}"})
        assert seen == [f"doc{n}" for n in range(5)]
