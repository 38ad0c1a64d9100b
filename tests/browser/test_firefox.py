"""Firefox, Chromium and Python open each other's shares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import peerpouch
from tests.browser.conftest import Open
from tests.browser.firefox import Browser, Tab, firefox, needs_firefox
from tests.browser.pages import needs_chromium
from tests.browser.replicas import LIMIT, documents, leaves, until
from tests.browser.test_page_share import SHARE, found, has

pytestmark = [
    needs_firefox,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with firefox(tmp_path_factory.mktemp("firefox")) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(fox: Browser, origin: str) -> AsyncIterator[Tab]:
    """A tab; all tests share one profile, as those who use one browser do."""
    tab = await fox.tab(origin)
    yield tab
    if tab.is_open:
        await tab.close()


async def test_firefox_opens_what_python_shares(hub: peerpouch.Hub, hub_url: str, page: Tab, tmp_path: Path) -> None:
    async with peerpouch.open(tmp_path / "python.db") as python:
        await python.bulk_docs(documents("python", 300, 10))
        await python.bulk_docs([{"_id": "both", "of": "python"}])
        await hub.share_database(python, name="For Firefox", info={"of": "Ada"})
        read = await page.run(
            """
            kept.hub = await join(arg);
            const share = await watch(kept.hub, 'For Firefox');
            kept.db = new PouchDB(share.dbname, { info: { who: 'a fox' } });
            const all = await kept.db.allDocs({ include_docs: true });
            const found = await kept.db.find({ selector: { n: { $gt: 297 } } });
            const blob = await kept.db.getAttachment('python-9', 'a.bin');
            return { info: share.info, rows: all.rows.length, found: found.docs.map((doc) => doc._id).sort(),
              bytes: [...new Uint8Array(await blob.arrayBuffer())], stats: await kept.db.stats() };
            """,
            hub_url,
        )
        assert (read["info"], read["rows"], read["found"]) == ({"of": "Ada"}, 301, ["python-298", "python-299"])
        assert read["bytes"] == [9] * 3000
        assert read["stats"]["path"] in ("direct", "reflexive") and read["stats"]["received"] > 3000

        replicated = await page.run(
            """
            kept.local = new PouchDB('of-firefox');
            await fill(kept.local, 'fox', 300, 10);
            await kept.local.put({ _id: 'both', of: 'a fox' });
            const { push, pull } = await PouchDB.sync(kept.local, kept.db);
            kept.sync = PouchDB.sync(kept.local, kept.db, { live: true, retry: true });
            return { push: push.docs_written, pull: pull.docs_written };
            """
        )
        assert replicated == {"push": 301, "pull": 301}
        assert await page.run("return leaves(kept.local)") == await leaves(python)
        attachment = await python.get_attachment("fox-7", "a.bin")
        assert b"".join([chunk async for chunk in attachment]) == bytes([7]) * 3000
        await python.bulk_docs([{"_id": "late-python"}])
        await page.run("await kept.local.put({ _id: 'late-fox' })")
        await until(lambda: has(python, "late-fox"))
        await page.run("await until(() => kept.local.get('late-python').catch(() => null)); kept.sync.cancel()")
        assert len((await python.get("both", conflicts=True))["_conflicts"]) == 1


async def test_python_opens_what_firefox_shares_and_a_closed_tab_is_noticed_at_once(
    hub: peerpouch.Hub, hub_url: str, page: Tab, tmp_path: Path
) -> None:
    await page.run(SHARE, {"hub": hub_url, "name": "By Firefox", "options": {"info": {"of": "a fox"}}})
    await page.run("await fill(kept.local, 'fox', 300, 10)")
    share = await found(hub, "By Firefox")
    assert share.info == {"of": "a fox"}
    async with peerpouch.open(tmp_path / "python.db") as python, share.open() as remote:
        assert (await remote.get("fox-7"))["n"] == 7
        assert len((await remote.find({"n": {"$gt": 297}}))["docs"]) == 2
        await python.bulk_docs(documents("python", 300, 10))
        await peerpouch.sync(python, remote)
        assert await page.run("return leaves(kept.local)") == await leaves(python)
        content = (
            "return [...new Uint8Array(await (await kept.local.getAttachment('python-9', 'a.bin')).arrayBuffer())]"
        )
        assert await page.run(content) == [9] * 3000
        live = peerpouch.sync(python, remote, live=True)
        try:
            await page.run("await kept.local.put({ _id: 'late-fox' })")
            await until(lambda: has(python, "late-fox"))
            await python.bulk_docs([{"_id": "late-python"}])
            await page.run("await until(() => kept.local.get('late-python').catch(() => null))")
        finally:
            await live.cancel()
        (connection,) = hub._pool._connections.values()
        link = connection.live()
        assert link is not None
        await page.close()
        async with asyncio.timeout(LIMIT):
            error = await link.wait_closed()
        # Not by its silence, which would take nine seconds.
        assert error is not None and "silent" not in error.reason


@needs_chromium
async def test_firefox_and_chromium_open_each_others_shares(hub_url: str, page: Tab, open_tab: Open) -> None:
    chromium = await open_tab()
    await page.run(SHARE, {"hub": hub_url, "name": "fox"})
    await chromium.run(SHARE, {"hub": hub_url, "name": "chromium"})
    await page.run("await fill(kept.local, 'fox', 200, 5)")
    await chromium.run("await fill(kept.local, 'chromium', 200, 5)")
    follow = """
        kept.other = new PouchDB((await watch(kept.hub, arg)).dbname);
        kept.sync = PouchDB.sync(kept.local, kept.other, { live: true, retry: true });
    """
    has_all = "await until(async () => (await kept.local.allDocs()).rows.length === arg, 100000)"
    await page.run(follow, "chromium")
    for tab in (page, chromium):
        await tab.run(has_all, 400)
    await page.run("kept.sync.cancel()")
    await chromium.run(follow, "fox")
    await page.run("await kept.local.put({ _id: 'late-fox' })")
    await chromium.run("await kept.local.put({ _id: 'late-chromium' })")
    for tab in (page, chromium):
        await tab.run(has_all, 402)
    assert await page.run("return leaves(kept.local)") == await chromium.run("return leaves(kept.local)")
    assert chromium.said == []


async def test_refusals_reach_firefox_and_come_from_it(
    hub: peerpouch.Hub, hub_url: str, page: Tab, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "a.db") as closed, peerpouch.open(tmp_path / "b.db") as readable:
        await readable.bulk_docs([{"_id": "public"}])

        def refuse(event: peerpouch.RemoteEvent) -> None:
            event.prevent_default("Come back tomorrow.")

        await hub.share_database(closed, name="Closed", on_remote=refuse)
        await hub.share_database(readable, name="Readable", access="read-only")
        opened = "await (kept.db = new PouchDB((await watch(kept.hub, arg)).dbname)).allDocs()"
        await page.run("kept.hub = await join(arg)", hub_url)
        refused = await page.fails(opened, "Closed")
        assert refused == {"error": "forbidden", "reason": "Come back tomorrow.", "status": 403}
        assert await page.fails(opened, "Readable") is None
        refused = await page.fails("await kept.db.put({ _id: 'mine' })")
        assert refused is not None and refused["status"] == 403

    await page.run(SHARE.replace("kept.hub = await join(arg.hub);", ""), {"name": "invited", "options": {"peers": []}})
    share = await found(hub, "invited")
    with pytest.raises(peerpouch.errors.Forbidden):
        await share.open()
    invite = await page.run("return String(await kept.own.invite({ once: true }))")
    contacts = peerpouch.Contacts(memory=True)
    async with peerpouch.open(invite, identity=hub.identity, contacts=contacts) as invited:
        assert (await invited.info())["doc_count"] == 0
    with pytest.raises(peerpouch.errors.Forbidden, match="somebody else"):
        await peerpouch.open(invite, identity=peerpouch.Identity.ephemeral(), contacts=contacts)


@pytest.mark.parametrize("lacking", ["Ed25519", "X25519"])
async def test_a_firefox_without_these_keys_says_what_to_do(page: Tab, hub_url: str, lacking: str) -> None:
    # Firefox before 129 and 130; what they threw.
    error: Any = await page.fails(
        """
        const real = crypto.subtle.generateKey;
        SubtleCrypto.prototype.generateKey = function (algorithm, ...rest) {
          if ((algorithm.name ?? algorithm) === arg.lacking) throw new DOMException('no', 'NotSupportedError');
          return real.call(this, algorithm, ...rest);
        };
        await join(arg.hub, { identity: await PeerPouch.Identity.ephemeral() });
        """,
        {"hub": hub_url, "lacking": lacking},
    )
    assert error["error"] == "not_implemented"
    assert lacking in error["reason"] and "Firefox" in error["reason"]
