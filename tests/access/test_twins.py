"""What the gate stops, tried as the visitor; each with a twin in which that one defence is taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from peerpouch.access import gate, guests, limitedqueries, validation, writes
from peerpouch.access.gate import GatedDatabase
from peerpouch.access.selection import Selection
from peerpouch.core.policy import Access
from peerpouch.errors import Forbidden, PeerPouchError
from peerpouch.ports import Peer, Proposal, RevisionRequest, Written
from tests.access.test_routes import PATHS, Visitor
from tests.access.world import LEFT, RED, SECRET, World, made

LIMITED = Access(select=RED)


async def writes_what_does_not_match(world: World) -> bool:
    (result,) = await world.visit(LIMITED).bulk_docs([{"_id": "new", "team": "blue"}])
    return isinstance(result, Written)


async def moves_a_document_out_of_the_selection(world: World) -> bool:
    (result,) = await world.visit(LIMITED).bulk_docs(
        [{"_id": "visible", "_rev": world.revs["visible"][-1], "team": "blue"}]
    )
    return isinstance(result, Written)


async def writes_what_validate_fails_on(world: World) -> bool:
    def fails(*given: Any) -> None:
        raise ValueError

    (result,) = await world.visit(Access(validate=fails)).bulk_docs([{"_id": "new"}])
    return isinstance(result, Written)


async def writes_a_design_document(world: World) -> bool:
    (result,) = await world.visit(Access()).bulk_docs([{"_id": "_design/mine"}])
    return isinstance(result, Written)


async def writes_where_it_may_only_read(world: World) -> bool:
    (result,) = await world.visit(Access(write=False)).bulk_docs([{"_id": "new"}])
    return isinstance(result, Written)


async def reads_on_after_it_was_revoked(world: World) -> bool:
    visitor = world.visit(Access())
    read = 0
    try:
        async for _ in visitor.bulk_get([RevisionRequest("visible"), RevisionRequest("edited")]):
            read += 1
            visitor.revoke()
    except Forbidden:
        pass
    return read == 2


async def follows_on_after_it_was_revoked(world: World) -> bool:
    visitor = world.visit(Access())
    feed = visitor.changes(since=(await world.owner.info())["update_seq"], live=True)
    following = asyncio.ensure_future(anext(aiter(feed)))
    await asyncio.sleep(0)
    while not visitor._feeds:
        await asyncio.sleep(0)
    visitor.revoke()
    await world.owner.put({"_id": "later"})
    try:
        return (await following)["id"] == "later"
    except PeerPouchError:
        return False


async def leaves_more_than_its_share(world: World) -> bool:
    visitor = world.visit(Access(write=False))
    for number in range(40):
        await visitor.bulk_docs([{"_id": f"_local/{number}"}])
    return len((await visitor.local_docs())["rows"]) == 40


async def leaves_large_ones(world: World) -> bool:
    (result,) = await world.visit(Access()).bulk_docs([{"_id": "_local/x", "text": "x" * (1 << 20)}])
    return isinstance(result, Written)


async def reads_another_visitors_checkpoint(world: World) -> bool:
    await world.visit(Access()).put({"_id": "_local/mine", "text": "private"})
    try:
        return bool((await world.visit(Access(), Peer(b"m" * 32, "s")).get("_local/mine"))["text"])
    except PeerPouchError:
        return False


async def reads_by_some_spelling_of_a_path(world: World) -> bool:
    visitor = Visitor(world, LIMITED)
    answers = [await visitor.ask("GET", path) for path in PATHS]
    return any(SECRET in answer for _, answer in answers)


async def sees_a_document_that_left(world: World) -> bool:
    try:
        return SECRET in str(await world.visit(LIMITED).get(LEFT))
    except PeerPouchError:
        return False


async def sees_more_than_that_a_document_was_deleted(world: World) -> bool:
    found = await world.visit(LIMITED).open_revs("deleted", "all")
    return SECRET in str([result.doc for result in found])


async def learns_of_hidden_writes_by_sequences(world: World) -> bool:
    visitor = world.visit(LIMITED)
    before = await visitor.info()
    await world.owner.put({"_id": "more", "team": "blue"})
    return await visitor.info() != before


async def asks_queries_that_were_not_offered(world: World) -> bool:
    try:
        return bool((await world.visit(Access(queries=["app/counted"])).query("app/words"))["rows"])
    except Forbidden:
        return False


async def filters_by_a_function_of_the_owners(world: World) -> bool:
    try:
        return bool([change async for change in world.visit(LIMITED).changes(filter="app/all")])
    except Forbidden:
        return False


async def reads_of_a_hidden_conflict_in_a_row(world: World) -> bool:
    whole = {"map": "function (doc) { if (doc.team) emit(doc._id, doc); }"}
    await world.owner.put({"_id": "_design/whole", "views": {"docs": whole}})
    hidden = f"1-{'d4' * 16}"
    leaves = [{"_rev": f"2-{'c3' * 16}", "team": "red"}, {"_rev": hidden, "team": "blue"}]
    await world.owner.bulk_docs([{"_id": "both", **leaf} for leaf in leaves], new_edits=False)
    rows = (await world.visit(LIMITED).query("whole/docs"))["rows"]
    assert {"visible", "edited"} <= {row["id"] for row in rows}
    return hidden in str(rows)


class _Own:
    """In place of a limited database: the owner's, as it is."""

    def __new__(cls, database: Any, selection: Selection) -> Any:
        return database


def _open(self: GatedDatabase) -> None:
    """Revoking that only says so."""


def _unjudged(self: validation.Validation, proposal: Proposal) -> None: ...


def _nobody(*given: Any) -> None:
    return None


@dataclass
class Defence:
    """An attack, and what is patched to take away the defence that stops it."""

    attack: Callable[[World], Awaitable[bool]]
    patches: list[tuple[Any, str, Any]]


DEFENCES = [
    Defence(writes_what_does_not_match, [(writes._Judge, "__call__", _unjudged)]),
    Defence(moves_a_document_out_of_the_selection, [(writes._Judge, "__call__", _unjudged)]),
    Defence(writes_what_validate_fails_on, [(validation.Validation, "__call__", _unjudged)]),
    Defence(writes_a_design_document, [(Access, "refusal", _nobody)]),
    Defence(writes_where_it_may_only_read, [(Access, "refusal", _nobody)]),
    Defence(reads_on_after_it_was_revoked, [(GatedDatabase, "_shut", _open)]),
    Defence(follows_on_after_it_was_revoked, [(GatedDatabase, "_shut", _open)]),
    Defence(leaves_more_than_its_share, [(guests, "MAX_DOCS", 1 << 30)]),
    Defence(leaves_large_ones, [(guests, "MAX_BYTES", 1 << 30)]),
    Defence(reads_another_visitors_checkpoint, [(gate, "remembered_by", lambda principal: b"all")]),
    Defence(reads_by_some_spelling_of_a_path, [(gate, "LimitedDatabase", _Own)]),
    Defence(sees_a_document_that_left, [(Selection, "matches", lambda self, doc: True)]),
    Defence(sees_more_than_that_a_document_was_deleted, [("peerpouch.access.selection", "strip", lambda leaf: leaf)]),
    Defence(learns_of_hidden_writes_by_sequences, [(gate, "LimitedDatabase", _Own)]),
    Defence(asks_queries_that_were_not_offered, [(Access, "require_query", _nobody)]),
    Defence(reads_of_a_hidden_conflict_in_a_row, [(limitedqueries, "_plain", lambda source: True)]),
    Defence(filters_by_a_function_of_the_owners, [(gate, "LimitedDatabase", _Own)]),
]


def _name(defence: Defence) -> str:
    return defence.attack.__name__


@pytest.mark.parametrize("defence", DEFENCES, ids=_name)
async def test_no_visitor(defence: Defence) -> None:
    async with made() as world:
        assert not await defence.attack(world)


@pytest.mark.parametrize("defence", DEFENCES, ids=_name)
async def test_twin_without_the_defence_a_visitor(defence: Defence, monkeypatch: pytest.MonkeyPatch) -> None:
    async with made() as world:
        for where, name, instead in defence.patches:
            if isinstance(where, str):
                monkeypatch.setattr(f"{where}.{name}", instead)
            else:
                monkeypatch.setattr(where, name, instead)
        assert await defence.attack(world)
