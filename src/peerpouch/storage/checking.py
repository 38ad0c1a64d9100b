"""Verifies that a database's file says the same everywhere: what `peerpouch check` reports."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import apsw

from peerpouch.core import revisions
from peerpouch.core.revtree import RevTree, is_line
from peerpouch.errors import PeerPouchError
from peerpouch.storage import contents
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.rows import read_json
from peerpouch.storage.schema import ATTACHMENTS, BRANCHED, CHUNK_BITS, DELETED, LEAF, SEQ_SPAN_BITS

_MOST = 1000  # a file that is damaged throughout is not listed throughout


def check(connection: apsw.Connection) -> list[str]:
    """What is wrong with the file, as sentences; nothing when all is well. At most 1,000 of them.

    It reads everything, in one snapshot.
    """
    problems: list[str] = []
    for problem in _problems(connection):
        problems.append(problem)
        if len(problems) == _MOST:
            problems.append("There is more; this is where the report ends.")
            break
    return problems


def _problems(connection: apsw.Connection) -> Iterator[str]:
    try:
        for (line,) in connection.execute("PRAGMA integrity_check"):
            if line != "ok":
                yield f"SQLite: {line}."
        for part in (_documents, _bodies, _counts, _attachments, _contents, _others):
            yield from part(connection)
    except apsw.Error as error:
        yield f"The file can't be read on: {error}."
    except (TypeError, ValueError, LookupError) as error:
        yield f"A row has a value that does not belong there: {error}."


def _documents(connection: apsw.Connection) -> Iterator[str]:
    (update_seq,) = fetch_one(connection, "SELECT update_seq FROM state")
    row: Any
    for row in connection.execute("SELECT seq, id, key, rev, flags, body, ancestry FROM docs ORDER BY seq"):
        seq, doc_id, key, rev, flags, body, ancestry = row
        where = f"Document {doc_id!r}"
        if seq > update_seq:
            yield f"{where}: its sequence {seq} is beyond the database's, {update_seq}."
        if key > seq:
            yield f"{where}: its key {key} is greater than its sequence {seq}."
        if bool(flags & BRANCHED) == is_line(ancestry):
            yield f"{where}: its flags and its tree contradict each other."
        yield from _readable(f"{where}, revision {rev}", body, flags)
        yield from _attachments_flag(connection, f"{where}, revision {rev}", key, rev, flags)
        try:
            tree = RevTree.load(revisions.parse(rev), bool(flags & DELETED), ancestry)
        except PeerPouchError as error:
            yield f"{where}: {error.reason}"
            continue
        kept = dict(fetch(connection, "SELECT rev, flags FROM revs WHERE key = ?", (key,)))
        if rev in kept:
            yield f"{where}: the body of its winner {rev} is there twice."
        leaves = {revisions.format(leaf.rev): leaf for leaf in tree.leaves}
        for leaf in leaves.keys() - kept.keys() - {rev}:
            yield f"{where}: the body of its leaf {leaf} is missing."
        for other, other_flags in kept.items():
            if bool(other_flags & LEAF) != (other in leaves):
                yield f"{where}: revision {other} is marked wrongly as leaf or not."
            elif other in leaves and bool(other_flags & DELETED) != leaves[other].deleted:
                yield f"{where}: revision {other} is marked wrongly as deleted or not."
    for (key,) in connection.execute("SELECT key FROM docs GROUP BY key HAVING count(*) > 1"):
        yield f"Several documents have the key {key}."


def _bodies(connection: apsw.Connection) -> Iterator[str]:
    row: Any
    for row in connection.execute("SELECT key, rev, flags, body FROM revs"):
        key, rev, flags, body = row
        where = f"Revision {rev} of the document with the key {key}"
        yield from _readable(where, body, flags)
        yield from _attachments_flag(connection, where, key, rev, flags)
    for key, rev in connection.execute("SELECT key, rev FROM revs WHERE key NOT IN (SELECT key FROM docs)"):
        yield f"Revision {rev} belongs to no document (key {key})."
    for doc_id, flags, body in fetch(connection, "SELECT id, flags, body FROM local"):
        yield from _readable(f"Document {doc_id!r}", body, flags)


def _readable(where: str, body: bytes, flags: int) -> Iterator[str]:
    try:
        if type(read_json(body, flags)) is not dict:
            yield f"{where}: its body is not an object."
    except PeerPouchError as error:
        yield f"{where}: {error.reason}"


def _attachments_flag(connection: apsw.Connection, where: str, key: int, rev: str, flags: int) -> Iterator[str]:
    if flags & ATTACHMENTS and not fetch(
        connection, "SELECT 1 FROM attachments WHERE key = ? AND rev = ? LIMIT 1", (key, rev)
    ):
        yield f"{where}: its attachments are missing."


def _counts(connection: apsw.Connection) -> Iterator[str]:
    stated = fetch_one(connection, "SELECT doc_count, del_count FROM state")
    counted = fetch_one(
        connection,
        f"SELECT count(*) - coalesce(sum(flags & {DELETED}), 0), coalesce(sum(flags & {DELETED}), 0) FROM docs",
    )
    if stated != counted:
        yield f"The database says it has {stated} documents and deletions, and has {counted}."
    spans = dict(fetch(connection, "SELECT span, docs FROM seq_counts WHERE docs <> 0"))
    found = dict(fetch(connection, f"SELECT seq >> {SEQ_SPAN_BITS}, count(*) FROM docs GROUP BY 1"))
    for span in sorted(spans.keys() | found.keys()):
        if spans.get(span, 0) != found.get(span, 0):
            yield f"Span {span} of sequences says {spans.get(span, 0)} documents, and has {found.get(span, 0)}."


def _attachments(connection: apsw.Connection) -> Iterator[str]:
    row: Any
    for row in connection.execute(
        "WITH bodies AS (SELECT key, rev FROM docs UNION ALL SELECT key, rev FROM revs) "
        "SELECT a.key, a.rev, a.name, a.length, a.encoding, a.encoded_length, c.length, c.sha256 IS NOT NULL, "
        "b.key IS NOT NULL FROM attachments a LEFT JOIN contents c USING (content) "
        "LEFT JOIN bodies b ON b.key = a.key AND b.rev = a.rev"
    ):
        key, rev, name, length, encoding, encoded_length, stored, finished, has_body = row
        where = f"Attachment {name!r} of revision {rev} (document key {key})"
        if not has_body:
            yield f"{where}: the revision is not there."
        if not finished:
            yield f"{where}: its content is missing."
        elif stored != (length if encoding is None else encoded_length):
            yield f"{where}: its content has {stored} bytes, not as many as it says."


def _contents(connection: apsw.Connection) -> Iterator[str]:
    row: Any
    for row in connection.execute(
        "SELECT content, sha256, length, EXISTS (SELECT 1 FROM attachments a WHERE a.content = c.content) "
        "FROM contents c WHERE sha256 IS NOT NULL"
    ):
        content, sha256, length, used = row
        if not used and length <= contents.AT_ONCE * contents.CHUNK:  # a larger one waits for a compaction
            yield f"Nothing refers to content {content}."
        digest = hashlib.sha256()
        size = 0
        for (data,) in connection.execute(
            "SELECT data FROM chunks WHERE chunk >= ? AND chunk < ? ORDER BY chunk", contents.span(content)
        ):
            assert isinstance(data, bytes)
            digest.update(data)
            size += len(data)
        if size != length:
            yield f"Content {content} has {size} bytes, and should have {length}."
        elif digest.digest() != sha256:
            yield f"The bytes of content {content} do not match its SHA-256."
    orphans = fetch(
        connection,
        f"SELECT count(*) FROM chunks WHERE chunk >> {CHUNK_BITS} NOT IN (SELECT content FROM contents)",
    )
    if orphans[0][0]:
        yield f"{orphans[0][0]} chunks belong to no content."


def _others(connection: apsw.Connection) -> Iterator[str]:
    for name, stated, counted in fetch(
        connection,
        "SELECT name, rows, (SELECT count(*) FROM index_rows r WHERE r.number = i.number) FROM indexes i "
        "WHERE name IS NOT NULL",
    ):
        if stated != counted:
            yield f"Index {name!r} says it has {stated} rows, and has {counted}."
