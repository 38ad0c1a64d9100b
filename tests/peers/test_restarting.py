"""ICE restarts between pools: who offers one, who takes it, and what happens where nobody does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerpouch.errors import PeerUnreachable
from peerpouch.exchange import Request
from peerpouch.peers.lease import Lease
from tests.peers.conftest import FakeLink, Person, World, settle


async def _get(lease: Lease) -> int:
    response = await lease.exchange.handle_async_request(Request("GET", f"http://peer/{lease.share_id}/doc"))
    return response.status_code


async def _connected(world: World, *, restartable: bool = True) -> tuple[Person, Person, Lease, FakeLink, FakeLink]:
    """Bob has opened a share of Alice's; with both ends of the link, his first."""
    alice, bob = world.person(b"a"), world.person(b"b")
    alice.share("notes")
    lease = await bob.pool.connect("notes", {"who": "bob"})
    (mine,) = world.network.links
    assert mine.other is not None
    for end in (mine, mine.other):
        end.restartable = restartable
    for person in (alice, bob):  # the links were minded when they could not restart
        for connection in person.pool._connections.values():
            assert connection.link is not None
            person.pool.tasks.spawn(person.pool._mind(connection, connection.link))
    return alice, bob, lease, mine, mine.other


def _break(*links: FakeLink) -> None:
    for link in links:
        link.mute = True
        link.trouble.set()


async def test_a_broken_path_is_replaced_and_what_was_under_way_goes_on(world: World) -> None:
    alice, bob, lease, mine, theirs = await _connected(world)
    _break(mine, theirs)
    await settle()
    assert (mine.restarts, theirs.restarts) == (1, 1)
    assert await _get(lease) == 200
    assert len(world.network.links) == 1 and not mine.closed
    assert alice.asked == [(bob.peer, "notes", {"who": "bob"})] * 2  # she is asked, as for every offer
    assert world.network.unused == 1  # what was made for a new connection


async def test_one_who_is_not_let_in_any_more_gets_no_restart(world: World) -> None:
    alice, _, _, mine, theirs = await _connected(world)
    alice.refuses["notes"] = "No more."
    _break(mine, theirs)
    await settle()
    assert theirs.restarts == 0 and mine.taken_back == 1


@pytest.mark.parametrize("why", ["engine", "lost", "ignorant"])
async def test_an_end_that_can_not_restart_makes_a_new_connection(
    world: World, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _, lease, mine, theirs = await _connected(world)
    _break(mine, theirs)
    if why == "engine":
        theirs.restartable = False
    elif why == "lost":
        theirs.end(PeerUnreachable("Lost."))
    else:
        answer = alice.pool.answer

        async def ignorant(peer: Any, share: str, body: Any) -> Any:
            return await answer(peer, share, {key: body[key] for key in ("share", "info", "sdp")})

        monkeypatch.setattr(alice.pool, "answer", ignorant)
    await settle()
    await world.clock.advance(2.5)  # she asks the old connection whether it is alive
    assert len(world.network.links) == 2
    assert mine.restarts == 0
    assert await _get(lease) == 200
    await world.clock.advance(10)
    assert mine.closed


async def test_a_connection_that_can_not_restart_is_left_until_it_ends(world: World) -> None:
    _, _, lease, mine, theirs = await _connected(world, restartable=False)
    _break(mine, theirs)
    await world.clock.advance(5)
    assert world.hub.carried == 1
    mine.end(PeerUnreachable("Lost."))
    theirs.end(PeerUnreachable("Lost."))
    assert await _get(lease) == 200
    assert world.hub.carried == 2


async def test_a_restart_that_comes_too_late_is_followed_by_a_new_connection(world: World) -> None:
    _, _, lease, mine, theirs = await _connected(world)
    world.hub.deliver.clear()
    _break(mine, theirs)
    await settle()
    mine.end(PeerUnreachable("Silent for 9 seconds."))
    got = asyncio.ensure_future(_get(lease))
    await settle()
    world.hub.deliver.set()
    await settle()
    await world.clock.advance(2.5)
    assert await got == 200
    assert len(world.network.links) == 2


async def test_restarts_that_cross_are_settled_by_the_addresses(world: World) -> None:
    alice, bob, lease, mine, theirs = await _connected(world)
    bob.share("his")
    back = await alice.pool.connect("his")
    asked = len(alice.asked), len(bob.asked)
    world.hub.deliver.clear()
    before = world.hub.carried
    _break(mine, theirs)
    await settle()
    assert world.hub.carried == before + 2
    world.hub.deliver.set()
    await settle()
    assert (mine.restarts, theirs.restarts) == (1, 1)  # alice has the lower address
    assert mine.taken_back == 1 and not mine.offered and not theirs.offered
    assert [await _get(each) for each in (lease, back)] == [200, 200]
    assert len(world.network.links) == 1
    assert (len(alice.asked), len(bob.asked)) == (asked[0] + 1, asked[1] + 1)


async def test_an_answer_of_another_connection_is_no_restart(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, _, lease, mine, theirs = await _connected(world)
    answer = alice.pool.answer

    async def altered(peer: Any, share: str, body: Any) -> Any:
        return {**await answer(peer, share, body), "restart": "restarted somewhere else"}

    monkeypatch.setattr(alice.pool, "answer", altered)
    _break(mine, theirs)
    await settle()
    assert mine.restarts == 0 and not mine.offered
    monkeypatch.undo()
    await world.clock.advance(2.5)
    assert mine.restarts == 1
    assert await _get(lease) == 200


async def test_an_end_that_opened_nothing_waits_for_the_other(world: World) -> None:
    _, _, _, mine, theirs = await _connected(world)
    theirs.mute = True
    theirs.trouble.set()
    await world.clock.advance(5)
    assert world.hub.carried == 1 and mine.restarts == 0


async def test_one_who_asks_while_a_restart_runs_out_of_time_has_its_own_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, _, lease, mine, theirs = await _connected(world)
    world.hub.deliver.clear()
    stuck = asyncio.Event()
    answer = alice.pool.answer

    async def asleep(peer: Any, share: str, body: Any) -> Any:
        await stuck.wait()
        raise PeerUnreachable("The owner did not answer in time.")

    monkeypatch.setattr(alice.pool, "answer", asleep)
    _break(mine, theirs)
    await settle()
    world.hub.deliver.set()
    for end in (mine, theirs):
        end.end(PeerUnreachable("Silent for 9 seconds."))
    await settle()
    got = asyncio.ensure_future(_get(lease))
    await settle()
    monkeypatch.setattr(alice.pool, "answer", answer)  # she is awake again
    stuck.set()  # and the restart has run out of time
    await settle()
    assert await got == 200
    assert world.hub.carried == 3
