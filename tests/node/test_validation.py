"""Functions ``validate_doc_update`` of design documents judge what is written, whoever writes it and however."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.access.gate import GatedDatabase
from peerpouch.core.policy import Access
from peerpouch.errors import Forbidden, Unauthorized
from peerpouch.js.blocking import QuickJSBlockingRunner
from peerpouch.node.databases import LocalDatabase, open_file
from peerpouch.node.folder import FolderRegistry
from peerpouch.node.settings import Settings
from peerpouch.ports import Anonymous, BlockingRunner, Peer, Principal, User, WriteFailure, Written
from peerpouch.query.validation import ALLOWANCE, PAUSE, DocumentValidation

pytest.importorskip("quickjs")

NAMED = """function (doc, old, user, security) {
  if (doc._deleted) return;
  if (!doc.author) throw({forbidden: 'No author.'});
  if (old && old.author !== doc.author) throw({unauthorized: 'It is of ' + old.author + '.'});
}"""
TELL = "function (doc, old, user, security) { throw({forbidden: JSON.stringify([doc, old, user, security])}); }"
FOREVER = "function (doc) { if (doc.slow) while (true) {} }"


def design(source: str, name: str = "rules", **more: Any) -> dict[str, Any]:
    return {"_id": f"_design/{name}", "validate_doc_update": source, **more}


async def opened(*docs: dict[str, Any], path: str = ":memory:", seconds: float = 5.0) -> LocalDatabase:
    """A database that validates, with these documents."""
    database = await open_file(path)
    await database.bulk_docs(docs)
    database.known_as = "birds"
    await database.validate(QuickJSBlockingRunner(seconds=seconds))
    return database


async def told(database: Any, doc: dict[str, Any], **options: Any) -> Any:
    """What the function TELL was given."""
    (result,) = await database.bulk_docs([doc], **options)
    assert isinstance(result, WriteFailure)
    assert isinstance(result.error, Forbidden)
    return json.loads(result.error.reason)


async def test_a_refused_document_is_not_written_and_its_neighbours_are() -> None:
    async with await opened(design(NAMED)) as database:
        results = await database.bulk_docs([{"_id": "a", "author": "x"}, {"_id": "b"}, {"_id": "c", "author": "y"}])
        assert [type(each) for each in results] == [Written, WriteFailure, Written]
        assert isinstance(results[1], WriteFailure)
        assert results[1].error.as_json() == {"error": "forbidden", "reason": "No author."}
        assert [row["id"] async for row in database.all_docs()] == ["_design/rules", "a", "c"]
        doc = await database.get("a")
        with pytest.raises(Unauthorized, match="It is of x"):
            await database.put({**doc, "author": "z"})
        await database.remove("a", doc["_rev"])


async def test_without_validation_anything_is_written() -> None:
    async with await open_file(":memory:") as database:
        await database.bulk_docs([design(NAMED), {"_id": "b"}])
        assert await database.get("b")
        await database.put({"_id": "c"})


async def test_replicated_writes_are_judged_by_their_stored_ancestor() -> None:
    async with await opened({"_id": "a", "author": "x"}, design(NAMED)) as database:
        rev = (await database.get("a"))["_rev"]
        history = {"start": 3, "ids": ["cc", "bb", rev[2:]]}
        stolen = {"_id": "a", "_rev": "3-cc", "_revisions": history, "author": "thief"}
        (result,) = await database.bulk_docs([stolen], new_edits=False)
        assert isinstance(result, WriteFailure)
        assert isinstance(result.error, Unauthorized)
        (result,) = await database.bulk_docs([{**stolen, "author": "x"}], new_edits=False)
        assert result == Written("a", "3-cc")


async def test_replication_counts_what_is_refused_and_goes_on(tmp_path: Path) -> None:
    async with (
        await opened(design(NAMED), path=str(tmp_path / "to.db")) as target,
        peerpouch.open(":memory:") as source,
    ):
        await source.bulk_docs([{"_id": "a", "author": "x"}, {"_id": "b"}, {"_id": "c", "author": "x"}])
        result = await peerpouch.replicate(source, target)
        assert (result.docs_written, result.docs_failed) == (2, 1)


async def test_functions_are_told_of_document_user_and_security() -> None:
    async with await opened({"_id": "a", "n": 1}, design(TELL)) as database:
        await database.put_security({"members": {"names": ["eve"]}})
        rev = (await database.get("a"))["_rev"]
        new, old, user, security = await told(database, {"_id": "a", "_rev": rev, "n": 2})
        assert (new["n"], new["_revisions"]["start"], new["_revisions"]["ids"][1]) == (2, 2, rev[2:])
        assert old == {"_id": "a", "_rev": rev, "n": 1}
        assert user == {"db": "birds", "name": None, "roles": ["_admin"]}
        assert security == {"members": {"names": ["eve"]}}
        assert (await told(database, {"_id": "b"}))[1] is None


@pytest.mark.parametrize(
    ("who", "name", "roles"),
    [
        (User("eve", frozenset({"editor", "admin"})), "eve", ["admin", "editor"]),
        (Anonymous(), None, []),
        (Peer(bytes(32), "s"), None, []),
    ],
)
async def test_functions_are_told_who_writes_through_a_gate(who: Principal, name: str | None, roles: list[str]) -> None:
    async with await opened(design(TELL)) as database:
        gate = GatedDatabase(database, who, Access(write=True), name="birds")
        assert (await told(gate, {"_id": "a"}))[2] == {"db": "birds", "name": name, "roles": roles}
        assert (await told(database, {"_id": "a"}))[2]["roles"] == ["_admin"]


async def test_a_document_made_anew_after_its_deletion_has_none_before_it() -> None:
    async with await opened({"_id": "a", "n": 1}) as database:
        await database.remove("a", (await database.get("a"))["_rev"])
        await database.put(design(TELL))
        assert (await told(database, {"_id": "a"}))[1] is None


async def test_functions_come_and_go_with_their_design_documents() -> None:
    async with await opened() as database:
        await database.put({"_id": "before"})
        written = await database.put(design(NAMED))
        with pytest.raises(Forbidden):
            await database.put({"_id": "meanwhile"})
        await database.remove("_design/rules", written.rev)
        await database.put({"_id": "after"})


async def test_all_functions_judge_but_not_design_and_local_documents() -> None:
    refuse = "function (doc) { if (doc.no === '%s') throw({forbidden: '%s'}); }"
    async with await opened(design(refuse % ("a", "a"), "a"), design(refuse % ("b", "b"), "b")) as database:
        for name in "ab":
            with pytest.raises(Forbidden, match=name):
                await database.put({"_id": "x", "no": name})
        await database.put({"_id": "x"})
        await database.bulk_docs([{"_id": "_local/x", "no": "a"}, {"_id": "_design/x", "no": "b"}])
        assert await database.get("_local/x")
        assert await database.get("_design/x")


async def test_functions_require_modules_of_their_design_document() -> None:
    source = "function (doc) { require('lib/rules').check(doc, this.least); }"
    lib = {
        "rules": "var w = require('./words'); exports.check = (d, n) => { if (d.n < n) throw({forbidden: w.low}); };",
        "words": "exports.low = 'Too low.';",
    }
    async with await opened(design(source, lib=lib, least=3)) as database:
        await database.put({"_id": "a", "n": 3})
        with pytest.raises(Forbidden, match=r"Too low\."):
            await database.put({"_id": "b", "n": 2})


@pytest.mark.parametrize("source", ["function (doc) { nothing.at.all(); }", "function (", "17"])
async def test_a_function_that_fails_refuses_the_document(source: str) -> None:
    async with await opened(design(source)) as database:
        with pytest.raises(Forbidden, match="_design/rules failed"):
            await database.put({"_id": "a"})


async def test_a_function_that_never_ends_refuses_its_document_alone() -> None:
    async with await opened(design(FOREVER), seconds=0.3) as database:
        results = await database.bulk_docs([{"_id": "a"}, {"_id": "b", "slow": True}, {"_id": "c"}])
        assert [type(each) for each in results] == [Written, WriteFailure, Written]
        assert isinstance(results[1], WriteFailure)
        assert isinstance(results[1].error, Forbidden)
        assert "took longer" in results[1].error.reason


async def test_a_function_that_takes_too_much_memory_refuses_its_document_alone() -> None:
    source = "function (doc) { if (doc.big) { var a = []; while (true) a.push(new Array(1000).fill(doc)); } }"
    async with await opened(design(source)) as database:
        results = await database.bulk_docs([{"_id": "a", "big": True}, {"_id": "b"}])
        assert [type(each) for each in results] == [WriteFailure, Written]


class Slow(BlockingRunner):
    """A runner whose calls take a time that is told, on a clock of its own."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.calls = 0

    def prepare(self) -> None:
        return None

    def call(self, source: str, *arguments: Any, modules: str = "") -> Any:
        self.calls += 1
        self.now += self.seconds

    def close(self) -> None:
        return None


async def _written_with(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    async with await open_file(":memory:") as database:
        await database.put(design("slow"))
        validation = DocumentValidation(slow, "birds", now=lambda: slow.now)
        monkeypatch.setattr(database, "_validation", validation)
        results = await database.bulk_docs([{"_id": str(n)} for n in range(50)])
        slow.now += PAUSE
        await database.put({"_id": "later"})
        return slow.calls, sum(isinstance(each, Written) for each in results)


async def test_a_slow_function_is_given_a_rest_and_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, written = await _written_with(Slow(1.0), monkeypatch)
    assert written < 3 * ALLOWANCE
    assert calls == written + 1


async def test_without_the_allowance_a_slow_function_holds_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerpouch.query.validation.ALLOWANCE", float("inf"))
    assert await _written_with(Slow(1.0), monkeypatch) == (51, 50)


async def test_a_misbehaving_function_costs_another_database_nothing() -> None:
    async with await opened(design(FOREVER), seconds=1.0) as one, await opened(design(NAMED)) as other:
        slow = asyncio.ensure_future(one.bulk_docs([{"_id": "a", "slow": True}]))
        written = await other.bulk_docs([{"_id": str(n), "author": "x"} for n in range(20)])
        assert all(isinstance(each, Written) for each in written)
        assert not slow.done()
        (result,) = await slow
        assert isinstance(result, WriteFailure)


async def test_a_served_folder_validates(tmp_path: Path) -> None:
    admin = User("root", frozenset({"_admin"}))
    async with FolderRegistry(tmp_path, Settings.load(tmp_path)) as registry:
        await registry.create("birds", admin)
        database = await registry.open("birds", admin)
        await database.put(design(TELL))
        assert (await told(database, {"_id": "a"}))[2] == {"db": "birds", "name": "root", "roles": ["_admin"]}


async def test_open_validates_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with peerpouch.open(path, validate=True) as database:
        await database.put(design(NAMED))
        with pytest.raises(Forbidden):
            await database.put({"_id": "a"})
    async with peerpouch.open(path) as database:
        await database.put({"_id": "a"})


def started(database: LocalDatabase) -> bool:
    """Whether the worker of its functions runs."""
    runner = database._guard_runner
    assert isinstance(runner, QuickJSBlockingRunner)
    return runner._process is not None


async def test_the_worker_is_there_before_the_first_write_that_needs_it() -> None:
    async with await opened() as database:
        await database.put({"_id": "plain"})
        assert not started(database)
        await database.put(design(NAMED))
        assert started(database)
    async with await opened(design(NAMED)) as database:
        assert started(database)
