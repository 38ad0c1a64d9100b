"""The registry of shares: to who was not let in, nothing exists."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import peerpouch
from peerpouch.errors import Forbidden, PeerPouchError, ShareNotFound, TooManyRequests
from peerpouch.hub.admission import MAX_PENDING, MAX_PENDING_PER_KEY, Openings
from peerpouch.hub.events import RemotePeer
from peerpouch.identity.keys import Identity
from peerpouch.node.doors import Door, Grant
from peerpouch.node.invitations import Invitations
from peerpouch.node.registry import MAX_GRANTS, Served, ShareRegistry
from peerpouch.ports import Anonymous, Owner, Peer, Principal, SystemClock, User

KEY = Identity.ephemeral(bytes(32)).key
PEER = Peer(b"p" * 32, "session")
STRANGERS: list[Principal] = [Peer(b"q" * 32, "session"), Peer(b"p" * 32, "other"), Owner(), Anonymous(), User("ann")]


@pytest.fixture
async def registry() -> ShareRegistry:
    registry = ShareRegistry(KEY, lambda peer, share: (peer, share) == (PEER, "notes"))
    for name in ("notes", "diary"):
        database = await peerpouch.open(":memory:")
        invitations = Invitations(database, SystemClock())
        contacts = peerpouch.Contacts(memory=True)
        door = Door(name, access=None, peers=None, on_remote=None, invitations=invitations, contacts=contacts)
        registry.add(Served(name, database, door))
        if name == "notes":
            registry._served[name].let_in(
                PEER, Grant(RemotePeer(peerpouch.PublicKey(PEER.key), "session"), False, None)
            )
    return registry


async def test_who_was_let_in_gets_the_database_under_the_shares_name(registry: ShareRegistry) -> None:
    assert (await registry.open("notes", PEER)).name == "notes"
    assert await registry.names(PEER) == ["notes"]


@pytest.mark.parametrize("principal", STRANGERS)
async def test_to_all_others_a_share_and_a_missing_one_are_the_same(
    registry: ShareRegistry, principal: Principal
) -> None:
    reasons = set()
    for name in ("notes", "diary", "nothing"):
        with pytest.raises(ShareNotFound) as missing:
            await registry.open(name, principal)
        reasons.add(missing.value.reason)
    assert len(reasons) == 1
    assert await registry.names(principal) == []


async def test_nobody_makes_or_deletes_databases(registry: ShareRegistry) -> None:
    for principal in (PEER, *STRANGERS):
        with pytest.raises(Forbidden):
            await registry.create("new", principal)
        with pytest.raises(Forbidden):
            await registry.delete("notes", principal)


async def test_what_is_served_no_more_is_gone_and_what_was_open_ends(registry: ShareRegistry) -> None:
    gate = await registry.open("notes", PEER)
    served = registry.remove("notes")
    assert served is not None
    served.revoke("Enough.")
    with pytest.raises(Forbidden, match="Enough"):
        await gate.get("a")
    with pytest.raises(ShareNotFound):
        await registry.open("notes", PEER)


def test_the_uuid_is_the_keys() -> None:
    def uuid(seed: bytes) -> str:
        return ShareRegistry(Identity.ephemeral(seed).key, lambda peer, share: False).uuid

    assert uuid(bytes(32)) == uuid(bytes(32)) != uuid(b"x" * 32)
    assert len(uuid(bytes(32))) == 32


# While somebody is being decided on


class Asked:
    """A share whose ``on_remote`` asks a person, who takes time."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.openings = Openings()
        self.waiting = 0
        self.say = asyncio.Event()
        served.door = self.door(self._ask)

    def door(self, on_remote: Any, **rules: Any) -> Door:
        given = {"access": None, "peers": None, **rules}
        door = self.served.door
        return Door(
            "notes",
            on_remote=on_remote,
            invitations=door.invitations,
            contacts=peerpouch.Contacts(memory=True),
            **given,
        )

    async def _ask(self, event: peerpouch.RemoteEvent) -> None:
        self.waiting += 1
        await self.say.wait()
        self.waiting -= 1

    def knock(self, key: peerpouch.PublicKey) -> asyncio.Task[None]:
        return asyncio.create_task(self.served.welcome(RemotePeer(key, "session"), None, None, self.openings))

    async def until_waiting(self, number: int) -> None:
        while self.waiting < number:
            await asyncio.sleep(0.001)

    async def answer(self, *knocking: asyncio.Task[None]) -> list[Any]:
        self.say.set()
        return await asyncio.gather(*knocking, return_exceptions=True)

    async def is_in(self, key: peerpouch.PublicKey) -> bool:
        try:
            await self.served.gate(Peer(key.raw, "session"))
        except PeerPouchError:
            return False
        return True


async def _naively(self: Served, remote: RemotePeer, info: Any, token: bytes | None, openings: Openings) -> None:
    """What would be if only the door were asked."""
    self.let_in(remote.address, await self.door.decide(remote, self.share_id, info, token))


@pytest.fixture
def asked(registry: ShareRegistry) -> Asked:
    return Asked(registry._served["diary"])


BOB, MALLORY = (Identity.ephemeral().key for _ in range(2))


async def _revoked_meanwhile(asked: Asked) -> list[Any]:
    knocking = [asked.knock(MALLORY), asked.knock(BOB)]
    await asked.until_waiting(2)
    await asked.served.door.invitations.revoke(MALLORY)
    asked.served.revoke("no more", MALLORY.raw)
    return await asked.answer(*knocking)


async def test_who_is_revoked_while_it_is_decided_on_does_not_get_in(asked: Asked) -> None:
    refused, let_in = await _revoked_meanwhile(asked)
    assert isinstance(refused, Forbidden) and refused.reason == "no more"
    assert let_in is None and await asked.is_in(BOB) and not await asked.is_in(MALLORY)


async def test_twin_if_only_the_door_were_asked_it_would_get_in(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Served, "welcome", _naively)
    await _revoked_meanwhile(asked)
    assert await asked.is_in(MALLORY)


async def _changed_meanwhile(asked: Asked) -> list[Any]:
    knocking = [asked.knock(MALLORY)]
    await asked.until_waiting(1)
    asked.served.change(asked.door(lambda event: event.prevent_default("not you")))
    return await asked.answer(*knocking)


async def test_who_is_decided_on_while_the_rules_change_is_decided_on_by_the_new_ones(asked: Asked) -> None:
    (refused,) = await _changed_meanwhile(asked)
    assert isinstance(refused, Forbidden) and refused.reason == "not you"
    assert not await asked.is_in(MALLORY)


async def test_twin_if_only_the_door_were_asked_the_old_rules_would_let_it_in(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Served, "welcome", _naively)
    await _changed_meanwhile(asked)
    assert await asked.is_in(MALLORY)


async def _knock_without_end(asked: Asked) -> list[Any]:
    knocking = [asked.knock(MALLORY) for _ in range(4 * MAX_PENDING)]
    await asked.until_waiting(MAX_PENDING_PER_KEY)
    knocking.append(asked.knock(BOB))
    await asked.until_waiting(MAX_PENDING_PER_KEY + 1)
    return await asked.answer(*knocking)


async def test_nobody_has_more_decisions_pending_than_a_key_may_and_others_are_decided_on(asked: Asked) -> None:
    *mallorys, bobs = await _knock_without_end(asked)
    assert sum(answer is None for answer in mallorys) == MAX_PENDING_PER_KEY
    assert sum(isinstance(answer, TooManyRequests) for answer in mallorys) == len(mallorys) - MAX_PENDING_PER_KEY
    assert bobs is None and len(asked.openings) == 0
    await asyncio.wait_for(asked.knock(MALLORY), 10)


async def test_twin_if_only_the_door_were_asked_there_would_be_any_number(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Served, "welcome", _naively)
    *mallorys, _ = await _knock_without_end(asked)
    assert all(answer is None for answer in mallorys)


# Whoever makes offers, whose connections never come about


async def _flood(asked: Asked, connected: Any) -> bool:
    """Whether Bob, who is connected, still has the database after Mallory called from ever new sessions."""
    served = Served("notes", asked.served.database, asked.served.door, connected)
    grant = Grant(RemotePeer(BOB, "session"), False, None)
    served.let_in(Peer(BOB.raw, "session"), grant)
    for number in range(MAX_GRANTS + 10):
        served.let_in(Peer(MALLORY.raw, str(number)), Grant(RemotePeer(MALLORY, str(number)), False, None))
    assert len(served._grants) == MAX_GRANTS
    try:
        await served.gate(Peer(BOB.raw, "session"))
    except ShareNotFound:
        return False
    return True


async def test_a_flood_of_offers_makes_nobody_forgotten_who_is_connected(asked: Asked) -> None:
    assert await _flood(asked, lambda peer, share: (peer.key, share) == (BOB.raw, "notes"))


async def test_twin_without_looking_who_is_connected_the_first_is_forgotten(asked: Asked) -> None:
    assert not await _flood(asked, lambda peer, share: False)
