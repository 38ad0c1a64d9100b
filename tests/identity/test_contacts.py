from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from peerpouch.errors import BadRequest, Conflict, NotFound, StorageError
from peerpouch.identity import contacts as module
from peerpouch.identity.contacts import Contacts, Trust
from peerpouch.identity.keys import Identity, PublicKey

ALICE = Identity.ephemeral().key
BOB = Identity.ephemeral().key


@pytest.fixture(params=["file", "memory"])
def contacts(request: pytest.FixtureRequest, tmp_path: Path) -> Contacts:
    return Contacts(tmp_path / "contacts.json") if request.param == "file" else Contacts(memory=True)


def test_a_contact_is_found_by_name_key_and_fingerprint(contacts: Contacts) -> None:
    assert contacts.list() == []
    alice = contacts.add("Alice", ALICE, now=1)
    for text in ("Alice", ALICE.text, ALICE.fingerprint, ALICE.fingerprint.upper()):
        assert contacts.find(text) == alice
    assert contacts.find("Bob") is None
    assert contacts.name_of(ALICE) == "Alice"
    assert contacts.name_of(BOB) is None
    contacts.add("Alicia", ALICE, now=2)
    assert [contact.name for contact in contacts.list()] == ["Alicia"]


def test_a_name_stands_for_one_key(contacts: Contacts) -> None:
    contacts.add("Alice", ALICE, now=1)
    with pytest.raises(Conflict):
        contacts.add("Alice", BOB, now=1)
    contacts.add("Alice", BOB, now=1, replace=True)
    assert [contact.key for contact in contacts.list()] == [BOB]


def test_a_contact_is_removed(contacts: Contacts) -> None:
    contacts.add("Alice", ALICE, now=1)
    assert contacts.remove(ALICE.fingerprint).name == "Alice"
    assert contacts.list() == []
    with pytest.raises(NotFound):
        contacts.remove("Alice")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", " a", "a\x1b[2J"])
def test_names_that_would_garble_a_listing_are_refused(contacts: Contacts, name: str) -> None:
    with pytest.raises(BadRequest):
        contacts.add(name, ALICE, now=1)


def test_a_name_first_seen_under_another_key_is_noticed(contacts: Contacts) -> None:
    assert contacts.judge("notes", ALICE, scope="hub") is Trust.NEW
    contacts.remember("notes", ALICE, scope="hub", now=1)
    assert contacts.judge("notes", ALICE, scope="hub") is Trust.SEEN
    assert contacts.judge("notes", BOB, scope="hub") is Trust.CHANGED
    assert contacts.judge("notes", BOB, scope="other hub") is Trust.NEW
    contacts.remember("notes", BOB, scope="hub", now=2)
    assert contacts.judge("notes", BOB, scope="hub") is Trust.CHANGED
    contacts.remember("notes", BOB, scope="hub", now=2, confirmed=True)
    assert contacts.judge("notes", BOB, scope="hub") is Trust.SEEN
    assert contacts.judge("notes", ALICE, scope="hub") is Trust.CHANGED


def test_a_contact_is_one_under_any_name(contacts: Contacts) -> None:
    contacts.remember("notes", ALICE, scope="hub", now=1)
    contacts.add("Bob", BOB, now=1)
    assert contacts.judge("notes", BOB, scope="hub") is Trust.CONTACT


def test_the_names_remembered_are_bounded_and_the_oldest_goes(
    contacts: Contacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SEEN", 2)
    for name in ("a", "b", "c"):
        contacts.remember(name, ALICE, scope="hub", now=1)
    assert [contacts.judge(name, ALICE, scope="hub") for name in "abc"] == [Trust.NEW, Trust.SEEN, Trust.SEEN]


def test_contacts_are_bounded(contacts: Contacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONTACTS", 1)
    contacts.add("Alice", ALICE, now=1)
    contacts.add("Alicia", ALICE, now=1)
    with pytest.raises(BadRequest):
        contacts.add("Bob", BOB, now=1)


def test_another_objects_changes_are_seen(tmp_path: Path) -> None:
    one, two = Contacts(tmp_path / "contacts.json"), Contacts(tmp_path / "contacts.json")
    assert two.name_of(ALICE) is None
    one.add("Alice", ALICE, now=1)
    assert two.name_of(ALICE) == "Alice"
    two.add("Bob", BOB, now=1)
    assert [contact.name for contact in one.list()] == ["Alice", "Bob"]


def _add(path: Path, number: int) -> None:
    for turn in range(5):
        Contacts(path).add(f"{number}/{turn}", PublicKey(bytes([number, turn]) + bytes(30)), now=1)


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "contacts.json"
    workers = [context.Process(target=_add, args=(path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(Contacts(path).list()) == 15


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"type":"peerpouch contacts","version":2,"contacts":{},"seen":[]}',
        '{"type":"peerpouch contacts","version":1,"contacts":{"x":{"name":"a","added":1}},"seen":[]}',
        '{"type":"peerpouch contacts","version":1,"contacts":[],"seen":[]}',
        '{"type":"peerpouch contacts","version":1,"contacts":{},"seen":[7]}',
    ],
)
def test_a_damaged_file_is_named_and_never_overwritten(tmp_path: Path, text: str) -> None:
    path = tmp_path / "contacts.json"
    path.write_text(text)
    with pytest.raises(StorageError, match=r"contacts\.json"):
        Contacts(path).list()
    with pytest.raises(StorageError):
        Contacts(path).add("Alice", ALICE, now=1)
    assert path.read_text() == text
