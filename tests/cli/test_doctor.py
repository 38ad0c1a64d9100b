"""``peerpouch doctor``."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import run


async def test_it_says_step_by_step_what_works_and_ends_with_0(tmp_path: Path) -> None:
    assert (await run(tmp_path, "alice", "hub", "init", "hub.db")).code == 0
    done = await run(tmp_path, "alice", "doctor", "--hub", "hub.db")
    assert done.code == 0, done.out
    for name in ("identity", "engine", "hub", "candidates", "writing", "feed", "connection", "path"):
        assert f"ok       {name}" in done.out


async def test_it_ends_with_1_and_advice_where_something_failed(tmp_path: Path) -> None:
    done = await run(tmp_path, "alice", "doctor", "--hub", "none.db", "--json")
    assert done.code == 1
    assert done.json["ok"] is False
    (hub,) = [check for check in done.json["checks"] if check["name"] == "hub"]
    assert hub["state"] == "failed" and hub["advice"]
