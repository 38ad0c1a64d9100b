"""The limits of a public hub: how often, how many, how long; with a clock that the test turns."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from peerpouch.errors import Forbidden, NotFound, TooManyRequests
from peerpouch.hub import shares, signals
from peerpouch.hub.public.limits import PublicLimits
from peerpouch.hub.public.rates import Rates, origin
from peerpouch.hub.public.service import TIDY_EVERY, PublicHub
from peerpouch.identity.keys import Identity
from peerpouch.identity.proofs import HubSession
from peerpouch.ports import Database, Document, Visitor, WriteFailure
from peerpouch.query.stored import StoredQueries
from peerpouch.storage import Storage
from tests.hub.fakes import FakeClock, until

Open = Callable[..., Awaitable[PublicHub]]
PROTOCOL = Path(__file__).parents[3] / "docs" / "protocol" / "public-hub.md"


class _Local(StoredQueries, Storage):
    """A database in memory that answers queries, as a server's does."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    async with await _Local.open(":memory:", auto_compaction=True) as database:
        yield database


@pytest.fixture
async def hub(clock: FakeClock, database: Database) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_with(**limits: Any) -> PublicHub:
            public = PublicHub(database, clock, name="hub", limits=PublicLimits(**limits))
            return await stack.enter_async_context(public)

        yield open_with


class Guest:
    """A visitor with an identity, whose proofs are taken for granted."""

    def __init__(self, hub: PublicHub, address: str = "192.0.2.1") -> None:
        self.hub = hub
        self.identity = Identity.ephemeral()
        self.session = HubSession()
        self.visit = hub.visit(Visitor(address, self.session.key.id, self.session.reply_to))
        self.renewal = 0

    def share(self, uuid: str = "uuid", *, lease: int = 90) -> Document:
        self.renewal += 1
        digest = shares.database_digest(self.identity.key, uuid)
        return shares.to_document(
            self.identity,
            self.session.key,
            database=digest,
            name="n",
            info=None,
            lease=lease,
            renewal=self.renewal,
            now=0,
        )

    def offer(self, share: Document) -> Document:
        return signals.make_offer(
            self.identity,
            shares.from_document(share),
            {},
            session=self.session.key.id,
            reply_to=self.session.reply_to,
            nonce=signals.new_nonce(Identity.ephemeral().key.raw[:17]),
            time=0,
        ).document

    async def publish(self, uuid: str = "uuid", *, lease: int = 90) -> Document:
        document = self.share(uuid, lease=lease)
        written = await self.visit.put(document)
        return {**document, "_rev": written.rev}


async def _ids(database: Database) -> list[str]:
    return [row["id"] for row in (await database.all_docs())["rows"]]


def test_the_protocol_names_the_limits_that_are_kept() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \|$", PROTOCOL.read_text("utf-8"), re.MULTILINE)
    kept = asdict(PublicLimits())
    inner = ("tombstone_lifetime", "tombstones", "lease_grace", "keys")  # said in the text
    assert sorted(float(value) for _, value in rows) == sorted(
        float(value) for name, value in kept.items() if name not in inner
    )


def test_a_bucket_gives_what_it_holds_and_then_what_comes_in() -> None:
    rates = Rates(rate=2.0, burst=4.0)
    assert [rates.take("a", 1, 10.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert rates.take("b", 1, 10.0) == 0  # apart from all others
    assert rates.take("a", 1, 10.5) == 0
    assert rates.take("a", 1, 10.5) == 0.5
    assert rates.take("a", 100, 12.5) == 0  # what is more than a bucket holds takes a whole one


def test_buckets_are_bounded_in_number() -> None:
    rates = Rates(rate=1.0, burst=1.0, most=10)
    for n in range(1000):
        rates.take(str(n), 1, 0.0)
    assert len(rates) == 10


def test_a_household_is_one_address() -> None:
    assert origin("2001:db8:1:2:3::4") == origin("2001:db8:1:2:ffff::") != origin("2001:db8:1:3::4")
    assert origin("::ffff:192.0.2.1") == "192.0.2.1" == origin("192.0.2.1")
    assert origin("fe80::1%eth0") == "fe80::/64"
    assert len(origin("x" * 1000)) == 64


async def test_requests_of_one_address_are_limited(hub: Open, clock: FakeClock) -> None:
    public = await hub(requests_at_once=20)
    for _ in range(10):
        public.admit("192.0.2.1", listing=False)
    public.admit("192.0.2.1", listing=True)
    with pytest.raises(TooManyRequests) as caught:
        public.admit("192.0.2.1", listing=False)
    assert caught.value.retry_after == pytest.approx(0.05)
    public.admit("192.0.2.2", listing=False)
    await clock.advance(0.06)
    public.admit("192.0.2.1", listing=False)


async def test_writes_of_all_together_are_limited(hub: Open) -> None:
    public = await hub(writes_at_once=3)
    for n in range(3):
        await Guest(public, f"192.0.2.{n}").publish()
    with pytest.raises(TooManyRequests):
        await Guest(public, "192.0.2.9").publish()


@pytest.mark.parametrize(("limits", "taken"), [({"shares_of_one": 3}, 3), ({"shares": 2}, 2), ({}, 5)])
async def test_shares_are_limited_in_number(hub: Open, limits: dict[str, int], taken: int) -> None:
    public = await hub(**limits)
    guest = Guest(public)
    published = []
    for n in range(5):
        try:
            published.append(await guest.publish(str(n)))
        except TooManyRequests as error:
            assert error.retry_after
    assert len(published) == taken == public.share_count
    # Those that are there are renewed all the same, and a withdrawn one makes room.
    await guest.visit.put({**guest.share("0"), "_rev": published[0]["_rev"]})
    await guest.visit.remove(published[1]["_id"], published[1]["_rev"])
    await guest.publish("new")


@pytest.mark.parametrize(("limits", "taken"), [({"signals_of_one": 3}, 3), ({"signals_to_one": 2}, 2), ({}, 5)])
async def test_signals_are_limited_in_number(hub: Open, limits: dict[str, int], taken: int) -> None:
    public = await hub(**limits)
    alice, bob = Guest(public, "192.0.2.1"), Guest(public, "192.0.2.2")
    share = await alice.publish()
    sent = []
    for _ in range(5):
        with suppress(TooManyRequests):
            sent.append(await bob.visit.put(bob.offer(share)))
    assert len(sent) == taken == public.status()["signals"]
    if taken < 5:
        await bob.visit.remove(sent[0].id, sent[0].rev)
        await bob.visit.put(bob.offer(share))


async def test_a_refused_write_takes_no_room(hub: Open) -> None:
    public = await hub(shares=1)
    guest = Guest(public)
    with pytest.raises(Exception, match="conflict"):
        await guest.visit.put({**guest.share(), "_rev": "1-" + "0" * 32})
    (result,) = await guest.visit.bulk_docs([{**guest.share(), "name": "altered"}])
    assert isinstance(result, WriteFailure)
    await guest.publish()


async def test_feeds_are_limited_in_number(hub: Open) -> None:
    public = await hub(feeds_of_one=1, feeds=2)
    guests = [Guest(public, f"192.0.2.{n}") for n in (1, 1, 2, 3)]
    feeds = [guest.visit.changes(live=True, heartbeat=30) for guest in guests]
    opened = [feed.pages() for feed in feeds]
    outcome = []
    for pages in opened:
        try:
            await anext(pages)
            outcome.append(True)
        except TooManyRequests:
            outcome.append(False)
    assert outcome == [True, False, True, False]
    await opened[0].aclose()
    await anext(guests[3].visit.changes(live=True, heartbeat=30).pages())
    for pages in opened:
        await pages.aclose()


async def test_signals_are_forgotten_and_shares_run_out(hub: Open, clock: FakeClock, database: Database) -> None:
    public = await hub()
    alice, bob = Guest(public), Guest(public)
    share, longer = await alice.publish(), await alice.publish("longer", lease=3600)
    sent = await bob.visit.put(bob.offer(share))
    await clock.advance(90 + 60 - 1)
    await public.tidy()
    assert set(await _ids(database)) == {share["_id"], longer["_id"], sent.id}
    await clock.advance(TIDY_EVERY + 1)
    await until(lambda: public.share_count == 1)
    assert set(await _ids(database)) == {longer["_id"], sent.id}
    await clock.advance(160)
    await public.tidy()
    assert await _ids(database) == [longer["_id"]]
    assert (await database.info())["doc_del_count"] == 1  # the share's, which readers must see
    await clock.advance(900)
    await public.tidy()
    assert (await database.info())["doc_del_count"] == 0
    with pytest.raises(NotFound, match="missing"):
        await database.get(share["_id"])


async def test_a_share_that_is_renewed_lives(hub: Open, clock: FakeClock) -> None:
    public = await hub()
    alice = Guest(public)
    rev = (await alice.publish())["_rev"]
    for _ in range(20):
        await clock.advance(60)
        rev = (await alice.visit.put({**alice.share(), "_rev": rev})).rev
    assert public.share_count == 1


async def test_withdrawn_shares_leave_a_bounded_number_of_tombstones(hub: Open, database: Database) -> None:
    public = await hub(tombstones=5)
    alice = Guest(public)
    for n in range(20):
        share = await alice.publish(str(n))
        await alice.visit.remove(share["_id"], share["_rev"])
    await public.tidy()
    assert (await database.info())["doc_del_count"] == 5


async def test_a_file_does_not_grow_with_renewals(hub: Open, database: Database) -> None:
    public = await hub()
    alice = Guest(public)
    rev = (await alice.publish())["_rev"]
    for _ in range(50):
        rev = (await alice.visit.put({**alice.share(), "_rev": rev})).rev
    kept = await database.get((await _ids(database))[0], revs_info=True)
    assert [info["status"] for info in kept["_revs_info"]].count("available") == 1
    assert len(kept["_revs_info"]) <= 21


async def test_what_came_past_the_visits_is_known_too(hub: Open, clock: FakeClock, database: Database) -> None:
    public = await hub()
    alice, bob = Guest(public), Guest(public)
    share = alice.share()
    await database.put(share)  # by the server itself
    await until(lambda: public.share_count == 1)
    await bob.visit.put(bob.offer(share))
    await database.put(bob.offer(share))
    for _ in range(13):
        await clock.advance(TIDY_EVERY)
    await until(lambda: public.status()["signals"] == 2)


async def test_of_two_documents_of_one_id_in_a_request_the_first_counts(hub: Open) -> None:
    public = await hub()
    alice = Guest(public)
    first, second = await alice.visit.bulk_docs([alice.share(), alice.share()])
    assert not isinstance(first, WriteFailure)
    assert isinstance(second, WriteFailure)
    assert public.share_count == 1


async def test_a_deletion_carries_nothing(hub: Open) -> None:
    alice = Guest(await hub())
    share = await alice.publish()
    with pytest.raises(Forbidden):
        await alice.visit.put({"_id": share["_id"], "_rev": share["_rev"], "_deleted": True, "note": "x" * 1000})
