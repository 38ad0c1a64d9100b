"""A child process answers calls, sends events, and never outlives its parent."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from peerpouch.cli.processes import Process, Served, serve
from peerpouch.errors import Conflict, DeadlineExceeded, PeerPouchError
from tests.cli.support import LIMIT


class Echo(Served):
    """What the child of these tests serves."""

    async def echo(self, value: Any) -> Any:
        self.emit(heard=value)
        return value

    async def refuse(self) -> None:
        raise Conflict("not this one")

    async def fail(self) -> None:
        raise ZeroDivisionError("oh")

    async def hang(self) -> None:
        await asyncio.Event().wait()


if __name__ == "__main__":
    serve(Echo())

ROOT = Path(__file__).parents[2]


async def _start(**options: Any) -> Process:
    return await Process.start("the child", __name__, env={"PYTHONPATH": str(ROOT)}, **options)


async def test_a_call_gives_its_result_and_events_come_through() -> None:
    events: list[dict[str, Any]] = []
    async with await _start(on_event=events.append) as child:
        value = {"text": "ünï\n", "numbers": [1, 2.5, None]}
        assert await child.call("echo", timeout=LIMIT, value=value) == value
    assert events == [{"heard": value}]


async def test_calls_run_side_by_side() -> None:
    async with await _start() as child:
        hanging = asyncio.create_task(child.call("hang", timeout=LIMIT))
        assert await child.call("echo", timeout=LIMIT, value=1) == 1
        assert not hanging.done()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging


async def test_an_error_arrives_as_its_own_class() -> None:
    async with await _start() as child:
        with pytest.raises(Conflict, match="not this one"):
            await child.call("refuse", timeout=LIMIT)
        with pytest.raises(PeerPouchError, match="ZeroDivisionError: oh"):
            await child.call("fail", timeout=LIMIT)


async def test_a_call_ends_at_its_deadline() -> None:
    async with await _start() as child:
        with pytest.raises(DeadlineExceeded, match="hang"):
            await child.call("hang", timeout=0.01)


async def test_a_killed_child_fails_the_calls_under_way_and_the_later_ones() -> None:
    child = await _start()
    assert await child.call("echo", timeout=LIMIT, value=1) == 1
    hanging = asyncio.create_task(child.call("hang", timeout=LIMIT))
    await asyncio.sleep(0)
    await child.kill()
    with pytest.raises(PeerPouchError, match="has ended"):
        await hanging
    with pytest.raises(PeerPouchError, match="has ended"):
        await child.call("echo", timeout=LIMIT, value=1)


async def test_a_child_ends_by_itself_when_it_is_let_go() -> None:
    child = await _start()
    assert await child.call("echo", timeout=LIMIT, value=1) == 1
    assert await child.stop() == 0
