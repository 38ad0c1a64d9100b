"""Python as the client of what a page shares: the plugin's HTTP API over PouchDB, here on a socket."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.errors import Conflict, Forbidden, NotFound
from peerpouch.ports import Database
from tests.browser.replicas import LIMIT

HERE = Path(__file__).parent
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(
    NODE is None or not (HERE.parents[1] / "browser" / "node_modules").is_dir(),
    reason="Node and the plugin's packages are not installed: make setup-browser",
)


@asynccontextmanager
async def sharing(access: Any = "read-write") -> AsyncIterator[str]:
    """A share of a PouchDB; gives the URL in front of ``owner`` and ``share``."""
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(HERE / "share_server.mjs"),
        json.dumps(access),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), LIMIT)
        assert line, "The share did not start."
        yield f"http://127.0.0.1:{int(line)}/"
    finally:
        process.kill()
        await process.wait()


async def leaves(database: Database) -> dict[tuple[str, str], dict[str, Any]]:
    """Every leaf, with what its attachments hold; digests differ where one side stores them compressed."""
    found = {}
    async for change in database.changes(style="all_docs"):
        for item in change["changes"]:
            doc = await database.get(change["id"], rev=item["rev"], attachments="bytes")
            doc["_attachments"] = {name: entry["data"] for name, entry in doc.get("_attachments", {}).items()}
            found[change["id"], item["rev"]] = doc
    return found


async def until(database: Database, doc_id: str) -> None:
    async with asyncio.timeout(LIMIT):
        async for change in database.changes(live=True):
            if change["id"] == doc_id:
                return


async def test_it_replicates_both_ways_with_conflicts_deletions_and_attachments(tmp_path: Path) -> None:
    async with sharing() as url, peerpouch.open(url + "share") as there, peerpouch.open(tmp_path / "here.db") as here:
        large = bytes(range(256)) * 2000
        for n in range(300):
            doc: dict[str, Any] = {"_id": f"d{n:03}", "n": n, "text": "é😀" * n}
            if n % 100 == 0:
                doc["_attachments"] = {
                    "small": {"content_type": "text/plain", "data": f"file {n}".encode()},
                    "large/é": {"content_type": "application/octet-stream", "data": large},
                }
            await here.put(doc)
        gone = await here.get("d007")
        await here.remove("d007", gone["_rev"])
        result = await peerpouch.replicate(here, there)
        assert result.docs_written >= 300
        await there.put({"_id": "theirs", "_attachments": {"a": {"content_type": "image/png", "data": large}}})
        one = await here.get("d001")
        await here.put({**one, "by": "python"})
        await there.put({**one, "by": "page"})
        await peerpouch.sync(here, there)
        assert await leaves(here) == await leaves(there)
        assert len((await here.get("d001", conflicts=True))["_conflicts"]) == 1
        again = await peerpouch.replicate(here, there)
        assert again.docs_read == 0


async def test_live_replication_follows_in_both_directions(tmp_path: Path) -> None:
    async with (
        sharing() as url,
        peerpouch.open(url + "share") as there,
        peerpouch.open(url + "owner") as owner,
        peerpouch.open(tmp_path / "here.db") as here,
    ):
        sync = peerpouch.sync(here, there, live=True)
        await owner.put({"_id": "one"})
        await until(here, "one")
        await here.put({"_id": "two"})
        await until(owner, "two")
        await sync.cancel()


async def test_attachments_are_read_in_ranges(tmp_path: Path) -> None:
    async with sharing() as url, peerpouch.open(url + "share") as there:
        data = bytes(range(256)) * 1000
        await there.put_attachment("doc", "file", data, "application/octet-stream")
        part = await there.get_attachment("doc", "file", start=1000, end=201_000)
        assert b"".join([chunk async for chunk in part]) == data[1000:201_000]
        assert part.length == len(data)


async def test_a_page_that_shares_for_reading_only_refuses_writes(tmp_path: Path) -> None:
    async with (
        sharing("read-only") as url,
        peerpouch.open(url + "share") as there,
        peerpouch.open(url + "owner") as owner,
        peerpouch.open(tmp_path / "here.db") as here,
    ):
        await owner.put({"_id": "a"})
        await here.put({"_id": "mine"})
        result = await peerpouch.replicate(here, there)
        assert result.docs_failed == 1
        await peerpouch.replicate(there, here)
        assert (await here.get("a"))["_id"] == "a"
        with pytest.raises(Forbidden):
            await there.put({"_id": "b"})
        with pytest.raises(Forbidden):
            await there.compact()
        # The twin: the same database with all rights takes it, and says conflict where there is one.
        await peerpouch.replicate(here, owner)
        with pytest.raises(Conflict):
            await owner.put({"_id": "mine"})


async def test_a_selector_limits_what_python_gets(tmp_path: Path) -> None:
    async with (
        sharing({"select": {"public": True}}) as url,
        peerpouch.open(url + "share") as there,
        peerpouch.open(url + "owner") as owner,
        peerpouch.open(tmp_path / "here.db") as here,
    ):
        await owner.put({"_id": "hidden"})
        shown = await owner.put({"_id": "shown", "public": True})
        await peerpouch.sync(here, there)
        assert [row["id"] async for row in here.all_docs()] == ["shown"]
        with pytest.raises(NotFound):
            await there.get("hidden")
        with pytest.raises(Forbidden):
            await there.put({"_id": "hidden", "public": True})
        await owner.remove("shown", shown.rev)
        await peerpouch.sync(here, there)
        with pytest.raises(NotFound):
            await here.get("shown")
        found = await there.find({"public": True})
        assert found["docs"] == []
        assert (await there.info())["doc_count"] == 0
