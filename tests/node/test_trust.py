"""Who may come, by which invite, as whom, and what happens when that changes: over real connections."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.errors import (
    BadRequest,
    ConnectionFailed,
    Forbidden,
    IdentityChanged,
    NotFound,
    NotSupported,
    PeerPouchError,
    ShareNotFound,
)
from peerpouch.identity.encoding import to_text
from peerpouch.identity.invites import Invite
from peerpouch.node.acquaintance import Acquaintance
from peerpouch.node.doors import Door
from peerpouch.node.invitations import DOC_ID, Invitations
from peerpouch.ports import SystemClock
from tests.node.support import Person, eventually, new_hub, people

RED = {"team": "red"}


async def by_invite(person: Person, invite: Any) -> peerpouch.RemoteShare:
    """Open an invite in somebody's name."""
    remote = await peerpouch.open(
        str(invite), identity=person.identity, contacts=peerpouch.Contacts(memory=True), ice_servers=[]
    )
    assert isinstance(remote, peerpouch.RemoteShare)
    return remote


# Invites


async def test_an_invite_is_all_that_is_needed_and_lets_in_nobody_else(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        await notes.put({"_id": "a"})
        share = await alice.hub.share_database(notes, name="notes")
        assert await share.is_open_to_all()
        invite = await share.invite()
        assert not await share.is_open_to_all()
        with pytest.raises(Forbidden, match="invited"):
            await bob.open("notes")
        async with await by_invite(bob, invite) as remote:
            assert (await remote.get("a"))["_id"] == "a"


async def test_an_invite_for_one_binds_itself_to_the_first_key_across_restarts(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
        notes = await alice.database()
        share = await alice.hub.share_database(notes, name="notes", peers=[])
        invite = await share.invite(once=True)
        async with await by_invite(bob, invite):
            pass
        async with await by_invite(bob, invite):
            pass
        with pytest.raises(Forbidden, match="somebody else"):
            await by_invite(carol, invite)
        await alice.hub.unshare_database(notes)
        await alice.hub.share_database(notes, name="notes", peers=[])
        with pytest.raises(Forbidden, match="somebody else"):
            await by_invite(carol, invite)
        async with await by_invite(bob, invite):
            pass


async def test_an_invite_gives_its_own_access(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        await notes.put({"_id": "a", **RED})
        await notes.put({"_id": "b"})
        share = await alice.hub.share_database(notes, name="notes")
        reading = await share.invite(access="read-only")
        async with await by_invite(bob, reading) as remote:
            with pytest.raises(Forbidden):
                await remote.put({"_id": "c"})
        async with await by_invite(bob, await share.invite(access=peerpouch.Access(select=RED))) as remote:
            assert [row["id"] for row in (await remote.all_docs())["rows"]] == ["a"]
        for access in (peerpouch.Access(admin=True), peerpouch.Access(validate=lambda *_: True)):
            with pytest.raises(BadRequest):
                await share.invite(access=access)


async def test_an_invite_of_another_key_is_not_opened(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        share = await alice.hub.share_database(await alice.database(), name="notes")
        invite = await share.invite()
        other = Invite(invite.hub, invite.share_id, bob.identity.fingerprint, invite.token)
        with pytest.raises(IdentityChanged):
            await by_invite(bob, other)


async def test_an_invite_that_was_taken_back_or_made_up_lets_nobody_in(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        share = await alice.hub.share_database(await alice.database(), name="notes")
        invite = await share.invite(expires=timedelta(days=1))
        await share.take_back(invite)
        guessed = Invite(invite.hub, invite.share_id, invite.fingerprint, bytes(16))
        for wrong in (invite, guessed):
            with pytest.raises(Forbidden, match="not valid"):
                await by_invite(bob, wrong)
        with pytest.raises(NotFound):
            await share.take_back(guessed)


async def test_a_token_is_neither_in_the_hub_nor_in_the_database_nor_in_a_visitors_hands(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        told: list[Any] = []
        share = await alice.hub.share_database(notes, name="notes", on_remote=lambda event: told.append(event.info))
        invite = await share.invite(once=True)
        async with await by_invite(bob, invite) as remote:
            with pytest.raises(NotFound):
                await remote.get(DOC_ID)
        assert told == [None]
    assert invite.token is not None
    spellings = [invite.token, to_text(invite.token).encode(), invite.token.hex().encode()]
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert not any(spelling in path.read_bytes() for spelling in spellings), path
    shown = caplog.text + repr(invite) + repr(share)
    assert not any(spelling.decode("latin-1") in shown for spelling in spellings)
    # The search finds what is there.
    (tmp_path / "planted").write_bytes(b"..." + spellings[1])
    assert any(spellings[1] in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


# Who may come


async def test_peers_are_named_by_key_fingerprint_or_contact(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
        alice.hub._contacts.add("Carol", carol.identity.key, now=0)
        notes = await alice.database()
        for named, who in ((bob.identity.key, bob), (bob.identity.fingerprint.upper(), bob), ("Carol", carol)):
            await alice.hub.share_database(notes, name="notes", peers=[named])
            other = carol if who is bob else bob
            async with await who.open("notes"):
                pass
            with pytest.raises(Forbidden):
                await other.open("notes")


async def test_a_function_tells_the_access_of_each(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob", "carol", "dora") as (alice, bob, carol, dora):

        async def access(peer: peerpouch.RemotePeer) -> peerpouch.Access | str | None:
            if peer.key == dora.identity.key:
                raise RuntimeError("the owner's secret")
            return "read-only" if peer.key == bob.identity.key else None

        await alice.hub.share_database(await alice.database(), name="notes", access=access)
        async with await bob.open("notes") as remote:
            with pytest.raises(Forbidden):
                await remote.put({"_id": "a"})
        for person in (carol, dora):
            with pytest.raises(Forbidden) as refused:
                await person.open("notes")
            assert "secret" not in refused.value.reason


async def test_a_selector_needs_a_database_in_a_file(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await alice.hub.share_database(await alice.database(), name="notes")
        async with await bob.open("notes") as remote:
            with pytest.raises(NotSupported):
                await bob.hub.share_database(remote, name="onward", access=peerpouch.Access(select=RED))


# Changing one's mind


async def test_revoking_a_peer_ends_its_feeds_at_once_and_keeps_it_out_after_a_restart(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob", "carol") as (alice, bob, carol):
        notes = await alice.database()
        share = await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as revoked, await carol.open("notes") as other:
            feed = revoked.changes(live=True)
            following = asyncio.ensure_future(_drain(feed))
            await notes.put({"_id": "a"})
            await eventually(lambda: feed.last_seq not in (None, "0"))
            await share.revoke(bob.identity.fingerprint)
            with pytest.raises(PeerPouchError):
                await following
            with pytest.raises(PeerPouchError):
                await revoked.get("a")
            assert (await other.get("a"))["_id"] == "a"
        await alice.hub.unshare_database(notes)
        share = await alice.hub.share_database(notes, name="notes")
        with pytest.raises(Forbidden):
            await bob.open("notes")
        await share.reinstate(bob.identity.key)
        async with await bob.open("notes"):
            pass


async def test_a_live_replication_goes_on_under_a_widened_access(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes, copy = await alice.database(), await bob.database()
        for doc_id, team in (("a", "red"), ("b", "blue")):
            await notes.put({"_id": doc_id, "team": team})
        share = await alice.hub.share_database(notes, name="notes", access=peerpouch.Access(select=RED))
        async with await bob.open("notes") as remote:
            pull = peerpouch.replicate(remote, copy, live=True)
            await eventually(lambda: _ids(copy, {"a"}))
            await share.set_access("read-only")
            await eventually(lambda: _ids(copy, {"a", "b"}))
            await share.set_access(peers=[])
            with pytest.raises((Forbidden, ConnectionFailed)):
                await remote.get("a")
            await pull.cancel()


async def _write_after_the_first_object_says_read_only(folder: Path) -> PeerPouchError | None:
    async with people(folder, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        first = await alice.hub.share_database(notes, name="draft")
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as remote:
            await first.set_access("read-only")
            assert first.access == peerpouch.Access(write=False)
            try:
                await remote.put({"_id": "a"})
            except PeerPouchError as error:
                return error
            return None


async def test_a_share_that_was_shared_again_is_ruled_by_what_was_given_first_too(tmp_path: Path) -> None:
    assert isinstance(await _write_after_the_first_object_says_read_only(tmp_path), Forbidden)


async def test_twin_an_object_that_rules_what_it_was_given_for_alone_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peerpouch.OwnShare, "_now", property(lambda share: share.served))
    assert await _write_after_the_first_object_says_read_only(tmp_path) is None


async def test_a_share_that_was_withdrawn_has_no_access_to_change(tmp_path: Path) -> None:
    async with people(tmp_path, "alice") as (alice,):
        notes = await alice.database()
        first = await alice.hub.share_database(notes, name="notes")
        await alice.hub.share_database(notes, name="notes")
        await alice.hub.unshare_database(first)
        with pytest.raises(ShareNotFound):
            await first.set_access("read-only")


# Names and keys


async def test_a_name_under_another_key_is_not_opened_unless_confirmed(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob", "mallory") as (alice, bob, mallory):
        notes = await alice.database()
        await alice.hub.share_database(notes, name="notes")
        assert (await bob.find("notes")).trust == "new"
        async with await bob.open("notes"):
            pass
        assert (await bob.find("notes")).trust == "seen"
        await alice.hub.unshare_database(notes)
        await mallory.hub.share_database(await mallory.database(), name="notes")
        found = await bob.find("notes")
        assert found.trust == "changed"
        with pytest.raises(IdentityChanged, match=mallory.identity.fingerprint):
            await found.open()
        async with await found.open(confirm=True):
            pass
        assert (await bob.find("notes")).trust == "seen"


async def test_without_the_judgement_the_other_key_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Acquaintance, "judge", lambda *_: None)
    async with people(tmp_path, "alice", "bob", "mallory") as (alice, bob, mallory):
        notes = await alice.database()
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes"):
            pass
        await alice.hub.unshare_database(notes)
        await mallory.hub.share_database(await mallory.database(), name="notes")
        async with await bob.open("notes"):
            pass


async def test_a_contact_is_told_by_its_name(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        bob.hub._contacts.add("Alice", alice.identity.key, now=0)
        await alice.hub.share_database(await alice.database(), name="notes")
        found = await bob.find("notes")
        assert (found.trust, found.contact) == ("contact", "Alice")


# The pieces, without connections


class Late(SystemClock):
    """A clock that can be put forward."""

    later = 0.0

    def now(self) -> float:
        return super().now() + self.later


async def test_an_invite_runs_out_by_the_owners_clock() -> None:
    clock = Late()
    async with peerpouch.open(":memory:") as database:
        invitations = Invitations(database, clock)
        key = peerpouch.Identity.ephemeral().key
        token = await invitations.add(once=False, expires=60, access=None)
        assert await invitations.redeem(token, key) is None
        clock.later = 61
        with pytest.raises(Forbidden, match="run out"):
            await invitations.redeem(token, key)
        assert await invitations.any()


async def test_two_keys_that_use_an_invite_for_one_at_once_do_not_both_get_in() -> None:
    async with peerpouch.open(":memory:") as database:
        invitations = [Invitations(database, SystemClock()) for _ in range(4)]
        token = await invitations[0].add(once=True, expires=None, access=None)
        keys = [peerpouch.Identity.ephemeral().key for _ in invitations]
        results = await asyncio.gather(
            *(each.redeem(token, key) for each, key in zip(invitations, keys, strict=True)), return_exceptions=True
        )
        assert [result for result in results if not isinstance(result, Forbidden)] == [None]


def test_a_hub_object_names_its_door_by_what_it_is_given(tmp_path: Path) -> None:
    hub = new_hub(tmp_path / "hub.db", peerpouch.Identity.ephemeral())
    with pytest.raises(BadRequest):
        Door("x", access=None, peers="bob", on_remote=None, invitations=None, contacts=hub._contacts)  # type: ignore[arg-type]


async def _drain(feed: Any) -> None:
    async for _ in feed:
        pass


async def _ids(database: Any, wanted: set[str]) -> bool:
    return {row["id"] for row in (await database.all_docs())["rows"]} == wanted
