"""A machine that changes its network keeps its connections, by ICE restart; without that it makes new ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from peerpouch.cli.processes import Process
from peerpouch.errors import PeerPouchError
from tests.network.internet import Internet, internet
from tests.network.namespaces import SCALE
from tests.network.shaper import Shape

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bed"), pytest.mark.timeout(300)]

STEP = 60 * SCALE
SIZE = 4_000_000
RATE = 400_000.0
"""Bytes a second: the file takes ten seconds, in which the machine moves."""

_MOVE = """
ip addr flush dev wan0
ip addr add 198.18.{net}.2/30 dev wan0
ip route add default via 198.18.{net}.1
"""


async def move(net: Internet, number: int) -> None:
    """The machine ``a`` (0) or ``b`` (1) gets another address, and the old one leads nowhere."""
    home = (net.a, net.b)[number]
    fresh = 11 + number
    await net.core.sh(f"ip addr flush dev wan{number}; ip addr add 198.18.{fresh}.1/30 dev wan{number}")
    await home.machine.sh(_MOVE.format(net=fresh))


@asynccontextmanager
async def _reading(folder: Path) -> AsyncIterator[tuple[Internet, Process, Process]]:
    """The machine ``a`` reads from ``b``; signals go by a file that both reach, whatever their network does."""
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(internet("direct"))
        await net.shape(Shape(round_trip=0.02, rate=RATE))
        peers = []
        for name, home in (("a", net.a), ("b", net.b)):
            own = folder / name
            own.mkdir()
            arguments = ("tests.network.roaming", str(own), str(folder / "hub.db"))
            process = await home.machine.process(name, *arguments, env={"PEERPOUCH_HOME": str(own)})
            peers.append(await stack.enter_async_context(process))
            await process.call("start", timeout=STEP, seed=f"0{name}", ice=net.ice)
            await process.call("meet", timeout=STEP)
        reader, sharer = peers
        await sharer.call("attach", timeout=STEP, size=SIZE)
        await sharer.call("share", timeout=STEP)
        assert (await reader.call("open", timeout=STEP, patience=STEP))["path"] == "direct"
        yield net, reader, sharer


async def _come_so_far(reader: Process, size: int) -> None:
    async with asyncio.timeout(STEP):
        while await reader.call("so_far", timeout=STEP) < size:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("mover", [0, 1], ids=["the reader", "the sharer"])
async def test_a_reading_goes_on_while_a_machine_gets_another_address(tmp_path: Path, mover: int) -> None:
    async with _reading(tmp_path) as (net, reader, _):
        reading = asyncio.create_task(reader.call("read_on", timeout=2 * STEP))
        await _come_so_far(reader, SIZE // 5)
        before = await reader.call("stats", timeout=STEP)
        await move(net, mover)
        assert await reading == {"bytes": SIZE, "same": True}
        after = await reader.call("stats", timeout=STEP)
        end = ("local", "remote")[mover]
        assert before[end].startswith(f"198.18.{1 + mover}.2:") and after[end].startswith(f"198.18.{11 + mover}.2:")


async def test_twin_without_restart_the_reading_is_lost_and_the_next_one_connects_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEERPOUCH_TEST_NO_RESTART", "1")
    async with _reading(tmp_path) as (net, reader, _):
        reading = asyncio.create_task(reader.call("read_on", timeout=2 * STEP))
        await _come_so_far(reader, SIZE // 5)
        await move(net, 0)
        with pytest.raises(PeerPouchError):
            await reading
        assert (await reader.call("stats", timeout=STEP))["path"] is None
        assert await reader.call("get", timeout=STEP, doc_id="file") == "file"
