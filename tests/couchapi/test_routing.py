from __future__ import annotations

import re
from typing import Any

import pytest

from peerpouch.couchapi.app import create_app
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.responses import Response, json_response
from peerpouch.couchapi.routes import ROUTES
from peerpouch.couchapi.routing import Access, NotAllowed, Route, Router
from peerpouch.errors import NotFound, PeerPouchError
from peerpouch.ports import Anonymous, Database, Owner, Principal, User
from peerpouch.transports.inprocess import AppExchange
from tests.couchapi.support import Api, MemoryRegistry


def request(method: str, path: str) -> Request:
    async def receive() -> dict[str, Any]:
        raise AssertionError("nothing is read")

    scope = {"type": "http", "method": method, "raw_path": path.encode(), "query_string": b"", "headers": []}
    return Request(scope, receive, MemoryRegistry(), Limits())


@pytest.mark.parametrize(
    ("path", "pattern", "values"),
    [
        ("/", "/", {}),
        ("/_up", "/_up", {}),
        ("/db", "/{db}", {"db": "db"}),
        ("/db/", "/{db}", {"db": "db"}),
        ("/a%2Fb+c", "/{db}", {"db": "a/b+c"}),
        ("/db/doc", "/{db}/{doc}", {"db": "db", "doc": "doc"}),
        ("/db/a%2Fb", "/{db}/{doc}", {"db": "db", "doc": "a/b"}),
        ("/db/a+b%2Bc", "/{db}/{doc}", {"db": "db", "doc": "a b+c"}),
        ("/db/%2E%2E", "/{db}/{doc}", {"db": "db", "doc": ".."}),
        ("/db/_all_docs", "/{db}/_all_docs", {"db": "db"}),
        ("/db/_unknown", "/{db}/{doc}", {"db": "db", "doc": "_unknown"}),
        ("/db/doc/a/b%2Fc", "/{db}/{doc}/{attachment*}", {"db": "db", "doc": "doc", "attachment": "a/b/c"}),
        ("/db/_design/d", "/{db}/_design/{design}", {"db": "db", "design": "d"}),
        ("/db/_design%2Fd", "/{db}/_design/{design}", {"db": "db", "design": "d"}),
        ("/db/_design%2Fd%2Fe", "/{db}/_design/{design}", {"db": "db", "design": "d/e"}),
        ("/db/_local%2Fc", "/{db}/_local/{local}", {"db": "db", "local": "c"}),
        ("/db/_design/d/_view/v", "/{db}/_design/{design}/_view/{view}", {"db": "db", "design": "d", "view": "v"}),
        (
            "/db/_design/d/_view",
            "/{db}/_design/{design}/{attachment*}",
            {"db": "db", "design": "d", "attachment": "_view"},
        ),
    ],
)
def test_a_path_finds_its_route(path: str, pattern: str, values: dict[str, str]) -> None:
    found = request("GET", path)
    assert Router(ROUTES).match(found).pattern == pattern
    assert found.values == values


def test_head_is_answered_wherever_get_is() -> None:
    assert Router(ROUTES).match(request("HEAD", "/db/doc")).method == "GET"


def test_a_path_that_no_pattern_has_is_not_found() -> None:
    router = Router([Route("GET", "/a/b", ROUTES[0].handler, Access.SERVER)])
    for path in ("/", "/a", "/a/b/c", "/x"):
        with pytest.raises(NotFound):
            router.match(request("GET", path))
    with pytest.raises(NotAllowed):
        router.match(request("PUT", "/a/b"))


def test_a_route_can_not_be_there_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        Router([ROUTES[0], ROUTES[0]])


class Refused(PeerPouchError):
    """What the registry below answers to every opening."""

    status = 418
    error = "refused_by_registry"


class Refusing(MemoryRegistry):
    """Refuses, and remembers for whom."""

    async def open(self, name: str, principal: Principal) -> Database:
        self.opened_for.append(principal)
        raise Refused

    async def create(self, name: str, principal: Principal) -> None:
        await self.open(name, principal)

    async def delete(self, name: str, principal: Principal) -> None:
        await self.open(name, principal)


_BODIES: dict[str, Any] = {
    "_bulk_docs": {"docs": []},
    "_bulk_get": {"docs": []},
    "_find": {"selector": {}},
    "_explain": {"selector": {}},
    "_index": {"index": {"fields": ["a"]}},
    "_bulk_delete": {"docids": []},
    "queries": {"queries": []},
    "_revs_limit": 5,
    "_purged_infos_limit": 5,
}


@pytest.mark.parametrize("route", [r for r in ROUTES if "{db}" in r.pattern], ids=lambda r: f"{r.method} {r.pattern}")
async def test_every_route_of_a_database_opens_it_for_who_asks(api: Api, route: Route) -> None:
    registry = Refusing()
    api.app.registry = registry
    api.exchange = AppExchange(api.app, User("eve"))
    path = re.sub(r"\{(\w+)\*?\}", r"\1", route.pattern)
    body: Any = None
    if route.method in ("POST", "PUT"):
        body = next((value for name, value in _BODIES.items() if path.endswith(name)), {})
    answer = await api.call(route.method, path, body, headers={"destination": "x"})
    assert (answer.status, answer.json["error"]) == (418, "refused_by_registry")
    assert registry.opened_for == [User("eve")]


async def test_without_a_principal_a_request_is_anonymous(api: Api) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "raw_path": b"/db", "query_string": b"", "headers": []}
    await api.app(scope, receive, send)
    assert sent[0]["status"] == 200
    assert api.registry.opened_for == [Anonymous()]


async def test_routes_can_be_added(api: Api) -> None:
    async def session(request: Request) -> Response:
        return json_response({"ok": True})

    app = create_app(api.registry, extra_routes=[Route("GET", "/_session", session, Access.SERVER)])
    api.exchange = AppExchange(app, Owner())
    assert (await api.get("/_session")).json == {"ok": True}
    assert {route.pattern for route in app.routes} > {"/_session", "/{db}"}
