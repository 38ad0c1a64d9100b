"""What a visitor who is limited by a selector may write, and what an attacker tries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.access import selection, writes
from peerpouch.access.gate import GatedDatabase
from peerpouch.core.policy import Access
from peerpouch.errors import BadRequest, Conflict, Forbidden, MissingStub, NotFound, NotSupported
from peerpouch.ports import Document, Peer, RevisionRequest, WriteFailure, Written
from tests.access.world import HIDDEN, LEFT, RED, World, attached, made

LIMITED = Access(select=RED)
HASH = "e5" * 16


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with made() as world:
        yield world


@pytest.fixture
def gate(world: World) -> GatedDatabase:
    return world.visit(LIMITED)


async def answer(gate: GatedDatabase, doc: Document, *, new_edits: bool = True) -> Any:
    (result,) = await gate.bulk_docs([doc], new_edits=new_edits)
    return type(result.error) if isinstance(result, WriteFailure) else Written


def overwrites(world: World, doc_id: str) -> list[tuple[Document, bool]]:
    """Ways to change, cover or delete a document whose revisions were guessed."""
    revs = [*world.revs[doc_id], None, f"1-{HASH}"]
    made: list[tuple[Document, bool]] = []
    for rev in revs:
        for fields in ({"team": "red", "mine": True}, {"_deleted": True}, {"team": "red", "_attachments": STUB}):
            doc: Document = {"_id": doc_id, **fields}
            if rev is not None:
                made.append(({**doc, "_rev": rev}, False))
                doc["_rev"] = rev
                start, item = int(rev.partition("-")[0]), rev.partition("-")[2]
                child = {"start": start + 1, "ids": [HASH, item]}
                made.append(({**doc, "_rev": f"{start + 1}-{HASH}", "_revisions": child}, False))
                long = {"start": 900, "ids": [HASH]}
                made.append(({**doc, "_rev": f"900-{HASH}", "_revisions": long}, False))
            made.append((doc, True))
    return made


STUB = {"note": {"stub": True}}


@pytest.mark.parametrize("doc_id", [*HIDDEN, LEFT])
async def test_what_can_not_be_seen_can_not_be_written_and_all_guesses_get_one_answer(
    world: World, gate: GatedDatabase, doc_id: str
) -> None:
    before = await world.hidden_state()
    for doc, new_edits in overwrites(world, doc_id):
        assert await answer(gate, dict(doc), new_edits=new_edits) is Forbidden, doc
    assert await world.hidden_state() == before


@pytest.mark.parametrize("doc_id", ["hidden", LEFT])
async def test_without_the_judgement_before_and_in_the_transaction_it_is_overwritten(
    world: World, gate: GatedDatabase, doc_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await world.hidden_state()
    monkeypatch.setattr(writes, "_refusal", lambda *_: None)
    monkeypatch.setattr(writes._Judge, "__call__", lambda *_: None)
    for doc, new_edits in overwrites(world, doc_id):
        await answer(gate, dict(doc), new_edits=new_edits)
    assert await world.hidden_state() != before


async def test_without_the_judgement_before_the_transaction_answers_confirm_guesses(
    world: World, gate: GatedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "_refusal", lambda *_: None)
    answers = {await answer(gate, dict(doc), new_edits=new_edits) for doc, new_edits in overwrites(world, "hidden")}
    assert len(answers) > 1


async def test_somebody_who_slips_between_judgement_and_transaction_is_stopped_in_it(
    world: World, gate: GatedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document is hidden after it was found to be visible."""
    write = world.owner.bulk_docs
    rev = (await world.owner.get("visible"))["_rev"]

    async def slipped(docs: Any, **options: Any) -> Any:
        nonlocal rev
        if options.get("guard") is not None:
            rev = (await world.owner.put({"_id": "visible", "_rev": rev, "team": "blue", "word": "SECRET"})).rev
            for doc in docs:
                doc["_rev"] = rev
        return await write(docs, **options)

    monkeypatch.setattr(world.owner, "bulk_docs", slipped)
    assert await answer(gate, {"_id": "visible", "_rev": rev, "team": "red"}) is Forbidden
    assert (await world.owner.get("visible"))["word"] == "SECRET"


async def test_what_is_written_must_match_the_selector(world: World, gate: GatedDatabase) -> None:
    assert await answer(gate, {"_id": "new", "team": "blue"}) is Forbidden
    rev = (await gate.get("visible"))["_rev"]
    assert await answer(gate, {"_id": "visible", "_rev": rev, "team": "blue"}) is Forbidden
    assert await answer(gate, {"_id": "visible", "_rev": rev}) is Forbidden
    assert await answer(gate, {"_id": "new", "_rev": f"1-{HASH}", "team": "blue"}, new_edits=False) is Forbidden
    with pytest.raises(NotFound):
        await world.owner.get("new")
    assert await answer(gate, {"_id": "new", "team": "red"}) is Written
    assert await answer(gate, {"_id": "visible", "_rev": rev, "team": "red", "n": 1}) is Written


async def test_a_visible_document_can_be_deleted_revived_and_is_told_as_deleted(gate: GatedDatabase) -> None:
    rev = (await gate.get("visible"))["_rev"]
    removed = await gate.remove("visible", rev)
    with pytest.raises(NotFound, match="deleted"):
        await gate.get("visible")
    assert await gate.get("visible", rev=removed.rev) == {"_id": "visible", "_rev": removed.rev, "_deleted": True}
    await gate.put({"_id": "visible", "team": "red"})
    assert (await gate.get("visible"))["team"] == "red"


async def test_a_deletion_of_what_never_was_is_the_visitors_own(gate: GatedDatabase) -> None:
    doc = {"_id": "gone", "_rev": f"2-{HASH}", "_deleted": True, "_revisions": {"start": 2, "ids": [HASH, "f6" * 16]}}
    assert await answer(gate, doc, new_edits=False) is Written
    assert await gate.revs_diff({"gone": [f"2-{HASH}"]}) == {}
    assert await answer(gate, {"_id": "gone", "team": "red"}) is Written


async def test_without_recording_it_that_id_could_never_be_written_again(
    gate: GatedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(*_: Any) -> None: ...

    monkeypatch.setattr(selection.Selection, "record", forget)
    doc = {"_id": "gone", "_rev": f"2-{HASH}", "_deleted": True, "_revisions": {"start": 2, "ids": [HASH, "f6" * 16]}}
    assert await answer(gate, doc, new_edits=False) is Written
    assert await answer(gate, {"_id": "gone", "team": "red"}) is Forbidden


async def test_a_hidden_winner_is_not_displaced_by_a_branch_of_its_own(world: World, gate: GatedDatabase) -> None:
    branch = {"_id": "conflicted", "_rev": f"9-{HASH}", "_revisions": {"start": 9, "ids": [HASH]}, "team": "red"}
    assert await answer(gate, branch, new_edits=False) is Forbidden
    assert (await world.owner.get("conflicted"))["team"] == "blue"


async def test_the_visible_leaf_beside_a_hidden_one_can_be_written_and_the_hidden_one_not(
    world: World, gate: GatedDatabase
) -> None:
    hidden = (await world.owner.get("conflicted"))["_rev"]
    for rev in (hidden, f"7-{HASH}"):
        assert await answer(gate, {"_id": "conflicted", "_rev": rev, "team": "red"}) is Conflict
        assert await answer(gate, {"_id": "conflicted", "_rev": rev, "_deleted": True}) is Conflict
    visible = (await gate.get("conflicted"))["_rev"]
    assert await answer(gate, {"_id": "conflicted", "_rev": visible, "team": "red", "n": 2}) is Written
    leaves = {result.rev for result in await world.owner.open_revs("conflicted")}
    assert hidden in leaves


def stealing(world: World, doc_id: str, rev: str | None, digest: str | None) -> Document:
    stub: Document = {"stub": True}
    if digest is not None:
        stub["digest"] = digest
    doc: Document = {"_id": doc_id, "team": "red", "_attachments": {"note": stub}}
    return doc if rev is None else {**doc, "_rev": rev}


async def test_a_stub_does_not_get_an_attachment_that_can_not_be_seen(world: World, gate: GatedDatabase) -> None:
    old = (await world.owner.get("edited", rev=world.revs["edited"][0]))["_attachments"]["note"]["digest"]
    rev = (await gate.get("edited"))["_rev"]
    for digest in (old, None, world.digest, "md5-AAAAAAAAAAAAAAAAAAAAAA=="):
        assert await answer(gate, stealing(world, "edited", rev, digest)) is MissingStub
        assert await answer(gate, stealing(world, "new", None, digest)) is MissingStub
    follows = stealing(world, "edited", rev, None)
    follows["_attachments"]["note"] = {"follows": True}
    assert await answer(gate, follows) is MissingStub


async def test_without_the_check_of_stubs_an_old_attachment_is_stolen(
    world: World, gate: GatedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writes, "_check_stubs", lambda *_: None)
    rev = (await gate.get("edited"))["_rev"]
    assert await answer(gate, stealing(world, "edited", rev, None)) is Written
    assert b"SECRET" in await (await gate.get_attachment("edited", "note")).read()


async def test_stubs_of_visible_attachments_are_kept(world: World, gate: GatedDatabase) -> None:
    rev = (await gate.get("visible"))["_rev"]
    assert await answer(gate, stealing(world, "visible", rev, None)) is Written
    assert await (await gate.get_attachment("visible", "note")).read() == b"plain text"
    assert await answer(gate, {"_id": "with", "team": "red", "_attachments": attached("new")}) is Written


async def test_documents_with_one_id_in_a_batch_are_judged_one_after_another(gate: GatedDatabase) -> None:
    path: list[dict[str, Any]] = [{"start": n, "ids": [f"{k}" * 32 for k in range(n, 0, -1)]} for n in (1, 2, 3)]
    docs: list[Document] = [
        {"_id": "many", "_rev": f"{p['start']}-{p['ids'][0]}", "_revisions": p, "team": "red"} for p in path
    ]
    results = await gate.bulk_docs(docs, new_edits=False)
    assert [type(result) for result in results] == [Written] * 3
    assert (await gate.get("many"))["_rev"] == f"3-{'3' * 32}"


async def test_refused_documents_do_not_stop_their_neighbours(gate: GatedDatabase) -> None:
    docs: list[Document] = [{"_id": "x", "team": "red"}, {"_id": "hidden", "team": "red"}, {"_id": "y", "team": "blue"}]
    results = await gate.bulk_docs([*docs, {"_id": "z", "team": "red"}])
    assert [isinstance(result, Written) for result in results] == [True, False, False, True]
    assert [result.id for result in results] == ["x", "hidden", "y", "z"]


# The owner's own judgement


async def test_validate_is_given_the_document_the_visible_leaves_and_the_writer(world: World) -> None:
    seen: list[tuple[Document, list[Document], Any]] = []

    def validate(new: Document, leaves: list[Document], peer: Any) -> None:
        seen.append((dict(new), [dict(leaf) for leaf in leaves], peer))
        new.clear()
        if seen[-1][0].get("n") == 1:
            raise Forbidden("Not this one.")

    gate = world.visit(Access(select=RED, validate=validate))
    rev = (await gate.get("conflicted"))["_rev"]
    assert await answer(gate, {"_id": "conflicted", "_rev": rev, "team": "red", "n": 1}) is Forbidden
    assert await answer(gate, {"_id": "conflicted", "_rev": rev, "team": "red", "n": 2}) is Written
    (new, leaves, peer), _ = seen
    assert new["n"] == 1 and new["_revisions"]["start"] == 2
    assert [leaf["_rev"] for leaf in leaves] == [rev]
    assert isinstance(peer, Peer)
    assert (await gate.get("conflicted"))["n"] == 2


@pytest.mark.parametrize("select", [None, RED])
async def test_validate_refuses_by_false_and_by_any_error_and_tells_no_more(world: World, select: Any) -> None:
    def validate(new: Document, leaves: list[Document], peer: Any) -> object:
        if new["n"] == 1:
            raise RuntimeError("the owner's SECRET")
        return new["n"] != 2

    gate = world.visit(Access(select=select, validate=validate))
    results = await gate.bulk_docs([{"_id": f"v{n}", "team": "red", "n": n} for n in (1, 2, 3)])
    assert [isinstance(result, Written) for result in results] == [False, False, True]
    for result in results[:2]:
        assert isinstance(result, WriteFailure) and isinstance(result.error, Forbidden)
        assert "SECRET" not in result.error.reason


# What can't be


async def test_a_selector_and_administration_exclude_each_other() -> None:
    with pytest.raises(BadRequest):
        Access(select=RED, admin=True)


async def test_a_database_that_is_not_in_a_file_here_is_not_limited_by_a_selector(database: Any) -> None:
    with pytest.raises(NotSupported, match="replicate"):
        GatedDatabase(database, Peer(b"k" * 32, "s"), LIMITED, name="share")


async def test_a_visitor_of_bulk_get_that_mixes_documents_gets_them_in_order(gate: GatedDatabase) -> None:
    requests = [RevisionRequest(each) for each in ("visible", "hidden", "visible", "visible", "deleted", "absent")]
    found = [result async for result in gate.bulk_get(requests)]
    assert [(each.id, each.doc is not None) for each in found] == [
        ("visible", True), ("hidden", False), ("visible", True),
        ("visible", True), ("deleted", True), ("absent", False),
    ]  # fmt: skip


@pytest.mark.parametrize("access", [Access(), Access(write=False), Access(select=RED)], ids=["all", "read", "limited"])
@pytest.mark.parametrize("new_edits", [True, False])
async def test_what_is_no_document_is_refused_beside_its_neighbours(access: Access, new_edits: bool) -> None:
    async with made() as world:
        wrong: list[Any] = [7, None, ["_id"], "text"]
        good = {"_id": "good", "_rev": "1-a", "team": "red"} if not new_edits else {"_id": "good", "team": "red"}
        results = await world.visit(access).bulk_docs([*wrong, good], new_edits=new_edits)
        assert all(isinstance(result, WriteFailure) for result in results[:4])
        assert isinstance(results[4], Written) is access.write
