"""What came of an upload, in a file beside the database, so that it goes on after a restart.

A file holds one line of JSON that says what is being uploaded, by whom and where to, and behind it the bytes of the
body as they came. How many these are is the file's size, so there is nothing that a kill could leave at odds. A machine
that loses its power may keep less of a file than it had, or worse: the body's own SHA-256 finds that out before
anything is written, and the upload begins anew.

The bytes go to the file by themselves, behind those that go to the database: the second copy costs a fraction of the
first, and most of it never reaches the disk when the upload ends within the time that a kernel keeps such pages.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from peerpouch.errors import StorageError

if sys.platform != "win32":
    import fcntl

BEHIND: Final = 256 * 1024
"""Bytes that wait for the file before more are taken, in one write. So much a kill loses; 32 uploads hold 8 MiB."""

_MAX_HEAD: Final = 16 * 1024
"""Bytes of the first line. An id has at most 4 KiB, which JSON may write three times as long; else none is kept."""

_SUFFIX: Final = ".upload"
_GONE: Final = ".gone"


class Key(NamedTuple):
    """Which upload: whose, to which database, under which name."""

    who: str
    database: str
    name: str


@dataclass(slots=True)
class Saved:
    """What a file has of an upload that nobody brings bytes of now.

    Attributes:
        length: Bytes in all.
        offset: Bytes that are there.
        moved: When the last of them came, by the wall clock.
    """

    path: Path
    key: Key
    doc_id: str
    length: int
    content_type: str | None
    offset: int
    moved: float

    def remove(self) -> None:
        """Delete it, unless another process goes on with it."""
        _remove(self.path)


class Spool:
    """The file of an upload that is under way. Made by :func:`begin` and :func:`resume`.

    A file that can't be written costs the upload nothing but its way back after a restart.
    """

    def __init__(self, path: Path, head: bytes, descriptor: int | None, had: int) -> None:
        self.had = had
        """Bytes of the body in it when it was opened."""
        self._path = path
        self._head = head
        self._descriptor = descriptor
        self._size = len(head) + had
        self._waiting = bytearray()
        self._writer: asyncio.Task[None] | None = None
        self._broken = False

    def add(self, data: bytes) -> None:
        """Take the next bytes, to be written soon."""
        if not self._broken:
            self._waiting += data
            if len(self._waiting) >= BEHIND:
                self._begin_writing()

    async def room(self) -> None:
        """Wait while more bytes wait than should."""
        while self._writer is not None and len(self._waiting) >= BEHIND:
            await asyncio.wait({self._writer})

    async def read(self, at: int, size: int) -> bytes:
        """Bytes that were there when it was opened. Raises StorageError."""
        descriptor = self._descriptor
        if descriptor is None:
            raise StorageError("What was kept of an upload is not there any more.")
        place = len(self._head) + at
        size = min(size, self.had - at)
        try:
            if sys.platform == "win32":
                return await asyncio.to_thread(_read_at, descriptor, size, place)
            return await asyncio.to_thread(os.pread, descriptor, size, place)
        except OSError as error:
            raise StorageError(f"What was kept of an upload can't be read: {error.strerror or error}.") from None

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        while self._waiting and not self._broken:
            self._begin_writing()
            assert self._writer is not None
            await asyncio.wait({self._writer})
        if self._writer is not None:
            await asyncio.wait({self._writer})
        self._let_go()

    def saved(self) -> Saved | None:
        """What the file has, after it was closed; ``None`` if there is none. Blocks for the time of reading a line."""
        return None if self._broken else _look(self._path)

    async def remove(self) -> None:
        """Delete the file."""
        self._broken = True
        self._waiting.clear()
        if self._writer is not None:
            await asyncio.wait({self._writer})
        if self._descriptor is None:
            return  # nothing was written yet
        # Its name is free at once, as the same upload may begin anew; giving back its blocks takes a moment.
        gone = self._path.with_name(f"{self._path.stem}-{id(self):x}{_GONE}")
        with suppress(OSError):
            self._path.rename(gone)
        self._let_go()
        with suppress(OSError):
            await asyncio.to_thread(gone.unlink, missing_ok=True)

    def _let_go(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _begin_writing(self) -> None:
        if self._writer is None:
            # A task of its own: who brings the bytes may be cancelled at any moment, and their order must stay.
            self._writer = asyncio.ensure_future(self._write())
            self._writer.add_done_callback(self._written)

    def _written(self, writer: asyncio.Task[None]) -> None:
        self._writer = None

    async def _write(self) -> None:
        while self._waiting and not self._broken:
            data = bytes(self._waiting)
            self._waiting.clear()
            try:
                await asyncio.to_thread(self._append, data)
            except OSError:  # a full disk, above all
                self._broken = True
                self._waiting.clear()
                if self._descriptor is not None:  # else it is another process' file
                    with suppress(OSError):
                        self._path.unlink(missing_ok=True)

    def _append(self, data: bytes) -> None:
        if self._descriptor is None:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
            if not _lock(self._descriptor):
                raise OSError("locked")
            data = self._head + data
            self._size = 0
        os.lseek(self._descriptor, self._size, os.SEEK_SET)
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self._size += written
            view = view[written:]


def begin(folder: Path, key: Key, doc_id: str, length: int, content_type: str | None) -> Spool | None:
    """A file for an upload that begins; it is made with the first bytes. ``None`` if it can't be kept."""
    fields = {"v": 1, **key._asdict(), "doc": doc_id, "length": length, "type": content_type}
    head = json.dumps(fields).encode() + b"\n"
    return None if len(head) > _MAX_HEAD else Spool(_path(folder, key), head, None, 0)


def resume(saved: Saved) -> Spool | None:
    """The file of an upload that goes on; ``None`` if it is gone, or another process goes on with it."""
    try:
        descriptor = os.open(saved.path, os.O_RDWR | _BINARY)
    except OSError:
        return None
    try:
        if _lock(descriptor) and os.path.samestat(os.fstat(descriptor), saved.path.stat()):
            head = os.read(descriptor, _MAX_HEAD).partition(b"\n")[0] + b"\n"
            if os.fstat(descriptor).st_size == len(head) + saved.offset:
                return Spool(saved.path, head, descriptor, saved.offset)
    except OSError:
        pass
    os.close(descriptor)
    return None


def scan(folder: Path, oldest: float) -> list[Saved]:
    """What is kept in a folder; what got no byte since ``oldest``, or is no upload, is removed."""
    found = []
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            saved = _look(path) if path.suffix == _SUFFIX else None
            if saved is not None and saved.moved >= oldest:
                found.append(saved)
            elif path.suffix in (_SUFFIX, _GONE):
                _remove(path)
    return found


def _remove(path: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            if _lock(descriptor):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _look(path: Path) -> Saved | None:
    try:
        with path.open("rb") as file:
            head = file.readline(_MAX_HEAD)
            status = os.fstat(file.fileno())
        fields: Any = json.loads(head)
        key = Key(fields["who"], fields["database"], fields["name"])
        offset, length = status.st_size - len(head), fields["length"]
        whole = head.endswith(b"\n") and fields["v"] == 1 and type(length) is int and 0 < offset <= length
        if not whole or path != _path(path.parent, key):
            return None
        return Saved(path, key, fields["doc"], length, fields["type"], offset, status.st_mtime)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def now() -> float:
    """The time by which files are aged."""
    return time.time()


def _path(folder: Path, key: Key) -> Path:
    return folder / (hashlib.sha256("\0".join(key).encode()).hexdigest()[:40] + _SUFFIX)


def _lock(descriptor: int) -> bool:
    """Take a file for this process, until it is closed: several may serve one database."""
    if sys.platform == "win32":
        return True  # an open file can't be deleted there, and what two write into one has another SHA-256
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read_at(descriptor: int, size: int, place: int) -> bytes:
    os.lseek(descriptor, place, os.SEEK_SET)
    return os.read(descriptor, size)


_BINARY: Final = getattr(os, "O_BINARY", 0)
