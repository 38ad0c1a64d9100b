"""A page in Chromium and a Python process, and a WebRTC data channel between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from playwright.async_api import Browser

from benchmarks.peering import MOMENT, ROOT, WORK, latencies
from benchmarks.registry import REGISTRY, Measured, Run, benchmark
from peerpouch.cli.processes import Process
from tests.browser import pages
from tests.interop.serving import Serving

AVAILABLE = pages.CHROMIUM is not None and pages.POUCHDB.is_dir()

DOCUMENTS = 10_000
"""As many as PouchDB in a browser replicates in a minute or two."""
ATTACHMENT = 32 << 20

replication = benchmark("page-replication", "Replication, a page and Python by WebRTC", "docs/s", costly=True)
attachment = benchmark("page-attachment", "Attachment, a page and Python by WebRTC", "MB/s", costly=True)
connect = benchmark(
    "page-connect", "Connect: a page and Python, to the first document", "ms", higher_is_better=False, costly=True
)
live = benchmark(
    "page-live-latency", "Live change between a page and Python", "ms", higher_is_better=False, costly=True
)

_START = """
kept.hub = await join(arg);
kept.local = new PouchDB('bench');
kept.open = async () => {
  const share = await watch(kept.hub, 'bench');
  const began = performance.now();
  kept.db = new PouchDB(share.dbname);
  await kept.db.allDocs({ limit: 1, include_docs: true });
  return performance.now() - began;
};
kept.arrived = (id) => new Promise((resolve) => {
  const feed = kept.local.changes({ live: true, since: 'now', doc_ids: [id] })
    .on('change', () => { resolve(Date.now() / 1000); feed.cancel(); });
  kept.local.get(id).then(() => { resolve(Date.now() / 1000); feed.cancel(); }, () => {});
});
"""


@dataclass
class Stage:
    """A browser, a hub at a server, and where the page is."""

    browser: Browser
    origin: str
    hub: str

    @asynccontextmanager
    async def pair(self, folder: Path) -> AsyncIterator[tuple[pages.Tab, Process]]:
        """A fresh page and a fresh process, both at the hub."""
        folder.mkdir()
        env = {"PYTHONPATH": str(ROOT), "PEERPOUCH_HOME": str(folder)}
        async with await Process.start("the peer", "benchmarks.peer", str(folder), self.hub, env=env) as peer:
            await peer.call("start", timeout=MOMENT)
            context = await self.browser.new_context()
            tab = await pages.tab(context, self.origin)
            await tab.run(_START, self.hub)
            yield tab, peer
            await context.close()


@asynccontextmanager
async def stage(run: Run) -> AsyncIterator[Stage]:
    """All that is there before anybody meets."""
    with pages.origin() as origin:
        async with Serving(run.folder / "server", 0, "--cors", origin) as server, pages.chromium() as browser:
            hub = f"{server.url}hub"
            async with httpx2.AsyncClient(trust_env=False) as client:
                (await client.put(hub)).raise_for_status()
            yield Stage(browser, origin, hub)


@asynccontextmanager
async def pair(run: Run) -> AsyncIterator[tuple[pages.Tab, Process]]:
    """A page and a process, both at one hub."""
    async with stage(run) as on, on.pair(run.folder / "peer") as (tab, peer):
        yield tab, peer


async def _share(tab: pages.Tab, count: int) -> None:
    await tab.run(
        "await fill(kept.local, 'page', arg, 0); await kept.hub.shareDatabase(kept.local, { name: 'bench' })", count
    )


@replication.subject("a page from Python", "PouchDB's replicator, into IndexedDB")
async def _page_pulls(run: Run) -> Measured:
    count = min(run.scale.documents, DOCUMENTS)
    async with pair(run) as (tab, peer):
        await peer.call("fill", timeout=WORK, count=count)
        await peer.call("share", timeout=MOMENT)
        await tab.run("await kept.open()")
        return await _replicated(tab, "kept.db, kept.local", count)


@replication.subject("Python from a page", "peerpouch's replicator, every batch synced to disk")
async def _python_pulls(run: Run) -> Measured:
    count = min(run.scale.documents, DOCUMENTS)
    async with pair(run) as (tab, peer):
        await _share(tab, count)
        opened = await peer.call("open", timeout=MOMENT)
        pulled = await peer.call("pull", timeout=WORK)
    assert pulled["docs"] == count
    return Measured(pulled["docs"] / pulled["seconds"], opened["path"])


@replication.subject("two databases of the page", "PouchDB's replicator, without a network", "peer", short=False)
async def _page_alone(run: Run) -> Measured:
    count = min(run.scale.documents, DOCUMENTS)
    async with pair(run) as (tab, _):
        await tab.run("kept.other = new PouchDB('other'); await fill(kept.other, 'page', arg, 0)", count)
        return await _replicated(tab, "kept.other, kept.local", count)


async def _replicated(tab: pages.Tab, between: str, count: int) -> Measured:
    result: dict[str, Any] = await tab.run(
        f"""
        const began = performance.now();
        const {{ docs_written }} = await PouchDB.replicate({between}, {{ batch_size: 500 }});
        return {{ written: docs_written, seconds: (performance.now() - began) / 1000 }};
        """
    )
    assert result["written"] == count
    return Measured(count / result["seconds"])


@attachment.subject("a page from Python", "as a stream, and dropped")
async def _page_downloads(run: Run) -> Measured:
    async with pair(run) as (tab, peer):
        await peer.call("attach", timeout=WORK, size=min(run.scale.attachment, ATTACHMENT))
        await peer.call("share", timeout=MOMENT)
        read = await tab.run(
            """
            await kept.open();
            const began = performance.now();
            const download = await kept.db.download('big', 'big');
            const reader = download.body.getReader();
            while (!(await reader.read()).done);
            return { bytes: download.received, seconds: (performance.now() - began) / 1000 };
            """
        )
    return Measured(read["bytes"] / read["seconds"] / 1e6)


@attachment.subject("Python from a page", "read in place, from IndexedDB")
async def _python_downloads(run: Run) -> Measured:
    async with pair(run) as (tab, peer):
        await tab.run(
            """
            const parts = Array.from({ length: arg / 65536 }, () => crypto.getRandomValues(new Uint8Array(65536)));
            await kept.local.putAttachment('big', 'big', new Blob(parts), 'application/octet-stream');
            await kept.hub.shareDatabase(kept.local, { name: 'bench' });
            """,
            min(run.scale.attachment, ATTACHMENT),
        )
        await peer.call("open", timeout=MOMENT)
        read = await peer.call("download", timeout=WORK)
    return Measured(read["bytes"] / read["seconds"] / 1e6)


@attachment.subject("bare data channel", "Python's engine to the page, from memory, without peerpouch", "limit")
async def _bare(run: Run) -> Measured:
    size = min(run.scale.attachment, ATTACHMENT)
    async with pair(run) as (tab, _):
        env = {"PYTHONPATH": str(ROOT)}
        async with await Process.start("the sender", "benchmarks.channel", env=env) as sender:
            answer = await tab.run(
                """
                const pc = kept.pc = new RTCPeerConnection();
                kept.received = new Promise((resolve) => {
                  let bytes = 0;
                  let began = 0;
                  pc.ondatachannel = ({ channel }) => {
                    channel.binaryType = 'arraybuffer';
                    channel.onmessage = ({ data }) => {
                      began ||= performance.now();
                      if (data.byteLength === 3) resolve({ bytes, seconds: (performance.now() - began) / 1000 });
                      else bytes += data.byteLength;
                    };
                  };
                });
                await pc.setRemoteDescription({ type: 'offer', sdp: arg });
                await pc.setLocalDescription();
                await until(() => pc.iceGatheringState === 'complete');
                return pc.localDescription.sdp;
                """,
                await sender.call("offer", timeout=MOMENT),
            )
            await sender.call("accept", timeout=MOMENT, sdp=answer)
            await sender.call("send", timeout=WORK, size=size)
            got = await tab.run("return kept.received")
    return Measured(got["bytes"] / got["seconds"] / 1e6)


@connect.subject("a page to Python", "fresh pages and processes; a hub under peerpouch serve")
async def _page_connects(run: Run) -> Measured:
    times = []
    async with stage(run) as on:
        for number in range(run.scale.connects):
            async with on.pair(run.folder / str(number)) as (tab, peer):
                await peer.call("fill", timeout=MOMENT, count=10)
                await peer.call("share", timeout=MOMENT)
                times.append(await tab.run("return kept.open()"))
                await peer.call("unshare", timeout=MOMENT)
    return latencies(times)


@connect.subject("Python to a page", "the same, the other way", short=False)
async def _python_connects(run: Run) -> Measured:
    times = []
    async with stage(run) as on:
        for number in range(run.scale.connects):
            async with on.pair(run.folder / str(number)) as (tab, peer):
                await _share(tab, 10)
                times.append((await peer.call("open", timeout=MOMENT))["ms"])
                await tab.run("await kept.hub.unshareDatabase(kept.local)")
    return latencies(times)


Way = Callable[[pages.Tab, Process, str], Awaitable[float]]


async def _live(run: Run, way: Way) -> Measured:
    delays = []
    async with pair(run) as (tab, peer):
        await peer.call("share", timeout=MOMENT)
        await tab.run("await kept.open(); kept.sync = PouchDB.sync(kept.local, kept.db, { live: true, retry: true })")
        for number in range(run.scale.live):
            delays.append((await way(tab, peer, f"live-{number}")) * 1000)
    return latencies(delays)


async def _there(tab: pages.Tab, peer: Process, doc_id: str) -> float:
    """Seconds until a page sees what Python wrote."""
    seen = asyncio.create_task(tab.run("return kept.arrived(arg)", doc_id))
    written: float = await peer.call("write", timeout=MOMENT, doc_id=doc_id)
    return float(await seen) - written


async def _back(tab: pages.Tab, peer: Process, doc_id: str) -> float:
    """Seconds until Python sees what a page wrote."""
    await peer.call("expect", timeout=MOMENT, doc_id=doc_id)
    arriving = asyncio.create_task(peer.call("arrival", timeout=MOMENT))
    began = "const began = Date.now(); await kept.local.put({ _id: arg }); return began / 1000"
    written: float = await tab.run(began, doc_id)
    return float(await arriving) - written


@live.subject("from Python to a page", "synced to disk here, IndexedDB there")
async def _live_there(run: Run) -> Measured:
    return await _live(run, _there)


@live.subject("from a page to Python", "IndexedDB there, synced to disk here", short=False)
async def _live_back(run: Run) -> Measured:
    return await _live(run, _back)


if not AVAILABLE:
    for each in (replication, attachment, connect, live):
        del REGISTRY[each.name]
