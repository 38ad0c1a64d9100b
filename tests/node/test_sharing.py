"""Sharing end to end, over real WebRTC on loopback and a hub in a file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.errors import (
    BadRequest,
    DatabaseClosed,
    Forbidden,
    HubUnreachable,
    NotFound,
    PeerPouchError,
    ShareNotFound,
)
from peerpouch.hub.events import RemotePeer
from peerpouch.node import hubs, meeting
from peerpouch.node.doors import Grant
from peerpouch.node.registry import ShareRegistry
from tests.node.support import Person, eventually, new_hub, people


async def test_two_people_share_a_database_and_replicate_it(tmp_path: Path) -> None:
    events: list[peerpouch.RemoteEvent] = []
    changes: list[peerpouch.SharedDatabase] = []
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes, local = await alice.database(), await bob.database()
        await notes.bulk_docs([{"_id": f"note{number}", "n": number} for number in range(250)])
        await notes.put_attachment("picture", "p.png", bytes(100_000), "image/png")
        own = await alice.hub.share_database(notes, name="Field notes", info={"site": 3}, on_remote=events.append)
        assert await own.visitors() == []

        shares = await bob.hub.get_shared_databases(on_change=changes.append)
        (share,) = shares
        assert (share.name, share.info, share.fingerprint) == ("Field notes", {"site": 3}, alice.identity.fingerprint)
        assert not changes and not share.deleted

        remote = await peerpouch.open(share.dbname, info={"who": "bob"})
        assert isinstance(remote, peerpouch.RemoteShare)
        assert remote.share_info == {"site": 3} and remote.owner == alice.identity.key
        assert [(event.peer.key, event.info) for event in events] == [(bob.identity.key, {"who": "bob"})]
        assert len([row async for row in remote.all_docs(include_docs=True)]) == 251

        result = await peerpouch.replicate(remote, local)
        assert result.ok and result.docs_written == 251
        ((visitor, stats),) = await own.visitors()
        assert visitor.key == bob.identity.key
        assert stats.sent > 100_000
        assert await (await local.get_attachment("picture", "p.png")).read() == bytes(100_000)
        again = await peerpouch.replicate(remote, local)
        assert (again.changes_read, again.docs_written) == (0, 0)

        await local.put({**await local.get("note1"), "n": "bob's"})
        await peerpouch.replicate(local, remote)
        assert (await notes.get("note1"))["n"] == "bob's"

        await alice.hub.unshare_database(notes)
        gone = await eventually(lambda: changes)
        assert [(each.id, each.deleted) for each in gone] == [(share.id, True)]
        with pytest.raises(ShareNotFound):
            await remote.get("note1")
        shares.cancel()
        await remote.close()


async def test_live_changes_travel_both_ways(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes, local = await alice.database(), await bob.database()
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as remote:
            sync = peerpouch.sync(local, remote, live=True)
            await notes.put({"_id": "a"})
            await local.put({"_id": "b"})
            await eventually(lambda: _has(local, "a"))
            await eventually(lambda: _has(notes, "b"))
            await sync.cancel()
            assert (await sync).ok


async def _has(database: Any, doc_id: str) -> bool:
    try:
        await database.get(doc_id)
    except NotFound:
        return False
    return True


async def test_both_edit_one_document_and_end_with_the_same_winner_and_conflict(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes, local = await alice.database(), await bob.database()
        await notes.put({"_id": "a", "n": 0})
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as remote:
            await peerpouch.replicate(remote, local)
            await notes.put({**await notes.get("a"), "n": "alice"})
            await local.put({**await local.get("a"), "n": "bob"})
            assert (await peerpouch.sync(local, remote)).ok
            here, there = [await database.get("a", conflicts=True) for database in (local, notes)]
            assert here == there and len(here["_conflicts"]) == 1


async def test_a_refused_opener_gets_the_reason_before_any_connection_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):

        async def refuse(event: peerpouch.RemoteEvent) -> None:
            event.prevent_default(f"Not you, {event.info['who']}.")

        def never(*arguments: Any) -> Any:
            raise AssertionError("a connection was made for a peer that was refused")

        await alice.hub.share_database(await alice.database(), name="notes", on_remote=refuse)
        monkeypatch.setattr(alice.hub._transport, "answer", never)
        with pytest.raises(Forbidden, match=r"Not you, bob\."):
            await bob.open("notes", info={"who": "bob"})


@pytest.mark.parametrize("failure", [RuntimeError("secret"), NotFound("secret")])
async def test_an_on_remote_that_fails_refuses_and_tells_nobody_why(tmp_path: Path, failure: Exception) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):

        def fail(event: peerpouch.RemoteEvent) -> None:
            raise failure

        await alice.hub.share_database(await alice.database(), name="notes", on_remote=fail)
        with pytest.raises(Forbidden) as refused:
            await bob.open("notes")
        assert "secret" not in refused.value.reason


async def test_a_second_share_of_the_same_owner_is_asked_for_over_the_connection_that_is_there(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        one, two = await alice.database("one"), await alice.database("two")
        asked: list[Any] = []

        def only_politely(event: peerpouch.RemoteEvent) -> None:
            asked.append(event.info)
            if event.info != "please":
                event.prevent_default("Say please.")

        await alice.hub.share_database(one, name="one")
        await alice.hub.share_database(two, name="two", info="second", on_remote=only_politely)
        first = await bob.open("one")
        with pytest.raises(Forbidden, match=r"Say please\."):
            await bob.open("two")
        second = await bob.open("two", info="please")
        assert second.share_info == "second" and asked == [None, "please"]
        await second.put({"_id": "x"})
        assert (await two.get("x"))["_id"] == "x"
        assert await first.id() == await one.id()
        assert len(bob.hub._pool._connections) == 1


async def test_two_who_open_each_others_share_at_once_have_one_connection(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        hers, his = await alice.database(), await bob.database()
        await hers.put({"_id": "hers"})
        await his.put({"_id": "his"})
        await alice.hub.share_database(hers, name="hers")
        await bob.hub.share_database(his, name="his")
        for _ in range(5):
            ours, theirs = await asyncio.gather(bob.open("hers"), alice.open("his"))
            assert await _has(ours, "hers") and await _has(theirs, "his")
            links = [len(person.hub._transport._links) for person in (alice, bob)]  # type: ignore[attr-defined]
            assert links == [1, 1]
            # Without a connection the next two offers cross again.
            for person in (alice, bob):
                for connection in list(person.hub._pool._connections.values()):
                    if connection.link is not None:
                        await connection.link.close()
            await asyncio.gather(ours.close(), theirs.close())


async def test_nobody_administers_somebody_elses_database(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        await notes.put({"_id": "a"})
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as remote:
            rev = (await remote.get("a"))["_rev"]
            attempts = [
                remote.destroy(),
                remote.compact(),
                remote.purge({"a": [rev]}),
                remote.put_security({}),
                remote.get_security(),
                remote.put_revs_limit(1),
                remote.put({"_id": "_design/x", "views": {}}),
                remote.create_index(["n"]),
                remote.view_cleanup(),
            ]
            for attempt in attempts:
                with pytest.raises(Forbidden):
                    await attempt
        assert (await notes.get("a"))["_rev"] == rev


async def test_a_read_only_share_is_replicated_with_checkpoints_and_takes_no_changes(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes, local = await alice.database(), await bob.database()
        await notes.bulk_docs([{"_id": str(number)} for number in range(20)])
        await alice.hub.share_database(notes, name="notes", access="read-only")
        async with await bob.open("notes") as remote:
            assert (await peerpouch.replicate(remote, local)).docs_written == 20
            assert (await peerpouch.replicate(remote, local)).changes_read == 0
            await local.put({"_id": "mine"})
            result = await peerpouch.replicate(local, remote)
            assert (result.docs_failed, [doc.id for doc in result.refused]) == (1, ["mine"])
            with pytest.raises(Forbidden):
                await remote.put({"_id": "b"})
        assert not await _has(notes, "mine")


async def test_the_owners_local_documents_and_path_stay_the_owners(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
        notes = await alice.database()
        await notes.put({"_id": "_local/secret", "word": "xyzzy"})
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as bobs, await carol.open("notes") as carols:
            await bobs.put({"_id": "_local/own", "of": "bob"})
            assert (await bobs.get("_local/own"))["of"] == "bob"
            for remote, doc_id in ((bobs, "_local/secret"), (carols, "_local/secret"), (carols, "_local/own")):
                with pytest.raises(NotFound):
                    await remote.get(doc_id)
            assert str(tmp_path) not in str(await bobs.info())


async def test_watching_tells_of_new_changed_and_withdrawn_shares(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        seen: list[tuple[str, Any, bool]] = []
        shares = await bob.hub.get_shared_databases(lambda share: seen.append((share.name, share.info, share.deleted)))
        assert shares == []
        await alice.hub.share_database(notes, name="notes", info=1)
        await eventually(lambda: len(seen) == 1)
        await alice.hub.share_database(notes, name="notes", info=2)
        await eventually(lambda: len(seen) == 2)
        await alice.hub.unshare_database(notes)
        await eventually(lambda: len(seen) == 3)
        assert seen == [("notes", 1, False), ("notes", 2, False), ("notes", 2, True)]
        shares.cancel()


async def test_a_hub_object_does_not_list_its_own_shares_and_two_of_one_identity_see_each_others(
    tmp_path: Path,
) -> None:
    identity = peerpouch.Identity.ephemeral()
    async with Person(tmp_path, "one", identity=identity) as one, Person(tmp_path, "two", identity=identity) as two:
        mine, yours = await one.database(), await two.database()
        await mine.put({"_id": "a"})
        await yours.put({"_id": "b"})
        first = await one.hub.share_database(mine, name="first")
        second = await two.hub.share_database(yours, name="second")
        assert [share.id for share in await one.hub.get_shared_databases()] == [second.id]
        assert [share.id for share in await two.hub.get_shared_databases()] == [first.id]
        remotes = await asyncio.gather(one.open("second"), two.open("first"))
        assert (await remotes[0].get("b"))["_id"] == "b" and (await remotes[1].get("a"))["_id"] == "a"
        with pytest.raises(BadRequest):
            await one.hub.open_share(first.id)


async def test_a_dbname_opens_without_a_hub_object_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with Person(tmp_path, "alice") as alice:
        one, two = await alice.database("one"), await alice.database("two")
        names = [(await alice.hub.share_database(database, name="x")).dbname for database in (one, two)]
        identity = peerpouch.Identity.ephemeral()
        for _ in range(2):
            async with peerpouch.open(names[0], identity=identity, ice_servers=[]) as remote:
                assert await remote.id() == await one.id()
        first, second = [await peerpouch.open(name, identity=identity, ice_servers=[]) for name in names]
        assert [await first.id(), await second.id()] == [await one.id(), await two.id()]
        await first.close()
        assert await second.id() == await two.id()
        await second.close()
        # Closing has withdrawn everything at once; alice hears of the ends of the connections.
        assert not [hub for hub in meeting._live if hub is not alice.hub] and not hubs._sessions
        await eventually(lambda: not alice.hub._pool._connections)


async def test_dbnames_of_one_hub_that_are_open_at_once_use_one_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEERPOUCH_ICE_SERVERS", "none")
    async with Person(tmp_path, "alice") as alice:
        one, two = await alice.database("one"), await alice.database("two")
        names = [(await alice.hub.share_database(database, name="x")).dbname for database in (one, two)]
        identity = peerpouch.Identity.ephemeral()
        opened = await asyncio.gather(*(peerpouch.open(name, identity=identity) for name in names))
        assert [await remote.id() for remote in opened] == [await one.id(), await two.id()]
        assert len(alice.hub._pool._connections) == 1
        for remote in opened:
            await remote.close()
        assert not hubs._sessions


async def test_a_path_is_opened_for_sharing_and_closed_after_it(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        path = tmp_path / "shared.db"
        share = await alice.hub.share_database(path, name="notes")
        async with await bob.open("notes") as remote:
            await remote.put({"_id": "a"})
        await alice.hub.unshare_database(path)
        with pytest.raises(DatabaseClosed):
            await share.database.get("a")
        with pytest.raises(ShareNotFound):
            await alice.hub.unshare_database(path)
        async with peerpouch.open(path) as database:
            assert await _has(database, "a")


async def test_a_copy_of_a_shared_database_is_not_shared_in_its_place_unless_it_was_made_another_one(
    tmp_path: Path,
) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        assert isinstance(notes, peerpouch.LocalDatabase) and notes.path is not None
        await notes.put({"_id": "a"})
        await notes.backup(tmp_path / "copy.db")
        await notes.backup(tmp_path / "other.db", as_new=True)
        first = await alice.hub.share_database(notes, name="notes")
        with pytest.raises(BadRequest, match="copy"):
            await alice.hub.share_database(tmp_path / "copy.db", name="a copy")
        other = await alice.hub.share_database(tmp_path / "other.db", name="another")
        assert other.id != first.id
        async with await bob.open("notes") as one, await bob.open("another") as two:
            assert await one.get("a") == await two.get("a")
        # By another handle, or another spelling of its path, it is the same one, whose rules are changed.
        again = await alice.hub.share_database(notes.path.parent / "." / notes.path.name, name="renamed")
        assert again.id == first.id
        # What is not shared any more may make room for its copy.
        await alice.hub.unshare_database(again)
        assert (await alice.hub.share_database(tmp_path / "copy.db", name="notes")).id == first.id


async def test_changing_the_access_of_a_share_acts_at_once(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as remote:
            await remote.put({"_id": "a"})
            await alice.hub.share_database(notes, name="notes", access="read-only")
            with pytest.raises(Forbidden):
                await remote.put({"_id": "b"})
            assert (await remote.get("a"))["_id"] == "a"


async def test_unsharing_ends_a_feed_that_somebody_follows(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as remote:
            feed = remote.changes(live=True)
            following = asyncio.ensure_future(_drain(feed))
            await notes.put({"_id": "a"})
            await eventually(lambda: feed.last_seq not in (None, "0"))
            await alice.hub.unshare_database(notes)
            with pytest.raises(PeerPouchError):
                await following


async def _drain(feed: Any) -> None:
    async for _ in feed:
        pass


async def test_a_hub_can_be_another_peers_share(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "carol", "dave") as (alice, carol, dave):
        meeting_place = await alice.database("meeting")
        await alice.hub.share_database(meeting_place, name="meeting")
        async with (
            await carol.open("meeting") as carols,
            await dave.open("meeting") as daves,
            Person(tmp_path, "carol2", hub=carols, identity=carol.identity) as one,
            Person(tmp_path, "dave2", hub=daves, identity=dave.identity) as two,
            peerpouch.open(":memory:") as notes,
        ):
            await notes.put({"_id": "a"})
            await one.hub.share_database(notes, name="notes")
            async with await two.open("notes") as remote, peerpouch.open(":memory:") as copy:
                assert (await peerpouch.replicate(remote, copy)).docs_written == 1
            (share,) = await two.hub.get_shared_databases()
            async with peerpouch.open(share.dbname, identity=dave.identity) as again:
                assert await _has(again, "a")


async def test_a_hub_is_found_by_a_dbname_too_and_a_share_in_it_by_its_own(tmp_path: Path) -> None:
    async with Person(tmp_path, "alice") as alice:
        place = (await alice.hub.share_database(await alice.database("meeting"), name="meeting")).dbname
        async with Person(tmp_path, "carol", hub=place) as carol:
            notes = await carol.database()
            await notes.put({"_id": "a"})
            nested = (await carol.hub.share_database(notes, name="notes")).dbname
            async with peerpouch.open(nested, identity=peerpouch.Identity.ephemeral()) as remote:
                assert await _has(remote, "a")
        # Whoever met there has gone, and alice's own hub is as it was.
        await eventually(lambda: not alice.hub._pool._connections)
        assert not hubs._sessions


async def test_a_share_that_nobody_opened_for_us_is_not_served(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        open_one, shut_one = await alice.database("open"), await alice.database("shut")
        await shut_one.put({"_id": "secret"})
        await alice.hub.share_database(open_one, name="open")
        shut = await alice.hub.share_database(shut_one, name="shut", on_remote=lambda event: event.prevent_default())
        async with await bob.open("open") as remote:
            with pytest.raises(ShareNotFound):
                await _smuggle(remote, shut.id)


async def test_without_admission_it_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        open_one, shut_one = await alice.database("open"), await alice.database("shut")
        await shut_one.put({"_id": "secret"})
        await alice.hub.share_database(open_one, name="open")
        shut = await alice.hub.share_database(shut_one, name="shut", on_remote=lambda event: event.prevent_default())
        registry: ShareRegistry = alice.hub._registry
        monkeypatch.setattr(registry, "_admitted", lambda peer, share: True)
        async with await bob.open("open") as remote:
            grant = Grant(RemotePeer(bob.identity.key, bob.hub.address.session), False, None)
            shut.served.let_in(bob.hub.address, grant)
            assert (await _smuggle(remote, shut.id))["_id"] == "secret"


async def _smuggle(remote: peerpouch.RemoteShare, share_id: str) -> Any:
    """Ask for another share over the connection of one that was opened."""
    client = remote._client
    return await client.json("GET", "/secret", url=f"http://peer/{share_id}")


async def test_leaving_a_hub_withdraws_and_ends_everything(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await alice.hub.share_database(await alice.database(), name="notes")
        remote = await bob.open("notes")
        feed = remote.changes(live=True)
        following = asyncio.ensure_future(_drain(feed))
        await asyncio.sleep(0)
        await alice.hub.close()
        assert await bob.hub.get_shared_databases() == []
        with pytest.raises(PeerPouchError):
            await following
        await bob.hub.close()
        with pytest.raises(DatabaseClosed):
            await remote.get("a")
        with pytest.raises(DatabaseClosed):
            await bob.hub.get_shared_databases()
    await eventually(lambda: asyncio.all_tasks() == before)


@pytest.mark.parametrize("after", [0.0, 0.002, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2])
async def test_cancelled_anywhere_it_leaves_nothing_behind(tmp_path: Path, after: float) -> None:
    """The moment is chosen by time, so it differs from run to run; what must hold holds at every moment."""
    before = asyncio.all_tasks()

    async def work() -> None:
        async with people(tmp_path, "alice", "bob") as (alice, bob):
            notes, local = await alice.database(), await bob.database()
            await notes.bulk_docs([{"_id": str(number)} for number in range(2000)])
            await alice.hub.share_database(notes, name="notes")
            async with await bob.open("notes") as remote:
                await peerpouch.sync(local, remote, live=True)

    task = asyncio.ensure_future(work())
    await asyncio.wait({task}, timeout=after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: asyncio.all_tasks() == before)
    identity = peerpouch.Identity.ephemeral()
    async with new_hub(tmp_path / "hub.db", identity) as hub:
        assert await hub.get_shared_databases() == []


@pytest.mark.parametrize("target", ["text", "folder", "nowhere/hub.db", "http://127.0.0.1:9/hub"])
async def test_a_hub_that_cannot_be_opened_is_an_error_that_names_it(tmp_path: Path, target: str) -> None:
    (tmp_path / "text").write_text("not a database, but long enough to be looked at " * 20, "utf-8")
    (tmp_path / "folder").mkdir()
    wanted = target if "://" in target else str(tmp_path / target)
    with pytest.raises(HubUnreachable) as failed:
        async with new_hub(wanted, peerpouch.Identity.ephemeral()):
            pass
    assert wanted in failed.value.reason


async def test_a_hub_is_opened_once(tmp_path: Path) -> None:
    hub = new_hub(tmp_path / "hub.db", peerpouch.Identity.ephemeral())
    with pytest.raises(DatabaseClosed):
        await hub.get_shared_databases()
    async with hub:
        with pytest.raises(BadRequest):
            await hub.__aenter__()
    await hub.close()


def test_credentials_of_a_hub_are_not_shown() -> None:
    hub = new_hub("https://alice:hunter2@example.org/hub", peerpouch.Identity.ephemeral())
    assert "hunter2" not in repr(hub) and "hunter2" not in hub.label
    assert hub.label == "https://example.org/hub"


async def test_bad_names_infos_and_accesses_are_refused_and_nothing_is_shared(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        bad: list[dict[str, Any]] = [
            {"name": ""},
            {"name": "a\nb"},
            {"name": "x", "info": {1, 2}},
            {"name": "x", "info": "y" * 10_000},
            {"name": "x", "access": "everything"},
        ]
        for arguments in bad:
            with pytest.raises(BadRequest):
                await alice.hub.share_database(notes, **arguments)
        assert await bob.hub.get_shared_databases() == []
        with pytest.raises(ShareNotFound):
            await alice.hub.unshare_database(notes)
