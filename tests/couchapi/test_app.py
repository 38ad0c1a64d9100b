"""What the application does around its handlers: clients that go away, slow readers, the lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from peerpouch.couchapi import app as app_module
from peerpouch.couchapi.app import create_app
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, Stream, gather, json_response, json_stream
from peerpouch.couchapi.routing import Access, Route
from peerpouch.errors import Conflict
from tests.couchapi.support import Api, MemoryRegistry

TIMEOUT = 20.0


class Client:
    """Plays the server's side of ASGI by hand."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gone = asyncio.Event()
        self.news = asyncio.Event()
        self.full = asyncio.Event()
        self.full.set()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        await self.full.wait()
        self.sent.append(message)
        self.news.set()

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def scope(path: str, method: str = "GET") -> dict[str, Any]:
    return {"type": "http", "method": method, "raw_path": path.encode(), "query_string": b"", "headers": []}


class Witness:
    """A route whose body tells what became of it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.freed = asyncio.Event()
        self.made = 0

    async def body(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.made += 1
                self.begun.set()
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            self.ended.set()

    async def free(self) -> None:
        self.freed.set()

    async def stream(self, request: Request) -> Stream:
        return Stream(self.body(), on_close=self.free)

    async def slow(self, request: Request) -> Response:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()
        return json_response(None)

    def app(self) -> Any:
        routes = [
            Route("GET", "/_stream", self.stream, Access.SERVER),
            Route("GET", "/_slow", self.slow, Access.SERVER, slow=True),
        ]
        return create_app(MemoryRegistry(), extra_routes=routes)


@pytest.fixture
def witness() -> Witness:
    return Witness()


async def test_a_stream_ends_when_its_client_goes(witness: Witness) -> None:
    client = Client()
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks:
        tasks.create_task(witness.app()(scope("/_stream"), client.receive, client.send))
        await witness.begun.wait()
        client.gone.set()
        await witness.ended.wait()
        await witness.freed.wait()


async def test_without_the_watch_for_the_client_a_stream_would_go_on(
    witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(receive: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(app_module, "_gone", never)
    client = Client()
    async with asyncio.timeout(TIMEOUT):
        task = asyncio.create_task(witness.app()(scope("/_stream"), client.receive, client.send))
        await witness.begun.wait()
        client.gone.set()
        made = witness.made
        while witness.made < made + 1000:
            await asyncio.sleep(0)
        assert not witness.ended.is_set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert witness.freed.is_set()


async def test_a_slow_answer_is_given_up_when_its_client_goes(witness: Witness) -> None:
    client = Client()

    async def receive() -> dict[str, Any]:
        if not witness.begun.is_set():
            return {"type": "http.request", "body": b"", "more_body": False}
        return await client.receive()

    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks:
        tasks.create_task(witness.app()(scope("/_slow"), receive, client.send))
        await witness.begun.wait()
        client.gone.set()
        await witness.ended.wait()
    assert client.sent == []


async def test_a_slow_reader_makes_nothing_pile_up(witness: Witness) -> None:
    client = Client()
    async with asyncio.timeout(TIMEOUT):
        task = asyncio.create_task(witness.app()(scope("/_stream"), client.receive, client.send))
        await witness.begun.wait()
        client.full.clear()
        for _ in range(100):
            await asyncio.sleep(0)
        made = witness.made
        for _ in range(1000):
            await asyncio.sleep(0)
        assert witness.made == made
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert witness.ended.is_set()


async def test_head_begins_no_body_and_frees_it(witness: Witness) -> None:
    client = Client()
    await witness.app()(scope("/_stream", "HEAD"), client.receive, client.send)
    assert client.sent[0]["status"] == 200
    assert client.body == b""
    assert witness.made == 0
    assert witness.freed.is_set()


async def test_an_upload_whose_client_goes_writes_nothing(api: Api) -> None:
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"x":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    client = Client()
    await api.app(scope("/db/doc", "PUT"), receive, client.send)
    assert (await api.get("/db/doc")).status == 404


async def test_the_lifespan_is_acknowledged(witness: Witness) -> None:
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    client = Client()

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    await witness.app()({"type": "lifespan"}, receive, client.send)
    assert [message["type"] for message in client.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_other_protocols_are_not_served(witness: Witness) -> None:
    client = Client()
    with pytest.raises(NotImplementedError):
        await witness.app()({"type": "websocket"}, client.receive, client.send)


async def _pieces(*pieces: bytes | Exception) -> AsyncGenerator[bytes, None]:
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def test_small_pieces_are_sent_together_and_an_empty_one_sends_them() -> None:
    chunks = [chunk async for chunk in gather(_pieces(b"a", b"b", b"", b"c", b"x" * 70_000, b"d"))]
    assert [len(chunk) for chunk in chunks] == [2, 70_001, 1]


async def test_a_listing_that_fails_in_the_middle_is_no_json_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    chunks = [chunk async for chunk in json_stream(_pieces(b'{"rows":[1,', Conflict("why")))]
    assert b"".join(chunks).endswith(b'\n\n{"error":"conflict","reason":"why"}\n')
    assert not caplog.records
    chunks = [chunk async for chunk in json_stream(_pieces(b"[", RuntimeError("a secret")))]
    assert b"internal_server_error" in chunks[-1]
    assert b"secret" not in chunks[-1]
    assert "A listing failed unexpectedly" in caplog.text
