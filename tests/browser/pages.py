"""Pages in a real browser: a server for the plugin's modules, and what a test does with a page."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page, async_playwright, expect

from tests.browser.replicas import LIMIT

BROWSER = Path(__file__).parents[2] / "browser"
POUCHDB = BROWSER / "node_modules" / "pouchdb" / "dist"
CHROMIUM = shutil.which("chromium")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or not POUCHDB.is_dir(),
    reason="needs Chromium at /usr/bin/chromium, and the plugin's packages: make setup-browser",
)

# Playwright waits 5 seconds for what is expected, and 30 for what is to be clicked. On a machine that runs several
# browsers they pass now and then with nothing wrong.
expect.set_options(timeout=1000 * LIMIT)

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # The certificate of a test's server is its own.
    "--ignore-certificate-errors",
)

_PAGE = b"""<!doctype html><meta charset=utf-8><title>test</title><link rel=icon href=data:,>
<script src="/pouchdb/pouchdb.js"></script><script src="/pouchdb/pouchdb.find.js"></script>
<script src="/pouchdb/pouchdb.memory.js"></script>
<script type=module>
import PeerPouch from '/src/index.js';
PouchDB.plugin(PeerPouch);
Object.assign(window, { PeerPouch, kept: {} });
// No test asks a public STUN server.
window.join = async (url, options = {}) => {
  const hub = new PouchDB(url, { skip_setup: true });
  await PeerPouch.join(hub, { iceServers: [], ...options });
  return hub;
};
window.until = async (condition, ms = 60000) => {
  const ends = Date.now() + ms;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > ends) throw new Error(`It never held: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
// Every leaf of every document: what two replicas that have converged share.
window.leaves = async (db) => {
  const { results } = await db.changes({ since: 0, style: 'all_docs', batch_size: 2000 });
  return results.flatMap(({ id, changes }) => changes.map(({ rev }) => `${id} ${rev}`)).sort();
};
window.fill = async (db, prefix, count, attachments) => {
  const docs = Array.from({ length: count }, (_, n) => ({
    _id: `${prefix}-${n}`, n, text: 'some words '.repeat(10),
    ...(n < attachments && { _attachments: { 'a.bin': {
      content_type: 'application/x-test', data: btoa(String.fromCharCode(n % 256).repeat(3000)) } } }),
  }));
  for (let at = 0; at < count; at += 500) await db.bulkDocs(docs.slice(at, at + 500));
};
window.watch = (url, name) => until(async () => (await url.getSharedDatabases()).find((share) => share.name === name));
window.ready = true;
</script>"""


class _Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}  # noqa: RUF012

    def __init__(self, *args: Any, plugin: Path, **options: Any) -> None:
        self.plugin = plugin
        super().__init__(*args, **options)

    def translate_path(self, path: str) -> str:
        plain = path.partition("?")[0]
        if plain.startswith("/pouchdb/"):
            return str(POUCHDB / Path(plain).name)
        if plain.startswith("/src/"):
            return str(self.plugin / plain.removeprefix("/src/"))
        return super().translate_path(path)

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what a page could not load shows in its console."""


@contextmanager
def origin(plugin: Path = BROWSER / "src") -> Iterator[str]:
    """A server of a page with PouchDB and the plugin, which is in a folder; gives its origin."""
    handler = functools.partial(_Handler, directory=str(BROWSER), plugin=plugin)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def minify(into: Path) -> dict[str, Any]:
    """Make of the plugin what a bundler makes; what it says of each file, by its name."""
    facts = into / "meta.json"
    command = ["npx", "esbuild", "src/index.js", "--bundle", "--splitting", "--minify", "--format=esm"]
    options = ["--target=es2022", f"--outdir={into}", f"--metafile={facts}", "--log-level=error"]
    done = subprocess.run([*command, *options], cwd=BROWSER, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {Path(name).name: of_it for name, of_it in json.loads(facts.read_text())["outputs"].items()}


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, with a profile of its own."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


class Tab:
    """A page with the plugin; what it said to its console is kept."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.said: list[str] = []
        page.set_default_timeout(1000 * LIMIT)
        page.on("console", self._hear)
        page.on("pageerror", self._fail)

    def _hear(self, message: ConsoleMessage) -> None:
        # The browser itself notes what a hub does not have.
        if message.type in ("error", "warning") and "status of 404" not in message.text:
            self.said.append(message.text)

    def _fail(self, error: Error) -> None:
        self.said.append(f"uncaught: {error}")

    async def load(self, origin: str) -> None:
        """Open the test page, or open it again."""
        await self.page.goto(f"{origin}/")
        await self.page.wait_for_function("window.ready")

    async def run(self, body: str, argument: Any = None) -> Any:
        """Run the body of an asynchronous function of ``arg`` in the page."""
        return await self.page.evaluate(f"async (arg) => {{ {body} }}", argument)

    async def fails(self, body: str, argument: Any = None) -> dict[str, Any] | None:
        """The error with which such a body ends, as an object; None if it ends well."""
        caught = "return {error: e.error ?? e.name, reason: e.reason ?? e.message, status: e.status}"
        result: dict[str, Any] | None = await self.run(
            f"try {{ {body} }} catch (e) {{ {caught} }} return null;", argument
        )
        return result


async def tab(context: BrowserContext, origin: str) -> Tab:
    """A new tab with the test page."""
    opened = Tab(await context.new_page())
    await opened.load(origin)
    return opened
