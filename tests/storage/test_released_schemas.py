"""Files that earlier versions wrote are read, and written to, by this one."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from peerpouch.storage import Storage, schema
from tests.storage import schema_files


def test_there_is_a_file_of_every_schema() -> None:
    versions = [int(path.name.partition(".")[0]) for path in schema_files.files()]
    assert versions == list(range(1, schema.SCHEMA_VERSION + 1))


@pytest.mark.parametrize("file", schema_files.files(), ids=lambda path: path.name)
async def test_a_file_of_a_released_schema_has_all_that_was_written(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    path.write_bytes(gzip.decompress(file.read_bytes()))
    async with (
        await Storage.open(path) as old,
        await Storage.open(":memory:") as new,
    ):
        await schema_files.fill(new)
        found = await schema_files.contents(old)
        assert found["check"] == []
        assert found == await schema_files.contents(new)
        await old.put({"_id": "afterwards"})
        assert await old.check() == []
    assert path.read_bytes()[60:64] == schema.SCHEMA_VERSION.to_bytes(4, "big")
