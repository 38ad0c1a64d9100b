"""What a hub's operator does; the validation of a prepared hub takes what peerpouch writes and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.hub import shares
from peerpouch.identity.sealing import SessionKey
from peerpouch.js.runner import QuickJSRunner
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
