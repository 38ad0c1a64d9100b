"""What all bodies together may hold, whoever sends them and however."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.couchapi import requests, room
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.requests import Request
from peerpouch.couchapi.room import BodyRoom
from peerpouch.errors import DeadlineExceeded
from tests.couchapi.support import served

KIB = 1024


@pytest.fixture(autouse=True)
def small_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 64th of the real sizes, so that the tests are quick."""
    monkeypatch.setattr(room, "SMALL", 4 * KIB)
    monkeypatch.setattr(requests, "SMALL", 4 * KIB)
    monkeypatch.setattr(room, "MEDIUM", 64 * KIB)


class Held:
    """How much of bodies is held at a time, and the most that ever was."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now: dict[int, int] = {}
        self.most = 0
        hold, release = Request.hold, Request.release

        async def noted(request: Request, size: int) -> None:
            await hold(request, size)
            self.now[id(request)] = size
            self.most = max(self.most, sum(self.now.values()))

        def forgotten(request: Request) -> None:
            release(request)
            self.now.pop(id(request), None)

        patch.setattr(Request, "hold", noted)
        patch.setattr(Request, "release", forgotten)


def bomb(size: int) -> bytes:
    """A body of JSON that inflates to ``size`` bytes."""
    return gzip.compress(b'{"docs": []' + b" " * (size - 12) + b"}")


@pytest.mark.parametrize("size", [64 * KIB, 1024 * KIB])
@pytest.mark.parametrize("bounded", [True, False])
async def test_bodies_that_inflate_take_turns(monkeypatch: pytest.MonkeyPatch, size: int, bounded: bool) -> None:
    """The twin, without room: all of them are held at once."""
    held = Held(monkeypatch)
    count = 24
    async with served(Limits(room=BodyRoom() if bounded else None)) as api:
        headers = {"content-encoding": "gzip", "content-type": "application/json"}
        both = asyncio.Barrier(count)
        inner = api.app.registry.open

        async def opened(*arguments: Any) -> Any:
            if not bounded:
                await both.wait()  # every one of them has been read now
            return await inner(*arguments)

        monkeypatch.setattr(api.app.registry, "open", opened)
        sent = [api.post("/db/_bulk_docs", content=bomb(size), headers=headers) for _ in range(count)]
        assert [answer.status for answer in await asyncio.gather(*sent)] == [201] * count
    places = room.LARGE_EACH * size if size > room.MEDIUM else 0
    allowed = places + room.MEDIUM_EACH * room.MEDIUM + count * (room.SMALL + requests._INFLATE_STEP)
    assert held.now == {}
    assert (held.most <= allowed) if bounded else (held.most == count * size), (held.most, allowed)


async def test_a_body_waits_for_its_own_kind_only_and_gives_its_places_back_however_it_ends() -> None:
    space = BodyRoom()
    bodies = [space.body("mallory") for _ in range(10)]
    growing = [asyncio.create_task(body.grow(2 * room.MEDIUM)) for body in bodies]
    await _turns()
    assert [task.done() for task in growing] == [True] + [False] * 9
    # Somebody else is not kept waiting, and small bodies never wait.
    other = space.body("bob")
    await asyncio.wait_for(other.grow(2 * room.MEDIUM), 5)
    await asyncio.wait_for(space.body("mallory").grow(room.SMALL), 5)
    growing[1].cancel()
    bodies[0].release()
    bodies[0].release()
    await _turns()
    assert growing[2].done() and not growing[3].done()
    for task, body in zip(growing, bodies, strict=True):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        body.release()
    other.release()
    assert space.visitors == {} and not space.large.locked() and space.large._value == room.LARGE_ALL


async def test_those_of_many_keys_have_a_bound_in_all_and_an_answer_that_is_read_slowly_gives_way() -> None:
    space = BodyRoom()
    bodies = [space.body(number) for number in range(room.LARGE_ALL + 2)]
    growing = [asyncio.create_task(body.grow(2 * room.MEDIUM)) for body in bodies]
    await _turns()
    assert sum(task.done() for task in growing) == room.LARGE_ALL
    bodies[0].give_way()
    bodies[0].give_way()
    await _turns()
    assert sum(task.done() for task in growing) == room.LARGE_ALL + 1
    for body in bodies:
        body.release()
        await _turns()
    assert all(task.done() for task in growing)
    bodies[-1].release()
    assert space.large._value == room.LARGE_ALL


async def test_who_sends_slowly_loses_the_place_and_who_is_kept_waiting_here_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(room, "GRACE", 0.05)
    space = BodyRoom()

    async def never() -> Any:
        await asyncio.Event().wait()

    async def chunk(size: int) -> Any:
        return {"type": "http.request", "body": bytes(size), "more_body": True}

    slow, patient = space.body("mallory"), space.body("bob")
    await slow.grow(room.SMALL + 1)
    with pytest.raises(DeadlineExceeded, match="slowly"):
        await asyncio.wait_for(slow.wait(never()), 20)
    # Trickling does not help: what comes earns a moment each.
    trickling = space.body("mallory")
    await trickling.grow(room.SMALL + 1)

    async def trickle() -> Any:
        await asyncio.sleep(0.01)
        return await chunk(1)

    with pytest.raises(DeadlineExceeded):
        async with asyncio.timeout(20):
            while True:
                await trickling.wait(trickle())
    # Without a place it may take its time.
    small = space.body("carol")
    assert (await small.wait(trickle()))["body"] == b"\0"
    # A body that comes is not to blame for the time that its handling takes.
    await patient.grow(room.SMALL + 1)
    for _ in range(5):
        await patient.wait(chunk(room.SLOWEST))
        await asyncio.sleep(0.02)
    assert patient._patience > room.GRACE


async def test_a_request_that_breaks_off_gives_its_places_back(monkeypatch: pytest.MonkeyPatch) -> None:
    space = BodyRoom()
    reading = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(128 * KIB)
        reading.set()
        await asyncio.Event().wait()

    async with served(Limits(room=space)) as api:
        sending = asyncio.create_task(
            api.post("/db/_bulk_docs", content=body(), headers={"content-type": "application/json"})
        )
        await asyncio.wait_for(reading.wait(), 20)
        assert len(space.visitors) == 1
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        async with asyncio.timeout(20):
            while space.visitors:
                await asyncio.sleep(0.005)
    assert space.large._value == room.LARGE_ALL


async def _turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
