"""An export and an import make an equal database, in constant memory; whatever is wrong with the lines is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch.archive import importing, lines
from peerpouch.archive.exporting import ExportProgress
from peerpouch.cli.demo.compare import compare
from peerpouch.errors import BadRequest, DiskFull, InvalidJSON, TooLarge
from peerpouch.ports import Database
from tests.archive.databases import LARGE, fill, leaf, noise, pieces, rev
from tests.node.support import opened_share


@asynccontextmanager
async def _file(folder: Path) -> AsyncIterator[Database]:
    async with peerpouch.open(folder / "one.db", durability="normal") as database:
        yield database


@pytest.fixture(params=[_file, opened_share], ids=["file", "share"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    async with request.param(tmp_path) as opened:
        yield opened


@pytest.fixture
async def copy() -> AsyncIterator[Database]:
    async with peerpouch.open(":memory:") as opened:
        yield opened


async def exported(database: Database) -> bytes:
    return b"".join([block async for block in peerpouch.export_database(database)])


def as_lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


async def test_an_import_of_an_export_is_an_equal_database(database: Database, copy: Database) -> None:
    await fill(database)
    data = await exported(database)
    progress = await peerpouch.import_database(copy, pieces(data, 77_777))
    result = await compare(database, copy)
    assert result.differences == []
    assert (result.documents, result.conflicts, result.attachments) == (1206, 1, 7)
    assert result.leaves == progress.written == 1208
    assert progress.failed == 0
    again = await exported(copy)
    # By their lines that differ: to show how two large texts do would take minutes.
    assert set(again.splitlines()) ^ set(data.splitlines()) == set()
    assert len(again) == len(data)


async def test_an_import_into_a_share_is_equal_too(tmp_path: Path, copy: Database) -> None:
    await fill(copy)
    async with opened_share(tmp_path) as share:
        await peerpouch.import_database(share, pieces(await exported(copy)))
        assert (await compare(copy, share)).differences == []


async def test_importing_twice_changes_nothing(database: Database, copy: Database) -> None:
    await fill(database)
    data = await exported(database)
    await peerpouch.import_database(copy, pieces(data))
    before = (await copy.info())["update_seq"]
    again = await peerpouch.import_database(copy, pieces(data))
    assert (again.failed, (await copy.info())["update_seq"]) == (0, before)


async def test_no_line_grows_with_an_attachment(copy: Database) -> None:
    await fill(copy)
    data = await exported(copy)
    assert max(map(len, data.splitlines())) < 300_000 < LARGE
    entries = next(line for line in as_lines(data) if line.get("_id") == "files")["_attachments"]
    follows = [name for name, entry in entries.items() if entry.get("follows")]
    assert follows == list(entries)[-len(follows) :]
    assert {"large", "second"} <= {*follows}
    assert len(follows) < len(entries)


async def test_progress_is_told(copy: Database) -> None:
    await fill(copy)
    heard: list[ExportProgress] = []
    data = b"".join([block async for block in peerpouch.export_database(copy, on_progress=heard.append)])
    assert (heard[-1].documents, heard[-1].revisions, heard[-1].attachments) == (1206, 1208, 7)
    assert heard[-1].pending == 0
    told: list[importing.ImportProgress] = []
    async with peerpouch.open(":memory:") as other:
        done = await peerpouch.import_database(other, pieces(data), on_progress=told.append)
    assert told[-1] == done
    assert [each.written for each in told] == sorted(each.written for each in told)


async def test_settings_are_taken_over_only_when_asked_for(copy: Database) -> None:
    await copy.put_security({"members": {"names": ["bob"], "roles": []}})
    await copy.put_revs_limit(77)
    data = await exported(copy)
    async with peerpouch.open(":memory:") as other:
        await peerpouch.import_database(other, pieces(data))
        assert await other.get_revs_limit() == 1000
        await peerpouch.import_database(other, pieces(data), settings=True)
        assert await other.get_revs_limit() == 77
        assert (await other.get_security())["members"]["names"] == ["bob"]


async def test_documents_without_a_revision_are_new(copy: Database) -> None:
    await copy.put({"_id": "taken"})
    text = b'\n{"_id": "a", "n": 1}\r\n\n{"n": 2}\n{"_id": "taken", "n": 3}\n{"_id": "b", "_rev": "7-abc"}'
    done = await peerpouch.import_database(copy, pieces(text, 3))
    assert (done.written, done.failed) == (3, 1)
    assert [(each.id, each.rev) for each in done.refused] == [("taken", "")]
    assert (await copy.get("b"))["_rev"] == "7-abc"
    assert (await copy.info())["doc_count"] == 4


async def test_what_is_refused_is_named_and_the_rest_goes_on(copy: Database) -> None:
    text = b'{"_id": "_wrong"}\n{"_id": "nan"}\n' + b"".join(b'{"_id": "bad-%d", "_x": 1}\n' % n for n in range(300))
    done = await peerpouch.import_database(copy, pieces(text))
    assert (done.written, done.failed, len(done.refused)) == (1, 301, 100)


def _export(*between: dict[str, Any], end: int | None = 1) -> bytes:
    head = [{"_export": {"format": 1}}]
    tail = [] if end is None else [{"_end": {"documents": 1, "revisions": end}}]
    return b"".join(map(lines.encode, [*head, *between, *tail]))


def _follows(length: int) -> dict[str, Any]:
    return leaf("x", rev(1, "1"), _attachments={"a": {"content_type": "a/b", "length": length, "follows": True}})


_DATA = {"_data": "aGFsbG8="}

WRONG: dict[str, tuple[bytes, str]] = {
    "cut off": (_export(leaf("x", rev(1, "1")), end=None), "cut off after line 2"),
    "cut off in an attachment": (_export(_follows(10), _DATA, end=None), "lacks 5 bytes"),
    "a revision too few": (_export(leaf("x", rev(1, "1")), end=2), "should have 2 revisions, and has 1"),
    "more after the end": (_export(leaf("x", rev(1, "1"))) + b"{}", "Line 4"),
    "too many bytes": (_export(_follows(3), _DATA), "another length"),
    "bytes of nothing": (_export(_DATA), "belongs to no attachment"),
    "no length": (_export(leaf("x", rev(1, "1"), _attachments={"a": {"follows": True}})), "its length is not said"),
    "no base64": (_export(_follows(5), {"_data": "?"}), "not valid base64"),
    "another format": (b'{"_export": {"format": 2}}\n', "does not know"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_with_an_export_is_said(text: bytes, words: str, copy: Database) -> None:
    with pytest.raises(BadRequest, match=words):
        await peerpouch.import_database(copy, pieces(text))


async def test_a_document_whose_attachment_is_cut_off_is_not_written(copy: Database) -> None:
    large = noise(2_000_000)
    async with peerpouch.open(":memory:") as source:
        await source.put({"_id": "first"})
        await source.put_attachment("second", "a", large)
        data = await exported(source)
    with pytest.raises(BadRequest, match="Line 10: invalid UTF-8 JSON"):
        await peerpouch.import_database(copy, pieces(data[:-1_000_000]))
    assert [row["id"] async for row in copy.all_docs()] == ["first"]


@pytest.mark.parametrize("text", [b"{", b"[]\n", b'{"_id": "a"}\n{"b": nan}\n', b"\xff"])
async def test_a_line_that_is_no_object_is_named(text: bytes, copy: Database) -> None:
    with pytest.raises(InvalidJSON, match=f"Line {text.rstrip().count(10) + 1}"):
        await peerpouch.import_database(copy, pieces(text))


async def test_a_line_without_end_is_refused(copy: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1000)
    with pytest.raises(TooLarge, match="Line 2"):
        await peerpouch.import_database(copy, pieces(b'{"_id": "a"}\n' + b"x" * 3000, 100))


async def test_a_cancelled_import_leaves_the_database_usable(copy: Database) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield _export(_follows(1 << 40), end=None)
        while True:
            yield lines.encode({"_data": "A" * 400_000})
            reached.set()
            await asyncio.sleep(0)

    task = asyncio.create_task(peerpouch.import_database(copy, endless()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await copy.put({"_id": "y"})
    assert [row["id"] async for row in copy.all_docs()] == ["y"]


async def test_a_failing_write_ends_the_import(copy: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*arguments: object, **options: object) -> None:
        raise DiskFull("no room")

    monkeypatch.setattr(copy, "bulk_docs", full)
    with pytest.raises(DiskFull, match="no room"):
        await peerpouch.import_database(copy, pieces(b'{"_id": "a"}\n' * 2000))


async def test_what_is_replaced_and_compacted_while_it_is_exported_is_exported_as_it_is_now(copy: Database) -> None:
    await copy.bulk_docs([{"_id": f"{n:04d}"} for n in range(1200)])
    data: list[bytes] = []

    def changed(progress: ExportProgress) -> None:
        changes.append(progress)

    changes: list[ExportProgress] = []
    async for block in peerpouch.export_database(copy, on_progress=changed):
        if not data:
            docs = [row["doc"] async for row in copy.all_docs(include_docs=True)]
            await copy.bulk_docs([doc | {"new": True} for doc in docs if doc is not None])
            await copy.compact()
        data.append(block)
    async with peerpouch.open(":memory:") as other:
        await peerpouch.import_database(other, pieces(b"".join(data)))
        assert (await other.info())["doc_count"] == 1200


ORDERS: dict[str, Callable[[bytes], int]] = {"one byte": lambda _: 1, "whole": len}


@pytest.mark.parametrize("size", ORDERS.values(), ids=ORDERS)
async def test_lines_are_found_in_any_pieces(size: Callable[[bytes], int]) -> None:
    text = b'a\n\n  \nb"\\n"\r\nlast'
    found = [each async for each in lines.split(pieces(text, size(text)))]
    assert found == [(1, b"a"), (4, b'b"\\n"\r'), (5, b"last")]
