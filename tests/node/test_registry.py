"""The registry of shares: to who was not let in, nothing exists."""

from __future__ import annotations

import pytest

import peerpouch
from peerpouch.errors import Forbidden, ShareNotFound
from peerpouch.hub.events import RemotePeer
from peerpouch.identity.keys import Identity
from peerpouch.node.doors import Door, Grant
from peerpouch.node.invitations import Invitations
from peerpouch.node.registry import Served, ShareRegistry
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
