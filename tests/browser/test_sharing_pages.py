"""The pages "Send a file" and "A shared list", used as visitors would, over a public hub of the page's own server."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, FilePayload, Page, ViewportSize, expect

import peerpouch
from tests.browser.pages import Tab, chromium, needs_chromium
from tests.browser.test_dashboard import DESK, PHONE, looks

SCALE = float(os.environ.get("PEERPOUCH_TEST_TIMEOUT_SCALE", "1"))
LONG = 60_000 * SCALE
"""Milliseconds for what goes through a hub and a new connection."""

pytestmark = [needs_chromium, pytest.mark.timeout(400)]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as launched:
        yield launched


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[peerpouch.Server]:
    async with peerpouch.Server(tmp_path / "databases", port=0, hub="hub", admins={"root": "secret"}) as serving:
        yield serving


async def visit(browser: Browser, url: str, size: ViewportSize = DESK, *, dark: bool = False) -> Tab:
    """Somebody with a browser of its own."""
    context = await browser.new_context(viewport=size, color_scheme="dark" if dark else "light", accept_downloads=True)
    tab = Tab(await context.new_page())
    await tab.page.goto(url)
    return tab


def content(size: int) -> bytes:
    return b"".join(hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(size // 32))


async def link_of(page: Page, label: str) -> str:
    field = page.get_by_label(label)
    await expect(field).to_be_visible(timeout=LONG)
    return await field.input_value()


async def received(page: Page) -> bytes:
    async with page.expect_download(timeout=LONG) as download:
        await page.get_by_role("button", name="Receive the file").click()
        await expect(page.get_by_text("Received").first).to_be_visible(timeout=LONG)
    return (await (await download.value).path()).read_bytes()


async def test_a_file_that_was_dropped_is_received_by_link_in_another_browser_and_on_the_command_line(
    browser: Browser, server: peerpouch.Server, tmp_path: Path
) -> None:
    url = f"{server.url}_peerpouch/send/"
    data = content(3_000_000)
    sender = await visit(browser, url, DESK)
    await expect(sender.page.get_by_text("Drop a file here")).to_be_visible()
    await looks(sender, "send-empty-desk")
    # A real drop: the file comes in the event, as from a desktop.
    await sender.page.evaluate(
        """async (size) => {
          const hashes = [];
          for (let n = 0; n < size / 32; n++) {
            const view = new DataView(new ArrayBuffer(8));
            view.setUint32(4, n);
            hashes.push(await crypto.subtle.digest('SHA-256', view));
          }
          const data = new DataTransfer();
          data.items.add(new File(hashes, "bird's song.bin", { type: 'application/x-song' }));
          const drop = document.querySelector('.drop');
          drop.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
        }""",
        3_000_000,
    )
    link = await link_of(sender.page, "Link to bird's song.bin")
    assert link.startswith(url + "#peerpouch:1:")
    await expect(sender.page.get_by_role("img", name="QR code of the link")).to_be_visible()
    await looks(sender, "send-offered-desk")

    receiver = await visit(browser, link, PHONE, dark=True)
    await expect(receiver.page.get_by_text("Their key")).to_be_visible()
    await looks(receiver, "receive-phone")
    assert await received(receiver.page) == data
    await expect(receiver.page.get_by_text("Received 3.0 MB").first).to_be_visible()
    await expect(sender.page.get_by_text("Opened by").first).to_be_visible()
    await expect(sender.page.get_by_text("All of it sent to")).to_be_visible()
    assert await sender.page.eval_on_selector("progress[aria-label^='Sent to']", "bar => bar.value") == 1
    await looks(sender, "sent-desk")
    await looks(receiver, "received-phone")

    # The same link, pasted on a command line.
    fetched = tmp_path / "fetched"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "peerpouch.cli", "fetch", "-", "file", "bird's song.bin", "-o", str(fetched)),
        env={**os.environ, "PEERPOUCH_HOME": str(tmp_path), "PEERPOUCH_ICE_SERVERS": "none"},
        stdin=asyncio.subprocess.PIPE,
    )
    await asyncio.wait_for(process.communicate(link.encode()), LONG / 1000)
    assert process.returncode == 0
    assert fetched.read_bytes() == data

    # The page is loaded anew, and goes on offering; then it stops, and the link is dead.
    await sender.page.reload()
    assert await link_of(sender.page, "Link to bird's song.bin") == link
    assert await received((await visit(browser, link)).page) == data
    await sender.page.get_by_role("button", name="Stop offering bird's song.bin").click()
    await expect(sender.page.get_by_label("Link to bird's song.bin")).to_be_hidden()
    late = await visit(browser, link)
    await late.page.get_by_role("button", name="Receive the file").click()
    await expect(late.page.get_by_role("alert")).to_contain_text("withdrawn", timeout=LONG)
    assert sender.said == receiver.said == []


LARGE = 48 << 20


async def send_large(page: Page) -> str:
    """Choose a file of that many bytes by chance; gives its SHA-256."""
    digest: str = await page.evaluate(
        """async (size) => {
          const data = new Uint8Array(size);
          for (let at = 0; at < size; at += 65536) crypto.getRandomValues(data.subarray(at, at + 65536));
          const transfer = new DataTransfer();
          transfer.items.add(new File([data], 'large.bin'));
          const pick = document.querySelector('#pick');
          pick.files = transfer.files;
          pick.dispatchEvent(new Event('change'));
          const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
          return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
        }""",
        LARGE,
    )
    return digest


async def begin(page: Page, share: float) -> None:
    """Begin to receive, until so much of it is there."""
    await page.get_by_role("button", name="the file").click()
    async with asyncio.timeout(LONG / 1000):
        while not await page.evaluate(f"document.querySelector('progress').value > {share}"):
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_a_transfer_that_breaks_off_goes_on_where_it_was(browser: Browser, server: peerpouch.Server) -> None:
    sender = await visit(browser, f"{server.url}_peerpouch/send/")
    digest = await send_large(sender.page)
    link = await link_of(sender.page, "Link to large.bin")
    receiver = (await visit(browser, link)).page
    async with receiver.expect_download(timeout=3 * LONG) as download:
        await begin(receiver, 0.02)
        await sender.page.reload()  # the sender's page is gone in the middle, and comes back
    path = await (await download.value).path()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    await expect(receiver.get_by_text("It broke off and went on").first).to_be_visible()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False], ids=["kept", "twin: not kept"])
async def test_a_receiver_that_loads_its_page_again_goes_on_where_it_was(
    browser: Browser, server: peerpouch.Server, kept: bool
) -> None:
    sender = await visit(browser, f"{server.url}_peerpouch/send/")
    digest = await send_large(sender.page)
    receiver = (await visit(browser, await link_of(sender.page, "Link to large.bin"))).page
    if not kept:
        await receiver.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
        await receiver.reload()
    await begin(receiver, 0.4)
    await receiver.reload()
    await expect(receiver.get_by_text("Their key")).to_be_visible()
    if kept:
        await expect(receiver.get_by_text("of it are here from the last time")).to_be_visible()
    async with receiver.expect_download(timeout=3 * LONG) as download:
        await receiver.get_by_role("button", name="Go on receiving the file" if kept else "Receive the file").click()
        await expect(receiver.get_by_text("Received 50 MB").first).to_be_visible(timeout=LONG)
    path = await (await download.value).path()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    told = await receiver.get_by_role("status").first.inner_text()
    assert ("were here from the last time" in told) == kept
    await receiver.reload()  # it has no use for what it kept
    await expect(receiver.get_by_role("button", name="Receive the file")).to_be_visible()
    await expect(receiver.get_by_text("from the last time")).to_have_count(0)


async def test_a_file_for_one_is_received_by_one(browser: Browser, server: peerpouch.Server) -> None:
    url = f"{server.url}_peerpouch/send/"
    sender = await visit(browser, url, PHONE)
    await sender.page.get_by_label("Only for the first who opens the link").check()
    file: FilePayload = {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"for your eyes only"}
    await sender.page.set_input_files("#pick", files=file)
    link = await link_of(sender.page, "Link to letter.txt")
    await looks(sender, "send-offered-phone")
    first, second = await visit(browser, link), await visit(browser, link)
    assert await received(first.page) == b"for your eyes only"
    await second.page.get_by_role("button", name="Receive the file").click()
    await expect(second.page.get_by_role("alert")).to_contain_text("somebody else has used it", timeout=LONG)
    assert await received(first.page) == b"for your eyes only"  # the first may come again
    assert sender.said == first.said == second.said == []


async def test_what_a_page_shared_is_not_listed_any_more_once_the_page_is_closed(
    browser: Browser, server: peerpouch.Server, tmp_path: Path
) -> None:
    sender = await visit(browser, f"{server.url}_peerpouch/send/")
    file: FilePayload = {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"x"}
    await sender.page.set_input_files("#pick", files=file)
    await link_of(sender.page, "Link to letter.txt")
    identity = peerpouch.Identity.ephemeral()
    async with peerpouch.Hub(server.url + "hub", identity=identity, ice_servers=[]) as hub:
        assert [share.name for share in await hub.get_shared_databases()] == ["A file"]
        await sender.page.close(run_before_unload=True)
        async with asyncio.timeout(30 * SCALE):  # less than the lease, by which it would go anyway
            while await hub.get_shared_databases():
                await asyncio.sleep(0.1)


async def test_pages_without_cryptography_do_what_they_can_and_say_what_they_can_not(
    browser: Browser, server: peerpouch.Server
) -> None:
    context = await browser.new_context(viewport=PHONE)
    # What a browser takes away from a page that came by plain http over the network.
    await context.add_init_script(
        "delete Crypto.prototype.randomUUID; Object.defineProperty(crypto, 'subtle', { value: undefined });"
    )
    page = await context.new_page()
    await page.goto(f"{server.url}_peerpouch/send/")
    file: FilePayload = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"hello"}
    await page.set_input_files("#pick", files=file)
    await expect(page.get_by_role("alert")).to_contain_text("open it by https://")
    await page.goto(f"{server.url}_peerpouch/list/")
    await add(page, "milk")
    await have(page, ["milk"])
    await page.get_by_role("button", name="Invite another device").click()
    await expect(page.get_by_role("alert")).to_contain_text("open it by https://")
    await context.close()


async def test_a_link_that_was_cut_is_refused_at_once(browser: Browser, server: peerpouch.Server) -> None:
    tab = await visit(browser, f"{server.url}_peerpouch/send/#peerpouch:1:abcdef")
    await expect(tab.page.get_by_role("alert")).to_contain_text("damaged")
    await expect(tab.page.get_by_role("button", name="Receive the file")).to_be_disabled()
    assert tab.said == []


async def add(page: Page, text: str) -> None:
    await page.get_by_label("New item").fill(text)
    await page.keyboard.press("Enter")


async def edit(page: Page, old: str, new: str) -> None:
    await page.get_by_label(f"Item: {old}", exact=True).fill(new)
    await page.keyboard.press("Tab")


async def items(page: Page) -> list[str]:
    found: list[str] = await page.eval_on_selector_all(".items .text", "fields => fields.map((field) => field.value)")
    return found


async def have(page: Page, wanted: list[str]) -> None:
    async with asyncio.timeout(LONG / 1000):
        while await items(page) != wanted:
            await asyncio.sleep(0.1)


async def test_items_typed_faster_than_they_are_written_are_all_there_and_in_order(
    browser: Browser, server: peerpouch.Server
) -> None:
    tab = await visit(browser, f"{server.url}_peerpouch/list/")
    await expect(tab.page.get_by_label("New item")).to_be_visible()
    words = [f"item {number}" for number in range(10)]
    await tab.page.evaluate(
        """(words) => {
          const field = document.querySelector('#new');
          for (const word of words) {
            field.value = word;
            field.form.requestSubmit();
          }
          field.value = 'half a wo';
        }""",
        words,
    )
    await have(tab.page, words)
    assert await tab.page.get_by_label("New item").input_value() == "half a wo"


async def test_two_devices_edit_one_list_offline_too_and_converge(browser: Browser, server: peerpouch.Server) -> None:
    url = f"{server.url}_peerpouch/list/"
    owner = await visit(browser, url, DESK)
    await add(owner.page, "milk")
    await add(owner.page, "bread")
    await have(owner.page, ["milk", "bread"])
    await expect(owner.page.get_by_text("on this device only")).to_be_visible()
    await owner.page.get_by_role("button", name="Invite another device").click()
    link = await link_of(owner.page, "Link to this list")
    assert link.startswith(url + "#peerpouch:1:")
    await looks(owner, "list-invited-desk")

    guest = await visit(browser, link, PHONE, dark=True)
    await have(guest.page, ["milk", "bread"])
    await expect(guest.page.get_by_text("in sync")).to_be_visible(timeout=LONG)
    await expect(owner.page.get_by_text("Joined by").first).to_be_visible()
    assert "peerpouch:1:" not in guest.page.url
    await add(guest.page, "eggs")
    await have(owner.page, ["milk", "bread", "eggs"])
    done = owner.page.get_by_label("Done: bread")
    await done.press(" ")
    await expect(done).to_be_checked()
    await expect(done).to_be_focused()  # who works from the keyboard goes on from there
    await expect(guest.page.get_by_label("Done: bread")).to_be_checked(timeout=LONG)

    # Offline, both change the same item; that is shown to both, and decided by one.
    await guest.page.get_by_label("Work offline").check()
    await expect(guest.page.get_by_text("offline", exact=True)).to_be_visible()
    await edit(guest.page, "milk", "oat milk")
    await add(guest.page, "tea")
    await edit(owner.page, "milk", "2 l of milk")
    await have(owner.page, ["2 l of milk", "bread", "eggs"])
    await guest.page.get_by_label("Work offline").uncheck()
    for tab in (owner, guest):
        await expect(tab.page.get_by_text("Changed on two devices at once")).to_be_visible(timeout=LONG)
    await looks(guest, "list-conflict-phone")
    await looks(owner, "list-conflict-desk")
    await owner.page.get_by_role("button", name="Keep: oat milk").press("Enter")
    for tab in (owner, guest):
        await expect(tab.page.get_by_text("Changed on two devices at once")).to_be_hidden(timeout=LONG)
        await have(tab.page, ["oat milk", "bread", "eggs", "tea"])

    # Both pages are loaded anew, and find each other again; what is removed is removed on both.
    await owner.page.reload()
    await guest.page.reload()
    await have(guest.page, ["oat milk", "bread", "eggs", "tea"])
    await guest.page.get_by_role("button", name="Remove bread").click()
    await have(owner.page, ["oat milk", "eggs", "tea"])

    # The owner's page is closed, and opened again.
    await owner.page.close()
    await expect(guest.page.get_by_text("the other device is away")).to_be_visible(timeout=LONG)
    await add(guest.page, "jam")
    again = Tab(await owner.page.context.new_page())
    await again.page.goto(url)
    await have(again.page, ["oat milk", "eggs", "tea", "jam"])
    await expect(guest.page.get_by_text("in sync")).to_be_visible(timeout=LONG)
    assert [json.dumps(line) for line in owner.said + guest.said + again.said] == []
