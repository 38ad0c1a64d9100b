"""PouchDB's ``find`` and ``query`` get the same answers from ``peerpouch serve`` as from PouchDB's own LevelDB."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from tests.interop.node_processes import HERE, LIMIT, MODULES, NODE

pytestmark = pytest.mark.skipif(
    NODE is None or not (MODULES / "pouchdb-find").exists(), reason="needs node, and pouchdb-find from npm"
)
pytest.importorskip("quickjs")


async def answers(folder: Path) -> dict[str, tuple[Any, Any]]:
    """What both answered to each question of ``queries.mjs``."""
    async with peerpouch.Server(folder / "server", port=0) as server:
        process = await asyncio.create_subprocess_exec(
            str(NODE),
            str(HERE / "queries.mjs"),
            str(folder),
            server.url + "birds",
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
    found: dict[str, tuple[Any, Any]] = json.loads(out)
    return found


async def test_questions_have_the_same_answers(tmp_path: Path) -> None:
    found = await answers(tmp_path)
    different = {name: both for name, both in found.items() if both[0] != both[1]}
    assert different == {}
    empty = [name for name, (here, _) in found.items() if not here or (isinstance(here, dict) and "failed" in here)]
    assert empty == []
