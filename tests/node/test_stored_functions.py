"""Functions of design documents in local databases: filters of the changes feed, and modules that views require."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.access.users import UserGate
from peerpouch.core.security import UserAccess
from peerpouch.errors import BadRequest, DeadlineExceeded, NotFound, PeerPouchError
from peerpouch.node.databases import LocalDatabase, open_file
from peerpouch.ports import Database, User

pytest.importorskip("quickjs")

DESIGN: dict[str, Any] = {
    "_id": "_design/d",
    "filters": {
        "least": "function (doc, req) { return doc.n >= Number(req.query.n); }",
        "odd": "function (doc) { return require('lib/numbers').odd(doc.n); }",
        "empty": "function (doc) { return doc.n === 1 ? [] : doc.n === 2 ? '' : 0; }",
        "fails": "function (doc) { return doc.a.b; }",
        "forever": "function (doc) { while (true) {} }",
    },
    "lib": {"numbers": "exports.odd = function (n) { return n % 2 === 1; };"},
    "views": {
        "lib": {
            "words": "exports.of = function (doc) { return require('./more').word + doc.n; };",
            "more": "exports.word = 'w';",
        },
        "words": {"map": "function (doc) { var words = require('views/lib/words'); emit(words.of(doc), null); }"},
        "odd": {"map": "function (doc) { if (doc.n % 2) { emit(doc.n, null); emit(doc.n, null); } else doc.a.b; }"},
        "outside": {"map": "function (doc) { require('lib/numbers'); emit(1, 1); }"},
    },
}


async def opened() -> LocalDatabase:
    database = await open_file(":memory:")
    await database.bulk_docs([{"_id": f"d{n}", "n": n} for n in range(5)])
    await database.put(DESIGN)
    return database


async def changed(database: Database, name: str, **query: str) -> list[str]:
    return [change["id"] for change in (await database.changes(filter=name, query=query))["results"]]


async def test_a_filter_function_chooses_changes() -> None:
    async with await opened() as database:
        assert await changed(database, "d/least", n="3") == ["d3", "d4"]
        assert await changed(database, "d/odd") == ["d1", "d3"]
        assert await changed(database, "d/empty") == ["d1"]


async def test_a_view_chooses_changes() -> None:
    async with await opened() as database:
        assert await changed(database, "_view", view="d/odd") == ["d1", "d3"]
        for view, error in (("d/nothing", NotFound), ("e/odd", NotFound), ("odd", BadRequest)):
            with pytest.raises(error):
                await changed(database, "_view", view=view)


async def test_a_filter_that_fails_or_never_ends_fails_its_feed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with await opened() as database:
        monkeypatch.setattr(database.function_runner, "_seconds", 0.3)
        with pytest.raises(DeadlineExceeded):
            await changed(database, "d/forever")
        with pytest.raises(PeerPouchError, match="threw"):
            await changed(database, "d/fails")
        assert await changed(database, "d/odd") == ["d1", "d3"]


async def test_views_require_modules_of_their_library_and_of_nothing_else() -> None:
    async with await opened() as database:
        rows = (await database.query("d/words", limit=2))["rows"]
        assert [row["key"] for row in rows] == ["w0", "w1"]
        assert (await database.query("d/outside"))["rows"] == []
        with pytest.raises(NotFound):
            await database.query("d/lib")


async def test_a_changed_library_builds_the_view_anew() -> None:
    async with await opened() as database:
        await database.query("d/words")
        doc = await database.get("_design/d")
        doc["views"]["lib"]["more"] = "exports.word = 'v';"
        await database.put(doc)
        assert (await database.query("d/words"))["rows"][0]["key"] == "v0"


async def test_a_filter_is_told_who_asks() -> None:
    async with await opened() as database:
        await database.put_security({"members": {"names": ["ann"]}})
        doc = await database.get("_design/d")
        doc["filters"]["who"] = """function (doc, req) {
            const who = [req.userCtx.name, req.userCtx.roles, req.userCtx.db, req.secObj.members.names];
            return doc._id === "d0" && JSON.stringify(who) === req.query.who;
        }"""
        await database.put(doc)
        database.known_as = "birds"
        assert await changed(database, "d/who", who='[null,["_admin"],"birds",["ann"]]') == ["d0"]
        access = UserAccess(write=False)
        gate = UserGate(database, User("ann", frozenset(("b", "a"))), access, name="birds")
        assert await changed(gate, "d/who", who='["ann",["a","b"],"birds",["ann"]]') == ["d0"]
        assert await changed(gate, "d/who", who='[null,["_admin"],"birds",["ann"]]') == []
