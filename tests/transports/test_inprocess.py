"""The Exchange over an application in the same process: what is its own beside the contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.exchange import Request, Response
from peerpouch.ports import Owner, User
from peerpouch.transports import inprocess
from peerpouch.transports.asgi import BadApplication
from peerpouch.transports.inprocess import AppExchange
from tests.transports.harness import TestApp, drop, until


async def _get(exchange: AppExchange, target: str) -> Response:
    return await exchange.handle_async_request(Request("GET", "http://local" + target))


async def test_the_principal_goes_with_the_request() -> None:
    response = await _get(AppExchange(TestApp(), User("ann", frozenset({"_admin"}))), "/about")
    await response.aread()
    assert response.json()["principal"] == repr(User("ann", frozenset({"_admin"})))


async def test_an_exception_before_the_answer_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        await _get(AppExchange(TestApp(), Owner()), "/fail-before")


async def test_an_exception_within_the_answer_ends_its_stream() -> None:
    response = await _get(AppExchange(TestApp(), Owner()), "/fail-after")
    got = b""
    with pytest.raises(ZeroDivisionError):
        async for chunk in response.stream:  # type: ignore[union-attr]
            got += chunk
    assert got == b"half"


async def test_an_application_that_leaves_early_is_an_error() -> None:
    response = await _get(AppExchange(TestApp(), Owner()), "/leave")
    with pytest.raises(BadApplication):
        await response.aread()


async def test_a_listening_application_is_told_of_the_disconnect_and_ends_by_itself() -> None:
    app = TestApp()
    response = await _get(AppExchange(app, Owner()), "/feed")
    assert await anext(aiter(response.stream)) == b"line\n"  # type: ignore[arg-type]
    await response.aclose()
    assert app.notes == ["http.disconnect", "done"]


async def test_an_application_that_does_not_listen_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inprocess, "GRACE", 0.01)
    app = TestApp()
    response = await _get(AppExchange(app, Owner()), "/deaf")
    await response.aclose()
    assert app.notes == ["cancelled"]


async def test_the_buffer_is_bounded() -> None:
    app = TestApp()
    response = await _get(AppExchange(app, Owner()), "/endless")
    for _ in range(2000):
        await asyncio.sleep(0)
    assert app.sent <= inprocess.BUFFER
    await response.aclose()


async def test_twin_with_a_boundless_buffer_the_application_runs_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = inprocess.BUFFER
    monkeypatch.setattr(inprocess, "BUFFER", 10**12)
    app = TestApp()
    response = await _get(AppExchange(app, Owner()), "/endless")
    await until(lambda: app.sent > 4 * bound)
    await response.aclose()


async def test_a_request_body_is_not_read_ahead_of_the_application() -> None:
    made = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield bytes(1000)

    exchange = AppExchange(TestApp(), Owner())
    response = await exchange.handle_async_request(Request("PUT", "http://local/refuse", content=body()))
    assert response.status_code == 413
    assert made == 0
    await response.aclose()


async def test_a_body_that_fails_is_raised_to_who_made_it() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"begin"
        raise KeyError("mine")

    exchange = AppExchange(TestApp(), Owner())
    with pytest.raises(KeyError):
        response = await exchange.handle_async_request(Request("PUT", "http://local/echo", content=body()))
        await response.aread()


async def test_closing_the_exchange_ends_what_runs() -> None:
    app = TestApp()
    exchange = AppExchange(app, Owner())
    task: asyncio.Task[Any] = asyncio.create_task(_get(exchange, "/feed"))
    response = await task
    waiting = asyncio.create_task(response.aread())
    await asyncio.sleep(0)
    await exchange.aclose()
    assert "http.disconnect" in app.notes
    await drop(waiting)
    assert not exchange._runs
