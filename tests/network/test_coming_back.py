"""What a replication does after its connection was lost, or its machine slept or moved."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peerpouch.cli.processes import Process
from tests.network.internet import Internet, Path_, internet
from tests.network.matrix import STEP, TRANSFER, connect, hub_of, two_peers
from tests.network.shaper import Shape

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bed"), pytest.mark.timeout(1200)]

COMING_BACK = 2 * STEP
"""Seconds until a live replication goes on by itself."""

SLEEP = 20.0
"""Seconds: longer than the 9 after which a peer is dead, and than the 15 after which the engine gives its path up."""

SLACK = 1.15
"""Bytes on the line for each byte of an attachment: headers of frames, of DTLS, UDP and IP, and what is sent again when
the line comes back, which was on its way or not yet acknowledged when it went."""


@dataclass
class Pair:
    """Two peers, the second of which has opened the first one's share."""

    net: Internet
    sharer: Process
    opener: Process

    async def carried(self) -> int:
        """Bytes that have gone over the line, both ways."""
        return sum(way.bytes for way in await self.net.line.carried())

    async def arrives(self, writer: Process, reader: Process, doc_id: str) -> None:
        """Write at one, wait for it at the other."""
        await writer.call("put", timeout=STEP, doc={"_id": doc_id})
        await until(lambda: reader.call("has", timeout=STEP, doc_id=doc_id), doc_id)


async def until(condition: Callable[[], Any], what: str, limit: float = COMING_BACK) -> Any:
    """Wait until a condition holds."""
    try:
        async with asyncio.timeout(limit):
            while not (found := await condition()):
                await asyncio.sleep(0.02)
            return found
    except TimeoutError:
        raise AssertionError(f"Not in {limit:g} seconds: {what}") from None


@asynccontextmanager
async def pair(folder: Path, path: Path_ = "direct", shape: Shape | None = None) -> AsyncIterator[Pair]:
    folder.mkdir(exist_ok=True)
    async with (
        internet(path) as net,
        hub_of(net, folder) as hub,
        two_peers(net, hub, folder) as (sharer, opener),
    ):
        await connect(sharer, opener)
        if shape is not None:
            await net.shape(shape)
        yield Pair(net, sharer, opener)


@asynccontextmanager
async def live(folder: Path, path: Path_ = "direct") -> AsyncIterator[Pair]:
    """Both follow each other, and have shown that they do."""
    async with pair(folder, path) as both:
        await both.opener.call("follow", timeout=STEP)
        await both.arrives(both.sharer, both.opener, "from-sharer")
        await both.arrives(both.opener, both.sharer, "from-opener")
        yield both


# Attachments


@pytest.mark.parametrize("direction", ["pull", "push"])
async def test_an_attachment_that_broke_off_at_seventy_percent_goes_on_from_there_when_it_is_pulled(
    tmp_path: Path, direction: str, everything: bool
) -> None:
    size, rate = (1 << 30, None) if everything else (40_000_000, 12e6)
    shape = Shape(round_trip=0.02, rate=rate)
    async with pair(tmp_path, shape=shape) as both:
        holder = both.sharer if direction == "pull" else both.opener
        await holder.call("attach", timeout=TRANSFER, size=size)
        before = await both.carried()
        work = asyncio.create_task(both.opener.call("replicate", timeout=4 * TRANSFER, direction=direction))
        progress = await until(lambda: _reached(both.opener, 0.7 * size), "70 % of it", TRANSFER)
        await both.net.shape(Shape(down=True))
        assert progress["bytes"] < 0.97 * size, "it was too fast to be cut"
        await until(lambda: _gave_up(both.opener), "the loss is noticed")
        at_the_cut = await both.carried() - before
        assert at_the_cut > 0.6 * size
        await both.net.shape(shape)
        result = await work
        assert result["state"] == "complete" and not result["docs_failed"], result
        # CouchDB's protocol has no way to go on with an upload: what is pushed begins anew, once.
        assert await both.carried() - before < (SLACK if direction == "pull" else SLACK + 1) * size
        assert await _same(both)


async def test_an_attachment_goes_on_when_the_sharer_was_killed_and_started_again(tmp_path: Path) -> None:
    size, shape = 40_000_000, Shape(round_trip=0.02, rate=12e6)
    async with pair(tmp_path, shape=shape) as both:
        await both.sharer.call("attach", timeout=TRANSFER, size=size)
        before = await both.carried()
        work = asyncio.create_task(both.opener.call("replicate", timeout=4 * TRANSFER, direction="pull"))
        await until(lambda: _reached(both.opener, 0.7 * size), "70 % of it", TRANSFER)
        await both.sharer.kill()
        async with two_peers_again(both, tmp_path) as sharer:
            result = await work
            assert result["state"] == "complete" and not result["docs_failed"], result
            assert await both.carried() - before < SLACK * size
            assert await _same(Pair(both.net, sharer, both.opener))


@asynccontextmanager
async def two_peers_again(both: Pair, folder: Path) -> AsyncIterator[Process]:
    """The sharer, started again."""
    own = folder / "a"
    hub = await both.opener.call("hub", timeout=STEP)
    arguments = ("tests.network.peer", str(own), hub)
    async with await both.net.a.machine.process("a", *arguments, env={"PEERPOUCH_HOME": str(own)}) as sharer:
        await sharer.call("start", timeout=STEP, seed="0a", ice=both.net.ice)
        await sharer.call("meet", timeout=STEP)
        await sharer.call("share", timeout=STEP)
        yield sharer


async def _reached(peer: Process, size: float) -> Any:
    progress = await peer.call("progress", timeout=STEP)
    return progress if progress.get("bytes", 0) >= size else None


async def _gave_up(peer: Process) -> bool:
    """Whether the peer knows that the connection is lost."""
    return (await peer.call("stats", timeout=STEP))["path"] is None


async def _same(both: Pair) -> bool:
    digests = [await peer.call("digest", timeout=TRANSFER) for peer in (both.sharer, both.opener)]
    return bool(digests[0] == digests[1])


# Sleep, and other addresses


async def test_live_replication_goes_on_after_a_laptops_sleep(tmp_path: Path) -> None:
    async def sleeps(which: str) -> None:
        async with live(tmp_path / which) as both:
            sleeper, other = (both.sharer, both.opener) if which == "sharer" else (both.opener, both.sharer)
            os.kill(sleeper.pid, signal.SIGSTOP)
            await other.call("put", timeout=STEP, doc={"_id": "meanwhile"})
            # What is tested is a duration: longer than all that waits for less.
            await asyncio.sleep(SLEEP)
            os.kill(sleeper.pid, signal.SIGCONT)
            await until(lambda: sleeper.call("has", timeout=STEP, doc_id="meanwhile"), f"the {which} caught up")
            await both.arrives(sleeper, other, "after")

    await asyncio.gather(sleeps("sharer"), sleeps("opener"))


@pytest.mark.parametrize("path", ["direct", "nat"])
async def test_live_replication_goes_on_at_another_address(tmp_path: Path, path: Path_) -> None:
    """As when a laptop goes to another network, or a provider gives a router a new address at night."""
    async with live(tmp_path, path) as both:
        await both.net.core.ip("addr add 198.18.3.1/30 dev wan0")
        await both.net.a.gateway.ip(
            "addr del 198.18.1.2/30 dev wan0", "addr add 198.18.3.2/30 dev wan0", "route add default via 198.18.3.1"
        )
        await both.arrives(both.opener, both.sharer, "to-the-new-address")
        await both.arrives(both.sharer, both.opener, "from-the-new-address")


async def test_live_replication_goes_on_when_the_line_was_down_for_long(tmp_path: Path) -> None:
    async with live(tmp_path, "nat") as both:
        await both.net.shape(Shape(down=True))
        await both.sharer.call("put", timeout=STEP, doc={"_id": "meanwhile-there"})
        await both.opener.call("put", timeout=STEP, doc={"_id": "meanwhile-here"})
        await until(lambda: _gave_up(both.opener), "the loss is noticed")
        await both.net.shape(Shape())
        await until(lambda: both.opener.call("has", timeout=STEP, doc_id="meanwhile-there"), "the pull went on")
        await until(lambda: both.sharer.call("has", timeout=STEP, doc_id="meanwhile-here"), "the push went on")


async def test_an_interface_that_goes_and_comes_back_is_used_again(tmp_path: Path) -> None:
    async with live(tmp_path) as both:
        await both.net.a.machine.ip("link set wan0 down")
        await both.opener.call("put", timeout=STEP, doc={"_id": "meanwhile"})
        await until(lambda: _gave_up(both.opener), "the loss is noticed")
        await both.net.a.machine.ip("link set wan0 up", "route add default via 198.18.1.1")
        await until(lambda: both.sharer.call("has", timeout=STEP, doc_id="meanwhile"), "the push went on")
