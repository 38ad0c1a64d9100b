"""Bodies that are compressed on their way over a link."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response
from peerpouch.remote.decoding import decoded
from peerpouch.wire import Feature
from tests.transports.harness import FakeClock, Linked, TestApp, linked, until

_ASKS = {"accept-encoding": "gzip"}
_JSON = {"content-type": "application/json"}
_DOCUMENTS = json.dumps({"docs": [{"_id": f"document-{n}", "seen": n} for n in range(5000)]}).encode()


class JsonApp(TestApp):
    """Also answers in JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()

    async def do_json(self, scope: Any, receive: Any, send: Any) -> None:
        await self.start(send, headers=((b"content-type", b"application/json"),))
        half = len(_DOCUMENTS) // 2
        await send({"type": "http.response.body", "body": _DOCUMENTS[:half], "more_body": True})
        await send({"type": "http.response.body", "body": _DOCUMENTS[half:]})

    async def do_lines(self, scope: Any, receive: Any, send: Any) -> None:
        await self.start(send, headers=((b"content-type", b"application/json"),))
        while True:
            line = await self.lines.get()
            await send({"type": "http.response.body", "body": line, "more_body": True})

    async def do_take(self, scope: Any, receive: Any, send: Any) -> None:
        """Reads a request as the HTTP API does, and answers with what it had."""
        headers = dict(scope["headers"])
        body, more = b"", True
        while more:
            message = await receive()
            more = message["more_body"]
            body += message["body"]
        coding = headers.get(b"content-encoding", b"").decode()
        plain = zlib.decompress(body, 31) if coding == "gzip" else body
        told = {"coding": coding, "length": headers.get(b"content-length", b"").decode(), "came": len(body)}
        await self.start(send)
        await send({"type": "http.response.body", "body": json.dumps({**told, "size": len(plain)}).encode()})


async def _get(exchange: Exchange, path: str, headers: dict[str, str]) -> tuple[Response, bytes]:
    response = await exchange.handle_async_request(Request("GET", "http://peer" + path, headers=headers))
    return response, b"".join([data async for data in decoded(response)])


def _choose(pair: Linked, choice: Any) -> None:
    for end in (pair.a, pair.b):
        end._compression.choice = choice


async def test_a_response_is_compressed_for_those_who_ask_and_arrives_whole() -> None:
    async with linked(JsonApp(), compression="on") as pair:
        before = pair.a._received
        response, body = await _get(pair.a.exchange, "/json", _ASKS)
        assert response.headers["content-encoding"] == "gzip"
        assert body == _DOCUMENTS
        assert pair.a._received - before < len(_DOCUMENTS) / 3
        response, body = await _get(pair.a.exchange, "/json", {})
        assert "content-encoding" not in response.headers
        assert body == _DOCUMENTS
        stats = await pair.b.stats()
        assert stats.extra["uncompressed"] == len(_DOCUMENTS)
        assert stats.extra["compressed"] < len(_DOCUMENTS) / 3


async def test_other_bodies_and_control_requests_are_not_compressed() -> None:
    async with linked(JsonApp(), compression="on") as pair:
        response, body = await _get(pair.a.exchange, "/bytes/100000", _ASKS)
        assert "content-encoding" not in response.headers and len(body) == 100_000


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_request_is_compressed_if_the_peer_takes_that(streamed: bool) -> None:
    class Stream(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for at in range(0, len(_DOCUMENTS), 10_000):
                yield _DOCUMENTS[at : at + 10_000]

    async def take(pair: Linked) -> Any:
        body: Any = {"stream": Stream()} if streamed else {"content": _DOCUMENTS}
        request = Request("POST", "http://peer/take", headers=_JSON, **body)
        response = await pair.a.exchange.handle_async_request(request)
        return json.loads(await response.aread())

    async with linked(JsonApp(), compression="on") as pair:
        told = await take(pair)
        assert told["coding"] == "gzip" and told["length"] == "" and told["size"] == len(_DOCUMENTS)
        assert told["came"] < len(_DOCUMENTS) / 3
        pair.a._peer_features &= ~Feature.GZIP  # an implementation that does not say it
        told = await take(pair)
        assert told["coding"] == "" and told["came"] == told["size"] == len(_DOCUMENTS)


async def test_a_feeds_line_arrives_before_there_is_another() -> None:
    app = JsonApp()
    async with linked(app, compression="on") as pair:
        response = await pair.a.exchange.handle_async_request(Request("GET", "http://peer/lines", headers=_ASKS))
        assert response.headers["content-encoding"] == "gzip"
        chunks = decoded(response)
        for number in range(3):
            app.lines.put_nowait(b"line %d\n" % number)
            async with asyncio.timeout(10):
                assert await anext(chunks) == b"line %d\n" % number
        await chunks.aclose()


@pytest.mark.parametrize(("seconds", "then"), [(0.02, "gzip"), (0.0001, "")])
async def test_a_slow_path_is_noticed_while_it_is_used_and_a_fast_one_too(seconds: float, then: str) -> None:
    """The path takes so many seconds for each message."""
    clock = FakeClock()
    async with linked(JsonApp(), clock=clock) as pair:
        await until(lambda: pair.b.connection.round_trip is not None)
        slow = pair.channels[1]
        slow.hold = True

        async def coding() -> str:
            request = Request("GET", "http://peer/json", headers=_ASKS)
            got = asyncio.create_task(pair.a.exchange.handle_async_request(request))
            reading: asyncio.Task[bytes] | None = None
            end = time.monotonic() + 30
            while time.monotonic() < end:
                await clock.advance(seconds, step=seconds)
                slow.hold = False
                slow.drain()
                slow.hold = True
                if got.done() and reading is None:
                    reading = asyncio.create_task(got.result().aread())
                if reading is not None and reading.done():
                    assert json.loads(reading.result()) == json.loads(_DOCUMENTS)
                    return got.result().headers.get("content-encoding", "")
            raise AssertionError("it did not arrive")

        assert await coding() == ""  # nothing was known
        assert await coding() == then
        slow.hold = False


async def test_a_response_that_is_closed_in_the_middle_leaves_nothing() -> None:
    async with linked(JsonApp(), compression="on") as pair:
        response = await pair.a.exchange.handle_async_request(Request("GET", "http://peer/json", headers=_ASKS))
        await response.aclose()
        await until(lambda: not pair.a._ends and not pair.b._ends)
