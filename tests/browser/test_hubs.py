"""The plugin and Python find, call, refuse and answer each other through real hubs.

Under Node, with the platform's own ``fetch`` and WebCrypto, which a browser has too; pages are driven elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from peerpouch.errors import Forbidden, ShareNotFound
from peerpouch.hub.client import HubClient
from peerpouch.hub.events import Opening
from peerpouch.hub.shares import Share
from peerpouch.identity.encoding import to_text
from peerpouch.identity.keys import Identity
from peerpouch.identity.proofs import HubSession
from peerpouch.node.urls import open_url
from peerpouch.ports import Document, SystemClock
from peerpouch.remote.database import RemoteDatabase
from tests.browser.sessions import HUBS, hub_at, needs_plugin, sessions
from tests.hub.fakes import until
from tests.interop.node_processes import LIMIT, Pouch

pytestmark = needs_plugin


class Place:
    """A hub, where a Python session and one of the plugin's meet."""

    def __init__(self, kind: str, url: str, page: Pouch, stack: AsyncExitStack) -> None:
        self.kind = kind
        self.url = url
        self.page = page
        self.openings: list[Opening] = []
        self._stack = stack

    async def join(self) -> tuple[HubClient, RemoteDatabase]:
        session = HubSession()
        database = await open_url(self.url, session=session)
        await self._stack.enter_async_context(database)
        client = HubClient(database, Identity.ephemeral(), SystemClock(), session=session)
        return await self._stack.enter_async_context(client), database

    async def handler(self, opening: Opening) -> Document:
        self.openings.append(opening)
        if opening.info == "wolf":
            raise Forbidden("no wolves")
        return {"sdp": f"answer to {opening.body['sdp']}", "info": {"from": "Python", "said": opening.info}}

    async def heard(self, name: str, count: int) -> list[Any]:
        async with asyncio.timeout(LIMIT):
            while len(found := (await self.page("heard"))[name]) < count:
                await asyncio.sleep(0.02)
        return list(found)


@pytest.fixture(params=HUBS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(hub_at(request.param, tmp_path))
        page = await stack.enter_async_context(sessions())
        yield Place(request.param, url, page, stack)


async def test_the_plugin_finds_calls_and_is_refused_by_python(place: Place) -> None:
    alice, _ = await place.join()
    bob = await place.page("join", place.url)
    assert await place.page("watch", bob["who"]) == []
    info = {"site": [1, 2.5, "é", None], "n": 10**15}
    published = await alice.publish("uuid", name="Field notes, où?", info=info, handler=place.handler)
    (share,) = await place.heard("changes", 1)
    assert (share["id"], share["name"], share["info"]) == (published.id, "Field notes, où?", info)
    assert share["fingerprint"] == alice._identity.fingerprint
    assert await place.page("shares", bob["who"]) == [share]
    calls = [place.page("signal", bob["who"], published.id, {"sdp": str(n), "info": n}) for n in range(12)]
    answers = await asyncio.gather(*calls)
    assert answers == [{"sdp": f"answer to {n}", "info": {"from": "Python", "said": n}} for n in range(12)]
    assert {opening.peer.fingerprint for opening in place.openings} == {bob["fingerprint"]}
    assert {opening.peer.session for opening in place.openings} == {bob["session"]}
    refused = await place.page("signal", bob["who"], published.id, {"sdp": "", "info": "wolf"})
    assert refused == {"error": "forbidden", "reason": "no wolves"}
    await alice.withdraw(published.id)
    assert (await place.heard("changes", 2))[1]["deleted"] is True
    gone = await place.page("signal", bob["who"], published.id, {"sdp": ""})
    assert gone["error"] == "share_not_found"


async def test_python_finds_calls_and_is_refused_by_the_plugin(place: Place) -> None:
    alice = await place.page("join", place.url)
    bob, _ = await place.join()
    told: list[Share] = []
    assert await bob.shares(told.append) == []
    info = {"tab": ["a", 1e21, -0.5, {"deep": True}]}
    share_id = await place.page("publish", alice["who"], "uuid", "A tab 😀", info)
    await until(lambda: len(told) == 1)
    assert (told[0].id, told[0].name, told[0].info) == (share_id, "A tab 😀", info)
    assert told[0].fingerprint == alice["fingerprint"]
    calls = [bob.signal(share_id, {"sdp": str(n), "info": n}, timeout=30) for n in range(12)]
    answers = await asyncio.gather(*calls)
    assert answers == [{"sdp": f"answer to {n}", "info": {"from": "JavaScript", "said": n}} for n in range(12)]
    heard = await place.heard("told", 12)
    assert {opening["fingerprint"] for opening in heard} == {bob._identity.fingerprint}
    assert {opening["session"] for opening in heard} == {bob.address.session}
    with pytest.raises(Forbidden, match="no wolves"):
        await bob.signal(share_id, {"sdp": "", "info": "wolf"}, timeout=30)
    await place.page("withdraw", alice["who"], share_id)
    await until(lambda: len(told) == 2)
    assert told[1].deleted
    with pytest.raises(ShareNotFound):
        await bob.signal(share_id, {"sdp": ""}, timeout=30)


async def test_two_sessions_of_the_plugin_call_each_other_and_leave_nothing_behind(place: Place) -> None:
    alice, bob = await place.page("join", place.url), await place.page("join", place.url)
    share_id = await place.page("publish", alice["who"], "uuid", "tab", None)
    answer = await place.page("signal", bob["who"], share_id, {"sdp": "x", "info": "tab"})
    assert answer == {"sdp": "answer to x", "info": {"from": "JavaScript", "said": "tab"}}
    await place.page("close", bob["who"])
    await place.page("close", alice["who"])
    _, database = await place.join()
    assert (await database.all_docs())["rows"] == []


async def test_a_share_or_an_answer_that_the_hub_forges_is_believed_by_neither(place: Place) -> None:
    """Whoever administers the hub alters what is there; at a public one a stranger can't even do that."""
    alice, database = await place.join()
    bob = await place.page("join", place.url)
    published = await alice.publish("uuid", name="Notes", handler=place.handler)
    document = await database.get(f"share:{published.id}")
    mallory = HubSession().key
    forged = {**document, "session_key": to_text(mallory.public), "session": mallory.id}
    try:
        await database.put(forged)
    except Forbidden:
        assert place.kind == "public"
        return
    assert place.kind != "public"
    assert await place.page("shares", bob["who"]) == []
    assert (await place.page("heard"))["invalid"][bob["who"]] >= 1
