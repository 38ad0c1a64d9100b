"""The bytes of attachments: each content once, in chunks, under its SHA-256."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import apsw

from peerpouch.errors import BadRequest, StorageError
from peerpouch.storage.connections import fetch, fetch_one
from peerpouch.storage.schema import CHUNK_BITS

CHUNK = 128 * 1024
"""Bytes in a chunk: large enough that a row costs little beside its bytes, small enough that a few make no difference
to memory, and that a writer of documents waits for one no longer than for a batch of its own."""

AT_ONCE = 64
"""Chunks deleted in one transaction: 8 MiB, some milliseconds. Larger contents wait for the next compaction."""

MAX_CONTENT = CHUNK << CHUNK_BITS
"""What the rowids of chunks allow: 128 GiB."""


def find(connection: apsw.Connection, sha256: bytes) -> int | None:
    """The number of a finished content."""
    row = fetch_one(connection, "SELECT content FROM contents WHERE sha256 = ?", (sha256,))
    return None if row is None else row[0]


def add(connection: apsw.Connection, data: bytes, sha256: bytes) -> int:
    """The number of a content, which is stored unless it is there already."""
    content = find(connection, sha256)
    if content is None:
        connection.execute(
            "INSERT INTO contents (sha256, length, touched) VALUES (?, ?, ?)", (sha256, len(data), int(time.time()))
        )
        content = connection.last_insert_rowid()
        for number, offset in enumerate(range(0, len(data), CHUNK)):
            append(connection, content, number, data[offset : offset + CHUNK])
    return content


def begin(connection: apsw.Connection) -> int:
    """Open an upload. Until it is finished, it is kept for as long as something is appended now and then."""
    connection.execute("INSERT INTO contents (length, touched) VALUES (0, ?)", (int(time.time()),))
    return connection.last_insert_rowid()


def append(connection: apsw.Connection, content: int, number: int, data: bytes | memoryview) -> None:
    """Store the next chunk of an upload; all but the last have the full size."""
    connection.execute("INSERT INTO chunks VALUES (?, ?)", (content << CHUNK_BITS | number, data))


def touch(connection: apsw.Connection, content: int) -> None:
    """Say that the upload goes on.

    Raises:
        StorageError: if it rested for so long that it was collected as abandoned.
    """
    connection.execute("UPDATE contents SET touched = ? WHERE content = ?", (int(time.time()), content))
    _check_kept(connection)


def finish(connection: apsw.Connection, content: int, sha256: bytes, length: int) -> int:
    """Close an upload. Gives the number that holds these bytes: an older one, if they were here before.

    Then the upload is left unfinished, for :func:`discard_some` to remove.

    Raises:
        StorageError: if it rested for so long that it was collected as abandoned.
    """
    known = find(connection, sha256)
    if known is not None and known != content:
        return known
    connection.execute(
        "UPDATE contents SET sha256 = ?, length = ?, touched = ? WHERE content = ?",
        (sha256, length, int(time.time()), content),
    )
    _check_kept(connection)
    return content


def _check_kept(connection: apsw.Connection) -> None:
    if not connection.changes():
        raise StorageError("An upload rested for so long that it was taken for abandoned; write the document again.")


def discard_some(connection: apsw.Connection, content: int) -> bool:
    """Remove a part of an upload that was not linked; whether there is more."""
    if not fetch(connection, "SELECT 1 FROM contents WHERE content = ? AND sha256 IS NULL", (content,)):
        return False
    connection.execute("UPDATE contents SET touched = 0 WHERE content = ?", (content,))
    remove_some(connection, content)
    return True


def remove(connection: apsw.Connection, content: int) -> None:
    """Delete a content with its chunks."""
    connection.execute("DELETE FROM chunks WHERE chunk >= ? AND chunk < ?", span(content))
    connection.execute("DELETE FROM contents WHERE content = ?", (content,))


def remove_some(connection: apsw.Connection, content: int) -> None:
    """Delete the last chunks of a content, and the content when these were all."""
    start, end = span(content)
    chunks = fetch(
        connection,
        "SELECT chunk FROM chunks WHERE chunk >= ? AND chunk < ? ORDER BY chunk DESC LIMIT ?",
        (start, end, AT_ONCE),
    )
    connection.executemany("DELETE FROM chunks WHERE chunk = ?", chunks)
    if len(chunks) < AT_ONCE:
        connection.execute("DELETE FROM contents WHERE content = ?", (content,))


def span(content: int) -> tuple[int, int]:
    """The rowids of a content's chunks, the end excluded."""
    return content << CHUNK_BITS, (content + 1) << CHUNK_BITS


def read_chunks(connection: apsw.Connection, content: int, first: int, count: int) -> list[bytes]:
    """Consecutive chunks as stored; fewer at the end."""
    start = content << CHUNK_BITS | first
    end = min(start + count, (content + 1) << CHUNK_BITS)
    rows = fetch(connection, "SELECT data FROM chunks WHERE chunk >= ? AND chunk < ? ORDER BY chunk", (start, end))
    return [row[0] for row in rows]


def read_all(connection: apsw.Connection, content: int, encoding: str | None) -> bytes:
    """All bytes, decoded."""
    rows = fetch(connection, "SELECT data FROM chunks WHERE chunk >= ? AND chunk < ? ORDER BY chunk", span(content))
    data = b"".join([row[0] for row in rows])
    return gunzip(data) if encoding == "gzip" else data


class Gunzip:
    """Decodes gzip a bounded piece at a time, whatever the ratio of compression.

    Raises:
        BadRequest: by either method, if it is not gzip.
    """

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    def feed(self, part: bytes) -> Iterator[bytes]:
        """The decoded bytes of the next encoded ones."""
        rest = part
        while rest:
            if self._decoder.eof:  # gzip files may be concatenated
                self._decoder = zlib.decompressobj(wbits=31)
            try:
                piece = self._decoder.decompress(rest, CHUNK)
            except zlib.error as error:
                raise BadRequest(f"An attachment that is marked as gzip is not: {error}.") from None
            rest = self._decoder.unused_data if self._decoder.eof else self._decoder.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> None:
        """Say that this was all."""
        if not self._decoder.eof:
            raise BadRequest("An attachment that is marked as gzip is cut off.")


def gunzip(data: bytes) -> bytes:
    """All of it decoded.

    Raises:
        BadRequest: if it is not gzip.
    """
    decoder = Gunzip()
    decoded = b"".join(decoder.feed(data))
    decoder.finish()
    return decoded
