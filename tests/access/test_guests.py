"""Visitors' _local documents: each one's own, and bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerpouch.access import guests
from peerpouch.access.gate import GatedDatabase
from peerpouch.access.guests import GuestDocs
from peerpouch.core.policy import Access
from peerpouch.errors import Conflict, InvalidDocument, NotFound, TooLarge
from peerpouch.ports import Peer, User


async def test_revisions_count_up_and_a_stale_one_conflicts(database: Any) -> None:
    docs = GuestDocs(database, b"alice")
    assert (await docs.put({"_id": "_local/c", "n": 1})).rev == "0-1"
    with pytest.raises(Conflict):
        await docs.put({"_id": "_local/c", "n": 2})
    assert (await docs.put({"_id": "_local/c", "_rev": "0-1", "n": 2})).rev == "0-2"
    with pytest.raises(Conflict):
        await docs.put({"_id": "_local/c", "_rev": "0-1", "n": 3})
    assert await docs.get("_local/c") == {"_id": "_local/c", "_rev": "0-2", "n": 2}
    with pytest.raises(NotFound):
        await docs.get("_local/c", rev="0-1")


async def test_a_deleted_document_is_gone(database: Any) -> None:
    docs = GuestDocs(database, b"alice")
    rev = (await docs.put({"_id": "_local/c"})).rev
    await docs.put({"_id": "_local/c", "_rev": rev, "_deleted": True})
    with pytest.raises(NotFound):
        await docs.get("_local/c")
    assert await docs.all() == []


async def test_one_visitor_neither_sees_nor_overwrites_anothers(database: Any) -> None:
    for other in (Peer(b"b" * 32, "s"), User("k" * 32)):
        mine = GatedDatabase(database, Peer(b"k" * 32, "s"), Access(), name="share")
        theirs = GatedDatabase(database, other, Access(), name="share")
        await mine.put({"_id": f"_local/{other}", "of": "me"})
        with pytest.raises(NotFound):
            await theirs.get(f"_local/{other}")
        await theirs.put({"_id": f"_local/{other}", "of": "them"})
        assert (await mine.get(f"_local/{other}"))["of"] == "me"


async def test_without_a_separate_key_one_visitor_reads_anothers(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerpouch.access.gate.remembered_by", lambda principal: b"everybody")
    mine = GatedDatabase(database, Peer(b"k" * 32, "s"), Access(), name="share")
    theirs = GatedDatabase(database, Peer(b"b" * 32, "s"), Access(), name="share")
    await mine.put({"_id": "_local/c", "of": "me"})
    assert (await theirs.get("_local/c"))["of"] == "me"


async def test_a_later_session_finds_what_an_earlier_one_left_and_a_changed_policy_starts_over(database: Any) -> None:
    first = GatedDatabase(database, Peer(b"k" * 32, "one"), Access(write=False), name="share")
    await first.put({"_id": "_local/c", "seq": 5})
    again = GatedDatabase(database, Peer(b"k" * 32, "two"), Access(write=False), name="share")
    assert (await again.get("_local/c"))["seq"] == 5
    widened = GatedDatabase(database, Peer(b"k" * 32, "two"), Access(), name="share")
    with pytest.raises(NotFound):
        await widened.get("_local/c")


async def test_the_least_recently_written_documents_make_room(database: Any) -> None:
    docs = GuestDocs(database, b"alice")
    for number in range(guests.MAX_DOCS):
        await docs.put({"_id": f"_local/{number:02}"})
    await docs.put({"_id": "_local/00", "_rev": "0-1"})
    await docs.put({"_id": "_local/more"})
    left = {doc["_id"] for doc in await docs.all()}
    assert len(left) == guests.MAX_DOCS
    assert "_local/01" not in left and {"_local/00", "_local/more"} <= left


async def test_all_of_a_visitors_documents_together_have_a_bound(database: Any) -> None:
    docs = GuestDocs(database, b"alice")
    for number in range(10):
        await docs.put({"_id": f"_local/{number}", "text": "x" * (guests.MAX_BYTES // 4)})
    size = sum(len(repr(doc)) for doc in database.docs.values())
    assert size < guests.MAX_BYTES + 10_000
    assert "_local/9" in {doc["_id"] for doc in await docs.all()}
    with pytest.raises(TooLarge):
        await docs.put({"_id": "_local/big", "text": "x" * guests.MAX_BYTES})
    with pytest.raises(TooLarge):
        await docs.put({"_id": "_local/" + "x" * 2000})


async def test_visitors_have_a_bound_however_many_keys_somebody_makes(
    database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "MAX_GUESTS", 10)
    for number in range(25):
        await GuestDocs(database, str(number).encode()).put({"_id": "_local/c"})
    assert len(database.docs) == 11
    assert await GuestDocs(database, b"24").all()
    assert not await GuestDocs(database, b"0").all()


async def test_without_that_bound_every_key_leaves_something(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nobody_leaves(self: GuestDocs) -> None:
        return None

    monkeypatch.setattr(GuestDocs, "_arrive", nobody_leaves)
    monkeypatch.setattr(guests, "MAX_GUESTS", 10)
    for number in range(25):
        await GuestDocs(database, str(number).encode()).put({"_id": "_local/c"})
    assert len(database.docs) == 25


async def test_writers_of_two_sessions_both_succeed(database: Any) -> None:
    docs = [GuestDocs(database, b"alice") for _ in range(4)]
    await asyncio.gather(*(one.put({"_id": f"_local/{number}"}) for number, one in enumerate(docs)))
    assert len(await docs[0].all()) == 4


@pytest.mark.parametrize("field", ["_attachments", "_foo"])
async def test_a_field_that_a_local_document_cannot_have_is_refused(database: Any, field: str) -> None:
    with pytest.raises(InvalidDocument, match=field):
        await GuestDocs(database, b"alice").put({"_id": "_local/c", field: {}})
