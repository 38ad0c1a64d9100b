"""What a replication costs over the API, in counts that hold on any machine."""

from __future__ import annotations

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
