"""What PouchDB expects of a server in its corners: which errors are whose, trees, feeds, listings, many at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import peerpouch
from tests.interop.node_processes import HERE, LIMIT, NODE, needs_pouchdb

pytestmark = needs_pouchdb


async def test_pouchdb_finds_what_it_expects(tmp_path: Path) -> None:
    async with peerpouch.Server(tmp_path / "server", port=0) as server:
        process = await asyncio.create_subprocess_exec(
            str(NODE),
            str(HERE / "expectations.mjs"),
            server.url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), LIMIT)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, err.decode()
    found: dict[str, str | None] = json.loads(out)
    assert len(found) > 10
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
