from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from peerpouch.couchapi import passwords, sessions
from peerpouch.couchapi.app import create_app
from peerpouch.couchapi.authentication import Account, Authentication
from peerpouch.errors import DatabaseNotFound, Unauthorized
from peerpouch.ports import Clock, Database, Principal, Registry, User


class StoppedClock(Clock):
    """Time that moves only when somebody sleeps, and by as much."""

    def __init__(self) -> None:
        self.time = 1_000_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class Book:
    def __init__(self, **names: str) -> None:
        self.accounts = {
            name: Account(
                passwords.make_record(password, iterations=1), frozenset({"_admin"} if name == "root" else ())
            )
            for name, password in names.items()
        }
        self.has_admins = "root" in names

    async def lookup(self, name: str) -> Account | None:
        return self.accounts.get(name)


class NoDatabases(Registry):
    @property
    def uuid(self) -> str:
        return "0" * 32

    async def open(self, name: str, principal: Principal) -> Database:
        raise DatabaseNotFound

    async def names(self, principal: Principal) -> list[str]:
        return [principal.name] if isinstance(principal, User) else []

    async def create(self, name: str, principal: Principal) -> None:
        raise AssertionError

    async def delete(self, name: str, principal: Principal) -> None:
        raise AssertionError


class Server:
    """The application behind the middleware, called as an HTTP server would."""

    def __init__(self, **names: str) -> None:
        self.clock = StoppedClock()
        self.book = Book(**names)
        app: Any = None

        async def forward(scope: Any, receive: Any, send: Any) -> None:
            await app(scope, receive, send)

        self.authentication = Authentication(forward, self.book, b"k" * 32, self.clock)
        app = create_app(NoDatabases(), extra_routes=self.authentication.routes)

    async def call(
        self, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"", address: str = "a"
    ) -> tuple[int, dict[str, str], Any]:
        target, _, query = path.partition("?")
        scope = {
            "type": "http",
            "method": method,
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "scheme": "http",
            "client": (address, 1),
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }
        sent: list[Any] = []
        messages: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": body}])

        async def receive() -> dict[str, Any]:
            return next(messages, {"type": "http.disconnect"})

        async def send(message: Any) -> None:
            sent.append(message)

        await self.authentication(scope, receive, send)
        got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        text = b"".join(message.get("body", b"") for message in sent[1:])
        return sent[0]["status"], got, json.loads(text) if text else None

    async def log_in(self, name: str, password: str, **more: Any) -> tuple[int, dict[str, str], Any]:
        body = json.dumps({"name": name, "password": password}).encode()
        return await self.call("POST", "/_session", {"content-type": "application/json"}, body, **more)


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def cookie(headers: dict[str, str]) -> dict[str, str]:
    return {"cookie": headers["set-cookie"].partition(";")[0]}


async def test_without_an_administrator_everybody_is_one() -> None:
    _, _, body = await Server().call("GET", "/_session")
    assert body["userCtx"] == {"name": None, "roles": ["_admin"]}


async def test_with_an_administrator_a_stranger_is_nobody() -> None:
    server = Server(root="secret")
    _, _, body = await server.call("GET", "/_session")
    assert body["userCtx"] == {"name": None, "roles": []}
    assert await server.call("GET", "/_all_dbs") == (200, mock.ANY, [])


async def test_a_password_in_the_header_names_the_user() -> None:
    status, _, body = await Server(root="secret").call("GET", "/_session", basic("root", "secret"))
    assert status == 200
    assert body["userCtx"] == {"name": "root", "roles": ["_admin"]}
    assert body["info"]["authenticated"] == "default"


async def test_a_wrong_password_and_an_unknown_name_get_the_same_answer() -> None:
    server = Server(root="secret")
    wrong = await server.call("GET", "/", basic("root", "guess"))
    unknown = await server.call("GET", "/", basic("nobody", "guess"))
    assert wrong == unknown
    assert wrong[0] == 401
    assert wrong[2] == {"error": "unauthorized", "reason": "Name or password is incorrect."}


@pytest.mark.parametrize("value", ["Basic", "Basic ???", "Basic Zm9v", "Basic /w=="])
async def test_a_malformed_header_is_a_bad_request(value: str) -> None:
    status, _, body = await Server(root="secret").call("GET", "/", {"authorization": value})
    assert (status, body["error"]) == (400, "bad_request")


@pytest.mark.parametrize("value", ["Bearer x", "anything", "Basic Xzpf"])
async def test_a_header_that_names_nobody_is_nobodys(value: str) -> None:
    status, _, body = await Server(root="secret").call("GET", "/_session", {"authorization": value})
    assert (status, body["userCtx"]) == (200, {"name": None, "roles": []})


async def test_a_session_is_opened_shown_and_closed() -> None:
    server = Server(root="secret", jan="apple")
    status, headers, body = await server.log_in("jan", "apple")
    assert (status, body) == (200, {"ok": True, "name": "jan", "roles": []})
    _, _, body = await server.call("GET", "/_session", cookie(headers))
    assert body["userCtx"]["name"] == "jan"
    assert body["info"]["authenticated"] == "cookie"
    _, headers, _ = await server.call("DELETE", "/_session", cookie(headers))
    assert "Max-Age=0" in headers["set-cookie"]


async def test_a_form_opens_a_session_too() -> None:
    server = Server(root="secret")
    kind = {"content-type": "application/x-www-form-urlencoded"}
    status, headers, _ = await server.call("POST", "/_session?next=/_utils", kind, b"name=root&password=secret")
    assert (status, headers["location"]) == (302, "/_utils")
    for elsewhere in ("//evil.example", "https://evil.example", "/\\evil.example"):
        status, headers, _ = await server.call(
            "POST", f"/_session?next={elsewhere}", kind, b"name=root&password=secret"
        )
        assert status == 200
        assert "location" not in headers


async def test_a_session_ends_by_time_and_is_renewed_by_use() -> None:
    server = Server(root="secret")
    _, headers, _ = await server.log_in("root", "secret")
    server.clock.time += sessions.TIMEOUT / 2
    _, renewed, _ = await server.call("GET", "/_session", cookie(headers))
    server.clock.time += sessions.TIMEOUT * 0.75
    _, _, old = await server.call("GET", "/_session", cookie(headers))
    _, _, new = await server.call("GET", "/_session", cookie(renewed))
    assert (old["userCtx"]["name"], new["userCtx"]["name"]) == (None, "root")


async def test_a_forged_cookie_makes_nobody_of_its_bearer() -> None:
    server = Server(root="secret")
    forged = sessions.issue(b"x" * 32, "", "root", server.clock.time)
    _, _, body = await server.call("GET", "/_session", {"cookie": f"AuthSession={forged}"})
    assert body["userCtx"] == {"name": None, "roles": []}
    status, _, _ = await server.call("GET", "/_session", {"cookie": "AuthSession=rubbish"})
    assert status == 400


async def test_a_changed_password_ends_sessions_and_remembered_checks() -> None:
    server = Server(root="secret")
    _, headers, _ = await server.log_in("root", "secret")
    server.book.accounts["root"] = Account(passwords.make_record("new", iterations=1), frozenset({"_admin"}))
    _, _, body = await server.call("GET", "/_session", cookie(headers))
    assert body["userCtx"]["name"] is None
    assert (await server.call("GET", "/", basic("root", "secret")))[0] == 401
    assert (await server.call("GET", "/", basic("root", "new")))[0] == 200


async def test_a_right_password_is_checked_once_however_many_ask_at_once() -> None:
    server = Server(root="secret")
    with mock.patch.object(passwords, "verify", wraps=passwords.verify) as verify:
        await asyncio.gather(*(server.call("GET", "/", basic("root", "secret")) for _ in range(20)))
        await server.call("GET", "/", basic("root", "secret"))
    assert verify.call_count == 1
    assert server.clock.slept == []


async def test_guesses_wait_longer_and_longer() -> None:
    server = Server(root="secret")
    for n in range(8):
        with pytest.raises(Unauthorized):
            await server.authentication.check("root", f"guess {n}", "1.2.3.4")
    assert server.clock.slept == [0.25, 0.5, 1.0, 2.0, 4.0]


async def test_guesses_sent_all_at_once_wait_as_well() -> None:
    server = Server(root="secret")
    guesses = (server.authentication.check("root", f"guess {n}", "1.2.3.4") for n in range(8))
    await asyncio.gather(*guesses, return_exceptions=True)
    assert sorted(server.clock.slept) == [0.25, 0.5, 1.0, 2.0, 4.0]


async def test_without_the_counters_guesses_would_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(root="secret")
    monkeypatch.setattr(server.authentication, "_count_failure", lambda key: None)
    for n in range(8):
        with pytest.raises(Unauthorized):
            await server.authentication.check("root", f"guess {n}", "1.2.3.4")
    assert server.clock.slept == []


async def test_the_counters_are_bounded() -> None:
    server = Server(root="secret")
    with (
        mock.patch.object(passwords, "verify", return_value=False),
        mock.patch("peerpouch.couchapi.authentication._COUNTERS", 10),
    ):
        for n in range(30):
            with pytest.raises(Unauthorized):
                await server.authentication.check(f"name {n}", "x", f"10.0.0.{n}")
        assert len(server.authentication._failures) == 10
