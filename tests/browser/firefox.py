"""Firefox, as Debian has it, driven by the protocol that it has built in (Marionette): no patched build, no driver.

A message is its length in bytes, a colon, and JSON: ``[0, id, command, parameters]`` there, ``[1, id, error, result]``
back.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import POUCHDB
from tests.browser.replicas import LIMIT
from tests.network.namespaces import DIES_WITH_US, kill

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")

needs_firefox = pytest.mark.skipif(
    FIREFOX is None or not POUCHDB.is_dir(),
    reason="needs Firefox (Debian's firefox-esr), and the plugin's packages: make setup-browser",
)

# It asks nobody for anything, and has the loopback address as a candidate: there may be no other network.
_PREFERENCES = {
    "marionette.port": 0,
    "media.peerconnection.ice.loopback": True,
    "app.normandy.enabled": False,
    "app.update.auto": False,
    "app.update.disabledForTesting": True,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "datareporting.healthreport.uploadEnabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.push.connection.enabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "geo.provider.testing": True,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.trr.mode": 5,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.server": "",
}

_BEGIN = """
const [key, body, argument] = arguments;
window.eval(`(window.running ??= {})[${JSON.stringify(key)}] = null;
  (async (arg) => { ${body}
  })(${argument ?? 'undefined'}).then(
    (value) => { running[${JSON.stringify(key)}] = JSON.stringify({ value: value ?? null }); },
    (error) => { running[${JSON.stringify(key)}] = JSON.stringify({ error: String(error), stack: error?.stack }); });`);
"""
_TAKE = "const found = window.eval('running')[arguments[0]]; return found;"


class Tab:
    """A tab of Firefox with the plugin; as ``pages.Tab``, as far as it goes."""

    def __init__(self, browser: Browser, handle: str) -> None:
        self.browser = browser
        self._handle = handle
        self.is_open = True
        self._keys = itertools.count()

    async def load(self, origin: str) -> None:
        """Open the test page, or open it again."""
        await self.browser.call(self._handle, "WebDriver:Navigate", {"url": f"{origin}/"})
        await self.run("while (!window.ready) await new Promise((resolve) => setTimeout(resolve, 20))")

    async def run(self, body: str, argument: Any = None) -> Any:
        """Run the body of an asynchronous function of ``arg`` in the page."""
        key = f"run {next(self._keys)}"
        await self._script(_BEGIN, [key, body, json.dumps(argument)])
        async with asyncio.timeout(LIMIT):
            while (found := await self._script(_TAKE, [key])) is None:
                await asyncio.sleep(0.05)
        result = json.loads(found)
        assert "error" not in result, result
        return result["value"]

    async def fails(self, body: str, argument: Any = None) -> dict[str, Any] | None:
        """The error with which such a body ends, as an object; None if it ends well."""
        caught = "return {error: e.error ?? e.name, reason: e.reason ?? e.message, status: e.status}"
        result: dict[str, Any] | None = await self.run(
            f"try {{ {body} }} catch (e) {{ {caught} }} return null;", argument
        )
        return result

    async def close(self) -> None:
        """Close the tab, as a user does."""
        self.is_open = False
        await self.browser.call(self._handle, "WebDriver:CloseWindow", {})

    async def _script(self, script: str, arguments: list[Any]) -> Any:
        parameters = {"script": script, "args": arguments, "sandbox": None}
        return (await self.browser.call(self._handle, "WebDriver:ExecuteScript", parameters))["value"]


class Browser:
    """One Firefox. Commands go one after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._current: str | None = None
        self._first = ""
        self.version = ""

    async def begin(self) -> None:
        """Begin the session."""
        await self._read()
        session = await self._command("WebDriver:NewSession", {"acceptInsecureCerts": True})
        self.version = session["capabilities"]["browserVersion"]
        self._first = (await self._command("WebDriver:GetWindowHandle", {}))["value"]

    async def tab(self, origin: str) -> Tab:
        """A new tab with the test page."""
        # The first tab stays, for the browser would end with its last one.
        made = await self.call(self._first, "WebDriver:NewWindow", {"type": "tab", "focus": True})
        opened = Tab(self, made["handle"])
        await opened.load(origin)
        return opened

    async def call(self, handle: str, command: str, parameters: dict[str, Any]) -> Any:
        """Have a command carried out in a tab."""
        async with self._turn:
            if self._current != handle:
                self._current = None
                await self._command("WebDriver:SwitchToWindow", {"handle": handle, "focus": False})
                self._current = handle
            return await self._command(command, parameters)

    async def _command(self, command: str, parameters: dict[str, Any]) -> Any:
        number = next(self._numbers)
        message = json.dumps([0, number, command, parameters]).encode()
        self._writer.write(b"%d:%b" % (len(message), message))
        async with asyncio.timeout(LIMIT):
            while (answer := await self._read())[1] != number:
                pass
        assert answer[2] is None, answer[2]
        return answer[3]

    async def _read(self) -> Any:
        size = await self._reader.readuntil(b":")
        return json.loads(await self._reader.readexactly(int(size[:-1])))


@asynccontextmanager
async def firefox(folder: Path, **preferences: Any) -> AsyncIterator[Browser]:
    """Start Firefox with a profile of its own in ``folder``."""
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in {**_PREFERENCES, **preferences}.items()]
    (folder / "user.js").write_text("".join(lines))
    async with AsyncExitStack() as stack:
        process = await asyncio.create_subprocess_exec(
            *(*DIES_WITH_US, str(FIREFOX), "--headless", "--no-remote", "--marionette", "--profile", str(folder)),
            env={**os.environ, "HOME": str(folder), "MOZ_CRASHREPORTER_DISABLE": "1"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        stack.push_async_callback(kill, process)
        found = folder / "MarionetteActivePort"
        async with asyncio.timeout(LIMIT):
            while not (found.exists() and found.read_text()):
                assert process.returncode is None, "Firefox has ended."
                await asyncio.sleep(0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", int(found.read_text()), limit=64 << 20)
        stack.callback(writer.close)
        browser = Browser(reader, writer)
        await browser.begin()
        yield browser
