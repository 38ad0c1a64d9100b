"""How a file of an older schema is brought up to date, all or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from peerpouch.errors import ReadOnlyDatabase, SchemaTooNew, StorageError
from peerpouch.storage import Storage, schema


@pytest.fixture
async def old_file(path: Path) -> Path:
    """A file of today's schema, which the tests then take for an older one."""
    async with await Storage.open(path) as database:
        await database.put({"_id": "a", "n": 1})
    return path


def newer(monkeypatch: pytest.MonkeyPatch, *migrations: str) -> None:
    """Let this be a later version, with these migrations from today's."""
    first = schema.SCHEMA_VERSION + 1
    monkeypatch.setattr(schema, "MIGRATIONS", dict(enumerate(migrations, first)))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", schema.SCHEMA_VERSION + len(migrations))


async def test_an_older_file_is_migrated_step_by_step(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    today = schema.SCHEMA_VERSION
    newer(monkeypatch, "CREATE TABLE one (x)", "INSERT INTO one VALUES (1); CREATE TABLE two (x)")
    async with await Storage.open(old_file) as database:
        assert (await database.get("a"))["n"] == 1
        assert await database.check() == []
    other = apsw.Connection(str(old_file))
    assert other.pragma("user_version") == today + 2
    assert other.execute("SELECT x FROM one").fetchall() == [(1,)]
    other.close()
    monkeypatch.undo()
    with pytest.raises(SchemaTooNew):
        await Storage.open(old_file)


async def test_a_migration_that_fails_changes_nothing(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer(monkeypatch, "CREATE TABLE one (x)", "INSERT INTO nothing VALUES (1)")
    with pytest.raises(StorageError):
        await Storage.open(old_file)
    monkeypatch.undo()
    async with await Storage.open(old_file) as database:
        assert (await database.get("a"))["n"] == 1
    other = apsw.Connection(str(old_file))
    assert other.pragma("user_version") == schema.SCHEMA_VERSION
    assert not other.execute("SELECT 1 FROM sqlite_schema WHERE name = 'one'").fetchall()
    other.close()


async def test_an_older_file_that_is_read_only_says_so(old_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer(monkeypatch, "CREATE TABLE one (x)")
    before = old_file.read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ReadOnlyDatabase):
        await Storage.open(old_file)
    assert old_file.read_bytes() == before


async def test_a_creation_that_was_cut_off_is_made_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = schema._TABLES
    monkeypatch.setattr(schema, "_TABLES", whole + "INSERT INTO nothing VALUES (1);")
    with pytest.raises(StorageError):
        await Storage.open(path)
    monkeypatch.undo()
    async with await Storage.open(path) as database:
        await database.put({"_id": "a"})
        assert await database.check() == []
