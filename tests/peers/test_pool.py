"""One connection per pair of addresses: shared, settled, bounded, closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.errors import (
    BadRequest,
    DatabaseClosed,
    DeadlineExceeded,
    Forbidden,
    InvalidSignal,
    PeerUnreachable,
    ShareNotFound,
    TooManyRequests,
)
from peerpouch.exchange import AsyncByteStream, Request, Response
from peerpouch.peers.lease import Lease
from peerpouch.peers.limits import PoolLimits
from peerpouch.peers.pool import Pool
from peerpouch.ports import Peer
from tests.peers.conftest import World, settle, until


async def get(lease: Lease, path: str = "") -> int:
    request = Request("GET", f"http://peer/{lease.share_id}{path}")
    response = await lease.exchange.handle_async_request(request)
    await response.aclose()
    return response.status_code


async def forever(*arguments: Any) -> Any:
    await asyncio.Event().wait()


async def test_a_share_opens_and_both_infos_arrive(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes", {"who": "bob"})
    assert lease.info == {"about": "notes"}
    assert alice.asked == [(bob.peer, "notes", {"who": "bob"})]
    assert await get(lease, "/doc") == 200
    assert alice.served == [(bob.peer, "/notes/doc")]


async def test_a_refused_opener_gets_the_reason_and_nothing_was_made_for_it(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    alice.refuses["notes"] = "Not today."
    with pytest.raises(Forbidden, match="Not today"):
        await bob.pool.connect("notes")
    assert world.network.made["answer"] == 0
    await settle()
    assert not alice.pool._connections and not bob.pool._connections
    assert world.network.unused == 1


async def test_a_share_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(ShareNotFound):
        await world.person(b"b").pool.connect("nothing")


async def test_a_second_share_asks_over_the_open_connection_and_may_be_refused_there(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    for name in ("one", "two", "three"):
        alice.share(name)
    first = await bob.pool.connect("one")
    second = await bob.pool.connect("two", {"who": "bob"})
    assert second.info == {"about": "two"}
    assert alice.asked[-1] == (bob.peer, "two", {"who": "bob"})
    alice.refuses["three"] = "Not that one."
    with pytest.raises(Forbidden, match="Not that one"):
        await bob.pool.connect("three")
    assert await get(first) == await get(second) == 200
    assert len(world.network.links) == 1 and world.hub.carried == 1


async def test_opening_the_same_share_again_asks_again_and_a_refusal_leaves_the_first_open(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    first = await bob.pool.connect("notes", 1)
    alice.refuses["notes"] = "Once is enough."
    with pytest.raises(Forbidden, match="Once is enough"):
        await bob.pool.connect("notes", 2)
    assert [info for _, _, info in alice.asked] == [1, 2]
    assert await get(first) == 200


async def test_openers_at_once_share_one_attempt(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("one")
    alice.share("two")
    leases = await asyncio.gather(*(bob.pool.connect(name, 7) for name in ["one", "two"] * 5))
    assert len(world.network.links) == 1 and world.hub.carried == 1
    assert {await get(lease) for lease in leases} == {200}
    assert sum(name == "one" for _, name, _ in alice.asked) == 1


async def test_openers_of_other_shares_are_not_told_anothers_refusal(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("one")
    alice.share("two")
    alice.refuses["one"] = "Not that one."
    results = await asyncio.gather(*(bob.pool.connect(name) for name in ("one", "two")), return_exceptions=True)
    assert isinstance(results[0], Forbidden) and isinstance(results[1], Lease)


async def test_an_opener_that_is_cancelled_leaves_the_others_their_attempt(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    world.hub.deliver.clear()
    first, second = (asyncio.ensure_future(bob.pool.connect("notes")) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    world.hub.deliver.set()
    assert await get(await second) == 200
    assert world.hub.carried == 1


@pytest.mark.parametrize("lower_first", [True, False])
async def test_crossing_offers_make_one_connection_which_both_use(world: World, lower_first: bool) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("hers")
    bob.share("his")
    world.hub.deliver.clear()
    opens = [alice.pool.connect("his"), bob.pool.connect("hers")]
    tasks = [asyncio.ensure_future(work) for work in (opens if lower_first else reversed(opens))]
    await until(lambda: world.hub.carried == 2)
    world.hub.deliver.set()
    leases = await asyncio.gather(*tasks)
    assert [await get(lease) for lease in leases] == [200, 200]
    assert len(world.network.links) == 1
    assert world.network.made == {"offer": 2, "answer": 1}
    assert len(alice.asked) == len(bob.asked) == 1


async def test_a_crossing_offer_that_gave_way_to_a_refused_one_is_made_again(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("hers")
    bob.share("his")
    bob.refuses["his"] = "Not you."
    world.hub.deliver.clear()
    tasks = [asyncio.ensure_future(work) for work in (alice.pool.connect("his"), bob.pool.connect("hers"))]
    await until(lambda: world.hub.carried == 2)
    world.hub.deliver.set()
    with pytest.raises(Forbidden, match="Not you"):
        await tasks[0]
    await world.clock.advance(10)
    assert await get(await tasks[1]) == 200
    assert not bob.pool.admitted(alice.peer, "his")


async def test_an_offer_that_was_late_does_not_break_the_connection_that_works(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    alice.share("more")
    lease = await bob.pool.connect("notes")
    answer = await alice.pool.answer(bob.peer, "more", {"share": "more", "info": None, "sdp": "offer 1"})
    assert answer["sdp"] is None and alice.pool.admitted(bob.peer, "more")
    assert await get(lease) == 200 and len(world.network.links) == 1


async def test_a_peer_that_lost_the_connection_alone_gets_a_new_one(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    (link,) = world.network.links
    assert link.other is not None
    link.other.mute = True  # what alice sends is lost, and she has not noticed
    link.end(PeerUnreachable("Lost."))
    task = asyncio.ensure_future(get(lease))
    await world.clock.advance(3)
    assert await task == 200
    assert len(world.network.links) == 2 and world.hub.carried == 2


async def test_the_next_request_after_a_loss_reconnects_and_asks_again(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes", {"who": "bob"})
    await world.network.links[0].close()
    await settle()
    assert not alice.pool.admitted(bob.peer, "notes")
    assert await asyncio.gather(*(get(lease) for _ in range(5))) == [200] * 5
    assert alice.asked == [(bob.peer, "notes", {"who": "bob"})] * 2
    alice.refuses["notes"] = "No more."
    await world.network.links[1].close()
    with pytest.raises(Forbidden, match="No more"):
        await get(lease)


async def test_requests_that_wait_for_a_reconnection_end_together_within_the_limit(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes", timeout=10)
    await world.network.links[0].close()
    world.hub.deliver.clear()
    tasks = [asyncio.ensure_future(get(lease)) for _ in range(3)]
    await world.clock.advance(10)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [PeerUnreachable] * 3
    assert len({id(result) for result in results}) == 3


async def test_a_request_under_way_when_the_connection_is_lost_ends_in_an_error(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    link = world.network.links[0]
    link.mute = True
    task = asyncio.ensure_future(get(lease))
    await settle()
    link.end(PeerUnreachable("Lost."))
    with pytest.raises(PeerUnreachable):
        await task


async def test_a_connection_that_is_lost_makes_the_hub_be_looked_for_and_one_that_is_closed_does_not(
    world: World,
) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    await bob.pool.connect("notes")
    await alice.pool.close()
    await until(lambda: world.network.links[0].closed)
    await settle()
    assert world.hub.doubts == 0
    again = world.person(b"c")
    again.share("more")
    await bob.pool.connect("more")
    world.network.links[-1].end(PeerUnreachable("Lost."))
    await settle()
    assert world.hub.doubts > 0


async def test_a_share_is_found_again_under_a_new_address(world: World) -> None:
    alice, again, bob = world.person(b"a"), world.person(b"a"), world.person(b"b")
    again.peer = again.pool.own = Peer(alice.peer.key, "a later session")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    assert lease.peer == alice.peer
    await alice.pool.close()
    again.share("notes")
    assert await get(lease) == 200
    assert lease.peer == again.peer
    await settle()
    assert list(bob.pool._connections) == [again.peer]


async def test_opening_has_a_time_limit_that_names_the_step(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    alice.share("more")
    await bob.pool.connect("notes")
    alice.deciding.clear()
    task = asyncio.ensure_future(bob.pool.connect("more", timeout=5))
    await world.clock.advance(5)
    with pytest.raises(PeerUnreachable, match="decided whether to let us in"):
        await task


async def test_without_a_path_the_error_says_so_and_nothing_stays(world: World) -> None:
    alice, bob = world.person(b"a", PoolLimits(half_open=20)), world.person(b"b")
    alice.share("notes")
    world.network.no_path = True
    with pytest.raises(PeerUnreachable, match="No path"):
        await bob.pool.connect("notes")
    await settle()
    assert not bob.pool._connections


async def test_what_an_own_share_is_is_said(world: World) -> None:
    alice = world.person(b"a")
    alice.share("notes")
    with pytest.raises(BadRequest, match="its database directly"):
        await alice.pool.connect("notes")


@pytest.mark.parametrize("sdp", [None, 7, "garbage"])
async def test_an_offer_whose_sdp_is_garbage_is_refused_and_nothing_stays(world: World, sdp: Any) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    with pytest.raises(InvalidSignal):
        await alice.pool.answer(bob.peer, "notes", {"share": "notes", "sdp": sdp})
    await settle()
    assert not alice.pool._connections


async def test_half_open_connections_are_bounded_in_number(world: World) -> None:
    alice = world.person(b"a", PoolLimits(half_opens=3))
    alice.share("notes")
    for number in range(5):
        offerer = world.person(bytes([number]))
        pending = await world.network.offer(offerer._app, alice.peer)
        body = {"share": "notes", "sdp": pending.sdp}
        if number < 3:
            assert (await alice.pool.answer(offerer.peer, "notes", body))["sdp"]
        else:
            with pytest.raises(TooManyRequests):
                await alice.pool.answer(offerer.peer, "notes", body)
    assert len(alice.pool._connections) == 3


@pytest.mark.parametrize("limits", [PoolLimits(links_per_key=3), PoolLimits(links=3)])
async def test_connections_are_bounded_in_number_and_the_others_go_on(world: World, limits: PoolLimits) -> None:
    alice = world.person(b"a", limits)
    alice.share("notes")
    leases = []
    for number in range(4):
        visitor = world.person(b"b")
        visitor.pool.own = visitor.peer = Peer(visitor.peer.key, f"session {number}")
        visitor.signals.sender = visitor.peer
        if number < 3:
            leases.append(await visitor.pool.connect("notes"))
        else:
            with pytest.raises(TooManyRequests):
                await visitor.pool.connect("notes")
    assert {await get(lease) for lease in leases} == {200}
    await world.network.links[0].close()
    assert await get(leases[0]) == 200


async def test_without_that_bound_every_offer_holds_a_connection(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "_check_room", lambda self, peer: None)
    alice = world.person(b"a", PoolLimits(half_opens=3))
    alice.share("notes")
    for number in range(5):
        offerer = world.person(bytes([number]))
        pending = await world.network.offer(offerer._app, alice.peer)
        await alice.pool.answer(offerer.peer, "notes", {"share": "notes", "sdp": pending.sdp})
    assert len(alice.pool._connections) == 5


async def test_a_peer_whose_connection_ends_while_its_new_offer_is_decided_on_is_let_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    (link,) = world.network.links
    assert link.other is not None
    monkeypatch.setattr(link.other, "handle_async_request", forever)
    link.end(PeerUnreachable("Lost."))
    task = asyncio.ensure_future(get(lease))
    await settle()
    link.other.end(PeerUnreachable("Lost."))  # noticed while alice looks whether it still works
    await world.clock.advance(3)
    assert await task == 200
    assert alice.pool.admitted(bob.peer, "notes")


async def test_a_share_that_was_not_opened_is_not_served_over_an_open_connection(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    alice.share("diary")
    lease = await bob.pool.connect("notes")
    request = Request("GET", "http://peer/diary/doc")
    assert (await lease.exchange.handle_async_request(request)).status_code == 404


async def test_without_admission_it_is_served(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    alice.share("diary")
    lease = await bob.pool.connect("notes")
    monkeypatch.setattr(Pool, "admitted", lambda self, peer, share: True)
    request = Request("GET", "http://peer/diary/doc")
    assert (await lease.exchange.handle_async_request(request)).status_code == 200


async def test_revoking_closes_what_was_open_for_that_share_alone(world: World) -> None:
    alice, bob, carol = world.person(b"a"), world.person(b"b"), world.person(b"c")
    alice.share("notes")
    alice.share("more")
    lease, other = await bob.pool.connect("notes"), await carol.pool.connect("notes")
    await carol.pool.connect("more")
    del world.hub.shares["notes"]
    alice.pool.revoke("notes")
    await settle()
    assert [link.closed for link in world.network.links] == [True, False]
    with pytest.raises(ShareNotFound):
        await get(lease)
    with pytest.raises(ShareNotFound):  # the connection stays, and the share is gone
        await get(other)


async def test_a_share_that_is_shared_again_over_the_connection_that_stayed_is_asked_for_and_used(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    alice.share("more")
    lease, _ = await bob.pool.connect("notes"), await bob.pool.connect("more")
    alice.pool.revoke("notes")
    assert await get(lease) == 200
    assert [share for _, share, _ in alice.asked] == ["notes", "more", "notes"]


async def test_revoking_one_key_leaves_the_others(world: World) -> None:
    alice, bob, carol = world.person(b"a"), world.person(b"b"), world.person(b"c")
    alice.share("notes")
    lease, other = await bob.pool.connect("notes"), await carol.pool.connect("notes")
    alice.pool.revoke("notes", bob.peer.key)
    alice.refuses["notes"] = "Revoked."
    await settle()
    with pytest.raises(Forbidden, match="Revoked"):
        await get(lease)
    assert await get(other) == 200


async def test_a_connection_that_nobody_uses_is_closed_after_a_while_and_not_before(world: World) -> None:
    alice, bob = world.person(b"a", PoolLimits(idle=30)), world.person(b"b", PoolLimits(idle=30))
    alice.share("notes")
    first, second = await bob.pool.connect("notes"), await bob.pool.connect("notes")

    def closed() -> list[bool]:
        return [link.closed for link in world.network.links]

    await first.close()
    await world.clock.advance(100)
    assert closed() == [False]
    await second.close()
    await world.clock.advance(29)
    assert closed() == [False]
    assert not alice.pool.admitted(bob.peer, "notes")
    await world.clock.advance(2)
    assert closed() == [True]
    assert not alice.pool._connections and not bob.pool._connections


async def test_an_idle_connection_is_used_again(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    await (await bob.pool.connect("notes")).close()
    await world.clock.advance(20)
    lease = await bob.pool.connect("notes")
    await world.clock.advance(60)
    assert await get(lease) == 200
    assert len(world.network.links) == 1


async def test_a_share_closed_and_opened_at_once_stays_open(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    for _ in range(5):
        lease = await bob.pool.connect("notes")
        await lease.close()
    lease = await bob.pool.connect("notes")
    await settle()
    assert await get(lease) == 200


async def test_the_connection_stays_while_the_other_end_uses_it(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("hers")
    bob.share("his")
    mine = await bob.pool.connect("hers")
    theirs = await alice.pool.connect("his")
    assert len(world.network.links) == 1
    await mine.close()
    await world.clock.advance(100)
    assert await get(theirs) == 200
    await theirs.close()
    await world.clock.advance(100)
    assert world.network.links[0].closed


async def test_a_closed_lease_and_a_closed_pool_say_so(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    await lease.close()
    with pytest.raises(DatabaseClosed):
        await get(lease)
    lease = await bob.pool.connect("notes")
    await bob.pool.close()
    for work in (get(lease), bob.pool.connect("notes")):
        with pytest.raises(DatabaseClosed):
            await work
    with pytest.raises(DatabaseClosed):
        await bob.pool.answer(alice.peer, "x", {"sdp": "offer 1"})


async def test_closing_the_pool_ends_what_is_under_way(world: World) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    world.hub.deliver.clear()
    task = asyncio.ensure_future(bob.pool.connect("notes"))
    await until(lambda: world.hub.carried)
    await bob.pool.close()
    with pytest.raises(DatabaseClosed):
        await task
    assert world.network.unused == 1


async def test_closing_does_not_wait_for_a_link_that_never_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    await bob.pool.connect("notes")
    monkeypatch.setattr(world.network.links[0], "close", forever)
    task = asyncio.ensure_future(bob.pool.close())
    await world.clock.advance(6)
    await task


async def test_a_peer_that_is_there_and_does_not_answer_is_given_up_after_the_requests_limit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    monkeypatch.setattr(world.network.links[0], "_run", forever)
    request = Request("GET", "http://peer/notes", extensions={"timeout": {"read": 0.01}})
    with pytest.raises(DeadlineExceeded):
        await lease.exchange.handle_async_request(request)
    endless = Request("GET", "http://peer/notes", extensions={"timeout": {"read": None}})
    waiting = asyncio.ensure_future(lease.exchange.handle_async_request(endless))
    await settle()
    assert not waiting.done()
    await world.network.links[0].close()
    with pytest.raises(PeerUnreachable):
        await waiting


async def _parts(count: int, waits: bool = False) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(1024)
    if waits:
        await asyncio.sleep(0.05)


class _Reader:
    """Answers requests: reads so many parts of their bodies, and then nothing any more; or all, and answers."""

    def __init__(self, parts: int | None) -> None:
        self.parts = parts

    async def __call__(self, request: Request) -> Response:
        body, read = aiter(request.stream), 0  # type: ignore[arg-type]
        while self.parts is None or read < self.parts:
            if await anext(body, None) is None:
                return Response(201)
            read += 1
        await forever()
        raise AssertionError


async def _upload(world: World, monkeypatch: pytest.MonkeyPatch, reader: _Reader, content: Any, limit: float) -> int:
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    monkeypatch.setattr(world.network.links[0], "_run", reader)
    request = Request("PUT", "http://peer/notes/a", content=content, extensions={"timeout": {"read": limit}})
    return (await lease.exchange.handle_async_request(request)).status_code


@pytest.mark.parametrize("parts", [0, 1, 5])
async def test_a_peer_that_stops_taking_a_body_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    with pytest.raises(DeadlineExceeded):
        await _upload(world, monkeypatch, _Reader(parts), _parts(5), 0.01)


async def test_a_peer_that_does_not_answer_a_large_body_is_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerpouch.peers.lease.SLOWEST", 1e9)
    with pytest.raises(DeadlineExceeded):
        await _upload(world, monkeypatch, _Reader(0), bytes(1_000_000), 0.01)


async def test_a_body_whose_maker_takes_its_time_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _upload(world, monkeypatch, _Reader(None), _parts(5, waits=True), 0.01) == 201


async def test_twin_with_one_limit_for_all_of_it_a_slow_maker_is_taken_for_a_slow_peer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerpouch.peers.lease._TimedUpload._wait", lambda self, limit: None)
    with pytest.raises(DeadlineExceeded):
        await _upload(world, monkeypatch, _Reader(None), _parts(5, waits=True), 0.01)


async def test_a_body_that_stops_coming_is_given_up_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stalled(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"one"
            await forever()

    async def answer(request: Request) -> Response:
        return Response(200, stream=Stalled())

    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes")
    monkeypatch.setattr(world.network.links[0], "_run", answer)
    request = Request("GET", "http://peer/notes", extensions={"timeout": {"read": 0.01}})
    response = await lease.exchange.handle_async_request(request)
    received = []
    with pytest.raises(DeadlineExceeded):
        async for chunk in response.aiter_raw():
            received.append(chunk)
    assert received == [b"one"]


async def call_one_that_is_restarted_meanwhile(world: World) -> tuple[Any, Lease]:
    """The restarted owner, and what was opened when its new session answered the call to the old one."""
    old, bob = world.person(b"a"), world.person(b"b")
    old.share("notes")
    world.hub.deliver.clear()
    calling = asyncio.create_task(bob.pool.connect("notes", timeout=20.0))
    await until(lambda: world.hub.carried == 1)
    new = world.person(b"a", session="after a restart")
    new.share("notes")
    world.hub.deliver.set()
    lease = await calling
    assert await get(lease) == 200
    other = asyncio.create_task(bob.pool.connect("notes", timeout=20.0))
    await settle()
    if not other.done():
        for _ in range(30):
            await world.clock.advance(1.0)
    return new, await other


async def test_an_owner_restarted_while_it_is_called_is_connected_under_its_new_address(world: World) -> None:
    new, lease = await call_one_that_is_restarted_meanwhile(world)
    assert lease.peer == new.peer
    assert await get(lease) == 200
    assert len(new.pool._connections) == 1


async def test_without_looking_again_the_next_use_waits_for_a_connection_that_is_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = Pool._offer

    async def believing(self: Pool, connection: Any, *arguments: Any) -> Any:
        async def same(share_id: str) -> Peer:
            address: Peer = connection.address
            return address

        resolve, self._resolve = self._resolve, same
        try:
            return await offer(self, connection, *arguments)
        finally:
            self._resolve = resolve

    monkeypatch.setattr(Pool, "_offer", believing)
    with pytest.raises(PeerUnreachable, match="time limit ran out"):
        await call_one_that_is_restarted_meanwhile(world)
