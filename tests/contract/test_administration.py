"""What a database's owner does with it."""

from __future__ import annotations

import pytest

from peerpouch.errors import BadRequest, DatabaseClosed, NotFound
from peerpouch.ports import Documents
from tests.contract.implementations import Implementation
from tests.contract.test_attachments import BIG, inline
from tests.contract.test_revisions import foreign, store


@pytest.fixture
def owned(database: Documents, implementation: Implementation) -> Documents:
    if not implementation.administration:
        pytest.skip("this implementation is refused administration")
    return database


async def test_info_counts_documents(database: Documents) -> None:
    a = await database.put({"_id": "a"})
    await database.put({"_id": "b"})
    await database.remove("a", a.rev)
    info = await database.info()
    assert (info["doc_count"], info["doc_del_count"]) == (1, 1)
    assert info["update_seq"] != "0"
    assert len(await database.id()) >= 16


async def test_the_security_object_is_kept(owned: Documents) -> None:
    assert await owned.get_security() == {}
    security = {"admins": {"names": ["ann"], "roles": []}, "members": {"names": [], "roles": ["staff"]}}
    await owned.put_security(security)
    assert await owned.get_security() == security


async def test_revs_limit_stems_what_is_written_then(owned: Documents) -> None:
    await owned.put_revs_limit(3)
    assert await owned.get_revs_limit() == 3
    rev = None
    for n in range(6):
        rev = (await owned.put({"_id": "a", "n": n} | ({"_rev": rev} if rev else {}))).rev
    assert len((await owned.get("a", revs=True))["_revisions"]["ids"]) == 3
    with pytest.raises(BadRequest):
        await owned.put_revs_limit(0)


async def test_compaction_removes_old_bodies_and_keeps_leaves(owned: Documents) -> None:
    first = await owned.put({"_id": "a", "n": 1, "_attachments": inline(BIG)})
    second = await owned.put({"_id": "a", "_rev": first.rev, "n": 2})
    await store(owned, foreign("b", "y", "x", n=1), foreign("b", "z", "x", n=2))
    await owned.compact()
    with pytest.raises(NotFound):
        await owned.get("a", rev=first.rev)
    doc = await owned.get("a", revs_info=True)
    assert doc["_revs_info"] == [
        {"rev": second.rev, "status": "available"},
        {"rev": first.rev, "status": "missing"},
    ]
    assert [item.doc and item.doc["n"] for item in await owned.open_revs("b")] == [2, 1]
    assert (await owned.info())["sizes"]["active"] < len(BIG)


async def test_purging_forgets_a_leaf(owned: Documents) -> None:
    await store(owned, foreign("a", "b", "a", n=1), foreign("a", "x", "a", n=2))
    assert await owned.purge({"a": ["2-x", "2-nothing"], "none": ["1-a"]}) == {"a": ["2-x"], "none": []}
    doc = await owned.get("a", conflicts=True)
    assert (doc["_rev"], doc["n"], doc.get("_conflicts")) == ("2-b", 1, None)
    assert await owned.purge({"a": ["2-b"]}) == {"a": ["2-b"]}
    with pytest.raises(NotFound) as raised:
        await owned.get("a")
    assert raised.value.reason == "missing"
    assert await owned.revs_diff({"a": ["2-b", "1-a"]}) == {"a": {"missing": ["2-b", "1-a"]}}
    assert (await owned.info())["doc_count"] == 0
    assert (await owned.changes())["results"] == []


async def test_a_closed_database_says_so(database: Documents) -> None:
    await database.close()
    with pytest.raises(DatabaseClosed):
        await database.get("a")
    with pytest.raises(DatabaseClosed):
        await database.put({"_id": "a"})
    await database.close()
