"""Attachments of a document that is being written: what stubs stand for, and the rows that refer to
contents."""

from __future__ import annotations

from typing import Any

import apsw

from peerpouch.core import revisions
from peerpouch.errors import MissingStub
from peerpouch.storage import contents
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.edits import Edit, NewAttachment
from peerpouch.storage.rows import Head


def settle(connection: apsw.Connection, edit: Edit, head: Head | None) -> None:
    """Find the content of stubs, and with it the digests that a new revision's id is made of."""
    if not edit.attachments:
        return
    for name, item in edit.attachments.items():
        if not isinstance(item, NewAttachment):
            edit.attachments[name] = _resolve(connection, edit, head, name, item.digest, item.revpos)
    if edit.rev is None:
        assert edit.canonical is not None
        listed = {
            name: {"content_type": item.content_type, "digest": item.digest}
            for name, item in edit.attachments.items()
            if isinstance(item, NewAttachment)
        }
        edit.rev = revisions.new_revision(edit.parent, edit.deleted, edit.canonical, listed)


def _resolve(
    connection: apsw.Connection, edit: Edit, head: Head | None, name: str, digest: str | None, revpos: int | None
) -> NewAttachment:
    missing = MissingStub(f"Document {edit.id!r} has no attachment {name!r} that the stub could stand for.")
    if head is None:
        raise missing
    # The parent's own comes first, then the newest; always of this very document.
    row = fetch_one(
        connection,
        "SELECT a.content, a.content_type, a.digest, a.revpos, a.length, a.encoding, a.encoded_length, c.sha256 "
        "FROM attachments a JOIN contents c USING (content) "
        "WHERE a.key = ?1 AND a.name = ?2 AND (?3 IS NULL OR a.digest = ?3) AND (?6 IS NULL OR a.revpos = ?6) "
        "ORDER BY a.rev = ?4 DESC, a.rev = ?5 DESC, a.revpos DESC LIMIT 1",
        # An edit of a document says of what is kept where it came from; a copy of one may come from elsewhere.
        (head[2], name, digest, edit.parent, head[3], revpos if edit.rev is None else None),
    )
    if row is None:
        raise missing
    content, content_type, digest, known_revpos, length, encoding, encoded, sha256 = row
    return NewAttachment(
        content_type, None, content, sha256, digest, length,
        length if encoded is None else encoded, encoding, known_revpos if revpos is None else revpos,
    )  # fmt: skip


def rows(connection: apsw.Connection, edit: Edit, key: int) -> list[tuple[Any, ...]]:
    """Store the contents of a revision that is written, under its document's key; gives its rows of ``attachments``."""
    assert edit.attachments is not None and edit.rev is not None
    generation = revisions.generation(edit.rev)
    found: list[tuple[Any, ...]] = []
    for name, item in edit.attachments.items():
        assert isinstance(item, NewAttachment)
        if item.data is not None:
            content = contents.add(connection, item.data, item.sha256)
        else:
            assert item.content is not None
            content = contents.finish(connection, item.content, item.sha256, item.stored)
        found.append((
            key, edit.rev, name, content, item.content_type, item.digest,
            generation if item.revpos is None else item.revpos, item.length, item.encoding,
            None if item.encoding is None else item.stored,
        ))  # fmt: skip
    return found


def drop(connection: apsw.Connection, key: int, rev: str) -> None:
    """Forget the attachments of a revision whose body goes, and the contents that nothing refers to then."""
    orphans = fetch(connection, "DELETE FROM attachments WHERE key = ? AND rev = ? RETURNING content", (key, rev))
    for (content,) in orphans:
        if not fetch(connection, "SELECT 1 FROM attachments WHERE content = ? LIMIT 1", (content,)):
            row = fetch_one(connection, "SELECT length FROM contents WHERE content = ?", (content,))
            if row is not None and row[0] <= contents.AT_ONCE * contents.CHUNK:
                contents.remove(connection, content)
