"""The dashboard, used as a visitor would; screenshots of what it looked like are kept in ``tests/browser/output``."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, BrowserContext, FilePayload, Route, ViewportSize, expect

import peerpouch
from tests.browser.pages import BROWSER, Tab, chromium, needs_chromium
from tests.browser.replicas import LIMIT

OUTPUT = Path(__file__).parent / "output"
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1280, "height": 800}

pytestmark = [needs_chromium, pytest.mark.timeout(400)]


def picture() -> bytes:
    """A PNG of 64 by 48 pixels, with a gradient."""
    rows = b"".join(b"\0" + bytes(v for x in range(64) for v in (x * 4, y * 5, 160)) for y in range(48))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[peerpouch.Server]:
    """A server with two databases, one of which has a conflict and attachments."""
    async with peerpouch.Server(folder / "databases", port=0, **options) as server:
        async with server.registry.hold("notes", create=True) as notes:
            for n in range(45):
                await notes.put({"_id": f"note-{n:02}", "type": "note", "title": f"Note {n}", "stars": n % 5})
            data = {"content_type": "image/png", "data": picture()}
            text = {"content_type": "text/plain", "data": b"Lorem ipsum\n" * 20}
            await notes.put(
                {"_id": "heron", "seen": 3, "place": "pond", "_attachments": {"heron.png": data, "field.txt": text}}
            )
            first = await notes.get("heron")
            await notes.put({**first, "seen": 4})
            history = {"start": 2, "ids": ["0", first["_rev"][2:]]}
            other = {"_id": "heron", "_rev": "2-0", "_revisions": history, "seen": 5, "place": "river"}
            await notes.bulk_docs([other], new_edits=False)
        for name in ("empty", "hub"):
            async with server.registry.hold(name, create=True):
                pass
        yield server


async def visit(context: BrowserContext, server: peerpouch.Server, where: str = "#/") -> Tab:
    tab = Tab(await context.new_page())
    await tab.page.goto(f"{server.url}_peerpouch/dashboard/{where}")
    return tab


async def looks(tab: Tab, name: str) -> None:
    """Keep a screenshot, and check what can be checked of the page by itself: its accessibility, its width."""
    page = tab.page
    OUTPUT.mkdir(exist_ok=True)
    await page.screenshot(path=OUTPUT / f"{name}.png", full_page=True)
    await page.evaluate((BROWSER / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in found["violations"]] == []
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"{name} is wider than the window by {overflow} pixels"


async def test_a_visitor_looks_at_databases_and_documents(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        for name, size in [("desk", DESK), ("phone", PHONE)]:
            scheme: Literal["light", "dark"] = "light" if name == "desk" else "dark"
            context = await browser.new_context(viewport=size, color_scheme=scheme)
            tab = await visit(context, server)
            page = tab.page
            await expect(page.get_by_role("link", name="notes")).to_be_visible()
            await looks(tab, f"databases-{name}")
            await page.get_by_role("link", name="notes").click()
            await expect(page.get_by_text("46 documents")).to_be_visible()
            await looks(tab, f"documents-{name}")
            await page.get_by_role("link", name="heron").click()
            await expect(page.get_by_role("img", name="heron.png")).to_be_visible()
            await expect(page.get_by_text("Two people changed this")).to_be_visible()
            await page.get_by_role("button", name="Preview").click()
            await expect(page.get_by_text("Lorem ipsum").first).to_be_visible()
            await looks(tab, f"document-{name}")
            assert tab.said == []
            await context.close()


async def test_a_visitor_edits_searches_and_resolves_from_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.registry.hold("notes") as notes:
        tab = await visit(await browser.new_context(viewport=DESK), server, "#/db/notes")
        page = tab.page
        await expect(page.get_by_text("46 documents")).to_be_visible()

        # Search: by an id's beginning, and by a selector.
        search = page.get_by_role("searchbox")
        await search.fill("note-1")
        await page.keyboard.press("Enter")
        await expect(page.locator(".documents a")).to_have_count(10)
        await search.fill('{"stars": {"$gte": 4}}')
        await page.keyboard.press("Enter")
        await expect(page.locator(".documents a")).to_have_count(9)
        await search.fill('{"stars": ')
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("is not JSON")).to_be_visible()
        await search.fill("")
        await page.keyboard.press("Enter")
        await expect(page.locator(".documents a")).to_have_count(30)
        await page.get_by_role("button", name="Show more").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".documents a")).to_have_count(46)

        # A new document, edited, and deleted.
        await page.get_by_role("link", name="New document").focus()
        await page.keyboard.press("Enter")
        await page.get_by_label("Id", exact=True).fill("egret/1")
        await page.get_by_label("Content, as JSON").fill('{"seen": 1')
        await page.get_by_role("button", name="Save", exact=True).press("Enter")
        await expect(page.get_by_text("This is not JSON")).to_be_visible()
        await page.get_by_label("Content, as JSON").fill('{"seen": 1}')
        await page.get_by_role("button", name="Save", exact=True).press("Enter")
        await expect(page.get_by_role("heading", name="egret/1")).to_be_visible()
        assert (await notes.get("egret/1"))["seen"] == 1
        file: FilePayload = {"name": "a b.txt", "mimeType": "text/plain", "buffer": b"hello"}
        await page.set_input_files("#file", files=file)
        await expect(page.get_by_text("text/plain, 5 bytes")).to_be_visible()
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Save as file: a b.txt").click()
        assert (await (await download.value).path()).read_bytes() == b"hello"
        page.on("dialog", lambda dialog: dialog.accept())
        await page.get_by_role("button", name="Remove a b.txt").click()
        await expect(page.get_by_text("No attachments")).to_be_visible()
        await page.get_by_role("button", name="Delete").press("Enter")
        await expect(page.get_by_text("46 documents")).to_be_visible()

        # Somebody else changes what is being typed in: nothing is lost, and nothing is overwritten.
        await page.goto(f"{server.url}_peerpouch/dashboard/#/db/notes/note-03")
        text = page.get_by_label("Content, as JSON")
        await expect(text).to_have_value('{\n  "type": "note",\n  "title": "Note 3",\n  "stars": 3\n}')
        await text.fill('{"mine": true}')
        await notes.put({**await notes.get("note-03"), "theirs": True})
        await expect(page.get_by_text("This document was changed meanwhile")).to_be_visible()
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("conflict", exact=False).first).to_be_visible()
        assert (await notes.get("note-03"))["theirs"]
        await page.get_by_role("button", name="Show the new version").click()
        await expect(text).to_have_value(
            '{\n  "type": "note",\n  "title": "Note 3",\n  "stars": 3,\n  "theirs": true\n}'
        )

        # The conflict: the losing version is kept.
        await page.goto(f"{server.url}_peerpouch/dashboard/#/db/notes/heron")
        losing = page.get_by_role("article", name="Version 2")
        await expect(losing.get_by_text('"river"')).to_be_visible()
        await losing.get_by_role("button", name="Keep this one").press("Enter")
        await expect(page.get_by_text("Two people changed this")).to_be_hidden()
        heron = await notes.get("heron", conflicts=True)
        assert heron["place"] == "river"
        assert "_conflicts" not in heron
        await expect(page.locator(".badge", has_text="conflict")).to_have_count(0)
        # The one that was refused above is the network's own line.
        assert [line for line in tab.said if "409 (Conflict)" not in line] == []
        await page.context.close()


SCRIPTED = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40">'
    b'<script>document.documentElement.setAttribute("data-ran", origin)</script><rect width="40" height="40"/></svg>'
)


@pytest.mark.parametrize("defended", [True, False])
async def test_a_picture_or_page_that_somebody_attached_does_not_act_as_the_dashboard(
    browser: Browser, tmp_path: Path, defended: bool
) -> None:
    markup = b"<img src=x onerror=window.ran=1>"
    async with serving(tmp_path) as server, server.registry.hold("notes") as notes:
        evil: dict[str, Any] = {
            "evil.svg": {"content_type": "image/svg+xml", "data": SCRIPTED},
            "evil.xml": {"content_type": "image/x+xml", "data": SCRIPTED},
            "<b>evil.html": {"content_type": "text/html", "data": markup},
        }
        await notes.put({"_id": markup.decode(), "title": markup.decode(), "_attachments": evil})
        context = await browser.new_context(viewport=DESK)
        if not defended:

            async def undefended(route: Route) -> None:
                text = (BROWSER / "pages" / "dashboard" / "attachments.js").read_text()
                for line in ("if (/^image\\/svg", "if (!INERT"):
                    assert text.count(line) == 1
                    text = text.replace(line, "if (false && " + line.removeprefix("if ("))
                await route.fulfill(body=text, content_type="text/javascript")

            await context.route("**/attachments.js", undefended)
        tab = await visit(context, server, "#/db/notes")
        page = tab.page
        await page.get_by_role("link", name=markup.decode()).click()
        await expect(page.get_by_role("img", name="evil.svg")).to_be_visible()
        await page.get_by_role("button", name="Preview").click()
        await expect(page.get_by_text(markup.decode()).last).to_be_visible()
        # "Open image in new tab".
        address = await page.get_by_role("img", name="evil.svg").get_attribute("src")
        alone = await context.new_page()
        await alone.goto(address or "")
        ran = await alone.evaluate("document.documentElement.getAttribute('data-ran')")
        assert (ran == page.url.partition("/_peerpouch")[0]) is not defended
        assert await page.evaluate("window.ran") is None
        await context.close()


@pytest.mark.parametrize("address", ["#/db/%E0%A4%A", "#/db/notes/%", "#/%"])
async def test_an_address_that_was_cut_shows_the_databases(browser: Browser, tmp_path: Path, address: str) -> None:
    async with serving(tmp_path) as server:
        tab = await visit(await browser.new_context(viewport=DESK), server, address)
        await expect(tab.page.get_by_role("link", name="notes")).to_be_visible()
        assert tab.said == []
        await tab.page.context.close()


async def test_a_visitor_signs_in_and_sees_what_it_may(browser: Browser, tmp_path: Path) -> None:
    async with serving(tmp_path, admins={"root": "secret"}) as server:
        tab = await visit(await browser.new_context(viewport=PHONE, color_scheme="light"), server)
        page = tab.page
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await looks(tab, "sign-in-phone")
        await page.get_by_label("Name").fill("root")
        await page.get_by_label("Password").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("Name or password is incorrect.")).to_be_visible()
        await page.get_by_label("Password").fill("secret")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="notes")).to_be_visible()
        await page.get_by_label("Name of a new database").fill("birds")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("link", name="birds")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert [line for line in tab.said if "401 (Unauthorized)" not in line] == []
        await page.context.close()


async def test_a_visitor_opens_what_somebody_shares_and_sees_the_connection(browser: Browser, tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as server,
        peerpouch.open(tmp_path / "field.db") as field,
        peerpouch.Hub(server.url + "hub", identity=peerpouch.Identity.ephemeral(), ice_servers=[]) as hub,
    ):
        await field.put(
            {
                "_id": "kingfisher",
                "seen": 1,
                "_attachments": {"k.png": {"content_type": "image/png", "data": picture()}},
            }
        )
        await hub.share_database(field, name="Field notes")
        tab = await visit(await browser.new_context(viewport=DESK, color_scheme="dark"), server, "#/shares")
        page = tab.page
        await page.get_by_label("Hub", exact=True).fill("hub")
        await page.get_by_role("button", name="Connect").click()
        await expect(page.get_by_text("Field notes")).to_be_visible()
        # Shares come and go by themselves.
        async with peerpouch.open(tmp_path / "other.db") as other:
            await hub.share_database(other, name="Another")
            await expect(page.get_by_text("Another")).to_be_visible()
            await hub.unshare_database(other)
            await expect(page.get_by_text("Another")).to_be_hidden()
        await page.get_by_role("button", name="Open Field notes").press("Enter")
        await expect(page.get_by_role("heading", name="Field notes")).to_be_visible()
        await page.get_by_role("link", name="kingfisher").click()
        await expect(page.get_by_role("img", name="k.png")).to_be_visible()
        await page.get_by_label("Content, as JSON").fill('{"seen": 2}')
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text('"seen":2')).to_be_visible()
        assert (await field.get("kingfisher"))["seen"] == 2
        await field.put({"_id": "wren"})
        await expect(page.get_by_role("link", name="wren")).to_be_visible()
        await looks(tab, "share-desk")
        await page.get_by_role("link", name="Shares").click()
        await expect(page.get_by_text("round trip")).to_be_visible()
        await looks(tab, "shares-desk")
        await page.set_viewport_size(PHONE)
        await looks(tab, "shares-phone")
        await page.get_by_role("button", name="Disconnect Field notes").click()
        await expect(page.get_by_text("round trip")).to_be_hidden()
        assert tab.said == []
        await page.context.close()


async def test_the_server_tells_who_is_connected_to_it(browser: Browser, tmp_path: Path) -> None:
    share = peerpouch.ShareOptions("notes", "hub", "Field notes")
    me, server_identity = peerpouch.Identity.ephemeral(), peerpouch.Identity.ephemeral()
    async with (
        serving(tmp_path, shares=[share], identity=server_identity) as server,
        peerpouch.Hub(server.url + "hub", identity=me, ice_servers=[]) as hub,
    ):
        tab = await visit(await browser.new_context(viewport=DESK), server)
        page = tab.page
        await expect(page.get_by_text("“Field notes”")).to_be_visible()
        await expect(page.get_by_text(me.fingerprint)).to_be_hidden()
        found: list[peerpouch.SharedDatabase] = []
        async with asyncio.timeout(LIMIT):
            while not found:
                found = list(await hub.get_shared_databases())
        async with await found[0].open() as remote:
            assert (await remote.get("heron"))["seen"]
            await expect(page.get_by_text(me.fingerprint)).to_be_visible()
            await looks(tab, "visitors-desk")
        assert tab.said == []
        await page.context.close()


async def test_a_stranger_opens_a_share_of_a_public_hub_without_an_account(browser: Browser, tmp_path: Path) -> None:
    async with (
        serving(tmp_path, admins={"root": "secret"}, hub="meet") as server,
        peerpouch.open(tmp_path / "field.db") as field,
        peerpouch.Hub(server.url + "meet", identity=peerpouch.Identity.ephemeral(), ice_servers=[]) as hub,
    ):
        await field.put({"_id": "kingfisher", "seen": 1})
        await hub.share_database(field, name="Field notes", access="read-only")
        tab = await visit(await browser.new_context(viewport=PHONE), server, "#/shares")
        page = tab.page
        await page.get_by_label("Hub", exact=True).fill("meet")
        await page.get_by_role("button", name="Connect").click()
        await page.get_by_role("button", name="Open Field notes").click()
        await page.get_by_role("link", name="kingfisher").click()
        await page.get_by_label("Content, as JSON").fill('{"seen": 2}')
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.get_by_text("This database is shared for reading only.")).to_be_visible()
        assert (await field.get("kingfisher"))["seen"] == 1
        # Its databases are not the stranger's.
        await page.get_by_role("link", name="Databases").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert [line for line in tab.said if "401 (Unauthorized)" not in line] == []
        await page.context.close()
