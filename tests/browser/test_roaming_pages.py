"""A page whose machine, or whose peer's machine, gets another address keeps its connection, by ICE restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from peerpouch.cli.processes import Process
from tests.browser.pages import CHROMIUM, FLAGS, Tab, needs_chromium
from tests.network.internet import Internet, hub_server, internet
from tests.network.namespaces import SCALE, Namespace, missing
from tests.network.shaper import Shape
from tests.network.test_roaming import RATE, SIZE, move

_LACKING = missing()

pytestmark = [
    needs_chromium,
    pytest.mark.skipif(_LACKING is not None, reason=str(_LACKING)),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

STEP = 60 * SCALE
_ORIGIN = "http://198.18.0.1:5984"


@dataclass
class Roaming:
    """A page at the machine ``a``, a Python process at ``b``, and a hub in the internet between them."""

    net: Internet
    page: Tab
    peer: Process


@asynccontextmanager
async def _page(namespace: Namespace, folder: Path, hub: str) -> AsyncIterator[Tab]:
    """A page of the hub's own server, in a browser whose network is that of a namespace."""
    inside = folder / "chromium"
    inside.write_text(f'#!/bin/sh\nexec {" ".join(namespace.command(str(CHROMIUM)))} "$@"\n')
    inside.chmod(0o755)
    flags = [*FLAGS, f"--unsafely-treat-insecure-origin-as-secure={_ORIGIN}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=inside, args=flags)
        try:
            tab = Tab(await (await browser.new_context()).new_page())
            await tab.page.goto(f"{_ORIGIN}/_peerpouch/send/")
            await tab.run(
                """
                const { default: PeerPouch } = await import('/_peerpouch/src/index.js');
                PouchDB.plugin(PeerPouch);
                Object.assign(window, { PeerPouch, kept: {} });
                kept.hub = new PouchDB(arg, { skip_setup: true });
                await PeerPouch.join(kept.hub, { iceServers: [] });
                kept.link = async () => [...(await PeerPouch.hubs())].flatMap(
                  (meeting) => [...meeting.pool.connections.values()].map(({ link }) => link))[0];
                """,
                hub,
            )
            yield tab
        finally:
            await browser.close()


@asynccontextmanager
async def _roaming(folder: Path) -> AsyncIterator[Roaming]:
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(internet("direct"))
        served = await stack.enter_async_context(hub_server(net, folder / "served"))
        own = folder / "peer"
        own.mkdir()
        # Only the page's signals go over the network: how soon a process that moved reaches its hub again is another
        # matter, and a restart has no more than a few seconds.
        arguments = ("tests.network.roaming", str(own), str(folder / "served" / "databases" / "hub.db"))
        process = await net.b.machine.process("peer", *arguments, env={"PEERPOUCH_HOME": str(own)})
        peer = await stack.enter_async_context(process)
        await peer.call("start", timeout=STEP, seed="0b", ice=net.ice)
        await peer.call("meet", timeout=STEP)
        page = await stack.enter_async_context(_page(net.a.machine, folder, served.target))
        yield Roaming(net, page, peer)


async def _until(tab: Tab, condition: str) -> None:
    async with asyncio.timeout(STEP):
        while not await tab.run(f"return {condition}"):
            await asyncio.sleep(0.05)


_OPEN = """
const found = async () => (await kept.hub.getSharedDatabases()).find(({ name }) => name === 'notes');
while (!(kept.share = await found())) await new Promise((resolve) => setTimeout(resolve, 100));
kept.db = new PouchDB(kept.share.dbname);
await kept.db.info();
kept.before = await kept.link();
"""


@pytest.mark.parametrize("mover", [0, 1], ids=["the page", "the sharer"])
async def test_a_page_reads_on_while_a_machine_gets_another_address(tmp_path: Path, mover: int) -> None:
    async with _roaming(tmp_path) as both:
        await both.peer.call("attach", timeout=STEP, size=SIZE)
        await both.peer.call("share", timeout=STEP)
        await both.page.run(_OPEN)
        await both.net.shape(Shape(round_trip=0.02, rate=RATE))
        await both.page.run("kept.reading = kept.db.getAttachment('file', 'file')")
        await _until(both.page, f"kept.before.received > {SIZE // 20}")
        await move(both.net, mover)
        found = await both.page.run(
            "return { bytes: (await kept.reading).size, same: (await kept.link()) === kept.before }"
        )
        assert found == {"bytes": SIZE, "same": True}


async def test_a_page_serves_on_while_its_machine_gets_another_address(tmp_path: Path) -> None:
    async with _roaming(tmp_path) as both:
        await both.page.run(
            """
            kept.local = new PouchDB('notes');
            await kept.local.put({ _id: 'file' });
            const { _rev } = await kept.local.get('file');
            const content = new Blob(Array.from({ length: Math.ceil(arg / 65536) }, (_, n) =>
              crypto.getRandomValues(new Uint8Array(Math.min(65536, arg - n * 65536)))));
            await kept.local.putAttachment('file', 'file', _rev, content, 'application/x-test');
            await kept.hub.shareDatabase(kept.local, { name: 'notes' });
            """,
            SIZE,
        )
        assert (await both.peer.call("open", timeout=STEP, patience=STEP))["path"] is not None
        await both.page.run("while (!(kept.before = await kept.link())) await new Promise((go) => setTimeout(go, 50))")
        await both.net.shape(Shape(round_trip=0.02, rate=RATE))
        reading = asyncio.create_task(both.peer.call("read_on", timeout=2 * STEP))
        await _until(both.page, f"kept.before.sent > {SIZE // 20}")
        await move(both.net, 0)
        assert await reading == {"bytes": SIZE, "same": True}
        assert await both.page.run("return (await kept.link()) === kept.before")


async def test_twin_without_restart_the_reading_is_lost_and_the_next_one_connects_anew(tmp_path: Path) -> None:
    async with _roaming(tmp_path) as both:
        await both.peer.call("attach", timeout=STEP, size=SIZE)
        await both.peer.call("share", timeout=STEP)
        await both.page.run(_OPEN)
        await _until(both.page, "!!kept.before.restarting")
        await both.page.run("kept.before.restarting.mend = async () => {}")
        # So slowly that it is not at its end before the machine has moved, however busy this one is.
        await both.net.shape(Shape(round_trip=0.02, rate=RATE / 4))
        await both.page.run("kept.reading = kept.db.getAttachment('file', 'file'); kept.reading.catch(() => {})")
        await _until(both.page, f"kept.before.received > {SIZE // 20}")
        # The sharer's: a browser whose own machine has moved now and then finds the other end again by itself.
        await move(both.net, 1)
        assert await both.page.fails("await kept.reading") is not None
        assert await both.page.run("return (await kept.db.get('file'))._id") == "file"
        assert await both.page.run("return (await kept.link()) !== kept.before")
