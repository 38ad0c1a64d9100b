"""Two peers in a network, and replication between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from peerpouch.cli.processes import Process
from tests.network.cells import Cell
from tests.network.internet import Internet, hub_server, internet
from tests.network.namespaces import SCALE

STEP = 90 * SCALE
"""Seconds for a step in which little is carried."""

TRANSFER = 240 * SCALE
"""Seconds for one that takes a few on a machine of its own."""

EXPECTED_PATHS = {
    # Where a machine is so busy that its address is not found in time, the other end learns it from its packets.
    "direct": {"direct", "reflexive"},
    "ipv6": {"direct", "reflexive"},
    "loopback": {"direct"},
    "nat": {"reflexive"},
    "symmetric": {"relayed"},
    "relay": {"relayed"},
}
"""What the engine must say of the path that it found."""


@asynccontextmanager
async def two_peers(
    net: Internet, hub: str, folder: Path, engines: tuple[str, str] = ("wrtc", "wrtc")
) -> AsyncIterator[tuple[Process, Process]]:
    """A process in each home, with a database and not connected yet."""
    async with AsyncExitStack() as stack:
        peers = []
        for name, home, seed, engine in (("a", net.a, "0a", engines[0]), ("b", net.b, "0b", engines[1])):
            own = folder / name
            own.mkdir(exist_ok=True)
            env = {"PEERPOUCH_HOME": str(own)}
            if net.path == "loopback":
                env["WRTC_ALLOW_LOOPBACK"] = "1"
            process = await home.machine.process(name, "tests.network.peer", str(own), hub, env=env)
            peers.append(await stack.enter_async_context(process))
            await process.call("start", timeout=STEP, seed=seed, ice={**net.ice, "engine": engine})
        yield peers[0], peers[1]


@asynccontextmanager
async def hub_of(net: Internet, folder: Path) -> AsyncIterator[str]:
    """What both can reach for signalling."""
    if net.path == "loopback":
        yield str(folder / "hub.db")
        return
    async with hub_server(net, folder / "hub") as server:
        yield server.target


async def connect(sharer: Process, opener: Process) -> dict[str, Any]:
    """Let one share and the other open; gives what is known of the connection."""
    await asyncio.gather(*(peer.call("meet", timeout=STEP) for peer in (sharer, opener)))
    await sharer.call("share", timeout=STEP)
    opened: dict[str, Any] = await opener.call("open", timeout=STEP, patience=STEP)
    return opened


async def replicate(cell: Cell, folder: Path, seed: int) -> str:
    """Build the network, replicate documents and an attachment both ways, and compare; gives what is worth saying."""
    folder.mkdir()
    segment = None if cell.largest is None else cell.largest - 80
    async with (
        internet(cell.path, segment=segment) as net,
        hub_of(net, folder) as hub,
        two_peers(net, hub, folder, cell.engines) as (a, b),
    ):
        await net.shape(cell.shape(seed))
        opened = await connect(a, b)
        assert opened["path"] in EXPECTED_PATHS[cell.path], opened
        for peer, prefix in ((a, "a"), (b, "b")):
            await peer.call("fill", timeout=TRANSFER, count=cell.documents, prefix=prefix)
        await a.call("attach", timeout=TRANSFER, size=cell.attachment)
        took = []
        for direction in ("pull", "push"):
            result = await b.call("replicate", timeout=TRANSFER, direction=direction)
            assert result["state"] == "complete" and not result["docs_failed"], result
            took.append(result["seconds"])
        ours, theirs = [await peer.call("digest", timeout=TRANSFER) for peer in (a, b)]
        assert ours == theirs, (ours, theirs)
        assert ours["documents"] == 2 * cell.documents + 1, ours
    speed = cell.attachment / took[0] / 1e6
    return f"connected in {opened['seconds']:.2f} s, pulled {speed:.2f} MB/s, pushed in {took[1]:.1f} s"
