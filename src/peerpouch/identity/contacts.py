"""Contacts: the names that a user gave to keys, and the names under which keys were first met.

The first are a decision of the user's. The second are trust on first use: the first time that a share is opened, its
name on that hub is remembered with its owner's key, so that somebody else who takes the name is noticed.

Both live in one JSON file, ``contacts.json`` in the user's data folder, which several processes use at once::

    {"type": "peerpouch contacts", "version": 1,
     "contacts": {"<key>": {"name": "Alice", "added": 1700000000000}},
     "seen": [{"scope": "<hub>", "name": "Field notes", "key": "<key>", "first": 1700000000000}]}
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, Conflict, InvalidJSON, NotFound, StorageError
from peerpouch.identity import files
from peerpouch.identity.keys import PublicKey, read_fingerprint

_FORMAT: Final = "peerpouch contacts"

MAX_NAME: Final = 200
"""Characters of a name: what fits a line of a listing."""

MAX_CONTACTS: Final = 10_000
MAX_SEEN: Final = 10_000
"""Names remembered. Only opening a share adds one, so nobody but the user fills it; past it the oldest goes."""


class Trust(StrEnum):
    """What is known of the key behind a name."""

    CONTACT = "contact"
    """The user gave this key a name."""
    SEEN = "seen"
    """The name was first met under this very key."""
    NEW = "new"
    """Neither the key nor the name was met before."""
    CHANGED = "changed"
    """The name was first met under another key."""


@dataclass(frozen=True)
class Contact:
    """A key that the user named.

    Attributes:
        name: The user's name for it; no two contacts have the same.
        key: The public key.
        added: When, in milliseconds since 1970.
    """

    name: str
    key: PublicKey
    added: int


@dataclass(frozen=True)
class _Seen:
    key: PublicKey
    first: int


@dataclass
class _Book:
    contacts: dict[PublicKey, Contact] = field(default_factory=dict)
    seen: dict[tuple[str, str], _Seen] = field(default_factory=dict)


class Contacts:
    """The user's contacts.

    Reading costs a ``stat`` while nothing changed. Every method may block for the time of a small file's reading, those
    that change something for its writing.

    Args:
        path: The file; by default ``contacts.json`` in the user's data folder. None of it is made before the first
            change.
        memory: Keep everything in memory, and no file: for tests and one-off peers.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, memory: bool = False) -> None:
        self._path: Path | None = None
        if not memory:
            self._path = files.data_folder() / "contacts.json" if path is None else Path(path)
        self._book = _Book()
        self._stamp: tuple[int, int, int] | None = None

    def list(self) -> list[Contact]:
        """All contacts, by name. Raises StorageError if the file is damaged."""
        return sorted(self._read().contacts.values(), key=lambda contact: contact.name.casefold())

    def name_of(self, key: PublicKey) -> str | None:
        """The user's name for a key. Raises StorageError if the file is damaged."""
        contact = self._read().contacts.get(key)
        return None if contact is None else contact.name

    def find(self, text: str) -> Contact | None:
        """The contact with this name, whole key or fingerprint. Raises StorageError if the file is damaged."""
        return _find(self._read(), text)

    def add(self, name: str, key: PublicKey, *, now: int, replace: bool = False) -> Contact:
        """Name a key; a key that has a name gets the new one.

        Args:
            name: 1 to 200 characters.
            key: The public key.
            now: The time, in milliseconds since 1970.
            replace: Whether the name may be taken from another key.

        Raises:
            Conflict: if another key has the name.
            BadRequest: if the name is empty, too long or has control characters, or there are 10,000 contacts.
            StorageError: if the file is damaged or can't be written.
        """
        _check_name(name)
        contact = Contact(name, key, now)

        def change(book: _Book) -> None:
            holder = next((other for other in book.contacts.values() if other.name == name and other.key != key), None)
            if holder is not None and not replace:
                raise Conflict(f"Another key has the name {name!r}: {holder.key.fingerprint}.")
            if holder is not None:
                del book.contacts[holder.key]
            if len(book.contacts) >= MAX_CONTACTS and key not in book.contacts:
                raise BadRequest(f"There are {MAX_CONTACTS} contacts already.")
            book.contacts[key] = contact

        self._change(change)
        return contact

    def remove(self, text: str) -> Contact:
        """Take away the contact with this name, whole key or fingerprint.

        Raises:
            NotFound: if there is none.
            StorageError: if the file is damaged or can't be written.
        """
        removed: list[Contact] = []

        def change(book: _Book) -> None:
            contact = _find(book, text)
            if contact is None:
                raise NotFound(f"There is no contact {text!r}.")
            removed.append(book.contacts.pop(contact.key))

        self._change(change)
        return removed[0]

    def judge(self, name: str, key: PublicKey, *, scope: str) -> Trust:
        """What is known of a key that presents itself under a name.

        Args:
            name: The share's name.
            key: Its owner's key.
            scope: What the name is unique in, which is the hub: its URL without credentials, or its path.

        Raises:
            StorageError: if the file is damaged.
        """
        book = self._read()
        if key in book.contacts:
            return Trust.CONTACT
        seen = book.seen.get((scope, name[:MAX_NAME]))
        if seen is None:
            return Trust.NEW
        return Trust.SEEN if seen.key == key else Trust.CHANGED

    def remember(self, name: str, key: PublicKey, *, scope: str, now: int, confirmed: bool = False) -> None:
        """Note the key under which a name was first met; nothing happens if one is noted already.

        Args:
            name: The share's name, up to 200 characters; more is cut.
            key: Its owner's key.
            scope: The hub.
            now: The time, in milliseconds since 1970.
            confirmed: Whether the user confirmed a changed key, which is then noted in place of the old one.

        Raises:
            StorageError: if the file is damaged or can't be written.
        """
        place = (scope, name[:MAX_NAME])
        noted = self._read().seen.get(place)
        if noted is not None and (noted.key == key or not confirmed):
            return

        def change(book: _Book) -> None:
            if place in book.seen and not confirmed:
                return
            book.seen.pop(place, None)
            book.seen[place] = _Seen(key, now)
            while len(book.seen) > MAX_SEEN:
                del book.seen[next(iter(book.seen))]

        self._change(change)

    def _change(self, change: Callable[[_Book], None]) -> None:
        if self._path is None:
            change(self._book)
            return
        with files.locked(self._path):
            book = self._read(fresh=True)
            change(book)
            files.replace(self._path, _write(book))
            self._stamp = None

    def _read(self, *, fresh: bool = False) -> _Book:
        if self._path is None:
            return self._book
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            stamp = None
        if fresh or stamp is None or stamp != self._stamp:
            there = files.read(self._path)
            self._book = _Book() if there is None else _parse(there[0], self._path)
            self._stamp = stamp
        return self._book


def _check_name(name: str) -> None:
    if not 0 < len(name) <= MAX_NAME or not name.isprintable() or name != name.strip():
        raise BadRequest(f"A contact's name has 1 to {MAX_NAME} printable characters.")


def _find(book: _Book, text: str) -> Contact | None:
    for contact in book.contacts.values():
        if contact.name == text or contact.key.text == text:
            return contact
    try:
        fingerprint = read_fingerprint(text)
    except BadRequest:
        return None
    return next((contact for contact in book.contacts.values() if contact.key.fingerprint == fingerprint), None)


def _write(book: _Book) -> bytes:
    contacts = {key.text: {"name": known.name, "added": known.added} for key, known in book.contacts.items()}
    seen = [
        {"scope": scope, "name": name, "key": noted.key.text, "first": noted.first}
        for (scope, name), noted in book.seen.items()
    ]
    return jsonio.dumps({"type": _FORMAT, "version": 1, "contacts": contacts, "seen": seen}) + b"\n"


def _parse(content: bytes, path: Path) -> _Book:
    damaged = f"{path} is damaged; repair it, or move it away to start with no contacts."
    try:
        value: Any = jsonio.loads(content)
        if value["type"] != _FORMAT or value["version"] != 1:
            raise StorageError(f"{path} is not a contacts file that this peerpouch can read.")
        book = _Book()
        for text, entry in value["contacts"].items():
            key = PublicKey.parse(text)
            book.contacts[key] = Contact(_text(entry["name"]), key, _integer(entry["added"]))
        for entry in value["seen"]:
            place = (_text(entry["scope"]), _text(entry["name"]))
            book.seen[place] = _Seen(PublicKey.parse(entry["key"]), _integer(entry["first"]))
    except (InvalidJSON, BadRequest, KeyError, TypeError, AttributeError):
        raise StorageError(damaged) from None
    return book


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise TypeError
    return value
