"""Pages meet at every kind of hub: a server with TLS, a public hub, and pouchdb-server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

import peerpouch
from tests.browser.conftest import Open
from tests.browser.pages import needs_chromium
from tests.browser.replicas import leaves
from tests.interop.node_processes import POUCHDB_SERVER, pouchdb_server
from tests.interop.serving import Serving
from tests.interop.test_nginx import certificate as certificate

pytestmark = [
    needs_chromium,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

SHARE = """
kept.hub = await join(arg);
kept.local = new PouchDB('shared');
await fill(kept.local, 'owner', 200, 5);
kept.own = await kept.hub.shareDatabase(kept.local, { name: 'Shared' });
"""
SYNC = """
kept.hub = await join(arg);
kept.local = new PouchDB('copy');
await fill(kept.local, 'guest', 200, 5);
const share = await watch(kept.hub, 'Shared');
const { push, pull } = await PouchDB.sync(kept.local, new PouchDB(share.dbname));
return [push.docs_written, pull.docs_written];
"""


@asynccontextmanager
async def _hub(kind: str, folder: Path, origin: str, certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    if kind == "pouchdb-server":
        if not POUCHDB_SERVER.exists():
            pytest.skip("needs pouchdb-server from npm")
        async with pouchdb_server(folder) as url:
            await _make(f"{url}hub")
            yield f"{url}hub"
        return
    options = {
        "tls": ("--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1])),
        "public": ("--hub", "hub"),
    }[kind]
    async with Serving(folder / "served", 0, "--cors", origin, *options) as server:
        if kind == "tls":
            assert server.url.startswith("https:")
            await _make(f"{server.url}hub")
        yield f"{server.url}hub"


async def _make(url: str) -> None:
    async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
        (await client.put(url)).raise_for_status()


@pytest.mark.parametrize("kind", ["tls", "public", "pouchdb-server"])
async def test_two_pages_meet_and_replicate(
    kind: str, open_tab: Open, origin: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    async with _hub(kind, tmp_path, origin, certificate) as url:
        owner, guest = await open_tab(), await open_tab()
        await owner.run(SHARE, url)
        assert await guest.run(SYNC, url) == [200, 200]
        assert await owner.run("return leaves(kept.local)") == await guest.run("return leaves(kept.local)")


@pytest.mark.parametrize("kind", ["public", "pouchdb-server"])
async def test_a_page_and_python_meet_and_replicate(
    kind: str, open_tab: Open, origin: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    identity, contacts = peerpouch.Identity.ephemeral(), peerpouch.Contacts(memory=True)
    async with _hub(kind, tmp_path, origin, certificate) as url:
        page = await open_tab()
        async with (
            peerpouch.open(tmp_path / "shared.db") as shared,
            peerpouch.Hub(url, identity=identity, contacts=contacts, ice_servers=[]) as hub,
        ):
            await shared.bulk_docs([{"_id": f"p-{n}"} for n in range(100)])
            await hub.share_database(shared, name="Shared")
            assert await page.run(SYNC, url) == [200, 100]
            assert await page.run("return leaves(kept.local)") == await leaves(shared)
