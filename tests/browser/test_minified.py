"""The plugin as a bundler makes it: minified, and in parts that a page loads when it needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import pages
from tests.browser.conftest import Open
from tests.browser.pages import needs_chromium
from tests.browser.test_packaging import STAGES

pytestmark = [
    needs_chromium,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

LOADED = """
const parts = performance.getEntriesByType('resource').filter(({ name }) => new URL(name).pathname.startsWith('/src/'));
return parts.reduce((bytes, { decodedBodySize }) => bytes + decodedBodySize, 0);
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    built = tmp_path_factory.mktemp("minified")
    pages.minify(built)
    with pages.origin(built) as served:
        yield served


async def test_pages_share_open_query_invite_and_download(hub_url: str, open_tab: Open) -> None:
    owner, guest = await open_tab(), await open_tab()
    await owner.run(
        """
        kept.hub = await join(arg);
        kept.local = new PouchDB('shared');
        await kept.local.bulkDocs([{ _id: 'a', n: 1 }, { _id: 'b', n: 2 }, { _id: 'hidden', n: 9 }]);
        const { _rev } = await kept.local.get('a');
        await kept.local.putAttachment('a', 'f.bin', _rev, new Blob(['x'.repeat(70000)]), 'x/y');
        kept.own = await kept.hub.shareDatabase(kept.local, { name: 'Some', access: { select: { n: { $lt: 5 } } } });
        """,
        hub_url,
    )
    await guest.run("kept.hub = await join(arg); kept.share = await watch(kept.hub, 'Some')", hub_url)
    first = await guest.run(LOADED)
    assert 0 < first <= STAGES["at first"][1]
    opened = """
    const db = kept.db = await kept.share.open();
    const copy = new PouchDB('copy');
    await PouchDB.replicate(db, copy);
    const { docs } = await db.find({ selector: { n: { $gt: 1 } } });
    const file = await (await kept.share.download('a', 'f.bin')).blob();
    return [(await copy.allDocs()).rows.map(({ id }) => id), docs.map(({ _id }) => _id), file.size];
    """
    assert await guest.run(opened) == [["a", "b"], ["b"], 70000]
    assert await guest.run(LOADED) > first
    # From now on for the invited only, of whom there is one.
    invite = await owner.run("return String(await kept.own.invite({ once: true }))")
    invited = await open_tab()
    read = "return (await (await PeerPouch.open(arg, { hub: kept.hub ??= await join(kept.url) })).get('b')).n"
    await invited.run("kept.url = arg", hub_url)
    assert await invited.run(read, invite) == 2
    named = """
    const contacts = PeerPouch.Contacts.load();
    const [share] = await kept.hub.getSharedDatabases();
    await contacts.add('Ann', share.key, { now: Date.now() });
    return [(await contacts.find('Ann')).fingerprint === share.fingerprint, (await contacts.list()).length];
    """
    assert await invited.run(named) == [True, 1]
    assert owner.said == guest.said == invited.said == []


async def test_what_can_not_be_loaded_is_said_and_asked_for_again(hub_url: str, open_tab: Open) -> None:
    tab = await open_tab()
    await tab.run("kept.hub = await join(arg); await kept.hub.getSharedDatabases()", hub_url)
    await tab.page.context.route("**/src/**", lambda route: route.abort())
    share = "return kept.hub.shareDatabase(new PouchDB('own')).then(() => 'shared', (error) => error.error)"
    assert await tab.run(share) == "connection_failed"
    await tab.page.context.unroute("**/src/**")
    assert await tab.run(share) == "shared"
