"""What a hub's operator does; the validation of a prepared hub takes what peerpouch writes and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

import peerpouch
from peerpouch.errors import Forbidden, NotSupported
from peerpouch.hub import shares
from peerpouch.identity.sealing import SessionKey
from peerpouch.js import process
from peerpouch.js.runner import QuickJSRunner
from peerpouch.node import operating
from peerpouch.node.operating import VALIDATION

NOBODY: dict[str, Any] = {"name": None, "roles": []}


def share() -> dict[str, Any]:
    identity = peerpouch.Identity.ephemeral()
    digest = shares.database_digest(identity.key, "uuid")
    return shares.to_document(
        identity, SessionKey(), database=digest, name="n" * 200, info="i" * 8000, lease=90, renewal=1, now=1
    )


def signal() -> dict[str, Any]:
    return {
        "_id": f"signal:{'a' * 26}:{'b' * 26}", "type": "peerpouch signal", "version": 1, "reply_to": "c" * 26,
        "created": 1, "offer": "x" * 90_000, "answer": "y" * 90_000,
    }  # fmt: skip


async def refused(doc: dict[str, Any], roles: list[str] | None = None) -> bool:
    """Whether the validation throws."""
    runner = QuickJSRunner()
    call = f"({VALIDATION})(doc, null, user)"
    wrapped = f"function (doc, user) {{ try {{ {call}; return false; }} catch (e) {{ return true; }} }}"
    try:
        return bool(await runner.call(wrapped, doc, {**NOBODY, "roles": roles or []}))
    finally:
        await runner.close()


async def test_a_prepared_hub_takes_what_peerpouch_writes() -> None:
    for doc in (
        share(),
        signal(),
        {"_id": signal()["_id"], "_deleted": True},
        {"_id": share()["_id"], "_deleted": True},
    ):
        assert not await refused(doc)


@pytest.mark.parametrize(
    "change",
    [
        {"_id": "other"}, {"_id": "share:short"}, {"type": "x"}, {"version": 2}, {"offer": "x" * 100_001},
        {"offer": None}, {"more": "x" * 230_000}, {"_attachments": {"a": {}}}, {"answer": 5},
    ],
)  # fmt: skip
async def test_a_prepared_hub_refuses_all_else(change: dict[str, Any]) -> None:
    assert await refused({**signal(), **change})
    assert not await refused({**signal(), **change}, ["_admin"])


async def test_preparing_and_tidying_a_file_is_harmless(tmp_path: Path) -> None:
    hub = str(tmp_path / "hub.db")
    assert await peerpouch.prepare_hub(hub) is False
    done = await peerpouch.collect_hub(hub)
    assert (done.deleted, done.purged) == (0, 0)


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[tuple[str, httpx2.AsyncClient]]:
    """The URL of a database for its administrator, and what a member has."""
    async with peerpouch.Server(folder, port=0, admins={"root": "secret"}) as server:
        url = server.url.replace("//", "//root:secret@", 1) + "hub"
        await peerpouch.prepare_hub(url)
        async with httpx2.AsyncClient(trust_env=False) as http:
            everybody = {"admins": {"roles": ["_admin"]}, "members": {"roles": []}}
            assert (await http.put(url + "/_security", json=everybody)).status_code == 200
            yield server.url + "hub/", http


async def test_a_prepared_server_takes_shares_and_nothing_else(tmp_path: Path) -> None:
    async with served(tmp_path) as (url, http):
        good = share()
        assert (await http.put(url + good["_id"], json=good)).status_code == 201
        assert (await http.put(url + "else", json={})).status_code == 403


async def test_a_server_that_runs_no_validation_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find_spec", lambda name: None)
    async with peerpouch.Server(tmp_path, port=0, admins={"root": "secret"}) as server:
        url = server.url.replace("//", "//root:secret@", 1) + "hub"
        with pytest.raises(NotSupported, match="extra"):
            await peerpouch.prepare_hub(url)
        async with peerpouch.open(url) as hub:
            await hub.put(share())
        # Without trying it, the operator is told that all is well, and the hub takes nothing.
        monkeypatch.setattr(operating, "_try", _nothing)
        assert await peerpouch.prepare_hub(url)
        async with peerpouch.open(url) as hub:
            with pytest.raises(Forbidden):
                await hub.put(share())


async def _nothing(*given: object) -> None: ...
