"""What the tests of the API and of its client share: a registry of databases in memory, and a way to call the app."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from peerpouch.couchapi.app import CouchApp, create_app
from peerpouch.couchapi.limits import Limits
from peerpouch.errors import DatabaseExists, DatabaseNotFound
from peerpouch.exchange import Request
from peerpouch.node.databases import open_file
from peerpouch.ports import Database, Owner, Principal, Registry
from peerpouch.transports.inprocess import AppExchange

UUID = "0123456789abcdef0123456789abcdef"


class MemoryRegistry(Registry):
    """Databases in memory, for everybody."""

    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}
        self.opened_for: list[Principal] = []

    @property
    def uuid(self) -> str:
        return UUID

    async def open(self, name: str, principal: Principal) -> Database:
        self.opened_for.append(principal)
        if name not in self.databases:
            raise DatabaseNotFound
        return self.databases[name]

    async def names(self, principal: Principal) -> list[str]:
        return list(self.databases)

    async def create(self, name: str, principal: Principal) -> None:
        if name in self.databases:
            raise DatabaseExists
        self.databases[name] = await open_file(":memory:")

    async def delete(self, name: str, principal: Principal) -> None:
        if name not in self.databases:
            raise DatabaseNotFound
        await self.databases.pop(name).close()

    async def close(self) -> None:
        for database in self.databases.values():
            await database.close()


@dataclass(frozen=True)
class Answer:
    """A response that was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Api:
    """Calls the app as an HTTP client would."""

    def __init__(self, app: CouchApp, registry: MemoryRegistry) -> None:
        self.app = app
        self.registry = registry
        self.exchange = AppExchange(app, Owner())

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        content: Any = None,
    ) -> Answer:
        """One request; ``body`` goes as JSON, ``content`` as it is."""
        all_headers = {"host": "db.example", **(headers or {})}
        if body is not None:
            content = json.dumps(body).encode()
            all_headers.setdefault("content-type", "application/json")
        elif method == "POST":
            all_headers.setdefault("content-type", "application/json")
        request = Request(method, f"http://db.example{path}", headers=all_headers, content=content)
        response = await self.exchange.handle_async_request(request)
        try:
            data = b"".join([chunk async for chunk in response.aiter_raw()])
        finally:
            await response.aclose()
        return Answer(response.status_code, response.headers, data)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.call("GET", path, **more)

    async def put(self, path: str, body: Any = None, **more: Any) -> Answer:
        return await self.call("PUT", path, body, **more)

    async def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return await self.call("POST", path, body, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        return await self.call("DELETE", path, **more)


@asynccontextmanager
async def served(limits: Limits | None = None) -> AsyncIterator[Api]:
    """The app over one database ``db``."""
    registry = MemoryRegistry()
    await registry.create("db", Owner())
    api = Api(create_app(registry, limits=limits), registry)
    try:
        yield api
    finally:
        await api.exchange.aclose()
        await registry.close()
