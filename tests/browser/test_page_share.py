"""Python opens what a page shares."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from tests.browser.conftest import Open
from tests.browser.pages import needs_chromium
from tests.browser.replicas import LIMIT, documents, leaves, until

pytestmark = [
    needs_chromium,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

SHARE = """
kept.hub = await join(arg.hub);
kept.local = new PouchDB(arg.name, arg.adapter ? { adapter: arg.adapter } : {});
kept.own = await kept.hub.shareDatabase(kept.local, { name: arg.name, ...arg.options });
"""


async def found(hub: peerpouch.Hub, name: str) -> peerpouch.SharedDatabase:
    async def listed() -> peerpouch.SharedDatabase | None:
        shares = await hub.get_shared_databases()
        return next((share for share in shares if share.name == name), None)

    share: peerpouch.SharedDatabase = await until(listed)
    return share


@pytest.mark.parametrize("adapter", [None, "memory"])
async def test_python_reads_writes_and_queries(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, adapter: str | None
) -> None:
    page = await open_tab()
    await page.run(SHARE, {"hub": hub_url, "name": "Tab", "adapter": adapter, "options": {"info": {"of": "a page"}}})
    await page.run("await kept.local.bulkDocs(Array.from({ length: 20 }, (_, n) => ({ _id: `n${n}`, n })))")
    share = await found(hub, "Tab")
    assert share.info == {"of": "a page"}
    assert share.fingerprint == await page.run("return kept.own.fingerprint")
    async with share.open() as remote:
        assert (await remote.get("n7"))["n"] == 7
        assert len([row async for row in remote.all_docs()]) == 20
        queried = await remote.find({"n": {"$gt": 17}})
        assert sorted(doc["_id"] for doc in queried["docs"]) == ["n18", "n19"]
        written = await remote.put({"_id": "from-python"})
        await remote.put_attachment("from-python", "a.txt", b"some text", "text/plain", rev=written.rev)
        text = "return (await kept.local.getAttachment('from-python', 'a.txt')).text()"
        assert await page.run(text) == "some text"
        with pytest.raises(peerpouch.errors.Conflict):
            await remote.put({"_id": "n7"})
        # The browser hides its address behind a name of mDNS, and nothing is made up for it.
        stats = await remote.stats()
        assert stats is not None and stats.path in ("direct", "reflexive") and "None" not in (stats.remote or "")
    assert page.said == []


async def test_five_thousand_documents_with_attachments_replicate_both_ways_and_live(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    page = await open_tab()
    await page.run(SHARE, {"hub": hub_url, "name": "Many"})
    await page.run("await fill(kept.local, 'page', 2500, 50); await kept.local.put({ _id: 'both', of: 'page' })")
    async with peerpouch.open(tmp_path / "many.db") as many, (await found(hub, "Many")).open() as remote:
        await many.bulk_docs(documents("python", 2500, 50))
        await many.bulk_docs([{"_id": "both", "of": "python"}])
        await peerpouch.sync(many, remote)
        assert await page.run("return leaves(kept.local)") == await leaves(many)
        attachment = await many.get_attachment("page-7", "a.bin")
        assert b"".join([chunk async for chunk in attachment]) == bytes([7]) * 3000
        got = "return [...new Uint8Array(await (await kept.local.getAttachment('python-9', 'a.bin')).arrayBuffer())]"
        assert await page.run(got) == [9] * 3000
        assert await page.run("return (await kept.local.get('both', { conflicts: true }))._conflicts.length") == 1

        live = peerpouch.sync(many, remote, live=True)
        try:
            await page.run("await kept.local.put({ _id: 'late-page' })")
            await until(lambda: has(many, "late-page"))
            await many.bulk_docs([{"_id": "late-python"}])
            await page.run("await until(() => kept.local.get('late-python').catch(() => null))")
        finally:
            await live.cancel()
    assert page.said == []


async def has(database: peerpouch.Database, doc_id: str) -> bool:
    try:
        await database.get(doc_id)
    except peerpouch.errors.NotFound:
        return False
    return True


async def test_both_ends_compress_what_they_replicate(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    identity = peerpouch.Identity.ephemeral()
    contacts = peerpouch.Contacts(memory=True)
    page = await open_tab()
    await page.run(SHARE, {"hub": hub_url, "name": "Packed"})
    await page.run("await fill(kept.local, 'page', 500, 5)")
    async with (
        peerpouch.open(tmp_path / "packed.db") as packed,
        peerpouch.Hub(hub_url, identity=identity, contacts=contacts, ice_servers=[], compression="on") as there,
        (await found(there, "Packed")).open() as remote,
    ):
        await packed.bulk_docs(documents("python", 500, 5))
        await remote.info()
        # As over a slow path.
        await page.run(
            """
            kept.link = await until(async () => [...(await PeerPouch.hubs())].flatMap(
              ({ pool }) => [...pool.connections.values()].map(({ link }) => link))[0]);
            await until(() => kept.link.packing);
            Object.defineProperty(kept.link.packing, 'isWorthIt', { get: () => true });
            """
        )
        await peerpouch.sync(packed, remote)
        assert await page.run("return leaves(kept.local)") == await leaves(packed)
        stats = await remote.stats()
        assert stats is not None and stats.extra["uncompressed"] > 3 * stats.extra["compressed"] > 0
        taken, given = await page.run("return [kept.link.packing.taken, kept.link.packing.given]")
        assert taken > 3 * given > 0
        # The page opens what Python shares: its requests are compressed too.
        await there.share_database(packed, name="Python's")
        taken = await page.run(
            """
            const share = await watch(kept.hub, "Python's");
            kept.db = new PouchDB(share.dbname);
            await kept.db.info();
            const before = kept.link.packing.taken;
            await fill(kept.db, 'more', 500, 0);
            return kept.link.packing.taken - before;
            """
        )
        assert taken > 50_000
        assert (await packed.get("more-499"))["n"] == 499
    assert page.said == []


async def test_replication_goes_on_after_the_tab_was_reloaded(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, origin: str, tmp_path: Path
) -> None:
    page = await open_tab()
    sharing = {"hub": hub_url, "name": "Reloaded"}
    await page.run(SHARE, sharing)
    share = await found(hub, "Reloaded")
    async with peerpouch.open(tmp_path / "notes.db") as notes, share.open() as remote:
        live = peerpouch.sync(notes, remote, live=True)
        try:
            await page.run("await kept.local.put({ _id: 'before' })")
            await until(lambda: has(notes, "before"))
            await page.load(origin)
            await notes.bulk_docs([{"_id": "meanwhile"}])
            await page.run(SHARE, sharing)
            assert await page.run("return kept.own.id") == share.id
            await page.run("await kept.local.put({ _id: 'after' })")
            await until(lambda: has(notes, "after"))
            await page.run("await until(() => kept.local.get('meanwhile').catch(() => null), 100000)")
        finally:
            await live.cancel()


async def test_a_tab_that_is_closed_is_noticed_at_once(hub: peerpouch.Hub, hub_url: str, open_tab: Open) -> None:
    page = await open_tab()
    await page.run(SHARE, {"hub": hub_url, "name": "Closed"})
    async with (await found(hub, "Closed")).open() as remote:
        await remote.info()
        (connection,) = hub._pool._connections.values()
        link = connection.live()
        assert link is not None
        await page.page.close()
        async with asyncio.timeout(LIMIT):
            error = await link.wait_closed()
        # Not by its silence, which would take nine seconds.
        assert error is not None and "silent" not in error.reason


async def test_the_page_decides_who_comes_in_and_what_they_may_do(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    page = await open_tab()
    await page.run(
        """
        kept.hub = await join(arg);
        kept.events = [];
        const share = async (name, options) => {
          const local = new PouchDB(name);
          await local.bulkDocs([{ _id: 'public', level: 1 }, { _id: 'secret', level: 9 }]);
          kept[name] = await kept.hub.shareDatabase(local, { name, ...options });
        };
        await share('refusing', { onRemote(event) {
          kept.events.push({ info: event.info, fingerprint: event.peer.fingerprint });
          event.preventDefault('Come back tomorrow.');
        } });
        await share('readable', { access: 'read-only' });
        await share('limited', { access: { select: { level: { $lt: 5 } } } });
        await share('invited', { peers: [] });
        kept.invite = String(await kept.invited.invite({ once: true }));
        """,
        hub_url,
    )
    with pytest.raises(peerpouch.errors.Forbidden, match=r"Come back tomorrow\."):
        await (await found(hub, "refusing")).open(info={"hello": 1})
    events: Any = await page.run("return kept.events")
    assert events == [{"info": {"hello": 1}, "fingerprint": hub.identity.fingerprint}]

    async with (await found(hub, "readable")).open() as remote:
        assert [row["id"] async for row in remote.all_docs()] == ["public", "secret"]
        with pytest.raises(peerpouch.errors.Forbidden):
            await remote.put({"_id": "mine"})
        async with peerpouch.open(tmp_path / "copy.db") as copy:
            assert (await peerpouch.replicate(remote, copy)).docs_written == 2

    async with (await found(hub, "limited")).open() as remote:
        assert [row["id"] async for row in remote.all_docs()] == ["public"]
        with pytest.raises(peerpouch.errors.NotFound):
            await remote.get("secret")
        with pytest.raises(peerpouch.errors.Forbidden):
            await remote.put({"_id": "mine", "level": 7})
        async with peerpouch.open(tmp_path / "part.db") as part:
            await peerpouch.replicate(remote, part)
            assert [line.split()[0] for line in await leaves(part)] == ["public"]

    with pytest.raises(peerpouch.errors.Forbidden):
        await (await found(hub, "invited")).open()
    invite = await page.run("return kept.invite")
    contacts = peerpouch.Contacts(memory=True)
    async with peerpouch.open(invite, identity=hub.identity, contacts=contacts) as invited:
        assert (await invited.get("public"))["level"] == 1
    with pytest.raises(peerpouch.errors.Forbidden, match="somebody else"):
        await peerpouch.open(invite, identity=peerpouch.Identity.ephemeral(), contacts=contacts)

    await page.run("await kept.hub.unshareDatabase(kept.readable)")

    async def gone() -> bool:
        return all(share.name != "readable" for share in await hub.get_shared_databases())

    await until(gone)
