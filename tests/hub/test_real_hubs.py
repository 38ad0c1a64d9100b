"""The same over real hubs: a file that every client opens on its own, as processes do, and a server's database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from peerpouch.couchapi.app import create_app
from peerpouch.errors import Forbidden, HubUnreachable, PeerUnreachable, ShareNotFound
from peerpouch.hub.client import HubClient
from peerpouch.hub.collector import Collected, Collector, collect_garbage
from peerpouch.hub.events import Opening
from peerpouch.hub.shares import Share
from peerpouch.identity.keys import Identity
from peerpouch.ports import Document, Documents, Owner, SystemClock
from peerpouch.remote.database import RemoteDatabase
from peerpouch.storage import open_storage
from peerpouch.transports.inprocess import AppExchange
from tests.couchapi.support import MemoryRegistry
from tests.hub.conftest import publish
from tests.hub.fakes import FakeClock, until


class Place:
    """A hub, and everybody who comes there."""

    def __init__(self, kind: str, path: Path) -> None:
        self._kind = kind
        self._path = path
        self._stack = AsyncExitStack()
        self._registry = MemoryRegistry()
        self._exchange = AppExchange(create_app(self._registry), Owner())

    async def __aenter__(self) -> Place:
        if self._kind == "server":
            self._stack.push_async_callback(self._registry.close)
            self._stack.push_async_callback(self._exchange.aclose)
            await self._registry.create("hub", Owner())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def open(self) -> Documents:
        if self._kind == "server":
            return await self._stack.enter_async_context(RemoteDatabase(self._exchange, "http://server/hub"))
        return await self._stack.enter_async_context(await open_storage(self._path))

    async def join(self, identity: Identity | None = None) -> tuple[HubClient, Documents]:
        database = await self.open()
        client = HubClient(database, identity or Identity.ephemeral(), SystemClock())
        return await self._stack.enter_async_context(client), database


@pytest.fixture(params=["file", "server"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with Place(request.param, tmp_path / "hub.db") as entered:
        yield entered


async def _ids(database: Documents) -> list[str]:
    return [row["id"] for row in (await database.all_docs())["rows"]]


async def test_shares_are_listed_watched_and_withdrawn(place: Place) -> None:
    alice, _ = await place.join()
    bob, _ = await place.join()
    first = await publish(alice, uuid="1", name="first", info={"site": [1, 2.5, "é"]})
    told: list[Share] = []
    (share,) = await bob.shares(told.append)
    assert (share.id, share.name, share.info) == (first, "first", {"site": [1, 2.5, "é"]})
    assert await alice.shares() == []
    second = await publish(alice, uuid="2", name="second")
    await until(lambda: len(told) == 1)
    await alice.withdraw(first)
    await until(lambda: len(told) == 2)
    assert [(share.id, share.deleted) for share in told] == [(second, False), (first, True)]


async def test_signals_are_answered_refused_and_cleaned_up(place: Place) -> None:
    alice, _ = await place.join()
    bob, database = await place.join()

    async def handler(opening: Opening) -> Document:
        if opening.info == "wolf":
            raise Forbidden("no wolves")
        return {"sdp": f"for {opening.info}"}

    share_id = await publish(alice, handler=handler)
    answers = await asyncio.gather(*(bob.signal(share_id, {"info": number}, timeout=30) for number in range(20)))
    assert answers == [{"sdp": f"for {number}"} for number in range(20)]
    with pytest.raises(Forbidden, match="no wolves"):
        await bob.signal(share_id, {"info": "wolf"}, timeout=30)
    async with asyncio.timeout(20):
        while await _ids(database) != [f"share:{share_id}"]:
            await asyncio.sleep(0.01)
    await alice.withdraw(share_id)
    with pytest.raises(ShareNotFound):
        await bob.signal(share_id, {}, timeout=30)


async def test_the_hubs_content_tells_nothing_and_closing_leaves_nothing(tmp_path: Path) -> None:
    async with Place("file", tmp_path / "hub.db") as place:
        await _leaves_nothing(place, tmp_path)


async def _leaves_nothing(place: Place, tmp_path: Path) -> None:
    alice, database = await place.join()
    bob, _ = await place.join()
    share_id = await publish(alice)
    await bob.signal(share_id, {"sdp": "planted-secret-sdp", "info": "planted-secret-info"}, timeout=30)
    await alice.close()
    await bob.close()
    assert await _ids(database) == []
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert share_id.encode() in content
    assert b"planted-secret" not in content
    await database.put({"_id": "x", "text": "planted-secret"})
    assert b"planted-secret" in b"".join(path.read_bytes() for path in tmp_path.iterdir())


async def test_an_owner_takes_its_share_over_and_the_earlier_session_stands_by(place: Place) -> None:
    me = Identity.ephemeral()
    one, _ = await place.join(me)
    two, _ = await place.join(me)
    bob, _ = await place.join()
    share_id = await publish(one)
    await publish(two)
    await until(lambda: not one.published()[0].serving)
    (share,) = await bob.shares()
    assert share.session == two.address.session
    await two.close()
    await until(lambda: one.published()[0].serving)
    assert (await bob.signal(share_id, {"sdp": "x"}, timeout=30))["sdp"] == "answer to x"


async def test_a_closed_hub_is_named(place: Place) -> None:
    bob, database = await place.join()
    await database.close()
    with pytest.raises(HubUnreachable):
        await bob.shares()


async def test_no_answer_leaves_no_signal(place: Place) -> None:
    alice, database = await place.join()
    bob, _ = await place.join()
    share_id = await publish(alice)
    alice._answerer.changed = lambda change: None  # type: ignore[method-assign]
    with pytest.raises(PeerUnreachable):
        await bob.signal(share_id, {}, timeout=0.2)
    await bob.close()
    assert await _ids(database) == [f"share:{share_id}"]


async def test_dead_signals_are_collected(place: Place) -> None:
    clock = FakeClock()
    database = await place.open()
    async with database:
        await database.put({"_id": f"signal:{'0' * 26}:{'1' * 26}"})
        await database.put({"_id": "other", "kept": True})
        collector = Collector(database, clock)
        await collector.look()
        await clock.advance(16 * 60)
        await collector.look()
        assert collector.collected == Collected(deleted=1)
        assert await _ids(database) == ["other"]
        await clock.advance(16 * 60)
        await collector.look()
        assert collector.collected == Collected(deleted=1, purged=1)
        assert (await database.info())["doc_del_count"] == 0


async def test_an_operator_collects_all_at_once(place: Place) -> None:
    alice, database = await place.join()
    bob, _ = await place.join()
    share_id = await publish(alice)
    for _ in range(3):
        await bob.signal(share_id, {}, timeout=30)
    await bob.close()
    await database.put({"_id": f"signal:{'0' * 26}:{'1' * 26}", "created": 1000})
    done = await collect_garbage(database, now=SystemClock().now())
    assert done == Collected(deleted=1, purged=4)
    assert await _ids(database) == [f"share:{share_id}"]
    assert (await collect_garbage(database, now=SystemClock().now() + 2 * 24 * 3600)).deleted == 1
