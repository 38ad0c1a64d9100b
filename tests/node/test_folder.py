"""A folder of databases: names, gates, and files that are opened and closed as they are used."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peerpouch.core.users import user_id
from peerpouch.couchapi.passwords import make_record, verify
from peerpouch.errors import (
    BadRequest,
    DatabaseBusy,
    DatabaseClosed,
    DatabaseExists,
    DatabaseNotFound,
    Forbidden,
    InvalidDatabaseName,
    NotFound,
    StorageError,
    Unauthorized,
)
from peerpouch.node.folder import FolderRegistry, database_name, file_name
from peerpouch.node.settings import FILE, Settings
from peerpouch.ports import Anonymous, Owner, Peer, Principal, User, WriteFailure

ROOT = User("root", frozenset(("_admin",)))
BEN = User("ben", frozenset(("staff",)))
EVE = User("eve")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings.load(tmp_path)
    settings.set_admin("root", make_record("secret", iterations=1))
    return settings


@pytest.fixture
async def registry(tmp_path: Path, settings: Settings) -> AsyncIterator[FolderRegistry]:
    async with FolderRegistry(tmp_path, settings, max_open=3) as registry:
        yield registry


@pytest.mark.parametrize("name", ["a", "a/b", "notes_2024$()+-", "_users", "con"])
def test_a_name_and_its_file_say_the_same(name: str) -> None:
    assert database_name(file_name(name)) == name


@pytest.mark.parametrize("name", ["", "A", "1a", "_x", "a b", "../a", "é", "a.db", "a" * 300, "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidDatabaseName):
        file_name(name)


@pytest.mark.parametrize("file", ["a.db-wal", "A.db", "a%2fb.db", "%61.db", ".making-a.db", "a.txt", FILE])
def test_other_files_are_no_databases(file: str) -> None:
    assert database_name(file) is None


async def test_databases_are_made_listed_and_deleted_by_server_admins(registry: FolderRegistry, tmp_path: Path) -> None:
    await registry.create("notes/a", ROOT)
    with pytest.raises(DatabaseExists):
        await registry.create("notes/a", ROOT)
    assert await registry.names(ROOT) == ["_replicator", "_users", "notes/a"]
    for principal in (BEN, Anonymous(), Peer(b"k" * 32, "s")):
        for refused in (
            registry.create("x", principal),
            registry.delete("notes/a", principal),
            registry.names(principal),
        ):
            with pytest.raises(Unauthorized):
                await refused
    await registry.delete("notes/a", ROOT)
    assert not list(tmp_path.glob("notes*"))
    with pytest.raises(DatabaseNotFound):
        await registry.open("notes/a", ROOT)
    with pytest.raises(DatabaseNotFound):
        await registry.delete("notes/a", ROOT)


async def test_many_who_make_one_database_at_once_make_it_once(registry: FolderRegistry) -> None:
    results = await asyncio.gather(*(registry.create("x", ROOT) for _ in range(5)), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, DatabaseExists) for result in results) == 4


async def test_a_new_database_is_the_admins_alone_until_they_say_otherwise(registry: FolderRegistry) -> None:
    await registry.create("notes", ROOT)
    with pytest.raises(Forbidden):
        await registry.open("notes", BEN)
    with pytest.raises(Unauthorized):
        await registry.open("notes", Anonymous())
    owners = await registry.open("notes", ROOT)
    with pytest.raises(BadRequest):
        await owners.put_security({"members": 3})
    await owners.put_security({"members": {"names": ["ben"]}})
    notes = await registry.open("notes", BEN)
    await notes.put({"_id": "a"})
    assert (await notes.get_security())["members"] == {"names": ["ben"]}
    with pytest.raises(Forbidden):
        await notes.put_security({})
    with pytest.raises(Forbidden):
        await notes.put({"_id": "_design/x"})
    with pytest.raises(Forbidden):
        await notes.destroy()


async def test_without_administrators_a_new_database_is_open(tmp_path: Path) -> None:
    async with FolderRegistry(tmp_path, Settings.load(tmp_path)) as registry:
        await registry.create("notes", User("", frozenset(("_admin",))))
        await (await registry.open("notes", Anonymous())).put({"_id": "a"})


async def test_local_documents_are_shared_by_all_users_and_those_of_peers_are_hidden(registry: FolderRegistry) -> None:
    await registry.create("notes", ROOT)
    owners = await registry.open("notes", ROOT)
    await owners.put_security({})
    await owners.put({"_id": "_local/peerpouch-guests", "guests": []})
    await (await registry.open("notes", BEN)).put({"_id": "_local/checkpoint", "at": 1})
    eves = await registry.open("notes", EVE)
    assert (await eves.get("_local/checkpoint"))["at"] == 1
    assert [row["key"] async for row in eves.local_docs()] == ["_local/checkpoint"]
    assert [row["key"] async for row in owners.local_docs()] == ["_local/checkpoint", "_local/peerpouch-guests"]
    with pytest.raises(NotFound):
        await eves.get("_local/peerpouch-guests")
    (result,) = await eves.bulk_docs([{"_id": "_local/peerpouch-guests", "_rev": "0-1"}])
    assert isinstance(result, WriteFailure)


async def add_ben(registry: FolderRegistry) -> None:
    users = await registry.open("_users", ROOT)
    await users.put(
        {"_id": user_id("ben"), "name": "ben", "type": "user", "roles": ["staff"], "password": "correct horse"}
    )


async def test_passwords_are_hashed_when_they_are_written(registry: FolderRegistry) -> None:
    await add_ben(registry)
    stored = await (await registry.open("_users", ROOT)).get(user_id("ben"))
    assert "password" not in stored
    assert verify("correct horse", stored)
    assert not verify("wrong", stored)


async def test_users_see_and_change_their_own_document_only(registry: FolderRegistry) -> None:
    await add_ben(registry)
    users = await registry.open("_users", BEN)
    own = await users.get(user_id("ben"))
    await users.put({**own, "colour": "red", "password": "new"})
    assert verify("new", await users.get(user_id("ben")))
    own = await users.get(user_id("ben"))
    with pytest.raises(Forbidden, match="Only _admin may set roles"):
        await users.put({**own, "roles": ["staff", "boss"]})
    other = {"_id": user_id("eve"), "name": "eve", "type": "user", "roles": []}
    for doc in (other, {"_id": "_local/x"}, {"_id": "_design/x"}, {"_id": "x"}, {}):
        with pytest.raises(Forbidden):
            await users.bulk_docs([doc])
    with pytest.raises(Forbidden):
        await users.bulk_docs([own], new_edits=False)


async def test_a_validation_of_users_is_told_who_changes_their_own_document(registry: FolderRegistry) -> None:
    await add_ben(registry)
    source = (
        "function (doc, old, user) { if (user.roles.indexOf('_admin') < 0) throw({forbidden: 'for ' + user.name}); }"
    )
    admins = await registry.open("_users", ROOT)
    await admins.put({"_id": "_design/closed", "validate_doc_update": source})
    users = await registry.open("_users", BEN)
    own = await users.get(user_id("ben"))
    with pytest.raises(Forbidden, match="for ben"):
        await users.put({**own, "colour": "red"})
    await admins.put({**own, "colour": "blue"})


@pytest.mark.parametrize("principal", [EVE, Anonymous()])
async def test_nobody_else_learns_of_a_user(registry: FolderRegistry, principal: Principal) -> None:
    await add_ben(registry)
    users = await registry.open("_users", principal)
    with pytest.raises(NotFound):
        await users.get(user_id("ben"))
    with pytest.raises(Unauthorized):
        await users.open_revs(user_id("ben"))
    for listing in (users.all_docs(), users.changes(), users.local_docs()):
        with pytest.raises((Unauthorized, Forbidden)):
            await anext(aiter(listing))
    for refused in (users.info(), users.find({}), users.get_security(), users.revs_diff({user_id("ben"): ["1-a"]})):
        with pytest.raises((Unauthorized, Forbidden)):
            await refused
    with pytest.raises(Forbidden):
        await users.put({"_id": user_id("zoe"), "name": "zoe", "type": "user", "roles": []})


async def test_no_more_files_than_allowed_are_open_and_idle_ones_make_room(registry: FolderRegistry) -> None:
    names = [f"db{n}" for n in range(6)]
    for name in names:
        await registry.create(name, ROOT)
        await (await registry.open(name, ROOT)).put({"_id": name})
    assert sum(entry.database is not None for entry in registry._entries.values()) <= 3
    for name in names:
        assert (await (await registry.open(name, ROOT)).get(name))["_id"] == name
    gc.collect()
    held = [await registry.open(name, ROOT) for name in names[:3]]
    with pytest.raises(DatabaseBusy):
        await registry.open(names[3], ROOT)
    assert len(held) == 3
    held.clear()
    await registry.open(names[3], ROOT)


async def test_a_feed_keeps_its_database_open(registry: FolderRegistry) -> None:
    await registry.create("notes", ROOT)
    feed = (await registry.open("notes", ROOT)).changes(live=True)
    pages = feed.pages()
    await anext(pages)
    gc.collect()
    await registry._retire("notes")
    await (await registry.open("notes", ROOT)).put({"_id": "a"})
    assert [change["id"] for change in (await anext(pages)).results] == ["a"]
    registry.end_feeds()
    assert [page async for page in pages] == []


async def test_deleting_a_database_ends_its_feeds(registry: FolderRegistry) -> None:
    await registry.create("notes", ROOT)
    pages = (await registry.open("notes", ROOT)).changes(live=True).pages()
    await anext(pages)
    await registry.delete("notes", ROOT)
    assert [page async for page in pages] == []


async def test_a_closed_registry_opens_nothing(tmp_path: Path, settings: Settings) -> None:
    async with FolderRegistry(tmp_path, settings) as registry:
        await registry.create("notes", ROOT)
    with pytest.raises(DatabaseClosed):
        await registry.open("notes", Owner())


async def test_what_a_killed_process_was_making_is_not_there(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / ".making-notes.db").write_bytes(b"half")
    async with FolderRegistry(tmp_path, settings) as registry:
        await registry.create("notes", ROOT)
        assert "notes" in await registry.names(ROOT)


def test_settings_are_private_and_stay(tmp_path: Path) -> None:
    first = Settings.load(tmp_path)
    first.set_admin("root", {"salt": "s"})
    again = Settings.load(tmp_path)
    assert (again.uuid, again.secret, again.admins) == (first.uuid, first.secret, {"root": {"salt": "s"}})
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    again.remove_admin("root")
    assert Settings.load(tmp_path).admins == {}


def test_settings_that_others_may_read_or_that_are_damaged_are_refused(tmp_path: Path) -> None:
    Settings.load(tmp_path)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(StorageError, match="0600"):
        Settings.load(tmp_path)
    (tmp_path / FILE).chmod(0o600)
    (tmp_path / FILE).write_text("{}")
    with pytest.raises(StorageError, match="damaged"):
        Settings.load(tmp_path)


@pytest.mark.parametrize("security", [None, {}])
async def test_accounts_are_made_by_everybody_where_users_is_open(
    registry: FolderRegistry, security: dict[str, object] | None
) -> None:
    if security is not None:
        await (await registry.open("_users", ROOT)).put_security(security)
    users = await registry.open("_users", Anonymous())
    new = {"_id": user_id("new"), "type": "user", "name": "new", "roles": [], "password": "p"}
    if security is None:
        with pytest.raises(Forbidden):
            await users.put(new)
        return
    written = await users.put(new)
    with pytest.raises(NotFound):
        await users.get(user_id("new"))
    with pytest.raises(Unauthorized):
        await users.all_docs()
    for attempt in (
        {**new, "_id": user_id("chief"), "name": "chief", "roles": ["staff"]},
        {**new, "_rev": written.rev, "password": "taken over"},
        {"_id": "_design/x"},
        {"_id": "_local/x"},
        {"_id": user_id("new"), "_rev": written.rev, "_deleted": True},
    ):
        with pytest.raises(Forbidden):
            await users.put(attempt)
    stored = await (await registry.open("_users", ROOT)).get(user_id("new"))
    assert verify("p", stored)
