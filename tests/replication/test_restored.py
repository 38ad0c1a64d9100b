"""Databases that were put back to an older state, over real files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import pytest

from peerpouch.core import replication_plan as plan
from peerpouch.ports import Database, Documents, ReplicationOptions, ReplicationProgress
from peerpouch.replication import PipelinedReplicator
from peerpouch.storage import open_storage


async def replicate(source: Documents, target: Documents) -> ReplicationProgress:
    return await PipelinedReplicator().replicate(
        cast(Database, source), cast(Database, target), ReplicationOptions(batch_size=50)
    )


async def fill(db: Documents, name: str, count: int) -> None:
    await db.bulk_docs([{"_id": f"{name}-{n:04}"} for n in range(count)])


async def ids(db: Documents) -> set[str]:
    return {row["id"] for row in (await db.all_docs())["rows"]}


async def put_back(folder: Path, restored: str) -> tuple[set[str], set[str], ReplicationProgress]:
    """Back one side up, go on, put the backup back, go on differently; gives what source and target have in the end."""
    paths = {"source": folder / "source.db", "target": folder / "target.db"}
    backup = folder / "backup.db"
    async with await open_storage(paths["source"]) as source, await open_storage(paths["target"]) as target:
        await fill(source, "before", 100)
        await replicate(source, target)
    shutil.copy(paths[restored], backup)  # closed, so the file is all there is
    async with await open_storage(paths["source"]) as source, await open_storage(paths["target"]) as target:
        await fill(source, "lost", 100)
        await replicate(source, target)
    shutil.copy(backup, paths[restored])
    async with await open_storage(paths["source"]) as source, await open_storage(paths["target"]) as target:
        await fill(source, "after", 150)  # past the sequence that the other side's checkpoint names
        progress = await replicate(source, target)
        return await ids(source), await ids(target), progress


@pytest.mark.parametrize("restored", ["source", "target"])
async def test_after_a_backup_was_put_back_the_target_gets_all_that_the_source_has(
    restored: str, tmp_path: Path
) -> None:
    source, target, progress = await put_back(tmp_path, restored)
    assert source <= target
    assert progress.changes_read == (150 if restored == "source" else 250)  # from the last common checkpoint


async def test_believing_the_newer_checkpoint_would_leave_documents_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trusting(source: Any, target: Any) -> plan.Checkpoint:
        newest = max((source, target), key=lambda document: len(plan.entries(document)))
        history = plan.entries(newest)
        return plan.Checkpoint(history[0]["recorded_seq"], tuple(history)) if history else plan.Checkpoint()

    monkeypatch.setattr(plan, "compare", trusting)
    source, target, _ = await put_back(tmp_path, "target")
    assert not source <= target
