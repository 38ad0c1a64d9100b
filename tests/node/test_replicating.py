"""``replicate`` and ``sync`` over databases, paths and shares; and ``open``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import apsw
import pytest

import peerpouch
from peerpouch.errors import BadRequest, DatabaseClosed, DatabaseNotFound, NotADatabase, NotFound, SchemaTooNew
from tests.node.support import eventually, people


async def filled(path: Path, count: int = 20) -> Path:
    async with peerpouch.open(path) as database:
        await database.bulk_docs([{"_id": f"{number:03}"} for number in range(count)])
    return path


async def count(path: Path) -> int:
    async with peerpouch.open(path, create=False) as database:
        return (await database.info())["doc_count"]


async def test_paths_are_opened_for_the_replication_and_closed_after_it(tmp_path: Path) -> None:
    source, target = await filled(tmp_path / "a.db"), tmp_path / "b.db"
    replication = peerpouch.replicate(source, str(target), batch_size=5)
    assert replication.progress.state == "starting"
    steps = [step async for step in replication]
    result = await replication
    assert (result.state, result.docs_written, steps[-1].docs_written) == ("complete", 20, 20)
    assert await count(target) == 20


async def test_a_sync_of_paths_has_both_directions(tmp_path: Path) -> None:
    here, there = await filled(tmp_path / "a.db", 3), tmp_path / "b.db"
    async with peerpouch.open(there) as database:
        await database.put({"_id": "theirs"})
    sync = peerpouch.sync(here, there)
    assert (await sync.push).docs_written == 3
    assert (await sync.pull).docs_written == 1
    result = await sync
    assert result.ok and sync.push.progress == result.push
    assert await count(here) == await count(there) == 4


async def test_a_path_that_is_no_database_fails_the_replication(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 200, "utf-8")
    replication = peerpouch.replicate(tmp_path / "text", tmp_path / "b.db")
    with pytest.raises(NotADatabase):
        await replication
    assert replication.progress.state == "failed"
    assert [step.state async for step in replication] == ["failed"]


async def test_a_replication_of_paths_is_cancelled_at_any_time(tmp_path: Path) -> None:
    source = await filled(tmp_path / "a.db")
    early = peerpouch.replicate(source, tmp_path / "b.db", live=True)
    await early.cancel()
    assert (await early).state == "cancelled"
    late = peerpouch.sync(source, tmp_path / "c.db", live=True)
    await eventually(lambda: late.progress.push.docs_written == 20)
    await late.cancel()
    assert (await late).ok
    assert await count(tmp_path / "c.db") == 20


async def test_cancelling_who_awaits_cancels_the_replication(tmp_path: Path) -> None:
    source = await filled(tmp_path / "a.db")
    replication = peerpouch.replicate(source, tmp_path / "b.db", live=True)

    async def wait() -> Any:
        return await replication

    waiting = asyncio.ensure_future(wait())
    await eventually(lambda: replication.progress.docs_written == 20)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert replication.progress.state == "cancelled"
    assert await count(tmp_path / "b.db") == 20


async def test_a_dbname_is_a_side_of_a_replication(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes = await alice.database()
        await notes.bulk_docs([{"_id": str(number)} for number in range(10)])
        share = await alice.hub.share_database(notes, name="notes")
        assert (await peerpouch.replicate(share.dbname, tmp_path / "copy.db")).docs_written == 10
        assert bob.hub.label == alice.hub.label


async def test_design_documents_go_to_no_share_and_come_from_none_unless_asked_for(tmp_path: Path) -> None:
    async with people(tmp_path, "alice", "bob") as (alice, bob):
        notes, local = await alice.database(), await bob.database()
        await notes.put({"_id": "_design/hers"})
        await local.put({"_id": "_design/his"})
        await alice.hub.share_database(notes, name="notes")
        async with await bob.open("notes") as remote:
            result = await peerpouch.sync(local, remote)
            assert result.ok and result.docs_written == 0
            asked = await peerpouch.replicate(remote, local, design_docs=True)
            assert asked.docs_written == 1
        async with peerpouch.open(":memory:") as copy:
            assert (await peerpouch.replicate(local, copy)).docs_written == 2


@pytest.mark.parametrize("options", [{"lively": True}, {"doc_ids": "abc"}, {"doc_ids": 7}])
async def test_bad_options_are_refused_at_once(options: dict[str, Any]) -> None:
    async with peerpouch.open(":memory:") as one, peerpouch.open(":memory:") as two:
        with pytest.raises(BadRequest):
            peerpouch.replicate(one, two, **options)
        with pytest.raises(BadRequest):
            peerpouch.sync(one, two, push=options)


async def test_doc_ids_choose_documents(tmp_path: Path) -> None:
    source = await filled(tmp_path / "a.db")
    assert (await peerpouch.replicate(source, tmp_path / "b.db", doc_ids=["001", "007"])).docs_written == 2


async def test_opening_gives_a_database_that_async_with_closes(tmp_path: Path) -> None:
    async with peerpouch.open(tmp_path / "a.db") as database:
        await database.put({"_id": "a", "n": 1})
    with pytest.raises(DatabaseClosed):
        await database.get("a")
    again = await peerpouch.open(str(tmp_path / "a.db"))
    assert (await again.find({"n": 1}))["docs"][0]["_id"] == "a"
    await again.close()


async def test_one_file_opened_twice_shows_both_writers_each_others_changes(tmp_path: Path) -> None:
    async with peerpouch.open(tmp_path / "a.db") as one, peerpouch.open(tmp_path / "a.db") as two:
        feed = two.changes(live=True)
        following = asyncio.ensure_future(anext(aiter(feed)))
        await one.put({"_id": "a"})
        assert (await following)["id"] == "a"
        await two.put({"_id": "b"})
        assert (await one.get("b"))["_id"] == "b"


async def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound):
        await peerpouch.open(tmp_path / "none.db", create=False)
    with pytest.raises(BadRequest):
        await peerpouch.open("ftp://example.org/x")
    for name in ("webrtc://short?hub=x", "webrtc://", f"webrtc://{'0' * 26}"):
        with pytest.raises(BadRequest):
            await peerpouch.open(name)


async def test_a_file_of_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = await filled(tmp_path / "a.db")
    connection = apsw.Connection(str(path))
    connection.execute("PRAGMA user_version = 999")
    connection.close()
    with pytest.raises(SchemaTooNew):
        await peerpouch.open(path)
    with pytest.raises(NotFound):
        await peerpouch.open(tmp_path / "missing" / "b.db")
