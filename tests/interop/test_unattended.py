"""Machines that nobody looks after find each other again, whichever of them was down, and in whichever order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.interop.node_processes import LIMIT
from tests.interop.serving import Serving

pytestmark = pytest.mark.slow

PATIENCE = 3 * LIMIT
"""Seconds: what was away for long is asked for once a minute at last, and a busy machine may miss one such minute."""


def client(server: Serving) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=server.url, trust_env=False, timeout=LIMIT)


async def until(condition: Callable[[], Coroutine[Any, Any, Any]], what: str) -> Any:
    """Wait for a condition; gives what it gave."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await condition()
                if found:
                    return found
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"Not in {PATIENCE} seconds: {what}") from None


async def has(server: Serving, doc_id: str) -> None:
    async def there() -> bool:
        async with client(server) as http:
            return (await http.get(f"notes/{doc_id}")).status_code == 200

    try:
        await until(there, f"{doc_id} arrived at {server.folder.name}")
    except AssertionError as error:
        async with client(server) as http:
            status = (await http.get("_peerpouch/status")).json()
            docs = (await http.get("_scheduler/docs")).json()
        raise AssertionError(f"{error}\n{status}\n{docs}") from None


async def test_a_server_ends_by_sigterm_with_its_exit_code(tmp_path: Path) -> None:
    async with Serving(tmp_path / "one") as server:
        async with client(server) as http:
            assert (await http.get("_up")).json()["status"] == "ok"
        assert await server.end() == 143


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
async def test_both_ends_and_the_hub_restart_in_every_order_and_converge(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with Serving(tmp_path / "hub") as hub:
        async with client(hub) as http:
            assert (await http.put("hub")).status_code == 201
        sharer = Serving(tmp_path / "sharer", 0, "--share", "notes", "--hub", hub.url + "hub")
        async with sharer, Serving(tmp_path / "follower") as follower:

            async def dbname() -> Any:
                async with client(sharer) as http:
                    (share,) = (await http.get("_peerpouch/status")).json()["shares"]
                return share["dbname"]

            share = await until(dbname, "the share is announced")
            async with client(follower) as http:
                await http.put("notes")
                for name, source, target in (("pull", share, "notes"), ("push", "notes", share)):
                    doc = {"source": source, "target": target, "continuous": True}
                    assert (await http.put(f"_replicator/{name}", json=doc)).status_code == 201
            for step, order in enumerate(permutations((hub, sharer, follower))):
                for server in order:
                    await server.end(number)
                for server in order:
                    await server.start()
                for server, other in ((sharer, follower), (follower, sharer)):
                    doc_id = f"{step}-{server.folder.name}"
                    async with client(server) as http:
                        assert (await http.put(f"notes/{doc_id}", json={})).status_code == 201
                    await has(other, doc_id)
