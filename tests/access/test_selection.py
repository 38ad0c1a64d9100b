"""The persisted set of what a selector ever matched, and the feed that is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from peerpouch.access.gate import GatedDatabase
from peerpouch.access.limited import select_from
from peerpouch.access.selection import Selection
from peerpouch.core.policy import Access
from peerpouch.errors import BadRequest, InvalidSelector, NotFound
from peerpouch.node.databases import LocalDatabase, open_file
from peerpouch.ports import Changes, Peer, ReplicationOptions
from peerpouch.replication import PipelinedReplicator
from tests.access.world import RED

PEER = Peer(b"k" * 32, "session")


@pytest.fixture
async def owner(tmp_path: Path) -> AsyncIterator[LocalDatabase]:
    async with await open_file(str(tmp_path / "owner.db"), durability="normal") as database:
        yield database


def visit(owner: LocalDatabase, select: Any = None, selection: Selection | None = None) -> GatedDatabase:
    return GatedDatabase(
        owner, PEER, Access(select=RED if select is None else select), name="share", selection=selection
    )


async def move(owner: LocalDatabase, doc_id: str, **fields: Any) -> str:
    rev: dict[str, Any] = {}
    with suppress(NotFound):
        rev["_rev"] = (await owner.get(doc_id))["_rev"]
    return (await owner.put({"_id": doc_id, **rev, **fields})).rev


async def told(changes: Changes) -> list[tuple[str, bool]]:
    return [(change["id"], change.get("deleted", False)) async for change in changes]


async def test_a_deletion_reaches_whoever_could_have_the_document_and_nobody_else(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await move(owner, "seen", team="red")
    await move(owner, "never", team="blue")
    assert await told(gate.changes()) == [("seen", False)]
    for doc_id in ("seen", "never"):
        await move(owner, doc_id, _deleted=True, why="a secret")
    found = [change async for change in gate.changes(include_docs=True)]
    assert [change["id"] for change in found] == ["seen"]
    assert set(found[0]["doc"] or {}) == {"_id", "_rev", "_deleted"}


async def test_the_set_survives_the_process_and_is_one_for_equal_selectors(tmp_path: Path) -> None:
    path = str(tmp_path / "owner.db")
    async with await open_file(path) as owner:
        await move(owner, "seen", team="red")
        assert await told(visit(owner).changes()) == [("seen", False)]
    async with await open_file(path) as owner:
        await move(owner, "seen", _deleted=True)
        assert await told(visit(owner).changes()) == [("seen", True)]
        assert await told(visit(owner, {"team": {"$eq": "red"}}).changes()) == []


async def test_without_the_set_the_deletion_would_be_lost(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await move(owner, "seen", team="red")
    assert await told(gate.changes()) == [("seen", False)]
    selection = select_from(owner, RED)
    await owner.drop_index(selection.index)
    await move(owner, "seen", _deleted=True)
    assert await told(visit(owner, selection=selection).changes()) == []


async def test_what_is_served_was_recorded_before_even_if_it_matched_for_a_moment_only(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await gate.info()
    await move(owner, "brief", team="red")
    assert (await gate.get("brief"))["team"] == "red"
    await move(owner, "brief", _deleted=True)
    assert await told(gate.changes()) == [("brief", True)]


async def test_a_document_that_left_is_not_sent_and_its_deletion_is_not_made_up(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await move(owner, "a", team="red")
    since = (await gate.info())["update_seq"]
    await move(owner, "a", team="blue")
    assert await told(gate.changes(since=since)) == []
    await move(owner, "a", team="red", back=True)
    assert await told(gate.changes(since=since)) == [("a", False)]


async def test_sequences_and_counts_tell_nothing_of_hidden_writes(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await move(owner, "a", team="red")
    before = await gate.info()
    for n in range(20):
        await move(owner, f"hidden{n}", team="blue")
    assert await gate.info() == before
    await move(owner, "b", team="red")
    numbers = [int(change["seq"].partition("-")[0]) async for change in gate.changes()]
    assert numbers == [1, 2]


async def test_limits_skips_and_pending_count_what_is_visible(owner: LocalDatabase) -> None:
    gate = visit(owner)
    for n in range(30):
        await move(owner, f"d{n:02}", team="red" if n % 3 == 0 else "blue", n=n)
    feed = gate.changes(limit=4)
    assert [change[0] for change in await told(feed)] == ["d00", "d03", "d06", "d09"]
    assert feed.pending == 6
    listing = await gate.all_docs(skip=2, limit=3)
    assert [row["id"] for row in listing["rows"]] == ["d06", "d09", "d12"]
    assert (listing["total_rows"], listing["offset"]) == (10, 2)
    found = await gate.find({"n": {"$gt": 5}}, limit=3)
    assert [doc["_id"] for doc in found["docs"]] == ["d06", "d09", "d12"]
    assert [change[0] for change in await told(gate.changes(descending=True, limit=2))] == ["d27", "d24"]


async def test_sequences_of_another_index_start_over_and_rubbish_is_refused(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await move(owner, "a", team="red")
    assert await told(gate.changes(since=f"1-{'0' * 16}")) == [("a", False)]
    assert await told(gate.changes(since=(await gate.info())["update_seq"])) == []
    await owner.drop_index(select_from(owner, RED).index)
    await move(owner, "b", team="red")
    assert [each[0] for each in await told(gate.changes())] == ["a", "b"]
    for since in ("x", "-1", ""):
        with pytest.raises(BadRequest):
            await told(gate.changes(since=since))


async def follow(feed: Changes, into: list[str], arrived: asyncio.Event) -> None:
    async for change in feed:
        into.append(change["id"])
        arrived.set()


async def test_a_live_feed_gives_what_becomes_visible_and_is_not_woken_by_the_rest(owner: LocalDatabase) -> None:
    gate = visit(owner)
    await move(owner, "a", team="red")
    feed, seen, arrived = gate.changes(live=True), list[str](), asyncio.Event()
    task = asyncio.ensure_future(follow(feed, seen, arrived))
    async with asyncio.timeout(20):
        for doc_id, team in (("b", "blue"), ("c", "red"), ("b", "red")):
            arrived.clear()
            await move(owner, doc_id, team=team, more=len(seen))
            if team == "red":
                await arrived.wait()
        while seen != ["a", "c", "b"]:
            arrived.clear()
            await arrived.wait()
    feed.cancel()
    await task


async def test_two_processes_keep_one_index(tmp_path: Path) -> None:
    path = str(tmp_path / "owner.db")
    async with await open_file(path) as one, await open_file(path) as other:
        gates = [visit(one), visit(other)]
        for n in range(12):
            await move((one, other)[n % 2], f"d{n}", team="red")
            await asyncio.gather(*(gate.info() for gate in gates))
        listings = [[row["id"] for row in (await gate.all_docs())["rows"]] for gate in gates]
        assert listings[0] == listings[1] and len(listings[0]) == 12
        sequences = [[change["seq"] async for change in gate.changes()] for gate in gates]
        assert sequences[0] == sequences[1]


async def test_many_visitors_at_once_share_the_work(owner: LocalDatabase) -> None:
    selection = select_from(owner, RED)
    gates = [visit(owner, selection=selection) for _ in range(20)]
    await move(owner, "a", team="red")
    infos = await asyncio.gather(*(gate.info() for gate in gates))
    assert {info["doc_count"] for info in infos} == {1}


async def test_a_widened_policy_reaches_who_replicated_before(owner: LocalDatabase) -> None:
    for doc_id, team in (("a", "red"), ("b", "blue"), ("c", "green")):
        await move(owner, doc_id, team=team)
    async with await open_file(":memory:") as copy:

        async def replicate(select: Any) -> set[str]:
            await PipelinedReplicator().replicate(visit(owner, select), copy, ReplicationOptions())
            return {row["id"] for row in (await copy.all_docs())["rows"]}

        assert await replicate(RED) == {"a"}
        assert await replicate({"team": {"$in": ["red", "blue"]}}) == {"a", "b"}
        await move(owner, "a", team="red", n=2)
        assert await replicate({}) == {"a", "b", "c"}
        assert (await copy.get("a"))["n"] == 2


async def test_replicating_both_ways_through_a_selector_gives_both_sides_the_same(owner: LocalDatabase) -> None:
    for n in range(40):
        await move(owner, f"d{n}", team="red" if n % 2 else "blue", n=n)
    async with await open_file(":memory:") as copy:
        for round_ in range(3):
            await move(copy, f"mine{round_}", team="red", _attachments={"f": {"content_type": "a/b", "data": "eHk="}})
            await move(owner, f"d{2 * round_ + 1}", team="red", again=round_)
            gate = visit(owner)
            await asyncio.gather(
                PipelinedReplicator().replicate(gate, copy, ReplicationOptions()),
                PipelinedReplicator().replicate(copy, gate, ReplicationOptions()),
            )
        gate = visit(owner)
        assert (await gate.all_docs(include_docs=True))["rows"] == (await copy.all_docs(include_docs=True))["rows"]
        assert (await gate.info())["doc_count"] == 23


async def test_a_selector_that_fails_on_a_document_hides_it(
    owner: LocalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = select_from(owner, RED)

    def fail(doc: Any) -> bool:
        if doc["_id"] == "b":
            raise InvalidSelector("too costly")
        return True

    monkeypatch.setattr(selection, "_test", fail)
    for doc_id in ("a", "b"):
        await move(owner, doc_id)
    assert await told(visit(owner, selection=selection).changes()) == [("a", False)]


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ({"_id": "a"}, ["a"]),
        ({"_id": "b"}, []),
        ({"_id": {"$in": ["a", "b", "c", "nothing", 7]}}, ["a", "c"]),
        ({"_id": {"$in": ["a", "b", "c"]}, "n": {"$gt": 1}}, ["c"]),
        ({"$and": [{"_id": {"$in": ["a", "b"]}}, {"_id": {"$in": ["b", "c", "a"]}}]}, ["a"]),
        ({"$or": [{"_id": "a"}, {"_id": "b"}, {"_id": "c", "n": 3}]}, ["a", "c"]),
        ({"$or": [{"_id": "a"}, {"n": 3}]}, ["a", "c"]),
        ({"_id": {"$ne": "a"}}, ["c"]),
        ({"$not": {"_id": "a"}}, ["c"]),
        ({"_id": {"$gt": "a"}}, ["c"]),
        ({"_id": {"$eq": None}}, []),
    ],
)
async def test_finding_by_ids_gives_those_that_can_be_seen(
    owner: LocalDatabase, selector: dict[str, Any], found: list[str]
) -> None:
    await owner.bulk_docs(
        [{"_id": name, "team": "blue" if name == "b" else "red", "n": n + 1} for n, name in enumerate("abc")]
    )
    assert [doc["_id"] for doc in (await visit(owner).find(selector))["docs"]] == found


async def indexes(owner: LocalDatabase) -> set[str]:
    return {name for name in await owner.index_names() if name.startswith("access/")}


async def test_selectors_that_are_used_no_more_lose_their_indexes_those_without_members_first(
    owner: LocalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerpouch.access.selection.MOST_INDEXES", 4)
    await owner.put({"_id": "a", "n": 1})
    first, second = select_from(owner, {"n": 1}), select_from(owner, {"n": {"$lt": 5}})
    await first.refresh()
    await second.refresh()
    await owner.put({"_id": "b", "n": 1})
    await first.refresh()
    # However many come whose selectors match nothing, none of those who see something is pushed out.
    for n in range(20):
        await select_from(owner, {"nobody": n}).refresh()
        assert len(await indexes(owner)) <= 5
    assert {first.index, second.index} <= await indexes(owner)
    # Among those, the one that was not used longest goes first.
    used = [select_from(owner, {"n": {"$lt": n}}) for n in range(6, 9)]
    for each in used:
        await each.refresh()
    await select_from(owner, {"n": {"$lt": 10}}).refresh()
    assert first.index in await indexes(owner) and second.index not in await indexes(owner)


async def test_a_visitor_whose_index_was_dropped_starts_over(
    owner: LocalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerpouch.access.selection.MOST_INDEXES", 1)
    await owner.bulk_docs([{"_id": "a", "n": 1}, {"_id": "b", "n": 2}])
    gate = visit(owner, {"n": {"$gt": 0}})
    before = (await gate.info())["update_seq"]
    for n in range(3):
        await visit(owner, {"n": {"$gt": n - 10}}).info()
    assert {doc_id for doc_id, _ in await told(gate.changes(since=before))} == {"a", "b"}
    assert (await gate.get("a"))["n"] == 1


async def test_a_live_feed_goes_on_when_its_index_was_made_anew_with_smaller_numbers(owner: LocalDatabase) -> None:
    selection = select_from(owner, RED)
    gate = visit(owner, selection=selection)
    for n in range(5):
        await move(owner, "a", team="red", n=n)
        await gate.info()
    seen, arrived = list[str](), asyncio.Event()
    feed = gate.changes(since="now", live=True)
    following = asyncio.create_task(follow(feed, seen, arrived))
    async with asyncio.timeout(20):
        while not (feed.last_seq or "").startswith("5-"):
            await asyncio.sleep(0.001)
        await owner.drop_index(selection.index)
        await move(owner, "b", team="red")
        while "b" not in seen:
            arrived.clear()
            await arrived.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    assert seen == ["a", "b"]
