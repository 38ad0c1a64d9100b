"""Changes that come in one piece, and the pages that are made of them."""

from __future__ import annotations

import json

import pytest

from peerpouch.errors import ConnectionFailed
from peerpouch.exchange import Exchange, Request, Response
from peerpouch.ports import ChangesPage
from peerpouch.remote.database import RemoteDatabase

ROWS = [{"seq": f"{n}-x", "id": f"d{n}", "changes": [{"rev": "1-a"}]} for n in range(1, 26)]


class Server(Exchange):
    """Has no changes at first, and then 25 in one piece, in the ways in which a feed can be asked for."""

    def __init__(self, *, continuous: bool) -> None:
        self._continuous = continuous

    async def handle_async_request(self, request: Request) -> Response:
        feed = request.url.params.get("feed", "normal")
        if feed == "normal":
            return Response(200, json={"results": [], "last_seq": "0-x", "pending": 0})
        if feed == "continuous" and not self._continuous:
            return Response(400, json={"error": "bad_request", "reason": "no such feed"})
        if request.url.params["since"] != "0-x":
            raise ConnectionFailed
        if feed == "continuous":
            return Response(200, content=b"".join(json.dumps(row).encode() + b"\n" for row in ROWS))
        return Response(200, json={"results": ROWS, "last_seq": "25-x", "pending": 0})


@pytest.mark.parametrize("continuous", [True, False])
async def test_only_the_last_page_of_changes_that_came_together_claims_their_last_sequence(continuous: bool) -> None:
    pages: list[ChangesPage] = []
    database = RemoteDatabase(Server(continuous=continuous), "http://db.example/db")
    with pytest.raises(ConnectionFailed):
        async for page in database.changes(live=True, batch_size=10).pages():
            pages.append(page)
    full = [(len(page.results), page.last_seq) for page in pages if page.results]
    assert full == [(10, "10-x"), (10, "20-x"), (5, "25-x")]
