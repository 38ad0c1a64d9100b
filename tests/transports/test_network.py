"""The Exchange over TCP: addresses, passwords, and how its failures are told. All on loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from peerpouch.errors import BadRequest, ConnectionFailed, DeadlineExceeded, PeerPouchError, ProtocolError
from peerpouch.exchange import Request
from peerpouch.transports.network import NetworkExchange

Handler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(handler: Handler) -> AsyncIterator[int]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await handler(head, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def _answers(*parts: bytes) -> Handler:
    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
        await writer.drain()

    return handler


_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def _heads_sent(
    url: str, request: str, headers: dict[str, str] | None = None, always: dict[str, str] | None = None
) -> str:
    heads: list[str] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head.decode())
        await _answers(_OK)(head, writer)

    async with _server(handler) as port:
        exchange = NetworkExchange(url.format(port=port), headers=always)
        response = await exchange.handle_async_request(Request("GET", request.format(port=port), headers=headers))
        assert await response.aread() == b"ok"
        await response.aclose()
        await exchange.aclose()
    return heads[0]


async def test_user_and_password_of_the_url_are_sent_decoded_to_their_server() -> None:
    head = await _heads_sent("http://ann:p%40ss@127.0.0.1:{port}/db", "http://127.0.0.1:{port}/db")
    assert "Basic " + base64.b64encode(b"ann:p@ss").decode() in head
    exchange = NetworkExchange("http://ann:secret@127.0.0.1:1/db")
    assert "secret" not in str(exchange.url) and str(exchange.url) == "http://127.0.0.1:1/db"


async def test_user_and_password_are_sent_to_no_other_server() -> None:
    head = await _heads_sent("http://ann:pass@localhost:{port}/db", "http://127.0.0.1:{port}/db")
    assert "authorization" not in head.lower()


async def test_a_header_of_the_request_wins() -> None:
    head = await _heads_sent(
        "http://ann:pass@127.0.0.1:{port}", "http://127.0.0.1:{port}/", {"Authorization": "Bearer x"}
    )
    assert "Bearer x" in head and "Basic" not in head


async def test_headers_of_the_exchange_go_to_its_server_and_to_no_other() -> None:
    always = {"X-Auth-CouchDB-UserName": "ann", "Authorization": "Bearer t"}
    head = await _heads_sent("http://127.0.0.1:{port}/db", "http://127.0.0.1:{port}/db", always=always)
    assert "bearer t" in head.lower() and "x-auth-couchdb-username: ann" in head.lower()
    head = await _heads_sent("http://localhost:{port}/db", "http://127.0.0.1:{port}/db", always=always)
    assert "bearer" not in head.lower() and "x-auth" not in head.lower()


@pytest.mark.parametrize(
    "headers",
    [
        *({"x": value} for value in ("secret\r\nevil: 1", "secret\n", "secrét")),
        *({name: "secret"} for name in ("x y", "", "Content-Length", "host")),
    ],
)
async def test_headers_that_would_break_a_request_are_refused_without_their_values(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as refused:
        NetworkExchange("http://127.0.0.1:1/db", headers=headers)
    assert "secr" not in str(refused.value)


async def test_a_compressed_body_can_be_had_raw_and_decoded() -> None:
    body = gzip.compress(b"hello " * 100)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    async with _server(_answers(head, body)) as port:
        exchange = NetworkExchange(f"http://127.0.0.1:{port}")
        request = Request("GET", f"http://127.0.0.1:{port}/")
        raw = await exchange.handle_async_request(request)
        assert b"".join([chunk async for chunk in raw.aiter_raw()]) == body
        decoded = await exchange.handle_async_request(request)
        assert await decoded.aread() == b"hello " * 100
        await exchange.aclose()


async def test_an_address_that_is_not_http_is_refused_without_its_password() -> None:
    for url in ("ftp://ann:secret@host/", "nonsense", "http://"):
        with pytest.raises(BadRequest) as refused:
            NetworkExchange(url)
        assert "secret" not in refused.value.reason


async def _failure(handler: Handler, timeout: float = 10.0) -> PeerPouchError:
    async with _server(handler) as port:
        exchange = NetworkExchange(f"http://ann:secret@127.0.0.1:{port}")
        request = Request("GET", f"http://127.0.0.1:{port}/", extensions={"timeout": {"read": timeout}})
        with pytest.raises(PeerPouchError) as failed:
            response = await exchange.handle_async_request(request)
            await response.aread()
        await exchange.aclose()
        assert f"http://127.0.0.1:{port}" in failed.value.reason
        assert "secret" not in failed.value.reason
    return failed.value


async def test_nobody_listening_is_a_failed_connection() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        exchange = NetworkExchange(f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectionFailed, match=str(port)):
            await exchange.handle_async_request(Request("GET", f"http://127.0.0.1:{port}/"))
        await exchange.aclose()


async def test_a_server_that_hangs_up_is_a_failed_connection() -> None:
    assert type(await _failure(_answers())) is ConnectionFailed


async def test_a_body_that_breaks_off_is_a_failure_and_not_a_short_body() -> None:
    failure = await _failure(_answers(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"))
    assert type(failure) is ConnectionFailed


async def test_what_is_not_http_is_a_protocol_error() -> None:
    assert type(await _failure(_answers(b"220 mail.example ESMTP\r\n\r\n"))) is ProtocolError


async def test_a_server_that_does_not_answer_in_time_exceeds_the_deadline() -> None:
    done = asyncio.Event()

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    failing = asyncio.create_task(_failure(handler, timeout=0.05))
    error = await asyncio.wait_for(_first(failing, done), 10)
    assert type(error) is DeadlineExceeded


async def _first(failing: asyncio.Task[PeerPouchError], done: asyncio.Event) -> PeerPouchError:
    try:
        return await failing
    finally:
        done.set()


@asynccontextmanager
async def _moving(*heads: bytes) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that answers with these heads in turn, and then with OK; gives its port and what it was sent."""
    sent: list[str] = []

    async def handler(head: bytes, writer: asyncio.StreamWriter) -> None:
        sent.append(head.decode())
        answer = heads[len(sent) - 1] if len(sent) <= len(heads) else _OK
        await _answers(answer.replace(b"PORT", str(port).encode()))(head, writer)

    async with _server(handler) as port:
        yield port, sent


def _moved(status: int, location: str) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n".encode()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirections_of_reads_are_followed(status: int) -> None:
    async with _moving(_moved(status, "/there/db?x=1")) as (port, sent):
        exchange = NetworkExchange(f"http://u:p@127.0.0.1:{port}")
        response = await exchange.handle_async_request(Request("GET", f"http://127.0.0.1:{port}/db"))
        assert await response.aread() == b"ok"
        await exchange.aclose()
    assert [head.split(" ")[1] for head in sent] == ["/db", "/there/db?x=1"]
    assert all("authorization: Basic" in head for head in sent)


@pytest.mark.parametrize(("status", "followed"), [(301, False), (302, False), (303, False), (307, True), (308, True)])
async def test_redirections_of_writes_are_followed_where_the_server_says_that_it_is_the_same(
    status: int, followed: bool
) -> None:
    async with _moving(_moved(status, "/there")) as (port, sent):
        exchange = NetworkExchange(f"http://127.0.0.1:{port}")
        request = Request("POST", f"http://127.0.0.1:{port}/db", content=b"{}")
        response = await exchange.handle_async_request(request)
        assert (response.status_code == 200) is followed
        await response.aclose()
        await exchange.aclose()
    assert [head.split(" ")[:2] for head in sent] == [["POST", "/db"], ["POST", "/there"]][: 1 + followed]


async def test_credentials_do_not_go_to_another_server() -> None:
    async with _moving() as (other, told), _moving(_moved(302, f"http://127.0.0.1:{other}/x")) as (port, _):
        exchange = NetworkExchange(f"http://u:p@127.0.0.1:{port}", headers={"X-Auth-CouchDB-Token": "t"})
        headers = {"cookie": "AuthSession=x"}
        response = await exchange.handle_async_request(Request("GET", f"http://127.0.0.1:{port}/db", headers=headers))
        assert await response.aread() == b"ok"
        await exchange.aclose()
    (head,) = told
    assert "authorization" not in head.lower()
    assert "cookie" not in head.lower()
    assert "x-auth" not in head.lower()
    assert f"host: 127.0.0.1:{other}" in head.lower()


async def test_a_circle_of_redirections_is_an_error() -> None:
    async with _moving(*[_moved(302, "/db")] * 20) as (port, sent):
        exchange = NetworkExchange(f"http://127.0.0.1:{port}")
        with pytest.raises(ProtocolError, match="without end"):
            await exchange.handle_async_request(Request("GET", f"http://127.0.0.1:{port}/db"))
        await exchange.aclose()
    assert len(sent) == 6


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux names the time limit of what is sent")
async def test_a_connection_that_falls_silent_is_given_up_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[tuple[Any, ...]] = []

    class Watched(socket.socket):
        def setsockopt(self, *option: Any) -> None:
            options.append(option[1:])
            super().setsockopt(*option)

    monkeypatch.setattr(socket, "socket", Watched)
    async with _server(_answers(_OK)) as port:
        exchange = NetworkExchange(f"http://127.0.0.1:{port}/")
        response = await exchange.handle_async_request(Request("GET", f"http://127.0.0.1:{port}/"))
        await response.aread()
        await exchange.aclose()
    assert (socket.TCP_USER_TIMEOUT, 15_000) in options
    assert (socket.SO_KEEPALIVE, 1) in options
