"""What a replication costs over the API, in counts that hold on any machine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import peerpouch
from peerpouch.exchange import Exchange, Request, Response
from peerpouch.remote import RemoteDatabase
from tests.couchapi.support import served

MANY = 5000


class Counting(Exchange):
    """Hands requests on, and remembers them with the size of their bodies."""

    def __init__(self, inner: Exchange) -> None:
        self._inner = inner
        self.requests: list[str] = []
        self.sent = 0

    async def handle_async_request(self, request: Request) -> Response:
        self.requests.append(f"{request.method} {request.url.path}")
        self.sent += int(request.headers.get("content-length", 0))
        return await self._inner.handle_async_request(request)


def records(count: int) -> list[dict[str, Any]]:
    return [{"_id": f"record-{number:06d}", "number": number, "text": "x" * 200} for number in range(count)]


async def test_five_thousand_documents_are_pulled_by_few_requests_and_a_second_run_by_a_constant_number(
    tmp_path: Path,
) -> None:
    async with served() as api, peerpouch.open(tmp_path / "target.db", durability="normal") as target:
        await api.registry.databases["db"].bulk_docs(records(MANY))
        exchange = Counting(api.exchange)
        async with RemoteDatabase(exchange, "http://in.process/db") as source:
            result = await peerpouch.replicate(source, target)
            assert result.docs_written == MANY
            # Ten batches of 500, a few pages of the feed, and what begins and ends a replication.
            assert len(exchange.requests) <= MANY // 500 + 20, exchange.requests
            # An id and a revision of each, and no more.
            assert exchange.sent / MANY <= 100
            exchange.requests.clear()
            await peerpouch.replicate(source, target)
            assert len(exchange.requests) <= 6, exchange.requests


async def test_a_small_live_change_costs_one_request_when_it_is_pushed_and_none_when_it_is_pulled(
    tmp_path: Path,
) -> None:
    async with served() as api, peerpouch.open(tmp_path / "here.db", durability="normal") as here:
        there = api.registry.databases["db"]
        exchange = Counting(api.exchange)
        async with RemoteDatabase(exchange, "http://in.process/db") as remote, asyncio.timeout(30):
            both = peerpouch.sync(here, remote, live=True)

            async def idle(pushed: int, pulled: int) -> None:
                async for progress in both:
                    done = progress.push.missing_checked + progress.pull.missing_checked
                    if progress.state == "idle" and done == 2 * (pushed + pulled):  # there and, as an echo, back
                        return

            await here.put({"_id": "first"})
            await idle(1, 0)
            exchange.requests.clear()
            for n in range(5):
                await there.put({"_id": f"pulled-{n}"})
                await idle(1, n + 1)
            assert not exchange.requests
            for n in range(5):
                await here.put({"_id": f"pushed-{n}"})
                await idle(n + 2, 5)
            assert exchange.requests == ["POST /db/_bulk_docs"] * 5
            await both.cancel()
            assert (await both).docs_written == 11
        assert [row["id"] async for row in there.all_docs()] == [row["id"] async for row in here.all_docs()]
