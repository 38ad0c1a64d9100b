"""A page opens what Python shares."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

import peerpouch
from tests.browser.conftest import Open
from tests.browser.pages import Tab, needs_chromium
from tests.browser.replicas import documents, leaves, until
from tests.interop.serving import Serving

pytestmark = [
    needs_chromium,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]


async def test_a_page_reads_writes_and_queries(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "notes.db") as notes:
        await notes.bulk_docs([{"_id": f"n{n}", "n": n} for n in range(20)])
        await hub.share_database(notes, name="Notes", info={"of": "Ada"})
        page = await open_tab()
        found = await page.run(
            """
            kept.hub = await join(arg);
            const [share] = await kept.hub.getSharedDatabases();
            kept.db = new PouchDB(share.dbname, { info: { who: 'a page' } });
            const all = await kept.db.allDocs({ include_docs: true });
            const found = await kept.db.find({ selector: { n: { $gt: 17 } } });
            const put = await kept.db.put({ _id: 'from-page', ok: true });
            await kept.db.putAttachment('from-page', 'a.txt', put.rev, new Blob(['some text']), 'text/plain');
            const blob = await kept.db.getAttachment('from-page', 'a.txt');
            return { name: share.name, info: share.info, trust: share.trust, rows: all.rows.length,
              found: found.docs.map((doc) => doc._id), text: await blob.text(), type: blob.type,
              stats: await kept.db.stats() };
            """,
            hub_url,
        )
        assert (found["name"], found["info"], found["trust"]) == ("Notes", {"of": "Ada"}, "new")
        assert found["rows"] == 20
        assert found["found"] == ["n18", "n19"]
        assert (found["text"], found["type"]) == ("some text", "text/plain")
        assert (await notes.get("from-page"))["ok"] is True
        assert found["stats"]["path"] in ("direct", "reflexive")
        assert page.said == []


async def test_a_feed_that_is_being_read_outlives_a_collection_of_garbage(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "notes.db") as notes:
        await notes.put({"_id": "before"})
        await hub.share_database(notes, name="Notes")
        page = await open_tab()
        await page.run(
            """
            kept.hub = await join(arg);
            const [share] = await kept.hub.getSharedDatabases();
            kept.db = new PouchDB(share.dbname);
            kept.seen = [];
            kept.feed = kept.db.changes({ since: 0, live: true });
            kept.feed.on('change', ({ id }) => kept.seen.push(id)).on('error', (error) => kept.seen.push(`${error}`));
            kept.feed.catch(() => {});
            await until(() => kept.seen.length);
            """,
            hub_url,
        )
        collector = await page.page.context.new_cdp_session(page.page)
        expected = ["before"]
        for n in range(10):
            # When exactly the next response is being read can't be seen from here: some of the collections meet one.
            for _ in range(10):
                await collector.send("HeapProfiler.collectGarbage")
            await notes.put({"_id": f"after {n}"})
            expected.append(f"after {n}")
            seen = await page.run("await until(() => kept.seen.length >= arg); return kept.seen", len(expected))
            assert seen == expected


async def test_five_thousand_documents_with_attachments_replicate_both_ways_and_live(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "many.db") as many:
        await many.bulk_docs(documents("python", 2500, 50))
        await many.bulk_docs([{"_id": "both", "of": "python"}])
        await hub.share_database(many, name="Many")
        page = await open_tab()
        first = await page.run(
            """
            kept.hub = await join(arg);
            kept.local = new PouchDB('many');
            await fill(kept.local, 'page', 2500, 50);
            await kept.local.put({ _id: 'both', of: 'page' });
            const share = await watch(kept.hub, 'Many');
            kept.db = new PouchDB(share.dbname);
            const { push, pull } = await PouchDB.sync(kept.local, kept.db, { batch_size: 500 });
            return { push: push.docs_written, pull: pull.docs_written, errors: [...push.errors, ...pull.errors] };
            """,
            hub_url,
        )
        assert first == {"push": 2501, "pull": 2501, "errors": []}
        assert await page.run("return leaves(kept.local)") == await leaves(many)
        assert len((await many.get("both", conflicts=True))["_conflicts"]) == 1
        attachment = await many.get_attachment("page-7", "a.bin")
        assert b"".join([chunk async for chunk in attachment]) == bytes([7]) * 3000
        got = "return [...new Uint8Array(await (await kept.local.getAttachment('python-9', 'a.bin')).arrayBuffer())]"
        assert await page.run(got) == [9] * 3000

        await page.run("kept.sync = PouchDB.sync(kept.local, kept.db, { live: true, retry: true })")
        await many.bulk_docs([{"_id": "late-python"}])
        await page.run("await kept.local.put({ _id: 'late-page' })")
        await until(lambda: _has(many, "late-page"))
        await page.run("await until(() => kept.local.get('late-python').catch(() => null)); kept.sync.cancel()")
        assert await page.run("return leaves(kept.local)") == await leaves(many)
        assert page.said == []


async def _has(database: peerpouch.Database, doc_id: str) -> bool:
    try:
        await database.get(doc_id)
    except peerpouch.errors.NotFound:
        return False
    return True


async def _put(url: str, document: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        (await client.put(f"{url}notes/{document['_id']}", json=document)).raise_for_status()


@pytest.mark.parametrize("end", ["killed", "stopped"])
async def test_replication_goes_on_by_itself_after_the_process_was_away(
    hub_url: str, open_tab: Open, tmp_path: Path, end: str
) -> None:
    sharer = Serving(tmp_path / "sharer")
    async with sharer:
        async with httpx2.AsyncClient(trust_env=False) as client:
            (await client.put(f"{sharer.url}notes")).raise_for_status()
        await sharer.end()
        sharer.options = ("--share", "notes", "--hub", hub_url)
        await sharer.start()
        await _put(sharer.url, {"_id": "first"})
        page = await open_tab()
        await page.run(
            """
            kept.hub = await join(arg);
            kept.local = new PouchDB('notes');
            const share = await watch(kept.hub, 'notes');
            kept.db = new PouchDB(share.dbname, { timeout: 10000 });
            kept.sync = PouchDB.sync(kept.local, kept.db,
              { live: true, retry: true, back_off_function: (delay) => Math.min(1000, delay + 200) });
            await until(() => kept.local.get('first').catch(() => null));
            """,
            hub_url,
        )
        if end == "killed":
            await sharer.end(signal.SIGKILL)
        else:
            assert sharer._process is not None
            sharer._process.send_signal(signal.SIGSTOP)
        # The page notices, and what it writes meanwhile is not lost.
        await page.run(
            """
            await until(async () => (await kept.db.stats()) === null);
            await kept.local.put({ _id: 'meanwhile' });
            """
        )
        if end == "killed":
            await sharer.start()
        else:
            assert sharer._process is not None
            sharer._process.send_signal(signal.SIGCONT)
        await _put(sharer.url, {"_id": "again"})
        await page.run("await until(() => kept.local.get('again').catch(() => null), 100000)")

        async def arrived() -> bool:
            async with httpx2.AsyncClient(trust_env=False) as client:
                return (await client.get(f"{sharer.url}notes/meanwhile")).status_code == 200

        await until(arrived)


async def test_a_page_without_a_network_to_its_hub_goes_on_with_its_peers(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "notes.db") as notes:
        await hub.share_database(notes, name="Offline")
        page = await open_tab()
        await page.run(
            """
            kept.hub = await join(arg);
            const share = await watch(kept.hub, 'Offline');
            kept.db = new PouchDB(share.dbname);
            kept.listed = [];
            await kept.hub.getSharedDatabases({ onChange: (share) => kept.listed.push(share.name) });
            await kept.db.info();
            """,
            hub_url,
        )
        await page.page.context.set_offline(True)
        await page.run("await kept.db.put({ _id: 'while-offline' })")
        assert await notes.get("while-offline")
        await page.page.context.set_offline(False)
        async with peerpouch.open(tmp_path / "other.db") as other:
            await hub.share_database(other, name="Later")
            await page.run("await until(() => kept.listed.includes('Later'), 100000)")


async def test_a_page_that_was_frozen_for_longer_than_peers_wait_goes_on_by_itself_when_it_is_thawed(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "notes.db") as notes:
        await hub.share_database(notes, name="Frozen")
        page = await open_tab()
        await page.run(
            """
            kept.hub = await join(arg);
            kept.local = new PouchDB('thawed');
            const share = await watch(kept.hub, 'Frozen');
            kept.db = new PouchDB(share.dbname, { timeout: 10000 });
            kept.sync = PouchDB.sync(kept.local, kept.db,
              { live: true, retry: true, back_off_function: (delay) => Math.min(1000, delay + 200) });
            await kept.local.put({ _id: 'before' });
            """,
            hub_url,
        )
        await until(lambda: _has(notes, "before"))
        (connection,) = hub._pool._connections.values()
        link = connection.live()
        assert link is not None
        lifecycle = await page.page.context.new_cdp_session(page.page)
        await lifecycle.send("Page.setWebLifecycleState", {"state": "frozen"})
        # A frozen page has no timers. Chromium still hands it the messages of its channel, so that it answers pings;
        # where it does not, it is given up after nine seconds. Either way it goes on by itself.
        with suppress(TimeoutError):
            await asyncio.wait_for(link.wait_closed(), 12)
        await notes.put({"_id": "meanwhile"})
        await lifecycle.send("Page.setWebLifecycleState", {"state": "active"})
        await page.run("await until(() => kept.local.get('meanwhile').catch(() => null), 100000)")
        await page.run("await kept.local.put({ _id: 'after' })")
        await until(lambda: _has(notes, "after"))
        assert await page.run("return leaves(kept.local)") == await leaves(notes)


async def test_a_refusal_a_read_only_and_a_limited_share_say_what_they_are(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with (
        peerpouch.open(tmp_path / "a.db") as closed,
        peerpouch.open(tmp_path / "b.db") as readable,
        peerpouch.open(tmp_path / "c.db") as limited,
    ):
        for database in (closed, readable, limited):
            await database.bulk_docs([{"_id": "public", "level": 1}, {"_id": "secret", "level": 9}])
        asked: list[Any] = []

        def refuse(event: peerpouch.RemoteEvent) -> None:
            asked.append(event.info)
            event.prevent_default("Come back tomorrow.")

        await hub.share_database(closed, name="Closed", on_remote=refuse)
        await hub.share_database(readable, name="Readable", access="read-only")
        access = peerpouch.Access(select={"level": {"$lt": 5}})
        await hub.share_database(limited, name="Limited", access=access)
        page = await open_tab()
        await page.run(
            """
            kept.hub = await join(arg);
            kept.open = async (name, info) => new PouchDB((await watch(kept.hub, name)).dbname, { info });
            """,
            hub_url,
        )
        refused = await page.fails("await (await kept.open('Closed', { hello: 1 })).allDocs()")
        assert refused == {"error": "forbidden", "reason": "Come back tomorrow.", "status": 403}
        assert asked == [{"hello": 1}]

        found = await page.run(
            "kept.db = await kept.open('Readable'); return (await kept.db.allDocs()).rows.map((r) => r.id)"
        )
        assert found == ["public", "secret"]
        refused = await page.fails("await kept.db.put({ _id: 'mine' })")
        assert refused is not None and refused["status"] == 403
        copied = await page.run("return (await PouchDB.replicate(kept.db, new PouchDB('readable-copy'))).docs_written")
        assert copied == 2

        found = await page.run(
            "kept.db = await kept.open('Limited'); return (await kept.db.allDocs()).rows.map((r) => r.id)"
        )
        assert found == ["public"]
        refused = await page.fails("await kept.db.get('secret')")
        assert refused is not None and refused["status"] == 404
        refused = await page.fails("await kept.db.put({ _id: 'mine', level: 7 })")
        assert refused is not None and refused["status"] == 403
        assert await page.run(
            """
            const local = new PouchDB('limited-copy');
            await PouchDB.replicate(kept.db, local);
            return leaves(local);
            """
        ) == [line for line in await leaves(limited) if line.startswith("public ")]


async def test_an_invite_is_for_the_first_who_uses_it(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "notes.db") as notes:
        await notes.bulk_docs([{"_id": "here"}])
        share = await hub.share_database(notes, name="Invited", peers=[])
        invite = str(await share.invite(once=True))
        first, second = await open_tab(), await open_tab()

        async def use(tab: Tab) -> dict[str, Any] | None:
            return await tab.fails(
                """
                const hub = await join(arg.hub);
                kept.db = await PeerPouch.open(`https://example.org/#${arg.invite}`, { hub });
                kept.rows = (await kept.db.allDocs()).rows.length;
                """,
                {"hub": hub_url, "invite": invite},
            )

        assert await use(first) is None
        assert await first.run("return kept.rows") == 1
        refused = await use(second)
        assert refused is not None and refused["error"] == "forbidden"
        assert "somebody else" in refused["reason"]
        # The first may use it again, after a reload too.
        await first.page.reload()
        await first.page.wait_for_function("window.ready")
        assert await use(first) is None


async def test_a_forged_share_is_not_listed_and_one_under_a_changed_key_is_not_opened(
    hub: peerpouch.Hub, hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    async with peerpouch.open(tmp_path / "true.db") as true, peerpouch.open(tmp_path / "false.db") as false:
        share = await hub.share_database(true, name="Mine")
        page = await open_tab()
        await page.run(
            "kept.hub = await join(arg); await (await (await watch(kept.hub, 'Mine')).open()).close()", hub_url
        )
        async with httpx2.AsyncClient(trust_env=False) as client:
            document = (await client.get(f"{hub_url}/share:{share.id}")).json()
            forged = {**document, "_id": document["_id"][:-1] + "0", "name": "Forged"}
            del forged["_rev"]
            (await client.put(f"{hub_url}/{forged['_id']}", json=forged)).raise_for_status()
        identity = peerpouch.Identity.load(tmp_path / "other.json")
        contacts = peerpouch.Contacts(tmp_path / "none.json")
        async with peerpouch.Hub(hub_url, identity=identity, contacts=contacts, ice_servers=[]) as impostor:
            await hub.unshare_database(true)
            await impostor.share_database(false, name="Mine")
            listed = await page.run(
                """
                await until(async () => (await kept.hub.getSharedDatabases()).some((s) => s.trust === 'changed'));
                return (await kept.hub.getSharedDatabases()).map(({ name, trust }) => [name, trust]);
                """
            )
            assert listed == [["Mine", "changed"]]
            opening = "const [share] = await kept.hub.getSharedDatabases(); await new PouchDB(share.dbname).info();"
            refused = await page.fails(opening)
            assert refused is not None and refused["error"] == "identity_changed"
            # Its twin: confirmed by the user, it opens.
            assert await page.fails(opening.replace("share.dbname", "share.dbname, { confirm: true }")) is None


async def test_a_download_streams_and_goes_on_after_the_owner_was_restarted(
    hub_url: str, open_tab: Open, tmp_path: Path
) -> None:
    sharer = Serving(tmp_path / "sharer")
    content = bytes(range(256)) * 40_000
    async with sharer:
        async with httpx2.AsyncClient(trust_env=False) as client:
            (await client.put(f"{sharer.url}files")).raise_for_status()
            put = await client.put(f"{sharer.url}files/doc/f.bin", content=content)
            put.raise_for_status()
        await sharer.end()
        sharer.options = ("--share", "files", "--hub", hub_url)
        await sharer.start()
        page = await open_tab()
        await page.run(
            """
            kept.hub = await join(arg);
            const share = await watch(kept.hub, 'files');
            kept.download = await share.download('doc', 'f.bin');
            kept.reader = kept.download.body.getReader();
            kept.parts = [(await kept.reader.read()).value];
            """,
            hub_url,
        )
        await sharer.end(signal.SIGKILL)
        rest = asyncio.create_task(
            page.run(
                """
                for (;;) {
                  const { done, value } = await kept.reader.read();
                  if (done) break;
                  kept.parts.push(value);
                }
                const whole = new Uint8Array(await new Blob(kept.parts).arrayBuffer());
                return { size: whole.length, good: whole.every((byte, at) => byte === at % 256),
                  resumed: kept.download.resumed };
                """
            )
        )
        await sharer.start()
        found = await rest
        assert found["size"] == len(content)
        assert found["good"] is True
        assert found["resumed"] > 0
