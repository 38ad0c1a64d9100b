"""The demo runs from beginning to end, and says so by its exit code."""

from __future__ import annotations

from pathlib import Path

from tests.cli.support import run


async def test_the_demo_ends_with_both_databases_equal_and_nothing_in_the_hub(tmp_path: Path) -> None:
    result = await run(tmp_path, "somebody", "demo", "--limit", "400", "--keep", "kept", "--json")
    assert result.code == 0, result.out + result.err
    told = result.json
    assert told["ok"]
    assert len(told["checks"]) >= 12
    assert told["alice"]["pid"] != told["bob"]["pid"]
    assert told["compared"]["documents"] > 400
    assert told["path"]
    assert (tmp_path / "kept" / "hub.db").exists()


async def test_the_demo_does_not_write_into_a_folder_that_has_something(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "mine").touch()
    result = await run(tmp_path, "somebody", "demo", "--keep", "kept")
    assert result.code == 2
    assert "not empty" in result.err
