"""Whether a replication goes on after its connection was lost, or its machine slept or moved.

Each function is a scenario: it builds a network in a folder, and raises AssertionError if what must hold does not.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peerpouch.cli.processes import Process
from tests.network.internet import Internet, Path_, internet
from tests.network.matrix import STEP, TRANSFER, connect, hub_of, two_peers
from tests.network.shaper import Shape

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

    async def arrives(self, writer: Process, reader: Process, doc_id: str, limit: float = COMING_BACK) -> None:
        """Write at one, wait for it at the other."""
        await writer.call("put", timeout=STEP, doc={"_id": doc_id})
        await until(lambda: reader.call("has", timeout=STEP, doc_id=doc_id), doc_id, limit)


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


async def attachment_cut(folder: Path, direction: str, size: int, rate: float | None) -> None:
    """The line goes down when 70 % of an attachment have come, until the peers believe each other dead."""
    shape = Shape(round_trip=0.02, rate=rate)
    async with pair(folder, shape=shape) as both:
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


async def attachment_of_a_killed_sharer(folder: Path, size: int, rate: float) -> None:
    """The sharer is killed when 70 % of an attachment have come, and started again."""
    shape = Shape(round_trip=0.02, rate=rate)
    async with pair(folder, shape=shape) as both:
        await both.sharer.call("attach", timeout=TRANSFER, size=size)
        before = await both.carried()
        work = asyncio.create_task(both.opener.call("replicate", timeout=4 * TRANSFER, direction="pull"))
        await until(lambda: _reached(both.opener, 0.7 * size), "70 % of it", TRANSFER)
        await both.sharer.kill()
        async with sharer_again(both, folder) as sharer:
            result = await work
            assert result["state"] == "complete" and not result["docs_failed"], result
            assert await both.carried() - before < SLACK * size
            assert await _same(Pair(both.net, sharer, both.opener))


@asynccontextmanager
async def sharer_again(both: Pair, folder: Path) -> AsyncIterator[Process]:
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


async def sleep(folder: Path, which: str) -> None:
    """As of a laptop: the process of one stands still for long."""
    async with live(folder) as both:
        sleeper, other = (both.sharer, both.opener) if which == "sharer" else (both.opener, both.sharer)
        os.kill(sleeper.pid, signal.SIGSTOP)
        await other.call("put", timeout=STEP, doc={"_id": "meanwhile"})
        # What is tested is a duration: longer than all that waits for less.
        await asyncio.sleep(SLEEP)
        os.kill(sleeper.pid, signal.SIGCONT)
        await until(lambda: sleeper.call("has", timeout=STEP, doc_id="meanwhile"), f"the {which} caught up")
        await both.arrives(sleeper, other, "after")


async def another_address(folder: Path, path: Path_) -> None:
    """As when a laptop goes to another network, or a provider gives a router a new address at night."""
    async with live(folder, path) as both:
        await both.net.core.ip("addr add 198.18.3.1/30 dev wan0")
        await both.net.a.gateway.ip(
            "addr del 198.18.1.2/30 dev wan0", "addr add 198.18.3.2/30 dev wan0", "route add default via 198.18.3.1"
        )
        # The feed of the hub hangs on the old address too, and by its missing heartbeats it would be found silent only
        # after 75 seconds; this is less.
        await both.arrives(both.opener, both.sharer, "to-the-new-address", STEP)
        await both.arrives(both.sharer, both.opener, "from-the-new-address")


async def line_down(folder: Path) -> None:
    """For longer than peers believe that the other lives."""
    async with live(folder, "nat") as both:
        await both.net.shape(Shape(down=True))
        await both.sharer.call("put", timeout=STEP, doc={"_id": "meanwhile-there"})
        await both.opener.call("put", timeout=STEP, doc={"_id": "meanwhile-here"})
        await until(lambda: _gave_up(both.opener), "the loss is noticed")
        await both.net.shape(Shape())
        await until(lambda: both.opener.call("has", timeout=STEP, doc_id="meanwhile-there"), "the pull went on")
        await until(lambda: both.sharer.call("has", timeout=STEP, doc_id="meanwhile-here"), "the push went on")


async def interface_down(folder: Path) -> None:
    """As when a cable is pulled out, and put in again."""
    async with live(folder) as both:
        await both.net.a.machine.ip("link set wan0 down")
        await both.opener.call("put", timeout=STEP, doc={"_id": "meanwhile"})
        await until(lambda: _gave_up(both.opener), "the loss is noticed")
        await both.net.a.machine.ip("link set wan0 up", "route add default via 198.18.1.1")
        await until(lambda: both.sharer.call("has", timeout=STEP, doc_id="meanwhile"), "the push went on")
