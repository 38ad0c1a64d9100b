"""Pages share with each other: two browsers (profiles), and two tabs of one."""

from __future__ import annotations

import asyncio

import pytest

from tests.browser.conftest import Open
from tests.browser.pages import needs_chromium
from tests.browser.replicas import LIMIT

pytestmark = [
    needs_chromium,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

SHARE = """
kept.hub = await join(arg);
kept.local = new PouchDB('shared');
kept.own = await kept.hub.shareDatabase(kept.local, { name: 'Shared' });
"""
FOLLOW = """
kept.hub = await join(arg);
kept.local = new PouchDB('copy');
const share = await watch(kept.hub, 'Shared');
kept.trust = share.trust;
kept.db = new PouchDB(share.dbname, { timeout: 10000 });
kept.sync = PouchDB.sync(kept.local, kept.db,
  { live: true, retry: true, back_off_function: (delay) => Math.min(1000, delay + 200) });
"""
HAS = "await until(() => kept.local.get(arg).catch(() => null), 100000)"


@pytest.mark.parametrize("are_tabs", [False, True])
async def test_two_pages_replicate_both_ways_and_go_on_after_a_reload(
    hub_url: str, open_tab: Open, origin: str, are_tabs: bool
) -> None:
    owner = await open_tab()
    guest = await open_tab(owner if are_tabs else None)
    await owner.run(SHARE, hub_url)
    await owner.run("await fill(kept.local, 'owner', 500, 20); await kept.local.put({ _id: 'both', of: 'owner' })")
    await guest.run("await fill(new PouchDB('copy'), 'guest', 500, 20)")
    await guest.run("await new PouchDB('copy').put({ _id: 'both', of: 'guest' })")
    await guest.run(FOLLOW, hub_url)
    # Two tabs have one identity, and are two addresses.
    assert await guest.run("return kept.trust") == ("seen" if are_tabs else "new")
    # PouchDB's own count leaves out documents that came with attachments.
    for page in (owner, guest):
        await page.run("await until(async () => (await kept.local.allDocs()).rows.length === 1001, 100000)")
    await guest.run("await kept.local.put({ _id: 'late' })")
    await owner.run(HAS, "late")
    assert await owner.run("return leaves(kept.local)") == await guest.run("return leaves(kept.local)")
    stats = await guest.run("return kept.db.stats()")
    assert stats["path"] is not None and stats["received"] > 20 * 3000

    await owner.load(origin)
    await guest.run("await kept.local.put({ _id: 'meanwhile' })")
    await owner.run(SHARE, hub_url)
    await owner.run(HAS, "meanwhile")
    await owner.run("await kept.local.put({ _id: 'again' })")
    await guest.run(HAS, "again")
    assert guest.said == []


async def test_two_pages_that_open_each_others_shares_use_one_connection(hub_url: str, open_tab: Open) -> None:
    tabs = [await open_tab(), await open_tab()]
    share = "kept.hub = await join(arg.hub); await kept.hub.shareDatabase(new PouchDB(arg.name), { name: arg.name })"
    for number, tab in enumerate(tabs):
        await tab.run(share, {"hub": hub_url, "name": f"of-{number}"})
    # Both at once, so that the offers may cross.
    opening = """
        kept.db = new PouchDB((await watch(kept.hub, arg)).dbname);
        window.go = async () => (await kept.db.put({ _id: 'from-the-other' })).ok;
    """
    for number, tab in enumerate(tabs):
        await tab.run(opening, f"of-{1 - number}")
    for tab in tabs:
        await tab.run("window.went = window.go()")
    for tab in tabs:
        assert await tab.run("return window.went") is True
    for number, tab in enumerate(tabs):
        assert await tab.run(f"return (await new PouchDB('of-{number}').get('from-the-other'))._id") == "from-the-other"
        assert tab.said == []
    made = "return [...(await PeerPouch.hubs())].map((meeting) => meeting.pool.connections.size)"
    assert [await tab.run(made) for tab in tabs] == [[1], [1]]


async def test_a_closed_tab_is_noticed_at_once(hub_url: str, open_tab: Open) -> None:
    owner, guest = await open_tab(), await open_tab()
    await owner.run(SHARE, hub_url)
    await guest.run(FOLLOW, hub_url)
    await owner.run("await kept.local.put({ _id: 'one' })")
    await guest.run(HAS, "one")
    await guest.run(
        """
        const [meeting] = await PeerPouch.hubs();
        const [{ link }] = meeting.pool.connections.values();
        kept.over = link.over;
        """
    )
    await owner.page.close()
    error = await guest.run("return (await kept.over)?.reason")
    # Not by its silence, which would take nine seconds.
    assert error is not None and "silent" not in error


async def test_a_feed_outlives_the_garbage_collector_and_bodies_thrown_away_unread_do_not(
    hub_url: str, open_tab: Open
) -> None:
    owner, guest = await open_tab(), await open_tab()
    await owner.run(SHARE, hub_url)
    await owner.run(
        """
        const { rev } = await kept.local.put({ _id: 'large' });
        await kept.local.putAttachment('large', 'a', rev, new Blob([new Uint8Array(1e6)]), 'application/x-test');
        """
    )
    await guest.run(FOLLOW, hub_url)
    await guest.run(HAS, "large")
    collector = await guest.page.context.new_cdp_session(guest.page)
    waiting = """
        const [{ pool }] = await PeerPouch.hubs();
        const [{ link }] = pool.connections.values();
        kept.link = link;
        return (await until(() => link.ends.size === 1 && [...link.ends])).map(([stream]) => stream);
    """
    feed = await guest.run(waiting)
    for _ in range(5):
        await collector.send("HeapProfiler.collectGarbage")
    assert await guest.run(waiting) == feed
    await guest.run(
        """
        const { shareId } = [...(await PeerPouch.hubs())][0].pool.leases.values().next().value;
        for (let n = 0; n < 60; n += 1) await kept.link.fetch(`/${shareId}/large/a`);
        """
    )
    async with asyncio.timeout(LIMIT):
        while await guest.run("return kept.link.ends.size") > 1:
            await collector.send("HeapProfiler.collectGarbage")
    assert await guest.run(waiting) == feed
    assert guest.said == []
