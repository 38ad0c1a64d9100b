"""Whatever fails between two peers says at which step it failed, within the time that was given."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.errors import BadRequest, DeadlineExceeded, Forbidden, HubUnreachable, PeerUnreachable, ShareNotFound
from peerpouch.hub.client import HubClient
from peerpouch.transports.webrtc.transport import _Pending
from tests.node.support import Person, people


async def _shared(alice: Person, **rules: Any) -> peerpouch.OwnShare:
    notes = await alice.database()
    await notes.put({"_id": "heron"})
    return await alice.hub.share_database(notes, name="notes", **rules)


async def test_a_share_that_is_not_there(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        shared = await _shared(alice)
        share = await bob.find("notes")
        await alice.hub.unshare_database(shared)
        with pytest.raises(ShareNotFound):
            await share.open(timeout=10)


async def test_a_hub_that_is_not_there() -> None:
    with pytest.raises(HubUnreachable, match="can't be opened"):
        await peerpouch.Hub("http://127.0.0.1:1/hub", ice_servers=[], identity=peerpouch.Identity.ephemeral())


async def test_a_hub_that_hangs_is_given_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(self: HubClient, share_id: str) -> Any:
        await asyncio.Event().wait()

    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await _shared(alice)
        share = await bob.find("notes")
        monkeypatch.setattr(HubClient, "find", hang)
        async with asyncio.timeout(10):
            with pytest.raises(HubUnreachable, match=r"did not answer within 0\.2 seconds"):
                await share.open(timeout=0.2)


async def test_an_owner_who_refuses(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await _shared(alice, on_remote=lambda event: event.prevent_default("Not on Sundays."))
        with pytest.raises(Forbidden, match="Not on Sundays"):
            await bob.open("notes", timeout=10)


async def test_an_owner_who_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await _shared(alice)
        share = await bob.find("notes")
        monkeypatch.setattr("peerpouch.hub.answering.Answerer.changed", lambda self, change: None)
        async with asyncio.timeout(20):
            with pytest.raises(PeerUnreachable, match="did not answer within"):
                await share.open(timeout=0.5)


async def _no_servers() -> list[Any]:
    """What nobody can tell beforehand."""
    return []


async def test_relays_only_and_none_is_given() -> None:
    with pytest.raises(BadRequest, match="none is given: name one in ice_servers, or in PEERPOUCH_ICE_SERVERS"):
        peerpouch.Hub("hub.db", ice_servers=["stun:127.0.0.1"], ice_transport_policy="relay")
    peerpouch.Hub("hub.db", ice_servers=["turns:127.0.0.1"], ice_transport_policy="relay")
    peerpouch.Hub("hub.db", ice_servers=_no_servers, ice_transport_policy="relay")


@pytest.mark.parametrize("who", ["the opener", "the sharer"])
async def test_relays_only_and_none_gave_an_address(tmp_path: Path, who: str) -> None:
    """It is told at once, not when the time is up."""
    async with Person(tmp_path, "alice") as alice:
        notes = await alice.database()
        hubs = [
            peerpouch.Hub(
                tmp_path / "hub.db",
                identity=identity,
                ice_servers=_no_servers,
                ice_transport_policy="relay" if wants else "all",
            )
            for identity, wants in ((alice.identity, who == "the sharer"), (alice.identity, who == "the opener"))
        ]
        async with hubs[0] as one, hubs[1] as two:
            shared = await one.share_database(notes, name="notes")
            async with asyncio.timeout(60):
                if who == "the opener":
                    with pytest.raises(PeerUnreachable, match="No TURN server gave an address"):
                        await two.open_share(shared.id, timeout=300)
                else:
                    with pytest.raises(Forbidden, match="The other side has no address under which it may be reached"):
                        await two.open_share(shared.id, timeout=300)


async def test_no_path_names_what_was_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each hears of nothing that the other one has."""
    monkeypatch.setattr(_Pending, "sdp", property(lambda self: _without_candidates(self.local)))
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await _shared(alice)
        async with asyncio.timeout(60):
            with pytest.raises(PeerUnreachable, match=r"No path .* Candidates tried: here host .*; there none\."):
                await bob.open("notes", timeout=6)


def _without_candidates(sdp: str) -> str:
    return "".join(line for line in sdp.splitlines(keepends=True) if "a=candidate" not in line)


async def test_a_connection_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await _shared(alice)
        async with await bob.open("notes") as remote:
            await remote.get("heron")
            (connection,) = alice.hub._pool._connections.values()
            link: Any = connection.link

            async def lose(scope: Any, receive: Any, send: Any) -> None:
                await link._engine.close()

            monkeypatch.setattr(alice.hub, "_app", lose)
            with pytest.raises(PeerUnreachable, match="lost"):
                async with asyncio.timeout(20):
                    await remote.get("heron")


async def test_a_peer_that_is_connected_and_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await _shared(alice)
        async with await bob.open("notes", request_timeout=0.3) as remote:
            await remote.get("heron")
            monkeypatch.setattr(alice.hub, "_app", hang)
            async with asyncio.timeout(10):
                with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.3 seconds"):
                    await remote.get("heron")


async def test_one_call_is_limited_by_asyncio_and_the_next_one_works(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        await _shared(alice)
        async with await bob.open("notes") as remote:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await remote.get("heron")
            assert (await remote.get("heron"))["_id"] == "heron"
