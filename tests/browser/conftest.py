"""One browser and one hub for each module of tests; contexts (profiles) are each test's own."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext

import peerpouch
from tests.browser import pages
from tests.interop.serving import Serving

Open = Callable[..., Awaitable[pages.Tab]]


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with pages.origin() as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with pages.chromium() as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(origin: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """``peerpouch serve``, which lets the test page in."""
    async with Serving(tmp_path_factory.mktemp("server"), 0, "--cors", origin) as serving:
        yield serving


@pytest_asyncio.fixture(loop_scope="module")
async def hub_url(server: Serving, request: pytest.FixtureRequest) -> str:
    """A hub that no other test uses."""
    url = f"{server.url}hub-{abs(hash(request.node.name))}"
    async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
        (await client.put(url)).raise_for_status()
    return url


@pytest_asyncio.fixture(loop_scope="module")
async def open_tab(browser: Browser, origin: str) -> AsyncIterator[Open]:
    """Opens tabs with the plugin: each in a profile of its own, or in that of ``beside``."""
    async with AsyncExitStack() as stack:

        async def opened(beside: pages.Tab | None = None) -> pages.Tab:
            if beside is None:
                context: BrowserContext = await browser.new_context(ignore_https_errors=True)
                stack.push_async_callback(context.close)
            else:
                context = beside.page.context
            return await pages.tab(context, origin)

        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def hub(hub_url: str, tmp_path: Path) -> AsyncIterator[peerpouch.Hub]:
    """The hub, in Python, under an identity of the test's own."""
    identity = peerpouch.Identity.load(tmp_path / "identity.json")
    contacts = peerpouch.Contacts(tmp_path / "contacts.json")
    async with peerpouch.Hub(hub_url, identity=identity, contacts=contacts, ice_servers=[]) as opened:
        yield opened


NODE = 20
"""The oldest version that the plugin's tests run under; Debian 12 has an older one."""


def _version() -> int | None:
    node = shutil.which("node")
    if node is None:
        return None
    done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30)
    match = re.match(r"v(\d+)\.", done.stdout)
    return int(match[1]) if match else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Where there is no Node at all, each test says so itself.
    version = _version()
    if version is not None and version < NODE:
        skip = pytest.mark.skip(reason=f"needs Node {NODE}, and this is {version}")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(skip)
