from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peerpouch.errors import (
    BadRequest,
    ClockSkew,
    Forbidden,
    HubUnreachable,
    PeerUnreachable,
    ShareNotFound,
    TooManyRequests,
)
from peerpouch.hub import admission, answering, directory, feed, leases
from peerpouch.hub.events import Opening, RemoteEvent, admit
from peerpouch.hub.shares import Share
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.keys import Identity
from peerpouch.ports import Document
from tests.hub.conftest import Join, echo, publish
from tests.hub.fakes import FakeClock, MemoryHub, settle, until


async def test_a_share_is_listed_for_others_and_not_for_oneself(join: Join) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice, info={"site": 3})
    (share,) = await bob.shares()
    assert (share.id, share.name, share.info) == (share_id, "Field notes", {"site": 3})
    assert share.peer == alice.address
    assert await alice.shares() == []


async def test_two_clients_of_one_identity_see_and_open_each_others_shares(join: Join) -> None:
    me = Identity.ephemeral()
    one, two = join(me), join(me)
    share_id = await publish(one)
    assert [share.id for share in await two.shares()] == [share_id]
    assert (await two.signal(share_id, {"sdp": "x"}, timeout=30))["sdp"] == "answer to x"


async def test_an_offer_is_answered_and_leaves_nothing_behind(join: Join, hub: MemoryHub) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    answer = await bob.signal(share_id, {"sdp": "offer", "info": {"who": "bob"}}, timeout=30)
    assert answer == {"sdp": "answer to offer", "info": {"from": "the owner"}}
    await until(lambda: hub.ids("signal:") == [])
    # One signal document: the offer, the answer in its place, and its deletion.
    states = [doc for doc in hub.written if doc["_id"].startswith("signal:")]
    assert len({doc["_id"] for doc in states}) == 1
    assert [("offer" in doc, "answer" in doc, "_deleted" in doc) for doc in states] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]


async def test_the_handler_gets_the_verified_peer_and_its_info(join: Join) -> None:
    contacts = Contacts(memory=True)
    bob_identity = Identity.ephemeral()
    contacts.add("Bob", bob_identity.key, now=0)
    alice, bob, stranger = join(contacts=contacts), join(bob_identity), join()
    seen: list[Opening] = []

    async def handler(opening: Opening) -> Document:
        seen.append(opening)
        return {}

    share_id = await publish(alice, handler=handler)
    await bob.signal(share_id, {"info": {"who": "bob"}}, timeout=30)
    await stranger.signal(share_id, {}, timeout=30)
    assert (seen[0].peer.key, seen[0].peer.address) == (bob_identity.key, bob.address)
    assert [opening.peer.contact for opening in seen] == ["Bob", None]
    assert [opening.info for opening in seen] == [{"who": "bob"}, None]


async def test_a_refusal_reaches_the_opener_as_forbidden_with_its_reason(join: Join) -> None:
    def sync(event: RemoteEvent) -> None:
        event.prevent_default(f"not you, {event.info}")

    async def coroutine(event: RemoteEvent) -> None:
        event.prevent_default("nobody today")

    alice, bob = join(), join()
    for number, callback in enumerate((sync, coroutine)):

        async def handler(opening: Opening, callback: Any = callback) -> Document:
            await admit(callback, opening)
            return {}

        share_id = await publish(alice, uuid=str(number), handler=handler)
        with pytest.raises(Forbidden, match=r"not you, bob|nobody today"):
            await bob.signal(share_id, {"info": "bob"}, timeout=30)


@pytest.mark.parametrize("reason", ["", " ", None, {"not": "text"}])
async def test_a_refusal_without_a_reason_refuses_and_says_so(join: Join, reason: Any) -> None:
    alice, bob = join(), join()

    async def handler(opening: Opening) -> Document:
        await admit(lambda event: event.prevent_default(reason), opening)
        return {}

    share_id = await publish(alice, handler=handler)
    with pytest.raises(Forbidden, match="does not let you in"):
        await bob.signal(share_id, {}, timeout=30)


async def test_what_a_failing_handler_says_stays_with_the_owner(join: Join) -> None:
    alice, bob = join(), join()

    async def handler(opening: Opening) -> Document:
        raise RuntimeError("the password is hunter2")

    share_id = await publish(alice, handler=handler)
    with pytest.raises(Forbidden) as caught:
        await bob.signal(share_id, {}, timeout=30)
    assert "hunter2" not in str(caught.value)


async def test_an_answer_that_is_not_json_refuses(join: Join) -> None:
    alice, bob = join(), join()

    async def handler(opening: Opening) -> Document:
        return {"sdp": object()}

    share_id = await publish(alice, handler=handler)
    with pytest.raises(Forbidden):
        await bob.signal(share_id, {}, timeout=30)


async def test_a_handler_has_a_time_limit(join: Join, clock: FakeClock) -> None:
    alice, bob = join(), join()
    cancelled = asyncio.Event()

    async def handler(opening: Opening) -> Document:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return {}

    share_id = await publish(alice, handler=handler)
    call = asyncio.create_task(bob.signal(share_id, {}, timeout=60))
    await clock.advance(answering.DECIDE_WITHIN + 1)
    with pytest.raises(Forbidden, match="in time"):
        await call
    assert cancelled.is_set()


async def _crowd(join: Join, openers: int, each: int) -> list[Any]:
    alice, waiting = join(), asyncio.Event()

    async def handler(opening: Opening) -> Document:
        await waiting.wait()
        return {}

    share_id = await publish(alice, handler=handler)
    clients = [join() for _ in range(openers)]
    calls = [asyncio.create_task(bob.signal(share_id, {}, timeout=20)) for bob in clients for _ in range(each)]
    await settle()
    await settle()
    waiting.set()
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_pending_openings_are_bounded_for_each_key_and_in_all(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING", 6)
    monkeypatch.setattr(admission, "MAX_PENDING_PER_KEY", 2)
    results = await _crowd(join, openers=1, each=5)
    assert [type(result) for result in results].count(TooManyRequests) == 3
    results = await _crowd(join, openers=4, each=2)
    assert [type(result) for result in results].count(TooManyRequests) == 2


async def test_twin_without_bounds_everybody_is_pending_at_once(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING", 1000)
    monkeypatch.setattr(admission, "MAX_PENDING_PER_KEY", 1000)
    assert all(result == {} for result in await _crowd(join, openers=1, each=12))


async def test_a_share_that_is_unknown_withdrawn_or_run_out_is_not_found(join: Join, clock: FakeClock) -> None:
    alice, bob = join(), join()
    for wrong in ("0" * 26, "no id", ""):
        with pytest.raises(ShareNotFound):
            await bob.signal(wrong, {}, timeout=30)
    share_id = await publish(alice)
    await alice.withdraw(share_id)
    with pytest.raises(ShareNotFound):
        await bob.signal(share_id, {}, timeout=30)


async def test_a_crashed_owners_share_runs_out(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    document = hub.raw(f"share:{share_id}")
    assert document is not None
    gone: list[Share] = []
    assert len(await bob.shares(gone.append)) == 1
    await alice.close()
    hub.force(document)  # as if it had not been withdrawn
    await clock.advance(80)
    assert len(await bob.shares()) == 1
    gone.clear()
    await clock.advance(25)
    assert [(share.id, share.deleted) for share in gone] == [(share_id, True)]
    assert await bob.shares() == []
    with pytest.raises(ShareNotFound):
        await bob.signal(share_id, {}, timeout=30)


async def test_a_lease_is_renewed_while_its_owner_lives(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    told: list[Share] = []
    await bob.shares(told.append)
    await clock.advance(600)
    assert [share.id for share in await bob.shares()] == [share_id]
    assert told == []  # a renewal is no news
    assert 19 <= len(hub.written) <= 23


async def test_no_answer_ends_in_peer_unreachable(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    alice._answerer.changed = lambda change: None  # type: ignore[method-assign]
    call = asyncio.create_task(bob.signal(share_id, {}, timeout=20))
    await clock.advance(21)
    with pytest.raises(PeerUnreachable, match="20 seconds"):
        await call
    await until(lambda: hub.ids("signal:") == [])


async def test_an_owner_that_restarts_while_it_is_called_is_called_again(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    me, bob = Identity.ephemeral(), join()
    before, after = join(me), join(me)
    share_id = await publish(before)
    before._answerer.changed = lambda change: None  # type: ignore[method-assign]
    call = asyncio.create_task(bob.signal(share_id, {"sdp": "x"}, timeout=20))
    await until(lambda: hub.ids("signal:") != [])
    await publish(after)
    assert (await call)["sdp"] == "answer to x"
    await until(lambda: hub.ids("signal:") == [])


async def test_a_cancelled_call_takes_its_signal_back(join: Join, hub: MemoryHub) -> None:
    alice, bob = join(), join()

    async def handler(opening: Opening) -> Document:
        await asyncio.Event().wait()
        return {}

    share_id = await publish(alice, handler=handler)
    call = asyncio.create_task(bob.signal(share_id, {}, timeout=20))
    await until(lambda: hub.ids("signal:") != [])
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: hub.ids("signal:") == [])


async def test_one_feed_serves_everything(join: Join, hub: MemoryHub) -> None:
    alice, bob = join(), join()
    ids = [await publish(alice, uuid=str(number)) for number in range(5)]
    await asyncio.gather(*(bob.signal(share_id, {}, timeout=30) for share_id in ids for _ in range(3)))
    for _ in range(4):
        await bob.shares(lambda share: None)
    await settle()
    assert hub.feeds == 2
    assert hub.calls["changes"] == 2


async def test_a_hub_that_refuses_selectors_serves_as_well(join: Join, clock: FakeClock) -> None:
    plain = MemoryHub(clock, selectors=False)
    alice, bob = join(at=plain), join(at=plain)
    share_id = await publish(alice)
    assert (await bob.signal(share_id, {"sdp": "x"}, timeout=30))["sdp"] == "answer to x"
    assert plain.feeds == 2


async def test_a_hub_that_is_gone_is_named(join: Join, hub: MemoryHub) -> None:
    alice, bob = join(), join()
    hub.fail = HubUnreachable("nobody listens there")
    with pytest.raises(HubUnreachable, match="nobody listens"):
        await publish(alice)
    with pytest.raises(HubUnreachable):
        await bob.shares()
    with pytest.raises(HubUnreachable):
        await bob.shares(print)
    with pytest.raises(HubUnreachable):
        await bob.signal("0" * 26, {}, timeout=30)


async def test_a_hub_that_forbids_does_not_look_like_a_peer_that_refuses(join: Join, hub: MemoryHub) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    hub.fail = Forbidden("You may not write here.")
    with pytest.raises(HubUnreachable, match="may not write"):
        await bob.signal(share_id, {}, timeout=30)


async def test_after_a_loss_of_the_hub_leases_are_renewed_and_signals_answered(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    told: list[Share] = []
    await bob.shares(told.append)
    hub.lose(HubUnreachable("gone"))
    await clock.advance(300)
    assert [share.deleted for share in told] == [True]  # nobody renewed it, as far as bob can tell
    hub.lose(None)
    await clock.advance(65)
    assert [share.deleted for share in told] == [True, False]
    assert [share.id for share in await bob.shares()] == [share_id]
    assert (await bob.signal(share_id, {"sdp": "x"}, timeout=30))["sdp"] == "answer to x"


async def test_a_signal_survives_a_loss_of_the_hub_on_its_way(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    await settle()
    hub.before_write = lambda doc: hub.lose(HubUnreachable("gone")) if "offer" in doc else None
    call = asyncio.create_task(bob.signal(share_id, {"sdp": "x"}, timeout=60))
    await until(lambda: hub.fail is not None)
    await clock.advance(2)
    hub.before_write = None
    hub.lose(None)
    await clock.advance(10)
    assert (await call)["sdp"] == "answer to x"


async def test_a_silent_feed_counts_as_lost(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    bob = join()
    await bob.shares(print)
    await settle()
    hub.clock = FakeClock()  # which nobody turns: no heartbeat comes any more
    await clock.advance(120)
    assert hub.calls["changes"] >= 2
    assert hub.feeds == 1


async def test_a_feed_that_is_doubted_is_opened_anew_at_once(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    bob = join()
    found: list[Share] = []
    await bob.shares(found.append)
    await settle()
    before = hub.calls["changes"]
    await clock.advance(10)
    bob.doubt()
    await settle()
    assert hub.calls["changes"] == before + 1
    assert hub.feeds == 1
    await publish(join())
    await until(lambda: len(found) == 1)


async def test_many_doubts_open_the_feed_once(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    bob = join()
    await bob.shares(print)
    await settle()
    before = hub.calls["changes"]
    await clock.advance(10)
    for _ in range(500):
        bob.doubt()
        await asyncio.sleep(0)
    await clock.advance(4)
    bob.doubt()
    await settle()
    assert hub.calls["changes"] == before + 1
    assert hub.feeds == 1


async def test_without_the_pause_each_doubt_would_open_it(
    join: Join, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that connects and vanishes again and again makes its victim read the hub as often."""
    monkeypatch.setattr(feed, "DOUBT_PAUSE", 0.0)
    bob = join()
    await bob.shares(print)
    await settle()
    before = hub.calls["changes"]
    for _ in range(20):
        bob.doubt()
        await settle()
    assert hub.calls["changes"] == before + 20


async def test_without_a_doubt_a_feed_that_fell_silent_tells_nothing(
    join: Join, hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed.Feed, "doubt", lambda self: None)
    bob = join()
    await bob.shares(print)
    await settle()
    before = hub.calls["changes"]
    await clock.advance(10)
    bob.doubt()
    await settle()
    assert hub.calls["changes"] == before
    # With one it would be another feed by now; so it lasts until heartbeats were missed.


async def test_a_doubt_ends_the_rest_after_a_loss(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    bob = join()
    await bob.shares(print)
    await settle()
    hub.lose(HubUnreachable())
    for _ in range(6):
        await clock.advance(10)
    hub.lose(None)
    tried = hub.calls["changes"]
    await clock.advance(6)
    assert hub.calls["changes"] == tried and hub.feeds == 0  # it rests for a minute by now
    bob.doubt()
    await settle()
    assert hub.feeds == 1


async def test_on_change_tells_of_new_changed_and_withdrawn_shares(join: Join) -> None:
    alice, bob = join(), join()
    first = await publish(alice, uuid="1", name="first")
    told: list[tuple[str, str, bool]] = []

    def on_change(share: Share) -> None:
        told.append((share.id, share.name, share.deleted))

    listed = await bob.shares(on_change)
    assert [share.id for share in listed] == [first]
    assert told == []
    second = await publish(alice, uuid="2", name="second")
    await until(lambda: len(told) == 1)
    await publish(alice, uuid="2", name="second, better")
    await until(lambda: len(told) == 2)
    await alice.withdraw(second)
    await until(lambda: len(told) == 3)
    assert told == [(second, "second", False), (second, "second, better", False), (second, "second, better", True)]
    listed.cancel()
    await alice.withdraw(first)
    await settle()
    assert len(told) == 3


async def test_on_change_may_be_slow_and_may_fail(join: Join) -> None:
    alice, bob = join(), join()
    told: list[str] = []

    async def on_change(share: Share) -> None:
        await asyncio.sleep(0)
        told.append(share.name)
        raise RuntimeError("oh")

    await bob.shares(on_change)
    for number in range(3):
        await publish(alice, uuid=str(number), name=str(number))
    await until(lambda: len(told) == 3)


async def test_a_watch_can_be_cancelled_from_its_own_callback(join: Join) -> None:
    alice, bob = join(), join()
    told: list[str] = []

    def on_change(share: Share) -> None:
        told.append(share.name)
        listed.cancel()

    listed = await bob.shares(on_change)
    for number in range(3):
        await publish(alice, uuid=str(number), name=str(number))
    await settle()
    assert told == ["0"]


async def test_what_happens_while_listing_is_not_missed(join: Join, hub: MemoryHub) -> None:
    """A listing that is older than the feed neither brings a share back nor takes one away."""
    alice, bob = join(), join()
    old, told = await publish(alice, uuid="old"), list[tuple[str, bool]]()
    original = hub.all_docs
    await bob.shares()
    await bob._feed.start()

    def meanwhile(**options: Any) -> Any:
        listing = original(**options)
        pages = listing._pages

        async def late() -> Any:
            async for page in pages():
                await alice.withdraw(old)
                await publish(alice, uuid="new")
                await settle()
                yield page

        listing._pages = late
        return listing

    hub.all_docs = meanwhile  # type: ignore[method-assign]
    listed = await bob.shares(lambda share: told.append((share.id, share.deleted)))
    hub.all_docs = original  # type: ignore[method-assign]
    assert [share.id for share in listed] == [alice.share_id("new")]


async def test_an_owner_that_restarts_takes_its_share_over(join: Join, hub: MemoryHub) -> None:
    me = Identity.ephemeral()
    before, bob = join(me), join()
    share_id = await publish(before)
    crashed = hub.raw(f"share:{share_id}")
    assert crashed is not None
    await before.close()
    hub.force(crashed)
    after = join(me)
    assert await publish(after) == share_id
    (share,) = await bob.shares()
    assert share.session == after.address.session
    assert await bob.signal(share_id, {"sdp": "x"}, timeout=30)


async def test_of_two_sessions_of_one_share_the_later_serves_and_the_earlier_stands_by(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    me = Identity.ephemeral()
    one, two, bob = join(me), join(me), join()
    share_id = await publish(one)
    assert await publish(two) == share_id

    def serves() -> list[bool]:
        return [client.published()[0].serving for client in (one, two)]

    await clock.advance(5)
    assert serves() == [False, True]
    writes = len(hub.written)
    await clock.advance(300)
    assert serves() == [False, True]
    assert len(hub.written) - writes <= 11  # they do not fight
    (share,) = await bob.shares()
    assert share.session == two.address.session
    await two.withdraw(share_id)
    await clock.advance(5)
    (share,) = await bob.shares()
    assert share.session == one.address.session
    assert await bob.signal(share_id, {"sdp": "x"}, timeout=30)


async def test_a_session_that_stands_by_takes_over_from_one_that_crashed(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    me = Identity.ephemeral()
    one, two, bob = join(me), join(me), join()
    share_id = await publish(one)
    await publish(two)
    await clock.advance(35)
    crashed = hub.raw(f"share:{share_id}")
    assert crashed is not None
    two._publisher._publications.clear()  # it renews nothing any more
    await clock.advance(200)
    (share,) = await bob.shares()
    assert share.session == one.address.session


async def test_withdrawing_while_standing_by_leaves_the_other_session_alone(join: Join, clock: FakeClock) -> None:
    me = Identity.ephemeral()
    one, two, bob = join(me), join(me), join()
    share_id = await publish(one)
    await publish(two)
    await clock.advance(5)
    await one.withdraw(share_id)
    await one.close()
    assert len(await bob.shares()) == 1


async def test_a_share_that_somebody_deletes_or_overwrites_comes_back(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    for vandalism in ({"_deleted": True}, {"type": "nonsense"}):
        hub.force({"_id": f"share:{share_id}", **vandalism})
        assert await bob.shares() == []
        await clock.advance(5)
        assert [share.id for share in await bob.shares()] == [share_id]


async def test_vandalism_neither_floods_the_hub_nor_keeps_other_shares_from_being_renewed(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    alice = join()
    ids = [await publish(alice, uuid=str(number)) for number in range(5)]
    for _ in range(100):
        hub.force({"_id": f"share:{ids[0]}", "_deleted": True})
        await clock.advance(1)
    mine = [doc["_id"] for doc in hub.written if "signature" in doc]
    assert 50 <= mine.count(f"share:{ids[0]}") <= 110
    assert [mine.count(f"share:{id}") for id in ids[1:]] == [4, 4, 4, 4]


async def test_a_hub_full_of_rubbish_does_not_hide_a_share_from_who_knows_its_id(
    join: Join, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MAX_ROWS", 20)
    monkeypatch.setattr(leases, "MAX_SHARES", 5)
    for number in range(30):
        hub.force({"_id": f"share:!{number}", "type": "rubbish"})
    alices, bob = [join() for _ in range(10)], join()
    ids = [await publish(alice) for alice in alices]
    assert await bob.shares(lambda share: None) == []
    for share_id in ids:
        assert await bob.signal(share_id, {"sdp": "x"}, timeout=30)
    assert len(bob._directory._leases) <= 5
    assert len(bob._directory._verified) <= 20


async def test_clocks_may_differ_by_less_than_the_tolerance(join: Join, clock: FakeClock) -> None:
    for drift in (-14 * 60, 14 * 60):
        alice, other = join(), FakeClock()
        other.drift(drift)
        bob = join(by=other)
        share_id = await publish(alice, uuid=str(drift))
        assert share_id in [share.id for share in await bob.shares()]
        assert await bob.signal(share_id, {"sdp": "x"}, timeout=30)


async def test_clock_skew_is_named(join: Join) -> None:
    alice, slow = join(), FakeClock(0.0)
    bob = join(by=slow)
    share_id = await publish(alice)
    assert await bob.shares() == []
    with pytest.raises(ClockSkew, match="future"):
        await bob.signal(share_id, {}, timeout=30)
    fast = FakeClock()
    fast.drift(3600)
    with pytest.raises(ShareNotFound, match="clocks is wrong"):
        await join(by=fast).signal(share_id, {}, timeout=30)


@pytest.mark.parametrize("who", ["opener", "owner"])
async def test_a_machine_without_a_clock_works_once_it_saw_a_renewal(
    join: Join, hub: MemoryHub, clock: FakeClock, who: str
) -> None:
    broken = FakeClock(60.0)
    alice = join(by=broken if who == "owner" else clock)
    bob = join(by=broken if who == "opener" else clock)
    share_id = await publish(alice)
    told: list[Share] = []
    assert await bob.shares(told.append) == []
    for _ in range(7):  # both run on, side by side
        await clock.advance(5)
        await broken.advance(5)
    assert [share.id for share in told] == [share_id]
    assert await bob.signal(share_id, {"sdp": "x"}, timeout=30)


async def test_closing_withdraws_and_ends_every_task(join: Join, hub: MemoryHub) -> None:
    before = len(asyncio.all_tasks())
    alice, bob = join(), join()
    await publish(alice)
    await bob.shares(print)
    await bob.signal(alice.share_id("uuid-1"), {}, timeout=30)
    await alice.close()
    await bob.close()
    await settle()
    assert hub.ids("") == []
    assert hub.feeds == 0
    assert len(asyncio.all_tasks()) == before
    with pytest.raises(HubUnreachable):
        await bob.shares()


async def test_publishing_that_is_cancelled_in_the_middle_leaves_no_share_behind(
    join: Join, hub: MemoryHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, go_on, put = asyncio.Event(), asyncio.Event(), hub.put

    async def slow_put(doc: Document) -> Any:
        result = await put(doc)
        written.set()
        await go_on.wait()
        return result

    monkeypatch.setattr(hub, "put", slow_put)
    alice = join()
    publishing = asyncio.create_task(publish(alice))
    await written.wait()
    assert len(hub.ids("share:")) == 1
    publishing.cancel()
    await settle()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    assert hub.ids("share:") == []


async def test_closing_ends_calls_that_wait_and_takes_their_signals_back(join: Join, hub: MemoryHub) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    alice._answerer.changed = lambda change: None  # type: ignore[method-assign]
    calls = [asyncio.create_task(bob.signal(share_id, {}, timeout=20)) for _ in range(3)]
    await until(lambda: len(hub.ids("signal:")) == 3)
    await bob.close()
    for call in calls:
        with pytest.raises(HubUnreachable, match="closed"):
            await call
    assert hub.ids("signal:") == []


async def test_closing_with_the_hub_gone_ends_as_well(join: Join, hub: MemoryHub) -> None:
    alice = join()
    await publish(alice)
    hub.lose(HubUnreachable("gone"))
    await alice.close()
    assert hub.feeds == 0


@pytest.mark.parametrize(
    ("name", "info"), [("", None), ("x" * 201, None), ("a\nb", None), ("x", "y" * 9000), ("x", {1}), ("x", 2**60)]
)
async def test_what_can_not_be_published_is_refused_at_once(join: Join, hub: MemoryHub, name: str, info: Any) -> None:
    with pytest.raises(BadRequest):
        await join().publish("uuid", name=name, info=info, handler=echo)
    assert hub.written == []


async def test_an_offer_that_is_too_large_is_refused_at_once(join: Join, hub: MemoryHub) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice)
    with pytest.raises(BadRequest, match="too large"):
        await bob.signal(share_id, {"info": "x" * 70_000}, timeout=30)
    assert hub.ids("signal:") == []
