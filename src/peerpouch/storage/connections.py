"""Connections to one SQLite file: how they are set up, and what their errors become."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import apsw

from peerpouch.core import jsonio
from peerpouch.errors import (
    BadRequest,
    CorruptDatabase,
    DatabaseBusy,
    DatabaseNotFound,
    DiskFull,
    NotADatabase,
    PeerPouchError,
    ReadOnlyDatabase,
    StorageError,
)
from peerpouch.storage import schema

Durability = Literal["full", "normal"]

# A batch of random ids dirties about as many pages of the index as it has documents: 6 MiB holds one of 1,000 with half
# as much again. With 8, batches of random ids among 150,000 documents wrote as many bytes, and read a sixth less: 0.1
# calls for a document, of a microsecond, since what is not here is in the operating system's cache. With 4, pages are
# written twice. This is memory of each process for each database that it writes.
_WRITER_CACHE = "-6144"
# Readers lean on the operating system's cache; theirs only keeps the upper levels of the trees. With twice as much, 500
# random documents among 100,000 took as many reads, compared or fetched, and in order of their writing a fifth less.
_READER_CACHE = "-1024"
# The one that reads single documents on the event loop: half of what 10,000 documents take.
_POINTS_CACHE = "-2048"
# The WAL file is cut back to this after a transaction that made it longer, in bytes.
_WAL_LIMIT = 64 * 1024 * 1024
# Pages in the WAL before a commit copies them to the main file: 8 MiB, so that two batches of 1,000 share one copy.
_CHECKPOINT_PAGES = 2000


@dataclass(frozen=True, slots=True)
class Location:
    """Where a database is and how its connections are opened.

    Attributes:
        path: The file; ``None`` for a database in memory.
        durability: See :func:`peerpouch.storage.open_storage`.
        busy_timeout: Seconds to wait for a lock that another process holds.
        vfs: The SQLite VFS to use, by name; tests put a breakable one here.
        read_only: The file can't be written.
        immutable: Not even the WAL index beside the file can be written, and there is no WAL to read.
    """

    path: Path | None
    durability: Durability = "full"
    busy_timeout: float = 30.0
    vfs: str | None = None
    read_only: bool = False
    immutable: bool = False

    @property
    def label(self) -> str:
        return ":memory:" if self.path is None else str(self.path)

    def wal(self) -> Path | None:
        return None if self.path is None else self.path.with_name(self.path.name + "-wal")


def locate(path: Path | None, *, durability: Durability, busy_timeout: float, vfs: str | None) -> Location:
    """Find out how the file can be opened.

    Raises:
        DatabaseNotFound: when its folder does not exist.
        NotADatabase, SchemaTooNew, ReadOnlyDatabase
    """
    if path is None:
        return Location(None, durability, busy_timeout, vfs)
    if path.is_dir():
        raise NotADatabase(f"{path} is a folder, not a database file.")
    try:
        exists = schema.inspect_header(path)
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror}.") from None
    if exists and not os.access(path, os.W_OK):
        wal = path.with_name(path.name + "-wal")
        folder_writable = os.access(path.parent, os.W_OK)
        immutable = not folder_writable and not (wal.exists() and wal.stat().st_size)
        return Location(path, durability, busy_timeout, vfs, read_only=True, immutable=immutable)
    if not exists:
        if not path.parent.is_dir():
            raise DatabaseNotFound(f"The folder {path.parent} does not exist, so {path.name} can't be made in it.")
        if not os.access(path.parent, os.W_OK):
            raise ReadOnlyDatabase(f"The folder {path.parent} is read-only, so {path.name} can't be made in it.")
    return Location(path, durability, busy_timeout, vfs)


def connect(location: Location, *, writer: bool, points: bool = False) -> apsw.Connection:
    """A configured connection; the writer's makes or migrates the schema, one for ``points`` reads single documents.

    Raises:
        StorageError: or one of its classes.
    """
    with translated(location.label):
        connection = _open(location)
        try:
            connection.set_busy_handler(_busy_handler(location.busy_timeout))
            _configure(connection, location, writer)
            if points and location.path is not None:
                connection.execute(f"PRAGMA cache_size = {_POINTS_CACHE}")
        except BaseException:
            connection.close()
            raise
        return connection


def _open(location: Location) -> apsw.Connection:
    if location.path is None:
        return apsw.Connection(":memory:", vfs=location.vfs)
    flags = apsw.SQLITE_OPEN_URI
    name = location.path.resolve().as_uri()
    if location.read_only:
        flags |= apsw.SQLITE_OPEN_READONLY
        if location.immutable:
            name += "?immutable=1"
    else:
        flags |= apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    return apsw.Connection(name, flags=flags, vfs=location.vfs)


def _configure(connection: apsw.Connection, location: Location, writer: bool) -> None:
    # What a hostile file could do through its schema, it can't.
    connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    connection.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    connection.execute("PRAGMA cell_size_check = ON")
    if location.path is None or (writer and not location.read_only):
        schema.prepare(connection, location.path)
    if location.path is None:
        return
    if writer:
        connection.execute(f"PRAGMA cache_size = {_WRITER_CACHE}")
        if location.read_only:
            _read_only_schema(connection, location)
            return
        _enter_wal(connection, location)
        # FULL syncs the WAL at every commit: an acknowledged write survives a power cut. NORMAL syncs it before
        # pages are copied to the main file only: a cut may lose the last commits, never the file's consistency.
        connection.execute(f"PRAGMA synchronous = {'FULL' if location.durability == 'full' else 'NORMAL'}")
        if location.durability == "full":
            connection.execute("PRAGMA fullfsync = ON")
            connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
    else:
        connection.execute(f"PRAGMA cache_size = {_READER_CACHE}")
        connection.execute("PRAGMA query_only = ON")


def _read_only_schema(connection: apsw.Connection, location: Location) -> None:
    if connection.pragma("user_version") != schema.SCHEMA_VERSION:
        raise ReadOnlyDatabase(f"{location.label} has an older schema, and is read-only, so it can't be migrated.")


def _enter_wal(connection: apsw.Connection, location: Location) -> None:
    deadline = time.monotonic() + location.busy_timeout
    while True:
        try:
            if connection.pragma("journal_mode", "wal") == "wal":
                return
        except apsw.BusyError:
            pass
        if time.monotonic() > deadline:
            raise DatabaseBusy(f"{location.label} can't be switched to WAL: another process keeps it locked.")
        time.sleep(0.005)


def _busy_handler(timeout: float) -> Callable[[int], bool]:
    """Polls more often than SQLite's own, which sleeps up to 100 ms: writers of two processes take turns in ms."""
    started = 0.0

    def handler(attempt: int) -> bool:
        nonlocal started
        now = time.monotonic()
        if attempt == 0:
            started = now
        if now - started >= timeout:
            return False
        time.sleep(random.uniform(0.0003, min(0.001 + attempt * 0.0005, 0.005)))  # noqa: S311
        return True

    return handler


def fetch(connection: apsw.Connection, statement: str, bindings: Sequence[Any] = ()) -> list[Any]:
    """All rows of a statement."""
    return connection.execute(statement, bindings).fetchall()


def fetch_one(connection: apsw.Connection, statement: str, bindings: Sequence[Any] = ()) -> Any:
    """The first row of a statement, or ``None``."""
    return connection.execute(statement, bindings).fetchone()


def gather(
    connection: apsw.Connection, columns: Sequence[str], source: str, bindings: Sequence[Any] = ()
) -> list[list[Any]]:
    """All rows of a query, fetched as one JSON text.

    Stepping through rows gives up and takes back the interpreter's lock for each; while the event loop is busy, each
    then waits for it, up to 5 ms. This way a page costs one such wait, and the JSON of all its bodies is parsed in one
    go: 2.5 times as fast even when nobody competes.

    Args:
        columns: SQL expressions whose values are JSON texts or numbers; none may be NULL.
        source: The query that they are over. It must end with a LIMIT, so that its order is kept.

    Raises:
        ValueError: if a column's text is not JSON.
    """
    row = " || ',' || ".join(columns)
    return gather_values(connection, f"'[' || {row} || ']'", source, bindings)[0]


def gather_values(
    connection: apsw.Connection, value: str, source: str, bindings: Sequence[Any] = ()
) -> tuple[list[Any], int]:
    """:func:`gather` for one column, whose values need no list of their own; and the bytes of the whole text."""
    (data,) = fetch_one(
        connection, f"SELECT CAST('[' || group_concat({value}) || ']' AS BLOB) FROM ({source})", bindings
    )
    return (jsonio.parse(data), len(data)) if data else ([], 0)


def placeholders(values: Sequence[Any], sizes: Sequence[int]) -> tuple[str, list[Any]]:
    """The marks of a list in ``IN (…)``, and the values filled up with NULL to one of few sizes, so that few statements
    are prepared and then kept."""
    size = next(size for size in sizes if size >= len(values))
    return ", ".join("?" * size), [*values, *[None] * (size - len(values))]


def any_between(connection: apsw.Connection, ids: Sequence[str]) -> bool:
    """Whether there may be a document with one of these ids.

    Where there is none between the least and the greatest of them, one look into the index has told that all are new:
    so it is with a first replication and with an import, whose ids nearly always follow each other.
    """
    return (
        fetch_one(connection, "SELECT 1 FROM docs WHERE id BETWEEN ? AND ? LIMIT 1", (min(ids), max(ids))) is not None
    )


@contextmanager
def translated(label: str) -> Iterator[None]:
    """Turn SQLite's errors into those of :mod:`peerpouch.errors`."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, label) from error


FOREIGN = (apsw.Error, UnicodeEncodeError, OverflowError)
"""What a statement may raise: SQLite's own errors, and the binding's for values that SQLite has no place for."""


def translate(error: Exception, label: str) -> PeerPouchError:
    """The error of the tree that one of :data:`FOREIGN` stands for."""
    if isinstance(error, UnicodeEncodeError):
        return BadRequest("A text has a lone surrogate, which is not valid Unicode.")
    if isinstance(error, OverflowError):
        return BadRequest("A number is too large.")
    if isinstance(error, apsw.FullError):
        return DiskFull(f"There is no room left for {label}; nothing of this write was kept.")
    if isinstance(error, apsw.ReadOnlyError):
        return ReadOnlyDatabase(f"{label} is read-only: it can be read, not written.")
    if isinstance(error, apsw.NotADBError):
        return NotADatabase(f"{label} is not a peerpouch database.")
    if isinstance(error, apsw.CorruptError):
        return CorruptDatabase(f"{label} is damaged ({error}). `peerpouch check` tells what can still be read.")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return DatabaseBusy(f"Another process kept {label} locked; try again.")
    if isinstance(error, apsw.CantOpenError):
        return StorageError(f"{label} can't be opened: {error}.")
    return StorageError(f"{label} could not be read or written: {error}.")
