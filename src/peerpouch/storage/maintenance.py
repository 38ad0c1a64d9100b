"""Administration: limits, security, purging, compaction, deletion."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import apsw

from peerpouch.core import jsonio, revisions
from peerpouch.errors import BadRequest, DatabaseExists
from peerpouch.ports import Document
from peerpouch.storage import contents, indexes, linking
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.engine import Engine
from peerpouch.storage.rows import StoredDocument
from peerpouch.storage.schema import ATTACHMENTS, BRANCHED, LEAF, SEQ_SPAN_BITS

# Bodies or pages handled in one transaction of a compaction: a few milliseconds each, so that writers wait no longer
# than for each other.
_STEP_BODIES = 1000
_STEP_PAGES = 1000

# Seconds after which an upload that gave no sign is taken for abandoned: its process was killed.
_ABANDONED = 24 * 3600


def get_security(connection: apsw.Connection) -> Document:
    """The security object."""
    security: Document = jsonio.loads(fetch_one(connection, "SELECT value FROM meta WHERE name = 'security'")[0])
    return security


def put_security(connection: apsw.Connection, security: Document) -> None:
    """Replace the security object."""
    if type(security) is not dict:
        raise BadRequest("The security object must be an object.")
    connection.execute("UPDATE meta SET value = ? WHERE name = 'security'", (jsonio.dumps(security),))


def get_revs_limit(connection: apsw.Connection) -> int:
    """How many revisions a branch remembers."""
    limit: int = fetch_one(connection, "SELECT value FROM meta WHERE name = 'revs_limit'")[0]
    return limit


def put_revs_limit(connection: apsw.Connection, limit: int) -> None:
    """Set how many revisions a branch remembers; each document is stemmed when it is written next."""
    if type(limit) is not int or limit < 1:
        raise BadRequest("revs_limit must be a positive number.")
    connection.execute("UPDATE meta SET value = ? WHERE name = 'revs_limit'", (limit,))


def purge(connection: apsw.Connection, asked: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Forget leaves, inside the open transaction; gives those that were there."""
    purged: dict[str, list[str]] = {}
    for doc_id, revs in asked.items():
        wanted = {revisions.parse(rev) for rev in revs}
        stored = StoredDocument.find(connection, doc_id)
        gone = [] if stored is None else [leaf.rev for leaf in stored.tree.leaves if leaf.rev in wanted]
        purged[doc_id] = [revisions.format(rev) for rev in gone]
        if stored is not None and gone:
            _purge_leaves(connection, stored, set(gone))
            connection.execute("UPDATE state SET purge_seq = purge_seq + 1")
    return purged


def _purge_leaves(connection: apsw.Connection, stored: StoredDocument, gone: set[revisions.Rev]) -> None:
    tree = stored.tree
    key = stored.key
    tree.remove_leaves(gone)
    connection.execute("UPDATE seq_counts SET docs = docs - 1 WHERE span = ?", (stored.seq >> SEQ_SPAN_BITS,))
    was = "del_count" if stored.deleted else "doc_count"
    connection.execute(f"UPDATE state SET {was} = {was} - 1")
    kept = {rev for (rev,) in fetch(connection, "SELECT rev FROM revs WHERE key = ?", (key,))} | {stored.rev}
    dead = {rev for rev in kept if revisions.parse(rev) not in tree}
    if not tree.leaves:
        connection.execute("DELETE FROM docs WHERE seq = ?", (stored.seq,))
        indexes.forget_document(connection, stored.id)
        dead = kept
    else:
        _put_back(connection, stored)
    for rev in dead:
        connection.execute("DELETE FROM revs WHERE key = ? AND rev = ?", (key, rev))
        linking.drop(connection, key, rev)


def _put_back(connection: apsw.Connection, stored: StoredDocument) -> None:
    """Store what is left of a document as a new change, as CouchDB does."""
    winner, deleted, ancestry = stored.tree.dump()
    rev = revisions.format(winner)
    if rev != stored.rev:
        flags, body = fetch_one(connection, "SELECT flags, body FROM revs WHERE key = ? AND rev = ?", (stored.key, rev))
        connection.execute("DELETE FROM revs WHERE key = ? AND rev = ?", (stored.key, rev))
    else:
        flags, body = fetch_one(connection, "SELECT flags, body FROM docs WHERE seq = ?", (stored.seq,))
    flags &= ~(BRANCHED | LEAF)
    if ancestry is not None and ancestry.startswith("["):
        flags |= BRANCHED
    (seq,) = fetch_one(connection, "UPDATE state SET update_seq = update_seq + 1 RETURNING update_seq")
    connection.execute(
        "UPDATE docs SET seq = ?, rev = ?, flags = ?, body = ?, ancestry = ? WHERE seq = ?",
        (seq, rev, flags, body, ancestry, stored.seq),
    )
    connection.execute(
        "INSERT INTO seq_counts VALUES (?, 1) ON CONFLICT DO UPDATE SET docs = docs + 1", (seq >> SEQ_SPAN_BITS,)
    )
    now = "del_count" if deleted else "doc_count"
    connection.execute(f"UPDATE state SET {now} = {now} + 1")


async def compact(engine: Engine, path: Path | None) -> None:
    """Remove the bodies of revisions that are no leaves, abandoned uploads, and give the space back.

    In short steps, between those of other writers; readers see each step whole.
    """
    if path is not None:
        await asyncio.to_thread(_clear, uploads_folder(path))
    body: tuple[int, str] | None = (-1, "")
    while body is not None:
        body = await engine.write(partial(_drop_bodies, after=body))
    content: int | None = 0
    while content is not None:
        content = await engine.write(partial(_disown_contents, after=content))
    for step in (_remove_chunks, indexes.drop_step):
        while await engine.write(step):
            pass
    while await engine.alone(_vacuum_step):
        pass
    await engine.alone(_checkpoint)


def uploads_folder(path: Path) -> Path:
    """Where servers of a database keep what came of uploads to it: it goes with the file, and a compaction removes what
    nothing came to for a day."""
    return path.with_name(path.name + "-uploads")


def _clear(folder: Path) -> None:
    """Remove what is abandoned in it: perhaps nobody serves this database any more, who would."""
    with suppress(OSError):
        for file in folder.iterdir():
            if file.stat().st_mtime < time.time() - _ABANDONED:
                file.unlink()
        folder.rmdir()  # does nothing to one that is not empty


def _drop_bodies(connection: apsw.Connection, after: tuple[int, str]) -> tuple[int, str] | None:
    """One step; gives where the next begins."""
    rows = fetch(
        connection,
        "SELECT key, rev, flags FROM revs WHERE (key, rev) > (?, ?) ORDER BY key, rev LIMIT ?",
        (*after, _STEP_BODIES),
    )
    gone = [row for row in rows if not row[2] & LEAF]
    connection.executemany("DELETE FROM revs WHERE key = ? AND rev = ?", [row[:2] for row in gone])
    for key, rev, flags in gone:
        if flags & ATTACHMENTS:
            linking.drop(connection, key, rev)
    return None if len(rows) < _STEP_BODIES else (rows[-1][0], rows[-1][1])


def _disown_contents(connection: apsw.Connection, after: int) -> int | None:
    """One step of making unfinished again what nothing refers to, so that no new document finds it while it goes."""
    rows = fetch(
        connection,
        "SELECT content, EXISTS (SELECT 1 FROM attachments a WHERE a.content = c.content) FROM contents c "
        "WHERE content > ? AND sha256 IS NOT NULL ORDER BY content LIMIT ?",
        (after, _STEP_BODIES),
    )
    connection.executemany(
        "UPDATE contents SET sha256 = NULL, touched = 0 WHERE content = ?", [(row[0],) for row in rows if not row[1]]
    )
    return None if len(rows) < _STEP_BODIES else rows[-1][0]


def _remove_chunks(connection: apsw.Connection) -> bool:
    """Delete some chunks of a content that nothing refers to; whether there may be more."""
    orphan = fetch_one(
        connection,
        "SELECT content FROM contents WHERE sha256 IS NULL AND touched < ? LIMIT 1",
        (int(time.time()) - _ABANDONED,),
    )
    if orphan is None:
        return False
    contents.remove_some(connection, orphan[0])
    return True


def _vacuum_step(connection: apsw.Connection) -> bool:
    free = connection.pragma("freelist_count")
    if not free:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({_STEP_PAGES})").fetchall()
    left = connection.pragma("freelist_count")
    return bool(left) and left != free


def _checkpoint(connection: apsw.Connection) -> None:
    with suppress(apsw.BusyError):  # readers or writers elsewhere: the next commit does it
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


async def backup(engine: Engine, target: Path, *, as_new: bool) -> None:
    """Write a consistent, compact copy to a new file.

    Args:
        as_new: Give it a uuid of its own.

    Raises:
        DatabaseExists, StorageError
    """
    unfinished = target.with_name(target.name + ".partial")

    def job(connection: apsw.Connection) -> None:
        if target.exists():
            raise DatabaseExists(f"{target} exists already; a backup goes to a new file.")
        unfinished.unlink(missing_ok=True)
        restricted = connection.pragma("query_only")
        try:
            # In one snapshot, which a copy page by page could not have while others write.
            connection.execute("PRAGMA query_only = OFF")
            connection.execute("VACUUM INTO ?", (str(unfinished),))
            _estrange(unfinished, as_new)
            unfinished.rename(target)
        finally:
            connection.execute(f"PRAGMA query_only = {restricted}")
            unfinished.unlink(missing_ok=True)

    await engine.read(job, snapshot=False)


def _estrange(copy: Path, as_new: bool) -> None:
    """Make a copy take sequences of its own when it is opened, even under the inode of the original.

    The commit also syncs the file, which VACUUM INTO does not.
    """
    connection = apsw.Connection(str(copy))
    try:
        with connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('inode', 0)")
            if as_new:
                connection.execute("UPDATE meta SET value = ? WHERE name = 'uuid'", (secrets.token_hex(16),))
    finally:
        connection.close()


def delete_files(path: Path) -> None:
    """Remove a closed database's files."""
    for name in (path.name, path.name + "-wal", path.name + "-shm", path.name + "-journal"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.rmtree(uploads_folder(path), ignore_errors=True)
