"""A visitor who was let in and means harm, over a real channel, to a share that is limited by a selector.

Whatever it floods, others go on, nothing grows beyond its bound, and revoking it ends all of it at once.
"""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.couchapi import limits as couchapi_limits
from peerpouch.couchapi import requests, room
from peerpouch.couchapi.requests import Request as ServedRequest
from peerpouch.errors import PeerPouchError
from peerpouch.exchange import Request, Response
from peerpouch.node import meeting
from peerpouch.ports import Database
from peerpouch.transports.webrtc.transport import WebRTC as WebRTCTransport
from peerpouch.wire.limits import Limits
from tests.node.support import eventually, people

RED = peerpouch.Access(select={"team": "red"})
STREAMS = Limits().max_streams
LIMIT = 60.0


class Scene:
    """Alice's share, open to Mallory, who floods it, and to Carol, who should not notice."""

    def __init__(self, owner: Database, share: peerpouch.OwnShare, mallory: Any, carol: Any, who: Any) -> None:
        self.owner = owner
        self.share = share
        self.mallory: peerpouch.RemoteShare = mallory
        self.carol: peerpouch.RemoteShare = carol
        self.who = who
        self.sent = 0

    async def send(self, method: str, path: str, content: Any = b"", **headers: str) -> Response:
        """A request of Mallory's own making."""
        lengths = {} if isinstance(content, AsyncIterator) else {"content-length": str(len(content))}
        made = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        request = Request(method, f"http://peer/{self.share.id}{path}", headers={**made, **lengths}, content=content)
        self.sent += 1
        return await self.mallory._lease.exchange.handle_async_request(request)

    async def carol_works(self) -> None:
        """Carol reads, writes and replicates as if nobody else were there."""
        async with asyncio.timeout(LIMIT):
            number = self.sent = self.sent + 1
            written = await self.carol.put({"_id": f"carol-{number}", "team": "red"})
            assert (await self.carol.get(f"carol-{number}"))["_rev"] == written.rev
            async with peerpouch.open(":memory:") as copy:
                assert (await peerpouch.replicate(self.carol, copy)).docs_written > 0

    def serving(self) -> int:
        """Requests that the owner's side has in hand."""
        return sum(1 for task in asyncio.all_tasks() if self.share.id in task.get_name())

    async def shut_out(self) -> None:
        """Revoke Mallory's key; all that it had under way ends."""
        await self.share.revoke(self.who)
        await eventually(lambda: self.serving() == 0)


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    async with people(folder, "alice", "mallory", "carol") as (alice, mallory, carol):
        owner = await alice.database()
        await owner.bulk_docs([{"_id": f"red-{n}", "team": "red", "n": n} for n in range(20)])
        await owner.bulk_docs([{"_id": f"blue-{n}", "team": "blue"} for n in range(20)])
        await owner.put_attachment("red-big", "a", b"\0" * (4 << 20))
        big = await owner.get("red-big")
        await owner.put({**big, "team": "red"})
        share = await alice.hub.share_database(owner, name="notes", access=RED)
        async with await mallory.open("notes") as one, await carol.open("notes") as two:
            yield Scene(owner, share, one, two, mallory.identity.key)


async def _all(attempts: list[Any]) -> list[Any]:
    async with asyncio.timeout(LIMIT):
        return await asyncio.gather(*attempts, return_exceptions=True)


async def _close(answers: list[Any]) -> None:
    for answer in answers:
        if isinstance(answer, Response):
            with suppress(PeerPouchError):
                await answer.aclose()


async def test_feeds_without_end_neither_wake_for_what_is_hidden_nor_keep_others_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        path = "/_changes?feed=continuous&heartbeat=600000"
        feeds = [asyncio.create_task(here.send("GET", path)) for _ in range(STREAMS + 20)]
        await eventually(lambda: here.serving() >= STREAMS - 1)
        assert here.serving() <= STREAMS + 2
        await here.carol_works()
        await here.owner.bulk_docs([{"_id": f"more-{n}", "team": "blue"} for n in range(50)])
        await here.carol_works()
        await here.shut_out()
        for feed in feeds:
            feed.cancel()
        answers = await asyncio.gather(*feeds, return_exceptions=True)
        await _close(answers)
        await here.carol_works()


async def test_twin_with_any_number_of_streams_every_feed_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = Limits(max_streams=10 * STREAMS)
    made = WebRTCTransport.__init__
    monkeypatch.setattr(
        WebRTCTransport, "__init__", lambda self, *given, **more: made(self, *given, limits=many, **more)
    )
    async with scene(tmp_path) as here:
        path = "/_changes?feed=continuous&heartbeat=600000"
        feeds = [asyncio.create_task(here.send("GET", path)) for _ in range(STREAMS + 20)]
        await eventually(lambda: here.serving() >= STREAMS + 20)
        for feed in feeds:
            feed.cancel()
        await _close(await asyncio.gather(*feeds, return_exceptions=True))


async def test_slow_readers_hold_no_more_than_their_windows_and_nobody_else_up(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        reading = [asyncio.create_task(here.send("GET", "/red-big/a")) for _ in range(30)]
        answers = await _all(reading)
        assert [answer.status_code for answer in answers] == [200] * 30
        # 120 MB are wanted and none is read; what is on its way has its bounds on both sides.
        link = here.mallory._lease._connection
        assert link is not None
        await here.carol_works()
        held = sum(len(chunk) for task in (link.link,) for chunk in _unread(task))
        limits = Limits()
        assert held <= limits.window_pool + 30 * limits.stream_credit
        await here.shut_out()
        await _close(answers)


def _unread(link: Any) -> list[bytes]:
    """What came for streams whose reader does not read."""
    return [chunk for end in link._ends.values() for chunk in end._chunks]


async def test_slow_writers_are_bounded_and_nobody_else_waits(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        never = asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'{"docs": ['
            await never.wait()
            yield b"]}"

        writers = [asyncio.create_task(here.send("POST", "/_bulk_docs", body())) for _ in range(STREAMS + 20)]
        await eventually(lambda: here.serving() >= STREAMS - 1)
        assert here.serving() <= STREAMS + 2
        await here.carol_works()
        await here.shut_out()
        never.set()
        for writer in writers:
            writer.cancel()
        await _close(await asyncio.gather(*writers, return_exceptions=True))
        await here.carol_works()


def bomb(size: int) -> bytes:
    return gzip.compress(b'{"docs": []' + b" " * (size - 12) + b"}")


class Held:
    """How much of bodies the owner holds."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now: dict[int, int] = {}
        self.most = 0
        hold, release = ServedRequest.hold, ServedRequest.release

        async def noted(request: ServedRequest, size: int) -> None:
            await hold(request, size)
            self.now[id(request)] = size
            self.most = max(self.most, sum(self.now.values()))

        def forgotten(request: ServedRequest) -> None:
            release(request)
            self.now.pop(id(request), None)

        patch.setattr(ServedRequest, "hold", noted)
        patch.setattr(ServedRequest, "release", forgotten)


@pytest.mark.parametrize("bounded", [True, False])
async def test_bodies_that_inflate_are_held_in_turns_and_too_large_ones_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded: bool
) -> None:
    """The twin, without room for them: what one visitor sends inflates all at once."""
    monkeypatch.setattr(room, "SMALL", 64 << 10)
    monkeypatch.setattr(requests, "SMALL", 64 << 10)
    monkeypatch.setattr(room, "MEDIUM", 512 << 10)
    if not bounded:
        monkeypatch.setattr(meeting, "BodyRoom", lambda: None)
    size, count = 2 << 20, 40
    async with scene(tmp_path) as here:
        held = Held(monkeypatch)
        content = bomb(size)
        assert len(content) < 8192
        half = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield content[: len(content) - 200]  # nearly all of it, and the rest when all have sent so much
            await half.wait()
            yield content[len(content) - 200 :]

        bombs = [
            asyncio.create_task(here.send("POST", "/_bulk_docs", slowly(), content_encoding="gzip"))
            for _ in range(count)
        ]
        await eventually(lambda: len(held.now) >= (1 if bounded else count))
        await here.carol_works()
        half.set()
        answers = await _all(bombs)
        assert [answer.status_code for answer in answers] == [201] * count
        await _close(answers)
        allowed = size + room.MEDIUM_EACH * room.MEDIUM + count * (room.SMALL + requests._INFLATE_STEP)
        assert (held.most <= allowed) is bounded, (held.most, allowed)
        huge = await here.send("POST", "/_bulk_docs", bomb((128 << 20) + 1), content_encoding="gzip")
        assert huge.status_code == 413
        await huge.aclose()
        assert (await here.owner.info())["doc_count"] >= 41
        await here.shut_out()


async def test_huge_bodies_are_not_taken_to_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "Limits", partial(couchapi_limits.Limits, json_body=4 << 20))
    async with scene(tmp_path) as here:
        sent = 0

        noise = random.Random(1).randbytes(1 << 16)  # which no compression makes smaller

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += len(noise)
                yield noise

        refused = await here.send("POST", "/_bulk_docs", endless(), content_length=str(1 << 40))
        assert refused.status_code == 413
        assert sent <= 12 << 20  # the limit and a window, and not a terabyte
        await refused.aclose()
        # An attachment has no limit of JSON's, but may not be put where one may not write.
        for path in ("/blue-1/a", "/_design/x/a"):
            sent = 0
            answer = await here.send("PUT", path, endless(), content_length=str(1 << 40))
            assert answer.status_code in (403, 404, 409, 413), path
            assert sent <= 64 << 20
            await answer.aclose()
        await here.carol_works()
        await here.shut_out()


async def test_streams_that_are_opened_and_reset_without_end_end_the_connection_and_no_other(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        lost = False
        async with asyncio.timeout(LIMIT):
            while not lost:
                tasks = [asyncio.create_task(here.send("GET", "/_changes?feed=longpoll")) for _ in range(32)]
                await asyncio.sleep(0)
                await eventually(partial(_begun, here, tasks))
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                await _close(ended)
                lost = any(isinstance(error, PeerPouchError) for error in ended) or here.sent > 3000
        await here.carol_works()
        await eventually(lambda: here.serving() <= STREAMS)
        await here.shut_out()


def _begun(here: Scene, tasks: list[asyncio.Task[Response]]) -> bool:
    return here.serving() > 0 or all(task.done() for task in tasks)
