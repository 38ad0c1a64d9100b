"""Who gets through a share's door, tried as the attacker; each with a twin in which one defence is taken away.

The same over real connections is in ``test_trust``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

import peerpouch
from peerpouch.errors import PeerPouchError
from peerpouch.hub.events import RemotePeer
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import Identity, PublicKey
from peerpouch.node import doors, invitations
from peerpouch.node.doors import Door
from peerpouch.node.invitations import Invitations
from peerpouch.ports import Database
from tests.hub.fakes import FakeClock

BOB, CAROL, MALLORY = (Identity.ephemeral().key for _ in range(3))


class House:
    """A database with a door."""

    def __init__(self, database: Database) -> None:
        self.clock = FakeClock()
        self.database = database
        self.invitations = Invitations(database, self.clock)

    def door(self, **rules: Any) -> Door:
        given = {"access": None, "peers": None, "on_remote": None, **rules}
        return Door("notes", invitations=self.invitations, contacts=peerpouch.Contacts(memory=True), **given)

    async def enter(self, key: PublicKey, token: bytes | None = None, **rules: Any) -> bool:
        """Whether somebody gets in."""
        try:
            await self.door(**rules).decide(RemotePeer(key, "session"), "share", None, token)
        except PeerPouchError:
            return False
        return True


async def uninvited(house: House) -> bool:
    await house.invitations.add(once=False, expires=None, access=None)
    return await house.enter(MALLORY)


async def uninvited_to_read(house: House) -> bool:
    await house.invitations.add(once=False, expires=None, access=None)
    return await house.enter(MALLORY, access="read-only")


async def after_all_invites_ran_out(house: House) -> bool:
    await house.invitations.add(once=False, expires=10, access=None)
    house.clock.drift(3600)
    return await house.enter(MALLORY)


async def with_a_made_up_token(house: House) -> bool:
    await house.invitations.add(once=False, expires=None, access=None)
    return await house.enter(MALLORY, bytes(16), peers=[])


async def with_a_token_that_was_taken_back(house: House) -> bool:
    token = await house.invitations.add(once=False, expires=None, access=None)
    await house.invitations.take_back(token)
    return await house.enter(MALLORY, token, peers=[])


async def with_a_token_that_ran_out(house: House) -> bool:
    token = await house.invitations.add(once=False, expires=10, access=None)
    house.clock.drift(11)
    return await house.enter(MALLORY, token, peers=[])


async def with_a_token_that_somebody_else_used(house: House) -> bool:
    token = await house.invitations.add(once=True, expires=None, access=None)
    assert await house.enter(BOB, token, peers=[])
    house.invitations = Invitations(house.database, house.clock)  # the owner restarted meanwhile
    return await house.enter(MALLORY, token, peers=[])


async def both_at_once_with_a_token_for_one(house: House) -> bool:
    token = await house.invitations.add(once=True, expires=None, access=None)
    return all(await asyncio.gather(*(house.enter(key, token, peers=[]) for key in (BOB, MALLORY))))


async def with_a_key_that_was_shut_out(house: House) -> bool:
    await house.invitations.revoke(MALLORY)
    house.invitations = Invitations(house.database, house.clock)
    return await house.enter(MALLORY)


async def with_a_token_and_a_key_that_was_shut_out(house: House) -> bool:
    token = await house.invitations.add(once=False, expires=None, access=None)
    await house.invitations.revoke(MALLORY)
    return await house.enter(MALLORY, token, peers=[])


async def beside_the_peers_who_are_named(house: House) -> bool:
    return await house.enter(MALLORY, peers=[BOB, CAROL.text, CAROL.fingerprint])


async def beside_the_peers_whom_an_access_names(house: House) -> bool:
    return await house.enter(MALLORY, access=peerpouch.Access(peers=[BOB]))


async def past_an_on_remote_that_fails(house: House) -> bool:
    def fails(event: peerpouch.RemoteEvent) -> None:
        raise ValueError

    return await house.enter(MALLORY, on_remote=fails)


async def past_an_on_remote_that_refuses(house: House) -> bool:
    return await house.enter(MALLORY, on_remote=lambda event: event.prevent_default("no"))


async def for_more_than_the_invite_gives(house: House) -> bool:
    token = await house.invitations.add(once=False, expires=None, access=peerpouch.Access(write=False))
    door = house.door(peers=[])
    grant = await door.decide(RemotePeer(MALLORY, "session"), "share", None, token)
    return (await door.access_of(grant)).write


def _first(invites: list[Any], token: bytes) -> Any:
    return invites[0]


async def _blindly(self: Invitations, change: Callable[[Any], Any]) -> None:
    """What would be without the check of revisions: everybody reads, and then everybody writes."""
    doc = await self._read()
    written = change(doc) is not False
    await asyncio.sleep(0)
    if written:
        await self._database.bulk_docs([doc], new_edits=False)


async def _unbound(self: Invitations, change: Callable[[Any], Any]) -> None:
    """What would be if nobody wrote down who used a token first."""
    doc = await self._read()
    if change(doc) is not False:
        for invite in doc["invites"]:
            invite["key"] = None
        await self._database.put(doc)


async def _nothing(*given: Any) -> None: ...


async def _no(*given: Any) -> bool:
    return False


@dataclass
class Defence:
    """An attack, and the defence that stops it: what is patched to take it away."""

    attack: Callable[[House], Awaitable[bool]]
    where: Any
    name: str
    instead: Any


DEFENCES = [
    Defence(uninvited, Invitations, "any", _no),
    Defence(uninvited_to_read, Invitations, "any", _no),
    Defence(after_all_invites_ran_out, Invitations, "any", _no),
    Defence(with_a_made_up_token, invitations, "_find", _first),
    Defence(with_a_token_that_was_taken_back, invitations, "_is_over", lambda entry, now: False),
    Defence(with_a_token_that_ran_out, invitations, "_is_over", lambda entry, now: False),
    Defence(with_a_token_that_somebody_else_used, Invitations, "_change", _unbound),
    Defence(both_at_once_with_a_token_for_one, Invitations, "_change", _blindly),
    Defence(with_a_key_that_was_shut_out, Invitations, "is_revoked", _no),
    Defence(with_a_token_and_a_key_that_was_shut_out, Invitations, "is_revoked", _no),
    Defence(beside_the_peers_who_are_named, Door, "_names", lambda *given: True),
    Defence(beside_the_peers_whom_an_access_names, Door, "_names", lambda *given: True),
    Defence(past_an_on_remote_that_fails, doors, "admit", _nothing),
    Defence(past_an_on_remote_that_refuses, doors, "admit", _nothing),
    Defence(for_more_than_the_invite_gives, invitations, "from_json", lambda value: peerpouch.Access()),
]


def _name(defence: Defence) -> str:
    return defence.attack.__name__


@pytest.mark.parametrize("defence", DEFENCES, ids=_name)
async def test_nobody_gets_in(defence: Defence) -> None:
    async with peerpouch.open(":memory:") as database:
        assert not await defence.attack(House(database))


@pytest.mark.parametrize("defence", DEFENCES, ids=_name)
async def test_twin_without_the_defence_the_attacker_gets_in(defence: Defence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(defence.where, defence.name, defence.instead)
    async with peerpouch.open(":memory:") as database:
        assert await defence.attack(House(database))


async def test_those_who_are_meant_get_in() -> None:
    async with peerpouch.open(":memory:") as database:
        house = House(database)
        assert await house.enter(BOB)
        assert await house.enter(CAROL, peers=[BOB, CAROL.fingerprint])
        once = await house.invitations.add(once=True, expires=60, access=None)
        for says_who in ({"access": lambda peer: "read-only"}, {"on_remote": lambda event: None}, {"peers": [CAROL]}):
            assert await house.enter(CAROL, **says_who)
        assert await house.enter(BOB, once) and await house.enter(BOB, once, peers=[])
        await house.invitations.revoke(BOB)
        await house.invitations.revoke(BOB, revoked=False)
        assert await house.enter(BOB, once)


def test_an_invite_of_another_key_is_noticed_by_its_fingerprint() -> None:
    invite = Invite("hub.db", "0" * 26, BOB.fingerprint)
    assert invite.is_for(BOB) and not invite.is_for(MALLORY)
