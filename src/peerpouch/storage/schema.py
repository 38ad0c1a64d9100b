"""The file's layout, and how a file is made, recognised and brought up to date.

What is fixed when a file is made: ``application_id``, the page size, incremental auto-vacuum, the uuid. All of it is
written in one transaction before the journal mode becomes WAL, so that the first page of the file itself (not only
its WAL) says what it is, and a file of another program, or of a newer schema, can be told without touching it.

Tables:

* ``docs``: one row per document, with its newest sequence as the rowid: the changes feed is a scan of this table from
  where it left off, and a batch of new documents is appended to its end. The row holds the winning revision with its
  body, and the ancestry (see :mod:`peerpouch.core.revtree`). ``key`` is the sequence at which the document was first
  written: it never changes, and is what the other tables refer to.
* ``revs``: bodies of other leaves, and of older revisions until compaction.
* ``seq_counts``: how many documents have their newest sequence in each span of 1,024, so that a feed can tell what
  is pending without counting rows.
* ``attachments``: one row per attachment of a revision that has a body; ``contents`` and ``chunks``: their bytes, once
  per content. A chunk's rowid is ``content << 20 | number``. A content without ``sha256`` is an upload under way.
* ``index_rows``: what ``query`` keeps here, see :class:`peerpouch.ports.IndexStore`.
* ``state``: one row of counters; ``meta``: what seldom changes.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import apsw

from peerpouch.errors import NotADatabase, SchemaTooNew

APPLICATION_ID = 0x70706368  # "ppch"
SCHEMA_VERSION = 1
PAGE_SIZE = 4096  # 8 KiB made random inserts slower and large bodies no faster when measured

DELETED = 1
"""Flag of a revision: it is a deletion."""
ATTACHMENTS = 2
"""Flag of a revision: it has rows in ``attachments``."""
BRANCHED = 4
"""Flag of a document: its ancestry is more than a single line, so it may have other leaves."""
EXACT = 8
"""Flag of a body: it has integers beyond 64 bits or is nested deeply, and must be read by the exact, slower reader."""
LEAF = 16
"""Flag of a row of ``revs``: the revision is a leaf; without it, the row goes at the next compaction."""

SEQ_SPAN_BITS = 10
CHUNK_BITS = 20

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    update_seq INTEGER NOT NULL,
    doc_count INTEGER NOT NULL,
    del_count INTEGER NOT NULL,
    purge_seq INTEGER NOT NULL
);
CREATE TABLE docs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    key INTEGER NOT NULL,
    rev TEXT NOT NULL,
    flags INTEGER NOT NULL,
    body BLOB NOT NULL,
    ancestry TEXT
);
CREATE UNIQUE INDEX docs_by_id ON docs (id);
CREATE TABLE revs (
    key INTEGER NOT NULL,
    rev TEXT NOT NULL,
    flags INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (key, rev)
) WITHOUT ROWID;
CREATE TABLE seq_counts (span INTEGER PRIMARY KEY, docs INTEGER NOT NULL);
CREATE TABLE local (
    id TEXT PRIMARY KEY,
    rev INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE contents (
    content INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 BLOB UNIQUE,
    length INTEGER NOT NULL,
    touched INTEGER NOT NULL
);
CREATE TABLE chunks (chunk INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE attachments (
    key INTEGER NOT NULL,
    rev TEXT NOT NULL,
    name TEXT NOT NULL,
    content INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    digest TEXT NOT NULL,
    revpos INTEGER NOT NULL,
    length INTEGER NOT NULL,
    encoding TEXT,
    encoded_length INTEGER,
    PRIMARY KEY (key, rev, name)
) WITHOUT ROWID;
CREATE INDEX attachments_by_content ON attachments (content);
CREATE TABLE indexes (number INTEGER PRIMARY KEY, name TEXT UNIQUE, upto TEXT NOT NULL, rows INTEGER NOT NULL);
CREATE TABLE index_rows (
    number INTEGER NOT NULL,
    key BLOB NOT NULL,
    doc_id TEXT NOT NULL,
    ordinal INTEGER NOT NULL,
    value BLOB,
    PRIMARY KEY (number, key, doc_id, ordinal)
) WITHOUT ROWID;
CREATE INDEX index_rows_by_doc ON index_rows (doc_id, number);
"""

# Each brings a file from the version before to its own; run in one transaction. Version 1 is the first released.
MIGRATIONS: dict[int, str] = {}


def inspect_header(path: Path) -> bool:
    """Whether there is a file to open (``False``: nothing yet, or an empty file, so one is to be made).

    It reads the first page's header itself, before SQLite may touch the file.

    Raises:
        NotADatabase, SchemaTooNew
    """
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        return False
    if not header:
        return False
    if path.with_name(path.name + "-journal").exists():
        return True  # a creation that was cut off, perhaps: SQLite puts the first page right before it is judged
    if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
        raise NotADatabase(f"{path} is not a peerpouch database (it is no SQLite file).")
    version, vacuum, application = (int.from_bytes(header[at : at + 4], "big") for at in (60, 64, 68))
    schema_changes = int.from_bytes(header[40:44], "big")
    if (application, version, schema_changes, vacuum) == (0, 0, 0, 1):
        return False  # our first page, which setting the vacuum mode writes, in a creation that was cut off behind it
    _judge(path, application, version)
    return True


def prepare(connection: apsw.Connection, path: Path | None) -> None:
    """Make the tables if the file has none, or bring older ones up to date, in one transaction each.

    Raises:
        NotADatabase, SchemaTooNew: the file was not changed.
    """
    # In one snapshot: another process may be making the file at this moment.
    connection.execute("BEGIN")
    version = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    fresh = version == 0 and application == 0 and not _has_tables(connection)
    connection.execute("COMMIT")
    if fresh:
        _create(connection)
    else:
        _judge(path, application, version)
        if version < SCHEMA_VERSION:
            _migrate(connection)


def _create(connection: apsw.Connection) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _pragma(connection, "user_version") == 0:  # else another process was faster
            connection.execute(_TABLES)
            connection.execute("INSERT INTO state VALUES (1, 0, 0, 0, 0)")
            connection.executemany(
                "INSERT INTO meta VALUES (?, ?)",
                [
                    ("uuid", secrets.token_hex(16)),
                    ("incarnation", new_incarnation()),
                    ("created", int(time.time())),
                    ("revs_limit", 1000),
                    ("security", b"{}"),
                ],
            )
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: apsw.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(_pragma(connection, "user_version") + 1, SCHEMA_VERSION + 1):
            connection.execute(MIGRATIONS[version])
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def new_incarnation() -> str:
    """A fresh id for the sequences of a file that was made, or found to be a copy."""
    return secrets.token_hex(8)


def _judge(path: Path | None, application: int, version: int) -> None:
    if application != APPLICATION_ID:
        raise NotADatabase(f"{path} is not a peerpouch database (it is an SQLite file of another program).")
    if version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"{path} was written by a newer version of peerpouch (schema {version}, this one knows {SCHEMA_VERSION}): "
            "install that version to open it. The file was not touched."
        )


def _pragma(connection: apsw.Connection, name: str) -> int:
    value = connection.pragma(name)
    return value if isinstance(value, int) else 0


def _has_tables(connection: apsw.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").get is not None
