"""A page in Chromium and a Python process, and a WebRTC data channel between them."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from benchmarks.peering import MOMENT, ROOT, WORK
from benchmarks.registry import REGISTRY, Measured, Run, benchmark
from peerpouch.cli.processes import Process
from tests.browser import pages
from tests.interop.serving import Serving

AVAILABLE = pages.CHROMIUM is not None and pages.POUCHDB.is_dir()

DOCUMENTS = 10_000
"""As many as PouchDB in a browser replicates in a minute or two."""
ATTACHMENT = 64 << 20

replication = benchmark("page-replication", "Replication, a page and Python by WebRTC", "docs/s")
attachment = benchmark("page-attachment", "Attachment, a page and Python by WebRTC", "MB/s")
connect = benchmark(
    "page-connect", "Connect: a page opens Python's share, to the first document", "ms", higher_is_better=False
)
live = benchmark(
    "page-live-latency", "Live change: written in Python until seen in a page, and back", "ms", higher_is_better=False
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


@asynccontextmanager
async def pair(run: Run) -> AsyncIterator[tuple[pages.Tab, Process]]:
    """A page and a process, both at one hub."""
    folder = run.folder / "peer"
    folder.mkdir()
    with pages.origin() as origin:
        async with Serving(run.folder / "server", 0, "--cors", origin) as server, pages.chromium() as browser:
            hub = f"{server.url}hub"
            async with httpx2.AsyncClient(trust_env=False) as client:
                (await client.put(hub)).raise_for_status()
            env = {"PYTHONPATH": str(ROOT), "PEERPOUCH_HOME": str(folder)}
            async with await Process.start("the peer", "benchmarks.peer", str(folder), hub, env=env) as peer:
                await peer.call("start", timeout=MOMENT)
                tab = await pages.tab(await browser.new_context(), origin)
                await tab.run(_START, hub)
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


@replication.subject("two databases of the page", "PouchDB's replicator, without a network", "limit")
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


@connect.subject("a hub under peerpouch serve", "median of fresh pages")
async def _connect(run: Run) -> Measured:
    times = []
    for number in range(run.scale.connects):
        folder = run.folder / str(number)
        folder.mkdir()
        async with pair(Run(folder, run.scale)) as (tab, peer):
            await peer.call("fill", timeout=MOMENT, count=10)
            await peer.call("share", timeout=MOMENT)
            times.append(await tab.run("return kept.open()"))
    times.sort()
    return Measured(statistics.median(times), f"p95 {times[int(len(times) * 0.95)]:.0f} ms")


@live.subject("a page and Python", "IndexedDB there, synced to disk here")
async def _live(run: Run) -> Measured:
    delays = []
    async with pair(run) as (tab, peer):
        await peer.call("share", timeout=MOMENT)
        await tab.run("await kept.open(); kept.sync = PouchDB.sync(kept.local, kept.db, { live: true, retry: true })")
        for number in range(run.scale.live):
            there, back = f"there-{number}", f"back-{number}"
            seen = asyncio.create_task(tab.run("return kept.arrived(arg)", there))
            written = await peer.call("write", timeout=MOMENT, doc_id=there)
            delays.append((await seen - written) * 1000)
            arriving = asyncio.create_task(peer.call("arrival", timeout=MOMENT, doc_id=back))
            began = "const began = Date.now(); await kept.local.put({ _id: arg }); return began / 1000"
            written = await tab.run(began, back)
            delays.append((await arriving - written) * 1000)
    delays.sort()
    return Measured(statistics.median(delays), f"p99 {delays[int(len(delays) * 0.99)]:.1f} ms")


if not AVAILABLE:
    for each in (replication, attachment, connect, live):
        del REGISTRY[each.name]
