"""Every method of the port, with every parameter, for every kind of document and access."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import apsw
import pytest

from peerpouch.access.gate import METHODS
from peerpouch.core.policy import Access
from peerpouch.errors import PeerPouchError
from peerpouch.ports import AllDocs, Attachment, Changes, Database, RevisionRequest
from tests.access.world import ABSENT, EVERY, HIDDEN, LEFT, RED, SECRET, VISIBLE, World, made

LIMITED = Access(select=RED)
READ_ONLY = Access(write=False, select=RED)


def revs_of(world: World, doc_id: str) -> list[str]:
    """All revisions of a document, hidden and old ones too, which an attacker may have guessed."""
    known = list(world.revs.get(doc_id, ()))
    if doc_id == "conflicted":
        known += [f"1-{'b2' * 16}", f"2-{'c3' * 16}", f"1-{'d4' * 16}"]
    return [*known, "1-" + "0" * 32]


Positional = Callable[[World, str], list[tuple[Any, ...]]]

READS: dict[str, Positional] = {
    "id": lambda world, doc_id: [()],
    "info": lambda world, doc_id: [()],
    "get": lambda world, doc_id: [(doc_id,)],
    "open_revs": lambda world, doc_id: [(doc_id,), *((doc_id, [rev]) for rev in revs_of(world, doc_id))],
    "bulk_get": lambda world, doc_id: [
        ([RevisionRequest(doc_id)],),
        *(([RevisionRequest(doc_id, rev)],) for rev in revs_of(world, doc_id)),
        ([RevisionRequest("visible"), RevisionRequest(doc_id), RevisionRequest("visible")],),
    ],
    "read_plain": lambda world, doc_id: [({doc_id: rev},) for rev in revs_of(world, doc_id)],
    "revs_diff": lambda world, doc_id: [({doc_id: revs_of(world, doc_id)},)],
    "missing_revs": lambda world, doc_id: [({doc_id: revs_of(world, doc_id)},)],
    "all_docs": lambda world, doc_id: [()],
    "changes": lambda world, doc_id: [()],
    "get_attachment": lambda world, doc_id: [(doc_id, "note")],
    "get_revs_limit": lambda world, doc_id: [()],
    "find": lambda world, doc_id: [({"_id": doc_id},), ({"word": {"$regex": "SECR"}},), ({"team": {"$ne": "red"}},)],
    "explain": lambda world, doc_id: [({"_id": doc_id},)],
    "get_indexes": lambda world, doc_id: [()],
    "query": lambda world, doc_id: [("app/words",), ("app/linked",), ("app/counted",), ("_design/app/words",)],
}
"""What reads, with its positional arguments."""

WRITES = {
    "bulk_docs", "put", "post", "remove", "put_attachment", "remove_attachment", "run_update", "check_write",
    "write_plain",
}  # fmt: skip
"""Tried in test_writes."""

REFUSED = {
    "get_security", "put_security", "put_revs_limit", "purge", "compact", "destroy", "create_index", "delete_index",
    "view_cleanup",
}  # fmt: skip
"""Forbidden to everybody who has no administration; tried in test_gate."""

OWN = {"name", "close", "local_docs"}

Values = Callable[[World, str], list[Any]]
FLAG: Values = lambda world, doc_id: [True]  # noqa: E731
PARAMETERS: dict[str, Values] = {
    "rev": revs_of,
    "revs": lambda world, doc_id: [revs_of(world, doc_id)],
    "revs_info": FLAG,
    "conflicts": FLAG,
    "deleted_conflicts": FLAG,
    "latest": FLAG,
    "local_seq": FLAG,
    "attachments": lambda world, doc_id: [True, "bytes"],
    "atts_since": lambda world, doc_id: [revs_of(world, doc_id)],
    "with_revisions": FLAG,
    "keys": lambda world, doc_id: [[doc_id], ["visible", doc_id, "deleted"]],
    "startkey": lambda world, doc_id: ["", doc_id],
    "endkey": lambda world, doc_id: [doc_id, "\uffff"],
    "inclusive_end": lambda world, doc_id: [False],
    "descending": FLAG,
    "skip": lambda world, doc_id: [1],
    "limit": lambda world, doc_id: [1, 2],
    "include_docs": FLAG,
    "update_seq": FLAG,
    "since": lambda world, doc_id: ["now", 1],
    "live": FLAG,
    "style": lambda world, doc_id: ["all_docs"],
    "doc_ids": lambda world, doc_id: [[doc_id]],
    "selector": lambda world, doc_id: [{"word": {"$regex": "SECR"}}, {"_id": doc_id}],
    "filter": lambda world, doc_id: ["_design", "app/all", lambda doc: True],
    "query": lambda world, doc_id: [{"a": "b"}],
    "heartbeat": lambda world, doc_id: [0.002],
    "timeout": lambda world, doc_id: [0.002],
    "seq_interval": lambda world, doc_id: [2],
    "batch_size": lambda world, doc_id: [1],
    "start": lambda world, doc_id: [1],
    "end": lambda world, doc_id: [3],
    "encoded": FLAG,
    "fields": lambda world, doc_id: [["word"], ["_id", "word"]],
    "sort": lambda world, doc_id: [["_id"]],
    "use_index": lambda world, doc_id: ["app", ["app", "words"]],
    "bookmark": lambda world, doc_id: ["nil"],
    "execution_stats": FLAG,
    "reduce": lambda world, doc_id: [False, True, "_count"],
    "key": lambda world, doc_id: ["SECRET", "plain"],
    "startkey_docid": lambda world, doc_id: [doc_id],
    "endkey_docid": lambda world, doc_id: [doc_id],
    "group": FLAG,
    "group_level": lambda world, doc_id: [1],
    "update": lambda world, doc_id: ["false", "lazy"],
}
POSITIONAL = {"self", "doc_id", "requests", "name", "selector", "view", "revs"}


def parameters(method: str) -> list[str]:
    found = inspect.signature(getattr(Database, method)).parameters
    return [name for name, each in found.items() if each.kind is inspect.Parameter.KEYWORD_ONLY]


def test_every_method_and_every_parameter_is_in_the_matrix() -> None:
    assert {*READS, *WRITES, *REFUSED, *OWN} == set(METHODS)
    for method in READS:
        assert set(parameters(method)) <= set(PARAMETERS), method
        found = inspect.signature(getattr(Database, method)).parameters
        assert set(found) - set(parameters(method)) <= POSITIONAL, method


def attempts(
    world: World, method: str, doc_id: str, pairs: bool = False
) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Calls of a method: plain, with each parameter, and with pairs of a flag and another parameter."""
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for arguments in READS[method](world, doc_id):
        calls.append((method, arguments, {}))
        for name in parameters(method):
            for value in PARAMETERS[name](world, doc_id):
                options = {name: value}
                if name in ("live", "heartbeat"):
                    options = {"live": True, "timeout": 0.002, name: value}
                calls.append((method, arguments, options))
                for more in ("include_docs", "attachments", "latest", "revs", "descending") if pairs else ():
                    if more not in parameters(method) or more == name:
                        continue
                    extra: Any = PARAMETERS[more](world, doc_id)[0] if more != "revs" else True
                    if not (more == "descending" and options.get("live")):
                        calls.append((method, arguments, {**options, more: extra}))
    return calls


async def outcome(database: Database, method: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """All that a call gives, as text; an error is a result too."""
    try:
        result = getattr(database, method)(*arguments, **options)
        if isinstance(result, (AllDocs, Changes)) or inspect.isasyncgen(result):
            head = await result.head() if isinstance(result, AllDocs) else None
            items = [item async for item in result]
            more = (result.last_seq, result.pending) if isinstance(result, Changes) else None
            return shown([head, items, more])
        result = await result
        if isinstance(result, Attachment):
            return shown([result.name, result.length, result.digest, await result.read()])
        return shown(result)
    except PeerPouchError as error:
        return f"{type(error).__name__}: {error.reason}"


def shown(value: Any) -> str:
    return json.dumps(value, default=lambda each: each.decode() if isinstance(each, bytes) else repr(each))


def without_echo(text: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> str:
    """A question may contain the word, and be repeated in the answer."""
    return (
        text if "SECR" not in shown([arguments, options]) else text.replace("SECR", "", text.count('"$regex": "SECR"'))
    )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with made() as world:
        yield world


@pytest.mark.parametrize("access", [LIMITED, READ_ONLY], ids=["read-write", "read-only"])
@pytest.mark.parametrize("method", sorted(READS))
async def test_nothing_hidden_is_in_any_answer(world: World, method: str, access: Access) -> None:
    gate = world.visit(access)
    for doc_id in EVERY:
        pairs = doc_id in ("hidden", "edited", "conflicted", LEFT)
        for name, arguments, options in attempts(world, method, doc_id, pairs):
            text = await outcome(gate, name, arguments, options)
            assert SECRET not in without_echo(text, arguments, options), (doc_id, name, arguments, options, text)


async def test_without_the_selector_the_same_calls_give_what_is_hidden_away(world: World) -> None:
    leaks = set()
    for method in READS:
        for doc_id in ("hidden", "edited", "conflicted", LEFT):
            for name, arguments, options in attempts(world, method, doc_id):
                if not options.get("live") and SECRET in await outcome(world.owner, name, arguments, options):
                    leaks.add(method)
    assert leaks >= {"get", "open_revs", "bulk_get", "all_docs", "changes", "get_attachment", "find", "query"}


def anonymous(method: str, text: str, doc_id: str) -> str:
    if method == "query":  # it is not asked about documents, and the value of a row names one
        return text
    return text.replace(json.dumps(doc_id), '"*"').replace(repr(doc_id), "'*'")


@pytest.mark.parametrize("method", sorted(READS))
@pytest.mark.parametrize("hidden", HIDDEN)
async def test_hidden_and_absent_documents_give_equal_answers(world: World, method: str, hidden: str) -> None:
    gate = world.visit(LIMITED)
    world.revs[ABSENT] = world.revs[hidden]  # so that the same revisions are guessed of both
    asked = zip(attempts(world, method, hidden), attempts(world, method, ABSENT), strict=True)
    for (name, arguments, options), (_, other_arguments, other_options) in asked:
        if {"startkey", "endkey", "startkey_docid", "endkey_docid"} & options.keys():
            continue  # a place in the order, which depends on the text
        there = await outcome(gate, name, arguments, options)
        absent = await outcome(gate, name, other_arguments, other_options)
        assert anonymous(name, there, hidden) == anonymous(name, absent, ABSENT), (name, arguments, options)


async def test_hidden_and_absent_documents_cost_the_same_statements() -> None:
    count = 0

    def trace(*_: Any) -> bool:
        nonlocal count
        count += 1
        return True

    def hook(connection: apsw.Connection) -> None:
        connection.exec_trace = trace

    apsw.connection_hooks.append(hook)
    try:
        async with made() as world:
            gate = world.visit(LIMITED)

            async def cost(method: str, *arguments: Any, **options: Any) -> int:
                await outcome(gate, method, arguments, options)  # what is prepared and remembered once
                nonlocal count
                count = 0
                await outcome(gate, method, arguments, options)
                return count

            for method, options in (
                ("get", {}), ("get", {"revs": True}), ("get", {"attachments": True}), ("get", {"rev": "1-" + "0" * 32}),
                ("open_revs", {}),
            ):  # fmt: skip
                costs = {
                    doc_id: await cost(method, doc_id, **options) for doc_id in ("hidden", "deleted-hidden", ABSENT)
                }
                assert len(set(costs.values())) == 1, (method, options, costs)
                assert costs[ABSENT] > 0
            assert await cost("get_attachment", "hidden", "note") == await cost("get_attachment", ABSENT, "note")
            for method in ("revs_diff", "missing_revs"):
                one, other = [await cost(method, {doc_id: ["1-a"]}) for doc_id in ("hidden", ABSENT)]
                assert one == other
            for method, given in (
                ("bulk_get", lambda doc_id: (([RevisionRequest(doc_id)],), {})),
                ("bulk_get", lambda doc_id: (([RevisionRequest(doc_id, "1-" + "0" * 32)],), {"revs": True})),
                ("all_docs", lambda doc_id: ((), {"keys": [doc_id, "visible"], "include_docs": True})),
                ("changes", lambda doc_id: ((), {"doc_ids": [doc_id], "include_docs": True})),
                ("changes", lambda doc_id: ((), {"selector": {"_id": doc_id}})),
                ("find", lambda doc_id: (({"_id": doc_id},), {})),
                ("find", lambda doc_id: (({"word": "SECRET", "_id": doc_id},), {})),
            ):
                costs = {}
                for doc_id in ("hidden", "deleted-hidden", ABSENT):
                    arguments, named = given(doc_id)
                    costs[doc_id] = await cost(method, *arguments, **named)
                assert len(set(costs.values())) == 1, (method, costs)
            # The twin: the owner's own reads of a document with an attachment cost more than of one that is not there.
            gate = world.owner  # type: ignore[assignment]
            assert await cost("get", "hidden") != await cost("get", ABSENT)
    finally:
        apsw.connection_hooks.remove(hook)


async def test_what_is_visible_is_given(world: World) -> None:
    gate = world.visit(LIMITED)
    assert (await gate.get("visible"))["word"] == "plain"
    assert (await gate.get("conflicted"))["_rev"] == f"1-{'b2' * 16}"
    rows = (await gate.all_docs())["rows"]
    assert [row["id"] for row in rows] == ["conflicted", "edited", "visible"]
    changed = {change["id"]: change.get("deleted", False) async for change in gate.changes()}
    assert changed == {"conflicted": False, "edited": False, "visible": False, "deleted": True}
    assert set(changed) == set(VISIBLE)
    info = await gate.info()
    assert (info["doc_count"], info["doc_del_count"]) == (3, 1)
    assert await (await gate.get_attachment("visible", "note")).read() == b"plain text"
