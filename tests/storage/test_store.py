"""What a storage does beyond the contract that every database fulfils."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import threading
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from peerpouch.errors import (
    BadRequest,
    Conflict,
    CorruptDatabase,
    DatabaseClosed,
    DatabaseExists,
    DatabaseNotFound,
    DocumentTooLarge,
    NotADatabase,
    NotFound,
    ReadOnlyDatabase,
    SchemaTooNew,
    StorageError,
)
from peerpouch.ports import Proposal, WriteFailure, Written
from peerpouch.storage import Storage, schema, writing
from tests.contract.test_attachments import BIG, inline, pattern, stream
from tests.contract.test_revisions import foreign, store


async def everything(database: Storage) -> dict[str, Any]:
    """All documents with all their leaves."""
    found = {}
    async for row in database.all_docs():
        leaves = await database.open_revs(row["id"], with_revisions=True, attachments="bytes")
        found[row["id"]] = [leaf.doc for leaf in leaves]
    return found


async def fill(database: Storage) -> None:
    """Some of everything."""
    await database.bulk_docs([{"_id": f"{n:04}", "n": n} for n in range(300)])
    await store(
        database,
        foreign("conflict", "b", "a", n=1),
        foreign("conflict", "x", "a", n=2),
        foreign("conflict", "z", "y", "a", deleted=True),
    )
    for n in range(3):
        doc = await database.get(f"{n:04}")
        await database.put(doc | {"n": -n, "_attachments": inline(BIG if n == 1 else b"small")})
    gone = await database.get("0007")
    await database.remove("0007", gone["_rev"])
    await database.put({"_id": "_local/check", "n": 1})
    await database.put({"_id": "big", "n": 2**80})


class TestFile:
    async def test_everything_is_there_after_opening_again(self, path: Path) -> None:
        async with await Storage.open(path) as database:
            await fill(database)
            before, info = await everything(database), await database.info()
        async with await Storage.open(path) as database:
            assert await everything(database) == before
            after = await database.info()
            for name in ("uuid", "incarnation", "update_seq", "doc_count", "doc_del_count"):
                assert after[name] == info[name]
            assert (await database.get("_local/check"))["n"] == 1
            assert await database.check() == []

    async def test_a_closed_database_leaves_one_file(self, path: Path) -> None:
        async with await Storage.open(path) as database:
            await database.put({"_id": "a"})
        assert [item.name for item in path.parent.iterdir()] == [path.name]

    async def test_destroying_leaves_nothing(self, path: Path) -> None:
        database = await Storage.open(path)
        await database.put({"_id": "a"})
        await database.destroy()
        assert list(path.parent.iterdir()) == []
        with pytest.raises(DatabaseClosed):
            await database.get("a")

    async def test_what_is_fixed_at_creation(self, path: Path) -> None:
        async with await Storage.open(path):
            header = path.read_bytes()[:100]
        assert int.from_bytes(header[68:72]) == schema.APPLICATION_ID
        assert int.from_bytes(header[60:64]) == schema.SCHEMA_VERSION
        assert int.from_bytes(header[16:18]) == schema.PAGE_SIZE
        assert int.from_bytes(header[64:68]) == 1  # incremental auto-vacuum
        assert header[18:20] == b"\x02\x02"  # WAL

    async def test_databases_in_memory_are_separate(self) -> None:
        async with await Storage.open(":memory:") as one, await Storage.open(":memory:") as other:
            await one.put({"_id": "a"})
            with pytest.raises(NotFound):
                await other.get("a")
            assert await one.id() != await other.id()

    async def test_no_file_descriptor_is_left_open(self, path: Path) -> None:
        async def once() -> None:
            async with await Storage.open(path) as database:
                await database.put_attachment("a", "f", b"x", rev=await rev_of(database, "a"))
                async with database.changes(live=True, since="now", timeout=0.001) as feed:
                    async for _ in feed:
                        pass

        await once()
        gc.collect()
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(5):
            await once()
        gc.collect()
        assert len(list(Path("/proc/self/fd").iterdir())) <= before


async def rev_of(database: Storage, doc_id: str) -> str | None:
    try:
        rev: str = (await database.get(doc_id))["_rev"]
    except NotFound:
        return None
    return rev


class TestRefusals:
    @pytest.mark.parametrize("content", [b"hello", b"x" * 5000, b"SQLite format 3\0" + bytes(50)])
    async def test_a_file_of_another_kind_is_left_untouched(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(NotADatabase):
            await Storage.open(path)
        assert path.read_bytes() == content
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\ud800"], ids=["too long", "a zero", "a lone surrogate"])
    @pytest.mark.parametrize("create", [True, False])
    async def test_what_can_be_no_files_name_is_an_error_of_the_storage(
        self, tmp_path: Path, name: str, create: bool
    ) -> None:
        with pytest.raises(StorageError, match="can't be opened"):
            await Storage.open(tmp_path / name, create=create)

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
    async def test_a_folder_that_is_closed_to_us_is_an_error_of_the_storage(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0)
        with pytest.raises(StorageError, match="denied"):
            await Storage.open(closed / "notes.db")

    async def test_another_programs_sqlite_file_is_left_untouched(self, path: Path) -> None:
        other = apsw.Connection(str(path))
        other.execute("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        other.close()
        before = path.read_bytes()
        with pytest.raises(NotADatabase):
            await Storage.open(path)
        assert path.read_bytes() == before

    async def test_a_newer_schema_is_left_untouched(self, path: Path) -> None:
        async with await Storage.open(path) as database:
            await database.put({"_id": "a"})
        other = apsw.Connection(str(path))
        other.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
        other.close()
        before = path.read_bytes()
        with pytest.raises(SchemaTooNew):
            await Storage.open(path)
        assert path.read_bytes() == before

    async def test_a_newer_schema_that_is_still_in_the_wal_is_noticed(self, path: Path) -> None:
        async with await Storage.open(path) as database:
            await database.put({"_id": "a"})
            other = apsw.Connection(str(path))
            other.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
            with pytest.raises(SchemaTooNew):
                await Storage.open(path)
            other.close()

    async def test_an_empty_file_becomes_a_database(self, path: Path) -> None:
        path.touch()
        async with await Storage.open(path) as database:
            await database.put({"_id": "a"})

    async def test_a_folder_or_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(NotADatabase):
            await Storage.open(tmp_path)
        with pytest.raises(DatabaseNotFound):
            await Storage.open(tmp_path / "nothing" / "x.db")

    async def test_without_create_nothing_is_made(self, path: Path) -> None:
        with pytest.raises(DatabaseNotFound):
            await Storage.open(path, create=False)
        assert not path.exists()

    async def test_the_limit_of_documents_is_a_setting(self, path: Path) -> None:
        async with await Storage.open(path, max_document_size=100) as database:
            with pytest.raises(DocumentTooLarge):
                await database.put({"_id": "a", "x": "x" * 100})
            await database.put({"_id": "a", "_attachments": inline(b"x" * 1000)})

    async def test_a_damaged_file_says_so(self, path: Path) -> None:
        async with await Storage.open(path) as database:
            await database.bulk_docs([{"_id": f"{n:05}", "x": "x" * 200} for n in range(2000)])
        with path.open("r+b") as file:
            file.seek(4096 * 20)
            file.write(os.urandom(4096 * 40))
        async with await Storage.open(path) as database:
            assert await database.check() != []
            with pytest.raises(CorruptDatabase):
                async for _ in database.all_docs(include_docs=True):
                    pass

    async def test_text_that_is_not_unicode(self, database: Storage) -> None:
        await database.put({"_id": "a"})
        for call in (
            database.get("\ud800"),
            database.open_revs("\ud800"),
            database.revs_diff({"\ud800": ["1-a"]}),
            database.changes(doc_ids=["\ud800"]),
            database.all_docs(startkey="\ud800"),
            database.all_docs(keys=["\ud800"]),
            database.get_attachment("a", "\ud800"),
            database.put({"_id": "b", "_attachments": {"\ud800": {"data": b""}}}),
        ):
            with pytest.raises(BadRequest):
                await call
        assert (await database.put({"_id": "b"})).id == "b"

    async def test_numbers_that_are_too_large(self, database: Storage) -> None:
        for call in (database.changes(since=2**64), database.all_docs(skip=2**64), database.all_docs(limit=2**64)):
            # An answer or a clear error: nothing of the binding's own comes through.
            with suppress(BadRequest):
                assert {"results", "rows"} & (await call).keys()


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write to everything")
class TestReadOnly:
    async def test_a_read_only_file_is_read(self, path: Path) -> None:
        async with await Storage.open(path) as database:
            await database.put({"_id": "a", "n": 1})
        path.chmod(0o444)
        path.parent.chmod(0o555)
        try:
            async with await Storage.open(path) as database:
                assert (await database.get("a"))["n"] == 1
                with pytest.raises(ReadOnlyDatabase):
                    await database.put({"_id": "b"})
                assert (await database.get("a"))["n"] == 1
        finally:
            path.parent.chmod(0o755)


class TestReadOnlyLocation:
    async def test_a_file_that_cannot_be_written_is_read(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        async with await Storage.open(path) as database:
            await database.put({"_id": "a", "n": 1})
        before = path.read_bytes()
        monkeypatch.setattr(os, "access", lambda *_: False)
        async with await Storage.open(path) as database:
            assert (await database.get("a"))["n"] == 1
            assert [row["id"] async for row in database.all_docs()] == ["a"]
            with pytest.raises(ReadOnlyDatabase):
                await database.put({"_id": "b"})
            assert (await database.get("a"))["n"] == 1
        assert path.read_bytes() == before


class TestIncarnation:
    async def test_a_copy_gets_sequences_of_its_own(self, path: Path, tmp_path: Path) -> None:
        async with await Storage.open(path) as database:
            await database.put({"_id": "a"})
            seq = (await database.info())["update_seq"]
        copy = tmp_path / "copy.db"
        shutil.copyfile(path, copy)
        async with await Storage.open(copy) as database:
            info = await database.info()
            assert info["incarnation"] not in seq
            # A sequence of the original starts over, instead of missing what differs.
            assert [row["id"] async for row in database.changes(since=seq)] == ["a"]
        async with await Storage.open(path) as database:
            assert (await database.info())["update_seq"] == seq

    async def test_a_recreated_file_has_another_uuid_and_incarnation(self, path: Path) -> None:
        database = await Storage.open(path)
        first = await database.info()
        await database.destroy()
        async with await Storage.open(path) as database:
            second = await database.info()
        assert first["uuid"] != second["uuid"]
        assert first["incarnation"] != second["incarnation"]

    async def test_a_sequence_from_a_lost_future_starts_over(self, path: Path, tmp_path: Path) -> None:
        async with await Storage.open(path) as database:
            await database.put({"_id": "a"})
        old = path.read_bytes()
        async with await Storage.open(path) as database:
            await database.put({"_id": "b"})
            seq = (await database.info())["update_seq"]
        path.write_bytes(old)  # in place: the same inode
        async with await Storage.open(path) as database:
            assert [row["id"] async for row in database.changes(since=seq)] == ["a"]


class TestBackup:
    async def test_a_backup_holds_the_same(self, database: Storage, tmp_path: Path) -> None:
        await fill(database)
        target = tmp_path / "backup.db"
        await database.backup(target)
        with pytest.raises(DatabaseExists):
            await database.backup(target)
        await database.put({"_id": "later"})
        async with await Storage.open(target) as copy:
            assert await copy.check() == []
            found = await everything(copy)
            assert (await copy.info())["incarnation"] != (await database.info())["incarnation"]
            assert await copy.id() == await database.id()
        expected = await everything(database)
        del expected["later"]
        assert found == expected
        assert sorted(item.name for item in tmp_path.iterdir() if "backup" in item.name) == ["backup.db"]

    async def test_a_backup_may_be_made_another_database(self, database: Storage, tmp_path: Path) -> None:
        await fill(database)
        await database.backup(tmp_path / "new.db", as_new=True)
        async with await Storage.open(tmp_path / "new.db") as copy:
            assert await copy.id() != await database.id()
            assert await everything(copy) == await everything(database)


class TestCompaction:
    async def test_space_is_given_back_and_nothing_else_changes(self, path: Path) -> None:
        async with await Storage.open(path, durability="normal") as database:
            await fill(database)
            written = await database.put({"_id": "att", "_attachments": inline(pattern(12_000_000))})
            for n in range(300):
                written = await database.put({"_id": "att", "_rev": written.rev, "n": n, "text": "x" * 2000})
            before = await everything(database)
            await database.compact()
            assert await everything(database) == before
            assert await database.check() == []
            assert (await database.info())["sizes"]["file"] < 6_000_000
        assert path.stat().st_size < 6_000_000

    async def test_others_read_and_write_meanwhile(self, database: Storage) -> None:
        written = await database.bulk_docs([{"_id": f"{n:04}", "text": "x" * 500} for n in range(1500)])
        for _ in range(3):
            docs = [{"_id": item.id, "_rev": item.rev, "text": "y" * 500} for item in written]
            written = await database.bulk_docs(docs)
        compacting = asyncio.create_task(database.compact())
        n = 0
        while not compacting.done():
            await database.put({"_id": f"new{n}"})
            assert (await database.get(f"{n:04}"))["text"] == "y" * 500
            n += 1
        await compacting
        assert n > 0
        assert (await database.info())["doc_count"] == 1500 + n

    async def test_automatic_compaction_drops_bodies_at_once(self, path: Path) -> None:
        async with await Storage.open(path, auto_compaction=True) as database:
            first = await database.put({"_id": "a", "_attachments": inline(b"old")})
            second = await database.put({"_id": "a", "_rev": first.rev, "_attachments": inline(b"new")})
            with pytest.raises(NotFound):
                await database.get("a", rev=first.rev)
            with pytest.raises(NotFound):
                await database.get_attachment("a", "f", rev=first.rev)
            kept = await database.put((await database.get("a")) | {"n": 3})
            assert await (await database.get_attachment("a", "f")).read() == b"new"
            await store(database, {"_id": "a", "_rev": second.rev, "n": 9}, foreign("a", "q", n=1))
            assert [item.rev for item in await database.open_revs("a")] == [kept.rev, "1-q"]
            assert await database.check() == []

    async def test_an_upload_that_was_not_linked_leaves_nothing(self, database: Storage) -> None:
        async def broken() -> Any:
            async for part in stream(pattern(20_000_000)):
                yield part
            raise ConnectionResetError

        empty = (await database.info())["sizes"]["active"]
        with pytest.raises(ConnectionResetError):
            await database.put({"_id": "a", "_attachments": inline(broken())})
        assert (await database.info())["sizes"]["active"] < empty + 100_000

    async def test_the_same_content_is_stored_once(self, database: Storage) -> None:
        for n in range(4):
            await database.put({"_id": f"a{n}", "_attachments": inline(stream(BIG) if n % 2 else BIG)})
        assert (await database.info())["sizes"]["active"] < 1.2 * len(BIG) + 100_000
        rev = await rev_of(database, "a0")
        assert rev is not None
        await database.purge({"a0": [rev]})
        await database.compact()
        assert await (await database.get_attachment("a1", "f")).read() == BIG


class TestCheck:
    @pytest.mark.parametrize(
        "damage",
        [
            "UPDATE docs SET flags = flags | 1 WHERE id = '0010'",
            "UPDATE docs SET ancestry = '[[' WHERE id = 'conflict'",
            "UPDATE docs SET body = x'7b' WHERE id = '0010'",
            "UPDATE docs SET seq = seq + 100000 WHERE id = '0010'",
            "UPDATE docs SET key = 1 WHERE id = '0010'",
            "DELETE FROM docs WHERE id = '0010'",
            "DELETE FROM docs WHERE id = '0001'",
            "DELETE FROM revs WHERE flags & 16 AND rev = '2-b'",
            "UPDATE revs SET flags = 0",
            "UPDATE seq_counts SET docs = docs + 1",
            "UPDATE state SET doc_count = 1",
            "DELETE FROM attachments",
            "DELETE FROM chunks WHERE chunk = (SELECT max(chunk) FROM chunks)",
            "UPDATE chunks SET data = zeroblob(length(data))",
            "UPDATE contents SET length = 1",
            "DELETE FROM contents",
            "UPDATE attachments SET length = 1",
        ],
    )
    async def test_what_is_wrong_is_found(self, path: Path, damage: str) -> None:
        async with await Storage.open(path) as database:
            await fill(database)
            assert await database.check() == []
        other = apsw.Connection(str(path))
        other.execute(damage)
        other.close()
        async with await Storage.open(path) as database:
            assert await database.check() != []


class TestSpeedPaths:
    async def test_a_long_document_is_read_as_a_short_one_is(self, database: Storage) -> None:
        await database.put({"_id": "a", "text": "x" * 200_000})
        assert len((await database.get("a"))["text"]) == 200_000
        with pytest.raises(NotFound):
            await database.get("b")

    async def test_pages_are_bounded_by_bytes(self, database: Storage) -> None:
        await database.bulk_docs([{"_id": f"{n}", "text": "x" * 1_500_000} for n in range(9)])
        pages = [page async for page in database.all_docs(include_docs=True).pages()]
        assert len(pages) > 2
        assert [row["id"] for page in pages for row in page] == [f"{n}" for n in range(9)]
        keys = [f"{n}" for n in range(8, -1, -1)]
        keyed = [page async for page in database.all_docs(keys=keys, include_docs=True).pages()]
        assert len(keyed) > 2
        assert [row["key"] for page in keyed for row in page] == keys
        feed = [page async for page in database.changes(include_docs=True).pages()]
        assert len(feed) > 2
        assert [change["id"] for page in feed for change in page.results] == [f"{n}" for n in range(9)]


async def test_damaged_counters_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with await Storage.open(path) as database:
        await database.put({"_id": "kept"})
    connection = apsw.Connection(str(path))
    connection.execute("DELETE FROM meta WHERE name = 'revs_limit'")
    connection.close()
    async with await Storage.open(path) as database:
        with pytest.raises(CorruptDatabase, match="counters"):
            await database.put({"_id": "refused"})
        assert (await database.get("kept"))["_id"] == "kept"


async def test_whoever_closes_second_waits_for_the_end_too(tmp_path: Path) -> None:
    database = await Storage.open(tmp_path / "a.db")
    await database.put({"_id": "kept"})
    first = asyncio.create_task(database.close())
    await asyncio.sleep(0)
    await database.close()
    assert not (tmp_path / "a.db-wal").exists()  # removed by the last connection, when it closes
    await first


async def test_documents_of_every_kind_are_the_same_however_they_are_read(path: Path) -> None:
    attached = {"a": {"content_type": "text/plain", "data": "aGk="}}
    docs: list[dict[str, Any]] = [
        {"_id": "plain", "text": 'é "quoted" \\ \u2028'},
        {"_id": 'id with "quotes" and \\', "n": 1.5},
        {"_id": "empty"},
        {"_id": "exact", "n": 2**70},
        {"_id": "attached", "_attachments": attached},
        {"_id": "exact and attached", "n": 2**70, "_attachments": attached},
        {"_id": "two", "n": 1},
        {"_id": "exact and two", "n": 2**70},
    ]
    async with await Storage.open(path) as database:
        await database.bulk_docs(docs)
        for doc_id in ("two", "exact and two"):
            await database.bulk_docs([{"_id": doc_id, "_rev": "1-00", "other": True}], new_edits=False)
        await database.put({"_id": "gone"})
        await database.remove("gone", (await database.get("gone"))["_rev"])
        alone: dict[str, Any] = {}
        for conflicts in (False, True):
            alone = {doc["_id"]: await database.get(doc["_id"], conflicts=conflicts) for doc in docs}
            listed = {row["id"]: row["doc"] async for row in database.all_docs(include_docs=True, conflicts=conflicts)}
            assert listed == alone
            changes = [change async for change in database.changes(include_docs=True, conflicts=conflicts)]
            (gone,) = [change["doc"] for change in changes if change["id"] == "gone"]
            assert gone == {"_id": "gone", "_rev": gone["_rev"], "_deleted": True}
            assert {change["id"]: change["doc"] for change in changes if change["id"] != "gone"} == alone
            matched = [change async for change in database.changes(selector={"n": {"$gt": 2}}, conflicts=conflicts)]
            assert {change["id"] for change in matched} == {"exact", "exact and attached", "exact and two"}
            assert not any("doc" in change for change in matched)
        assert alone["two"]["_conflicts"] == alone["exact and two"]["_conflicts"] == ["1-00"]


async def waiting(database: Storage, work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """What writes gave that waited for the writer together."""
    begun, go_on = threading.Event(), threading.Event()

    def block(_: apsw.Connection) -> None:
        begun.set()
        go_on.wait(30)

    first = asyncio.create_task(database._engine.alone(block))
    await asyncio.to_thread(begun.wait, 30)
    others = [asyncio.create_task(each) for each in work]
    await asyncio.sleep(0)  # each goes as far as the engine
    assert len(database._engine._brought) == len(work)
    await asyncio.sleep(0)  # which hands them over to the writer together
    assert database._engine._jobs.qsize() == 1
    go_on.set()
    await first
    return await asyncio.gather(*others, return_exceptions=True)


async def test_writes_that_wait_together_are_what_they_are_one_after_the_other(path: Path) -> None:
    async with await Storage.open(path) as database:
        rev = (await database.put({"_id": "old", "n": 0})).rev
        results = await waiting(
            database,
            [
                database.put({"_id": "a", "n": 1}),
                database.put({"_id": "a", "n": 2}),
                database.put({"_id": "old", "_rev": rev, "n": 1}),
                database.put({"_id": "old", "_rev": rev, "n": 2}),
                database.bulk_docs([{"_id": "b"}, {"_id": "a"}, {"_id": "c"}]),
                database.put({"_id": "_local/x"}),
                database.bulk_docs([{"_id": "b", "_rev": "1-ff"}], new_edits=False),
                database.put({"_id": "d"}),
            ],
        )
        kinds = [type(each) if not isinstance(each, list) else [type(one) for one in each] for each in results]
        one, conflict = Written, Conflict
        assert kinds == [one, conflict, one, conflict, [one, WriteFailure, one], one, [one], one]
        assert [doc["n"] for doc in (await database.get("a"), await database.get("old"))] == [1, 1]
        assert (await database.get("b", conflicts=True))["_conflicts"]
        assert (await database.info())["doc_count"] == 5
        assert [row["id"] async for row in database.all_docs()] == ["a", "b", "c", "d", "old"]


async def test_a_write_that_fails_among_others_fails_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = writing.write_batch

    def write_batch(connection: apsw.Connection, edits: Any, options: Any) -> Any:
        if any(edit.id == "bad" for edit in edits):
            raise CorruptDatabase("bad")
        return original(connection, edits, options)

    monkeypatch.setattr(writing, "write_batch", write_batch)
    async with await Storage.open(path) as database:
        results = await waiting(database, [database.put({"_id": name}) for name in ("a", "bad", "b")])
        assert [type(each) for each in results] == [Written, CorruptDatabase, Written]
        assert [row["id"] async for row in database.all_docs()] == ["a", "b"]
        assert (await database.info())["doc_count"] == 2


async def test_a_guard_that_stops_an_iteration_fails_its_own_write_alone(path: Path) -> None:
    def guard(_: Proposal) -> None:
        next(iter(()))

    async with await Storage.open(path) as database:
        refused, written = await waiting(
            database, [database.bulk_docs([{"_id": "a"}], guard=guard), database.put({"_id": "b"})]
        )
        assert isinstance(refused, StorageError)
        assert isinstance(written, Written)
        assert [row["id"] async for row in database.all_docs()] == ["b"]
