"""The gate lets through what the policy allows, and nothing else."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import Any

import pytest

from peerpouch.access import limitedqueries
from peerpouch.access.gate import METHODS, GatedDatabase
from peerpouch.core.policy import Access, Action
from peerpouch.errors import DatabaseClosed, Forbidden, NotFound
from peerpouch.ports import (
    AllDocs,
    Attachment,
    Changes,
    Database,
    Peer,
    PlainRevisions,
    RevisionRequest,
    WriteFailure,
    Written,
)

PEER = Peer(b"k" * 32, "session")
READ_WRITE = Access.parse("read-write")
READ_ONLY = Access.parse("read-only")

CALLS: dict[str, Callable[[Database], Any]] = {
    "name": lambda db: db.name,
    "id": lambda db: db.id(),
    "info": lambda db: db.info(),
    "get": lambda db: db.get("a"),
    "open_revs": lambda db: db.open_revs("a"),
    "bulk_docs": lambda db: db.bulk_docs([{"_id": "a"}]),
    "check_write": lambda db: db.check_write("a"),
    "bulk_get": lambda db: db.bulk_get([RevisionRequest("a")]),
    "read_plain": lambda db: db.read_plain({"a": "1-a"}),
    "revs_diff": lambda db: db.revs_diff({"a": ["1-x"]}),
    "missing_revs": lambda db: db.missing_revs({"a": ["1-x"]}),
    "all_docs": lambda db: db.all_docs(),
    "changes": lambda db: db.changes(),
    "get_attachment": lambda db: db.get_attachment("a", "n"),
    "local_docs": lambda db: db.local_docs(),
    "get_security": lambda db: db.get_security(),
    "put_security": lambda db: db.put_security({}),
    "get_revs_limit": lambda db: db.get_revs_limit(),
    "put_revs_limit": lambda db: db.put_revs_limit(1),
    "purge": lambda db: db.purge({"a": ["1-x"]}),
    "compact": lambda db: db.compact(),
    "close": lambda db: db.close(),
    "destroy": lambda db: db.destroy(),
    "write_plain": lambda db: db.write_plain(PlainRevisions(["d"], ["1-a"], [""], [b"{}"])),
    "put": lambda db: db.put({"_id": "c"}),
    "post": lambda db: db.post({}),
    "remove": lambda db: db.remove("a", "0-1"),
    "put_attachment": lambda db: db.put_attachment("b", "n", b""),
    "remove_attachment": lambda db: db.remove_attachment("a", "n", "0-1"),
    "find": lambda db: db.find({}),
    "explain": lambda db: db.explain({}),
    "create_index": lambda db: db.create_index(["a"]),
    "get_indexes": lambda db: db.get_indexes(),
    "delete_index": lambda db: db.delete_index("d", "n"),
    "query": lambda db: db.query("d/v"),
    "run_update": lambda db: db.run_update("d/f", None, {}),
    "view_cleanup": lambda db: db.view_cleanup(),
}


async def finish(result: Any) -> Any:
    """Whatever a method of the port gives, to its end."""
    if isinstance(result, Attachment | AllDocs | Changes) or inspect.isasyncgen(result):
        return [item async for item in result]
    result = await result if inspect.isawaitable(result) else result
    if isinstance(result, Attachment):
        return await result.read()
    return [item.error for item in result if isinstance(item, WriteFailure)] if isinstance(result, list) else result


def public_methods() -> set[str]:
    return {name for name in dir(Database) if not name.startswith("_")}


def test_every_method_of_the_port_is_classified() -> None:
    assert set(METHODS) == public_methods()
    assert set(CALLS) == public_methods()


def test_every_method_is_gated_or_made_of_gated_ones() -> None:
    made_of_others = {"put", "post", "remove", "missing_revs", "put_attachment", "remove_attachment", "write_plain"}
    for name in public_methods() - made_of_others:
        assert any(name in vars(cls) for cls in GatedDatabase.__mro__[:2]), name
    for name in made_of_others:
        assert getattr(GatedDatabase, name) is getattr(Database, name), name


@pytest.mark.parametrize(("name", "flags"), list(product(sorted(CALLS), product([False, True], repeat=3))))
async def test_a_method_reaches_the_owners_database_only_if_its_action_is_allowed(
    database: Any, name: str, flags: tuple[bool, bool, bool]
) -> None:
    await database.put({"_id": "a", "_attachments": {"n": {"stub": True}}})
    database.calls.clear()
    access = Access(*flags)
    gate = GatedDatabase(database, PEER, access, name="share")
    refused = None
    try:
        result = await finish(CALLS[name](gate))
        if isinstance(result, list) and result and isinstance(result[0], Forbidden):
            refused = result[0]
    except Forbidden as error:
        refused = error
    allowed = access.allows(METHODS[name]) or METHODS[name] is Action.OWN
    if name in ("put_attachment", "remove_attachment"):  # they read the document first
        allowed = allowed and access.allows(Action.READ)
    if name == "local_docs":
        allowed = access.allows(Action.OWN)
    assert (refused is None) is allowed
    if refused is not None and not name.endswith("_attachment"):
        assert database.calls == []
    assert not database.closed


async def test_without_the_gate_a_visitor_destroys_the_database(database: Any) -> None:
    await database.destroy()
    assert database.calls == ["destroy"]


async def test_closing_the_gate_ends_the_visit_and_leaves_the_owners_database_open(database: Any) -> None:
    gate = GatedDatabase(database, PEER, READ_WRITE, name="share")
    await gate.close()
    assert not database.closed
    for name in public_methods() - {"name", "close"}:
        with pytest.raises(DatabaseClosed):
            result = await finish(CALLS[name](gate))
            if isinstance(result, list) and result:
                raise result[0]
    assert database.calls == []


async def test_the_owners_name_for_the_database_is_not_told(database: Any) -> None:
    gate = GatedDatabase(database, PEER, READ_ONLY, name="share")
    assert gate.name == "share"
    assert (await gate.info())["db_name"] == "share"
    assert await gate.id() == "the-id"


async def test_refused_documents_of_a_batch_are_forbidden_one_by_one_and_in_order(database: Any) -> None:
    gate = GatedDatabase(database, PEER, READ_WRITE, name="share")
    results = await gate.bulk_docs([{"_id": "a"}, {"_id": "_design/x"}, {"_id": "_local/l"}, {"_id": "b"}])
    assert [result.id for result in results] == ["a", "_design/x", "_local/l", "b"]
    assert [type(result) for result in results] == [Written, WriteFailure, Written, Written]
    assert isinstance(results[1], WriteFailure) and isinstance(results[1].error, Forbidden)
    assert "write _design/x" not in database.calls and "write _local/l" not in database.calls


async def test_a_replicated_document_that_is_refused_is_named_with_its_revision(database: Any) -> None:
    gate = GatedDatabase(database, PEER, READ_ONLY, name="share")
    (result,) = await gate.bulk_docs([{"_id": "a", "_rev": "3-abc"}], new_edits=False)
    assert isinstance(result, WriteFailure)
    assert (result.id, result.rev, type(result.error)) == ("a", "3-abc", Forbidden)


async def test_a_visitor_that_may_only_read_may_still_keep_checkpoints(database: Any) -> None:
    gate = GatedDatabase(database, PEER, READ_ONLY, name="share")
    written = await gate.put({"_id": "_local/checkpoint", "seq": 7})
    assert (await gate.get("_local/checkpoint"))["seq"] == 7
    await gate.put({"_id": "_local/checkpoint", "_rev": written.rev, "seq": 8})
    rows = (await gate.local_docs(include_docs=True))["rows"]
    assert [(row["id"], row["doc"] and row["doc"]["seq"]) for row in rows] == [("_local/checkpoint", 8)]


async def test_the_owners_local_documents_cannot_be_reached_by_any_method(database: Any) -> None:
    await database.put({"_id": "_local/secret", "word": "xyzzy"})
    database.calls.clear()
    gate = GatedDatabase(database, PEER, READ_WRITE, name="share")
    with pytest.raises(NotFound):
        await gate.get("_local/secret")
    with pytest.raises(NotFound):
        await gate.open_revs("_local/secret")
    with pytest.raises(NotFound):
        await gate.get_attachment("_local/secret", "n")
    requests = [RevisionRequest("a"), RevisionRequest("_local/secret"), RevisionRequest("b")]
    found = [result async for result in gate.bulk_get(requests)]
    assert [(result.id, result.doc is None) for result in found] == [
        ("a", False),
        ("_local/secret", True),
        ("b", False),
    ]
    assert await gate.revs_diff({"_local/secret": ["0-1"]}) == {}
    with pytest.raises(Forbidden):
        await gate.all_docs(keys=["_local/secret"])
    assert not any("secret" in call for call in database.calls)
    await gate.put({"_id": "_local/secret", "word": "mine"})
    assert database.docs["_local/secret"]["word"] == "xyzzy"


async def test_without_the_gate_the_owners_local_documents_are_read(database: Any) -> None:
    await database.put({"_id": "_local/secret", "word": "xyzzy"})
    assert (await database.get("_local/secret"))["word"] == "xyzzy"


async def test_revoking_ends_a_live_feed_with_the_reason(database: Any) -> None:
    gate = GatedDatabase(database, PEER, READ_WRITE, name="share")
    feed = gate.changes(live=True)
    seen: list[str] = []
    arrived = asyncio.Event()

    async def follow() -> None:
        async for change in feed:
            seen.append(change["id"])
            arrived.set()

    task = asyncio.ensure_future(follow())
    await arrived.wait()
    gate.revoke("Enough.")
    with pytest.raises(Forbidden, match="Enough"):
        await task
    assert seen == ["a"]
    with pytest.raises(Forbidden, match="Enough"):
        await gate.get("a")


async def test_revoking_stops_a_listing_and_an_attachment_between_two_pages(database: Any) -> None:
    for what in ("all_docs", "attachment", "bulk_get"):
        gate = GatedDatabase(database, PEER, READ_WRITE, name="share")
        stream: Any
        if what == "all_docs":
            stream = gate.all_docs().pages()
        elif what == "bulk_get":
            stream = gate.bulk_get([RevisionRequest("a"), RevisionRequest("b")])
        else:
            stream = aiter(await gate.get_attachment("a", "n"))
        await anext(stream)
        gate.revoke()
        with pytest.raises(Forbidden):
            await anext(stream)
        with suppress(StopAsyncIteration):
            await stream.aclose()


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        ("function (doc) { emit(doc.a, doc . b.c); }", True),
        ("function named(doc) { if (doc._id > 'a') emit(doc.type, 1); }", True),
        ("doc => emit(doc.a, document)", True),
        ("(d) => { emit(d.a, {doc: 1}); }", True),
        ("function (doc) { emit(doc._id, doc); }", False),
        ("function (doc) { for (var name in doc) emit(name); }", False),
        ("function (doc) { emit(doc['_con' + 'flicts']); }", False),
        ("function (doc) { emit(doc._conflicts); }", False),
        ("function (doc) { emit(doc. _c\\u006fnflicts); }", False),
        ("function (doc) { emit(arguments[0]); }", False),
        ("function (a, doc) { emit(a.b); }", False),
        ("function (...all) { emit(all[0]); }", False),
        ("function ({_id}) { emit(_id); }", False),
        ("(function () { return function (doc) { emit(doc.a); }; })()", False),
    ],
)
def test_it_is_known_which_views_may_tell_of_conflicts(source: str, plain: bool) -> None:
    assert limitedqueries._plain(source) is plain
