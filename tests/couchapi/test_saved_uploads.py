"""Uploads that go on after their server was restarted, from files that may be anything by then."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peerpouch.access.gate import GatedDatabase
from peerpouch.core.policy import Access
from peerpouch.couchapi import spool, staging
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.spool import Key, Spool
from peerpouch.couchapi.staging import Upload, Uploads
from peerpouch.errors import DatabaseClosed
from peerpouch.ports import Database, Peer, User
from peerpouch.storage import Storage
from peerpouch.storage.maintenance import uploads_folder
from tests.couchapi.support import Api, served
from tests.couchapi.test_uploads import (
    BODY,
    CUT,
    DATA,
    NAME,
    begun,
    broken,
    content,
    offset_of,
    put,
    rows,
    visitors,
)


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[tuple[Api, Uploads]]:
    """One whose database is in memory: what is there afterwards came from the folder."""
    uploads = Uploads(folder=lambda name: folder)
    await uploads.restore([folder])
    async with served(Limits(uploads=uploads)) as api:
        yield api, uploads
        await uploads.close()


async def kept(folder: Path, upto: int = CUT) -> Path:
    """A folder with an upload that got so far before its server ended."""
    async with server(folder) as (api, _):
        await begun(api, upto)
    (path,) = folder.iterdir()
    return path


async def test_it_goes_on_at_the_next_server_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    path = await kept(folder)
    assert path.stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    async with server(folder) as (api, _):
        assert await offset_of(api) == CUT
        assert (await put(api, BODY[CUT:], CUT)).status == 201
        assert await content(api) == DATA
        assert await rows(api) == 1
    assert not list(folder.iterdir())


async def test_without_a_folder_it_is_not_there(tmp_path: Path) -> None:
    uploads = Uploads()
    async with served(Limits(uploads=uploads)) as api:
        await begun(api)
        await uploads.close()
    again = Uploads(folder=lambda name: tmp_path)
    await again.restore([tmp_path])
    async with served(Limits(uploads=again)) as api:
        assert await offset_of(api) == 404


async def test_it_goes_on_again_and_again(tmp_path: Path) -> None:
    at, random_ = 0, random.Random(3)
    while at < len(BODY):
        async with server(tmp_path) as (api, _):
            assert await offset_of(api) == (at or 404)
            upto = min(len(BODY), at + random_.randrange(1, 400_000))
            answer = await put(api, BODY[at:upto], at)
            assert answer.status == (201 if upto == len(BODY) else 202)
            at = upto
            if at == len(BODY):
                assert await content(api) == DATA


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_a_kill_left_of_the_file_the_content_is_whole_in_the_end(tmp_path: Path, seed: int) -> None:
    path = await kept(tmp_path, len(BODY))
    chance = random.Random(seed)
    os.truncate(
        path, chance.choice([chance.randrange(path.stat().st_size), chance.randrange(600), path.stat().st_size])
    )
    async with server(tmp_path) as (api, _):
        offset = await offset_of(api)
        if offset == 404:
            offset = 0
        assert (await put(api, BODY[offset:], offset)).status == 201
        assert await content(api) == DATA
    assert not list(tmp_path.iterdir())


async def test_all_came_and_the_answer_did_not(tmp_path: Path) -> None:
    path = await kept(tmp_path, len(BODY) - 1)
    copy = path.read_bytes()
    async with server(tmp_path) as (api, _):
        assert (await put(api, BODY[-1:], len(BODY) - 1)).status == 201
        path.write_bytes(copy + BODY[-1:])  # killed behind the commit, before the file was removed
        again = Uploads(folder=lambda name: tmp_path)
        await again.restore([tmp_path])
        async with served(Limits(uploads=again)) as other:
            other.registry.databases["db"] = api.registry.databases["db"]
            assert await offset_of(other) == len(BODY)
            assert (await put(other, b"", len(BODY))).status == 201
            assert await content(other) == DATA
            assert await rows(other) == 1
            await again.close()


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


async def test_a_file_that_was_damaged_is_never_taken_for_the_content(tmp_path: Path) -> None:
    damage(await kept(tmp_path))
    async with server(tmp_path) as (api, _):
        answer = await put(api, BODY[CUT:], CUT)
        assert (answer.status, answer.json["error"]) == (400, "content_md5_mismatch")
        assert await content(api) == 404 and await offset_of(api) == 404
        assert (await put(api, BODY)).status == 201
        assert await content(api) == DATA
    assert not list(tmp_path.iterdir())


async def test_without_the_digest_a_damaged_file_would_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unchecked(self: Upload, turn: int) -> None:
        await self._pass(len(self._end) - staging.DIGEST, turn)
        self._complete = True

    damage(await kept(tmp_path))
    monkeypatch.setattr(Upload, "_finish", unchecked)
    async with server(tmp_path) as (api, _):
        assert (await put(api, BODY[CUT:], CUT)).status == 201
        assert await content(api) != DATA


# Whose it is


async def test_only_who_began_it_finds_it(tmp_path: Path) -> None:
    async with server(tmp_path) as (api, _):
        await begun(visitors(api, Peer(b"k" * 32, "one")))
    async with server(tmp_path) as (api, _):
        api.registry.databases["other"] = api.registry.databases["db"]
        for who in (Peer(b"q" * 32, "one"), User("k" * 32), User("eve", frozenset({"_admin"}))):
            visitor = visitors(api, who)
            assert await offset_of(visitor) == 404
            assert (await put(visitor, BODY[CUT:], CUT)).status == 416
        next_session = visitors(api, Peer(b"k" * 32, "two"))
        assert (await next_session.get(f"/other/_upload/{NAME}")).status == 404
        assert await offset_of(next_session) == CUT
        assert (await put(next_session, BODY[CUT:], CUT)).status == 201
        assert await content(api) == DATA


async def test_without_the_owner_in_its_key_others_would_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peerpouch.couchapi import uploads as handlers

    monkeypatch.setattr(handlers, "_who", lambda principal: "all")
    async with server(tmp_path) as (api, _):
        await begun(visitors(api, Peer(b"k" * 32, "one")))
    async with server(tmp_path) as (api, _):
        assert await offset_of(visitors(api, User("eve"))) == CUT


async def test_a_file_under_anothers_name_is_nobodys(tmp_path: Path) -> None:
    path = await kept(tmp_path)
    shutil.copy(path, path.with_name("f" * 40 + ".upload"))
    (tmp_path / "rubbish.upload").write_bytes(b"\xff" * 100_000)
    async with server(tmp_path) as (_, uploads):
        assert len(uploads._saved) == 1
    assert list(tmp_path.iterdir()) == [path]


async def gated(api: Api, access: Access) -> None:
    database: Database = api.registry.databases["db"]
    gate = GatedDatabase(database, Peer(b"k" * 32, "one"), access, name="db")
    api.registry.databases["db"] = gate


async def test_who_may_write_no_more_does_not_go_on(tmp_path: Path) -> None:
    await kept(tmp_path)
    async with server(tmp_path) as (api, uploads):
        inner = api.registry.databases["db"]
        await gated(api, Access.parse("read-only"))
        assert await offset_of(api) == 403
        assert (await put(api, BODY[CUT:], CUT)).status == 403
        api.registry.databases["db"] = inner
        assert await offset_of(api) == 404
        assert not uploads._saved


async def test_it_is_written_by_the_rules_of_whoever_goes_on(tmp_path: Path) -> None:
    await kept(tmp_path)
    async with server(tmp_path) as (api, _):
        inner = api.registry.databases["db"]
        await gated(api, Access(select={"wanted": True}))
        assert (await put(api, BODY[CUT:], CUT)).status == 403
        api.registry.databases["db"] = inner
        assert await content(api) == 404 and await rows(api) == 0


@pytest.mark.parametrize("change", ["doc", "length", "boundary"])
async def test_of_another_document_length_or_boundary_it_is_another(tmp_path: Path, change: str) -> None:
    await kept(tmp_path)
    async with server(tmp_path) as (api, _):
        doc, length = ("e" if change == "doc" else "d"), len(BODY) + (change == "length")
        path = f"/db/_upload/{NAME}?doc={doc}&length={length}&offset={CUT}"
        kind = {"content-type": f'multipart/related; boundary="{"c" if change == "boundary" else "b"}{"b" * 31}"'}
        assert (await api.put(path, content=BODY[CUT:], headers=kind)).status == 400
        assert await offset_of(api) == CUT


# Bounds


async def test_saved_ones_are_bounded_for_one_and_for_all(tmp_path: Path) -> None:
    async with server(tmp_path) as (api, _):
        for user in range(4):
            for number in range(staging.EACH):
                await put(visitors(api, User(f"{user}")), BODY[:2000], name=f"{number:032x}")
    assert len(list(tmp_path.iterdir())) == 4 * staging.EACH
    async with server(tmp_path) as (api, uploads):
        eve = visitors(api, User("0"))
        assert await offset_of(eve, f"{0:032x}") == 2000
        for number in range(staging.EACH):
            assert (await put(eve, BODY[:2000], name=f"{number + 100:032x}")).status == 202
        assert await offset_of(eve, f"{0:032x}") == 404
        assert sum(key.who == 'user ["0"]' for key in [*uploads._saved, *uploads._known]) == staging.EACH
    async with server(tmp_path) as (api, uploads):
        for user in range(100, 100 + 2 * staging.ALL):
            await put(visitors(api, User(f"{user}")), BODY[:2000])
        assert len(uploads._known) == staging.ALL
    assert len(list(tmp_path.iterdir())) <= staging.ALL_SAVED


async def test_whose_saved_ones_are_most_loses_them_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "ALL_SAVED", 3)
    await kept(tmp_path)
    async with server(tmp_path) as (api, _):
        for number in range(3):
            await put(visitors(api, User("eve")), BODY[:2000], name=f"{number:032x}")
    async with server(tmp_path) as (api, _):
        assert await offset_of(api) == CUT


async def test_bytes_of_saved_ones_count_and_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await kept(tmp_path)
    monkeypatch.setattr(staging, "ALL_BYTES", len(BODY) + 1000)
    async with server(tmp_path) as (api, uploads):
        assert (await put(visitors(api, User("new")), BODY[:2000])).status == 202
        assert not uploads._saved


async def test_old_ones_are_removed_at_the_start_and_later(tmp_path: Path) -> None:
    path = await kept(tmp_path)
    past = spool.now() - staging.SAVED - 10
    os.utime(path, (past, past))
    async with server(tmp_path) as (_, uploads):
        assert not uploads._saved
    assert not list(tmp_path.iterdir())
    path = await kept(tmp_path)
    async with server(tmp_path) as (_, uploads):
        (saved,) = uploads._saved.values()
        saved.moved = past
        uploads._sweep()
    assert not list(tmp_path.iterdir())


async def test_one_that_rests_is_saved_and_holds_no_memory(tmp_path: Path) -> None:
    uploads = Uploads(rest=0.05, folder=lambda name: tmp_path)
    async with served(Limits(uploads=uploads)) as api:
        assert (await put(api, BODY[:CUT])).status == 202
        async with asyncio.timeout(10):
            while not uploads._saved or await rows(api):
                await asyncio.sleep(0.01)
        assert not uploads._known
        uploads._rest = staging.REST
        assert await offset_of(api) == CUT
        assert (await put(api, BODY[CUT:], CUT)).status == 201
        assert await content(api) == DATA
        await uploads.close()
    assert not list(tmp_path.iterdir())


async def test_a_file_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    async with server(tmp_path) as (api, _):
        await begun(api)
        (path,) = tmp_path.iterdir()
        async with server(tmp_path) as (other, uploads):
            assert (await put(other, BODY[CUT:], await offset_of(other))).status == 416
            assert (await put(other, BODY)).status == 201
            assert not uploads._saved
        assert list(tmp_path.iterdir()) == [path]
        assert await offset_of(api) == CUT
        assert (await put(api, BODY[CUT:], CUT)).status == 201
        assert await content(api) == DATA


async def test_without_the_lock_two_would_write_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_lock", lambda descriptor: True)
    async with server(tmp_path) as (api, uploads):
        await begun(api)
        async with server(tmp_path) as (other, others):
            (saved,) = others._saved.values()
            assert (await put(other, BODY[saved.offset : saved.offset + 1000], saved.offset)).status == 202
            assert uploads._known.keys() == others._known.keys()


async def test_a_disk_that_is_full_costs_only_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = 0
    append = Spool._append

    def full(self: Spool, data: bytes) -> None:
        nonlocal writes
        writes += 1
        if writes > 2:
            raise OSError(28, "No space left on device")
        append(self, data)

    monkeypatch.setattr(Spool, "_append", full)
    async with server(tmp_path) as (api, _):
        await begun(api)
        assert (await put(api, BODY[CUT:], CUT)).status == 201
        assert await content(api) == DATA
    assert writes == 3 and not list(tmp_path.iterdir())


async def test_a_database_that_was_closed_first_loses_nothing(tmp_path: Path) -> None:
    async with server(tmp_path) as (api, uploads):
        close = asyncio.Event()

        async def closes(*_: object, **__: object) -> None:
            await close.wait()
            raise DatabaseClosed

        api.registry.databases["db"].bulk_docs = closes  # type: ignore[method-assign, assignment]
        assert (await put(api, BODY[:2000])).status == 202
        close.set()
        async with asyncio.timeout(10):
            while not uploads._saved:
                await asyncio.sleep(0)
    async with server(tmp_path) as (api, _):
        assert await offset_of(api) == 2000


async def test_it_goes_with_its_database_and_a_compaction_removes_what_is_old(tmp_path: Path) -> None:
    path = tmp_path / "d.db"
    folder = uploads_folder(path)
    database = await Storage.open(path)
    uploads = Uploads(folder=lambda name: folder)
    async with served(Limits(uploads=uploads)) as api:
        await put(api, broken(BODY[:CUT]))  # type: ignore[arg-type]
        await uploads.close()
    (file,) = folder.iterdir()
    await database.compact()
    assert file.exists()
    past = spool.now() - 25 * 3600
    os.utime(file, (past, past))
    await database.compact()
    assert not folder.exists()
    folder.mkdir()
    (folder / "x.upload").write_bytes(b"x")
    await database.destroy()
    assert not list(tmp_path.iterdir())


async def test_an_id_too_long_for_the_first_line_is_not_kept(tmp_path: Path) -> None:
    assert spool.begin(tmp_path, Key("a", "b", "c"), "\U0001f600" * 4096, 10_000, None) is None
