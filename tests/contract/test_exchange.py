"""What holds for every Exchange: in process, over the network, over a channel with either engine and between them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from peerpouch.exchange import Exchange, Request
from peerpouch.ports import Owner
from peerpouch.transports.inprocess import AppExchange
from peerpouch.transports.network import NetworkExchange
from tests.transports.harness import TestApp, drop, linked, until

_CHANNELS = [
    ("memory", "memory"),
    ("wrtc", "wrtc"),
    ("aiortc", "aiortc"),
    ("wrtc", "aiortc"),
    ("aiortc", "wrtc"),
]


@asynccontextmanager
async def _served(app: TestApp) -> AsyncIterator[Exchange]:
    async def with_principal(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "peerpouch.principal": Owner()}, receive, send)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(with_principal, lifespan="off", log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve([listener]))
        await until(lambda: server.started)
        exchange = NetworkExchange(f"http://127.0.0.1:{listener.getsockname()[1]}")
        try:
            yield exchange
        finally:
            await exchange.aclose()
            server.should_exit = True
            await task


@pytest.fixture
def app() -> TestApp:
    return TestApp()


@pytest.fixture(params=["in process", "network", *_CHANNELS], ids=lambda param: str(param))
async def exchange(request: pytest.FixtureRequest, app: TestApp) -> AsyncIterator[Exchange]:
    if request.param == "in process":
        exchange = AppExchange(app, Owner())
        yield exchange
        await exchange.aclose()
    elif request.param == "network":
        async with _served(app) as over_network:
            yield over_network
    else:
        async with linked(app, engines=request.param) as pair:
            yield pair.a.exchange


def _url(exchange: Exchange, target: str) -> str:
    base = str(exchange.url).rstrip("/") if isinstance(exchange, NetworkExchange) else "http://peer"
    return base + target


async def _send(exchange: Exchange, method: str, target: str, **options: Any) -> Any:
    return await exchange.handle_async_request(Request(method, _url(exchange, target), **options))


async def test_a_response_has_status_headers_and_body(exchange: Exchange) -> None:
    response = await _send(exchange, "POST", "/echo", content=b"hello")
    assert response.status_code == 200
    assert response.headers.get_list("x-echo") == ["yes", "twice"]
    assert await response.aread() == b"hello"
    await response.aclose()


async def test_path_query_and_headers_arrive_as_they_were_sent(exchange: Exchange) -> None:
    response = await _send(exchange, "PUT", "/about/a%2Fb%20%C3%A4?x=%22y%22&z", headers={"X-Name": "1"})
    await response.aread()
    about = response.json()
    assert response.status_code == 201
    assert about["method"] == "PUT"
    assert about["path"] == "/about/a/b ä"
    assert about["raw_path"] == "/about/a%2Fb%20%C3%A4"
    assert about["query"] == "x=%22y%22&z"
    assert ["x-name", "1"] in about["headers"]


async def test_a_response_without_a_body_is_empty(exchange: Exchange) -> None:
    response = await _send(exchange, "GET", "/empty")
    assert response.status_code == 204
    assert await response.aread() == b""


async def test_large_bodies_arrive_whole_both_ways_at_once(exchange: Exchange) -> None:
    portions = [bytes([number]) * 70_001 for number in range(40)]

    async def body() -> AsyncIterator[bytes]:
        for portion in portions:
            yield portion

    response = await _send(exchange, "POST", "/echo", content=body())
    assert await response.aread() == b"".join(portions)


async def test_a_body_in_one_piece_of_megabytes_arrives_whole(exchange: Exchange) -> None:
    body = bytes(range(256)) * 12_000
    response = await _send(exchange, "POST", "/echo", content=body)
    assert await response.aread() == body


async def test_the_response_flows_while_the_request_does(exchange: Exchange) -> None:
    more: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def body() -> AsyncIterator[bytes]:
        while (portion := await more.get()) is not None:
            yield portion

    more.put_nowait(b"one")
    if isinstance(exchange, NetworkExchange):
        # HTTP/1.1 clients send the whole request first.
        more.put_nowait(None)
        response = await _send(exchange, "POST", "/echo", content=body())
        assert await response.aread() == b"one"
        return
    response = await _send(exchange, "POST", "/echo", content=body())
    answers = aiter(response.stream)
    assert await anext(answers) == b"one"
    more.put_nowait(b"two")
    assert await anext(answers) == b"two"
    more.put_nowait(None)
    assert await anext(answers, None) is None
    await response.aclose()


async def test_the_first_line_of_a_feed_comes_while_the_application_runs(exchange: Exchange, app: TestApp) -> None:
    response = await _send(exchange, "GET", "/feed")
    lines = aiter(response.stream)
    assert await anext(lines) == b"line\n"
    assert app.notes == []
    await response.aclose()
    await until(lambda: app.notes)
    assert app.notes[0] in ("http.disconnect", "cancelled")


async def _more_than(app: TestApp, sent: int) -> None:
    await until(lambda: app.sent > sent, 0.3)


async def test_a_reader_that_stops_stops_the_application(exchange: Exchange, app: TestApp) -> None:
    response = await _send(exchange, "GET", "/endless")
    with suppress(TimeoutError):
        while True:
            await _more_than(app, app.sent)
    # The kernel's buffers of a TCP connection hold a few megabytes more.
    assert app.sent < 16 * 1024 * 1024
    await response.aclose()
    if not isinstance(exchange, NetworkExchange):  # a server over TCP swallows what nobody reads
        await until(lambda: app.notes)
        assert app.notes[0] in ("client gone", "cancelled")


async def test_a_cancelled_request_reaches_the_application(exchange: Exchange, app: TestApp) -> None:
    task = asyncio.create_task(_send(exchange, "GET", "/wait"))
    await until(lambda: app.scopes)
    await drop(task)
    if isinstance(exchange, NetworkExchange):
        app.hold.set()  # a server over TCP tells an application that does not listen nothing
    await until(lambda: app.notes)


async def test_an_answer_that_does_not_wait_for_the_request_arrives(exchange: Exchange) -> None:
    response = await _send(exchange, "POST", "/refuse", content=bytes(3_000_000))
    assert response.status_code == 413
    assert await response.aread() == b"too large"


async def test_many_requests_at_once_are_answered_each_with_its_own(exchange: Exchange) -> None:
    async def one(number: int) -> None:
        body = b"%d," % number * (number * 50)
        response = await _send(exchange, "POST", "/echo", content=body)
        assert await response.aread() == body
        await response.aclose()

    await asyncio.gather(*(one(number) for number in range(70)))


async def test_an_exchange_works_after_responses_that_were_not_read(exchange: Exchange) -> None:
    for _ in range(30):
        response = await _send(exchange, "GET", "/bytes/200000")
        await response.aclose()
    response = await _send(exchange, "GET", "/bytes/200000")
    assert len(await response.aread()) == 200_000
