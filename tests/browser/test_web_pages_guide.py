"""The examples of docs/how-to/web-pages.md, in two browsers."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import Open
from tests.browser.pages import BROWSER, needs_chromium
from tests.test_docs import blocks

PAGE = BROWSER.parent / "docs" / "how-to" / "web-pages.md"

pytestmark = [needs_chromium, pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(400)]


def runnable(code: str, hub: str) -> str:
    """An example as the test page can run it: it has the plugin already, and asks no public STUN server."""
    lines = [line for line in code.splitlines() if not re.match(r"import |PouchDB\.plugin", line)]
    joined, count = re.subn(
        r"const hub = new PouchDB\([^\n]*\);", f"const hub = await join('{hub}');", "\n".join(lines)
    )
    assert count == 1
    return joined


async def test_the_examples_work(open_tab: Open, hub_url: str) -> None:
    share, opening, invite = [code for _, code in blocks(PAGE, "js")]
    owner, visitor = await open_tab(), await open_tab()
    await owner.run(runnable(share, hub_url) + "\nkept.share = share; kept.notes = notes;")
    # The list of the hub may be there before the share is.
    listed = "return until(async () => (await kept.hub.getSharedDatabases()).length)"
    await visitor.run(f"kept.hub = await join('{hub_url}'); {listed}")
    await visitor.page.reload()
    await visitor.page.wait_for_function("window.ready")
    await visitor.run(runnable(opening, hub_url) + "\nkept.copy = copy;")
    assert (await visitor.run("return kept.copy.get('heron')"))["seen"] == 4
    assert (await owner.run("return kept.notes.get('heron')"))["seen"] == 4
    link = await owner.run(f"const {{ share }} = kept; {invite} return link;")
    assert re.match(r"https://app\.example/notes#peerpouch:1:", link)
    assert owner.said == []
    assert visitor.said == []
