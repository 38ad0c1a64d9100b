"""Attachments on their way in and out, as streams.

Content that comes with a document is taken in before the document's transaction begins: what is small stays in memory
and is written with the document, what is large goes into the file in short transactions of its own, between those of
other writers, and is linked by the document's commit. So memory does not grow with an attachment, a slow sender blocks
nobody, and what is not linked in the end is removed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from functools import partial
from typing import Any

import apsw

from peerpouch.errors import BadRequest, InvalidDocument, NotFound, RangeNotSatisfiable, StorageError, TooLarge
from peerpouch.ports import Attachment
from peerpouch.storage import contents
from peerpouch.storage.contents import CHUNK, MAX_CONTENT, Gunzip
from peerpouch.storage.edits import MAX_NAME, AttachmentEdit, NewAttachment, Stub
from peerpouch.storage.engine import Engine

_IN_MEMORY = 1024 * 1024
"""Content up to this size is written with its document. 1 MiB: what a commit takes in a few milliseconds."""

_IN_MEMORY_IN_ALL = 8 * 1024 * 1024
"""What the contents of one batch may take together in memory; beyond, they are staged however small they are."""

_STEP_CHUNKS = 16
"""Chunks in one transaction of an upload: 2 MiB, so that a sync is paid per 2 MiB, and others wait for no more."""

_READ_CHUNKS = 8
"""Chunks read at once: 1 MiB, so that the hop to a thread costs little beside them."""

_SMALL, _JOINED = 512, 64 * 1024
"""Bytes below which parts that come one after another are joined, up to so many: each part that is kept by itself costs
fifty bytes more than it has, and a sender may send byte by byte."""


class _Digests:
    """What is to be known of bytes that pass by."""

    def __init__(self, gzipped: bool) -> None:
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)  # CouchDB's digest; content is identified by the SHA-256
        self.stored = 0
        self.decoded = 0
        self.gzipped = gzipped
        self._gunzip = Gunzip() if gzipped else None

    def update(self, data: bytes) -> None:
        self.sha256.update(data)
        self.md5.update(data)
        self.stored += len(data)
        if self._gunzip is None:
            self.decoded += len(data)
        else:
            self.decoded += sum(map(len, self._gunzip.feed(data)))

    def finish(self) -> None:
        if self._gunzip is not None:
            self._gunzip.finish()


class _Gathered:
    """Bytes that come in parts of any size and are taken in others: held once, and copied once."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: deque[bytes | bytearray | memoryview] = deque()

    def add(self, part: bytes) -> None:
        """Put a part behind the others."""
        last = self._parts[-1] if self._parts else None
        if isinstance(last, bytearray) and len(part) < _SMALL and len(last) < _JOINED:
            last += part
        else:
            self._parts.append(bytearray(part) if len(part) < _SMALL else bytes(part))
        self.size += len(part)

    def take(self, size: int) -> bytes:
        """The first bytes, so many of them."""
        taken: list[bytes | bytearray | memoryview] = []
        missing = size
        while missing:
            part = self._parts.popleft()
            if len(part) > missing:
                view = memoryview(part)
                self._parts.appendleft(view[missing:])
                part = view[:missing]
            taken.append(part)
            missing -= len(part)
        self.size -= size
        return b"".join(taken)


class Intake:
    """Takes in the attachments of one batch of documents.

    Args:
        kept_as_received: Keep ``digest`` and ``revpos`` as they come, as replication (``new_edits`` false) wants.
    """

    def __init__(self, engine: Engine, kept_as_received: bool) -> None:
        self._engine = engine
        self._kept = kept_as_received
        self._staged: list[int] = []
        self._room = _IN_MEMORY_IN_ALL

    async def take(self, doc_id: Any, attachments: Any) -> dict[str, AttachmentEdit]:
        """The attachments of one document, with their bytes in memory or staged.

        Raises:
            InvalidDocument, BadRequest: for an entry that is malformed.
        """
        if type(attachments) is not dict:
            raise InvalidDocument(f"_attachments of document {doc_id!r} must be an object.")
        return {name: await self._one(doc_id, name, item) for name, item in attachments.items()}

    async def discard(self) -> None:
        """Remove what was staged and is not linked to a document. A second call finds nothing to do."""
        staged, self._staged = self._staged, []
        if staged and not self._engine.closed:
            # Shielded: what a cancelled caller staged is removed as well.
            await asyncio.shield(self._remove(staged))

    async def _remove(self, staged: list[int]) -> None:
        for content in staged:
            # What this process does not come to any more, the next compaction does.
            while await self._engine.write(partial(contents.discard_some, content=content)):
                pass

    async def _one(self, doc_id: Any, name: Any, item: Any) -> AttachmentEdit:
        if type(name) is str and len(name.encode(errors="replace")) > MAX_NAME:
            raise InvalidDocument(f"The name of an attachment has at most {MAX_NAME:,} bytes; {name[:20]!r}… has more.")
        where = f"Attachment {name!r} of document {doc_id!r}"
        if type(name) is not str or not name:
            raise InvalidDocument(f"{where}: its name must be text.")
        if name.startswith("_"):
            raise BadRequest(f"Attachment name {name!r} starts with prohibited character '_'")
        if type(item) is not dict:
            raise InvalidDocument(f"{where} must be an object.")
        revpos = item.get("revpos")
        if revpos is not None and (type(revpos) is not int or not 0 <= revpos < 2**53):
            raise InvalidDocument(f"{where}: revpos must be a number.")
        digest = item.get("digest")
        content_type = item.get("content_type", "application/octet-stream")
        if type(content_type) is not str or (digest is not None and type(digest) is not str):
            raise InvalidDocument(f"{where}: content_type and digest must be text.")
        if "data" not in item:
            if item.get("stub") is True or item.get("follows") is True:
                return Stub(digest, revpos)
            raise InvalidDocument(f"{where} has neither data nor stub.")
        encoding = item.get("encoding")
        if encoding not in (None, "identity", "gzip"):
            raise BadRequest(f"{where}: the encoding {encoding!r} is not known, only gzip is.")
        taken = await self._content(where, item["data"], encoding == "gzip")
        taken.content_type = content_type
        if self._kept:
            taken.digest = digest or taken.digest
            taken.revpos = revpos
        return taken

    async def _content(self, where: str, data: Any, gzipped: bool) -> NewAttachment:
        if type(data) is str:
            try:
                data = base64.b64decode(data, validate=True)
            except (binascii.Error, ValueError):
                raise BadRequest(f"{where}: its data is not valid base64.") from None
        digests = _Digests(gzipped)
        if isinstance(data, (bytes, bytearray, memoryview)):
            whole = bytes(data)
            if len(whole) > min(_IN_MEMORY, self._room):
                return await self._staged_content(where, _pieces(whole), digests, _Gathered())
            return self._kept_in_memory(whole, digests)
        if not isinstance(data, AsyncIterable):
            raise InvalidDocument(f"{where}: its data must be base64 text, bytes or an asynchronous iterable of bytes.")
        stream = aiter(data)
        head = _Gathered()
        async for part in stream:
            head.add(part)
            if head.size > min(_IN_MEMORY, self._room):
                return await self._staged_content(where, stream, digests, head)
        return self._kept_in_memory(head.take(head.size), digests)

    def _kept_in_memory(self, data: bytes, digests: _Digests) -> NewAttachment:
        self._room -= len(data)
        digests.update(data)
        digests.finish()
        return _taken(digests, data, None)

    async def _staged_content(
        self, where: str, stream: AsyncIterator[bytes], digests: _Digests, gathered: _Gathered
    ) -> NewAttachment:
        content = await self._engine.write(contents.begin)
        self._staged.append(content)
        number = 0
        step = _STEP_CHUNKS * CHUNK
        async for part in stream:
            gathered.add(part)
            while gathered.size >= step:
                await self._append(content, number, gathered.take(step), digests)
                number += _STEP_CHUNKS
            if digests.stored > MAX_CONTENT - 2 * step:
                raise TooLarge(f"{where} is larger than {MAX_CONTENT:,} bytes.")
        if gathered.size:
            await self._append(content, number, gathered.take(gathered.size), digests)
        digests.finish()
        return _taken(digests, None, content)

    async def _append(self, content: int, number: int, data: bytes, digests: _Digests) -> None:
        def job(connection: apsw.Connection) -> None:
            view = memoryview(data)
            for n, offset in enumerate(range(0, len(data), CHUNK)):
                contents.append(connection, content, number + n, view[offset : offset + CHUNK])
            contents.touch(connection, content)

        hashed = asyncio.get_running_loop().run_in_executor(None, digests.update, data)
        await asyncio.gather(self._engine.write(job), hashed)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    size = _STEP_CHUNKS * CHUNK
    for offset in range(0, len(data), size):
        yield data[offset : offset + size]


def _taken(digests: _Digests, data: bytes | None, content: int | None) -> NewAttachment:
    return NewAttachment(
        content_type="",
        data=data,
        content=content,
        sha256=digests.sha256.digest(),
        digest="md5-" + base64.b64encode(digests.md5.digest()).decode(),
        length=digests.decoded,
        stored=digests.stored,
        encoding="gzip" if digests.gzipped else None,
    )


def outgoing(engine: Engine, name: str, row: tuple[Any, ...], start: int, end: int | None, encoded: bool) -> Attachment:
    """An attachment that is read as it is consumed.

    Args:
        row: ``content, content_type, digest, revpos, length, encoding, encoded_length, sha256``.

    Raises:
        RangeNotSatisfiable
    """
    content, content_type, digest, revpos, length, encoding, encoded_length, sha256 = row
    raw = encoded or encoding is None
    size = length if encoding is None or not encoded else encoded_length
    if start < 0 or (end is not None and end < start) or (start >= size and start > 0):
        raise RangeNotSatisfiable(f"Attachment {name!r} has {size:,} bytes; the range begins at {start:,}.")
    stop = size if end is None else min(end, size)

    def stream() -> AsyncIterator[bytes]:
        if raw:
            return _stored(engine, content, name, start, stop)
        return _decoded(engine, content, name, start, stop, encoded_length)

    return Attachment(
        name, content_type, size, digest, stream,
        revpos=revpos, encoding=encoding if encoded else None, start=start, end=stop,
        # The SHA-256 was made here, of what is stored; the revision's digest is what somebody said.
        checks=("sha256-" + base64.b64encode(sha256).decode(), digest) if raw else (),
    )  # fmt: skip


async def _stored(engine: Engine, content: int, name: str, start: int, stop: int) -> AsyncIterator[bytes]:
    position = start
    while position < stop:
        first = position // CHUNK
        count = min(_READ_CHUNKS, (stop - 1) // CHUNK - first + 1)
        parts = await engine.read(partial(contents.read_chunks, content=content, first=position // CHUNK, count=count))
        if not parts:
            raise NotFound(f"Attachment {name!r} was removed while it was read.")
        data = b"".join(parts)[position - first * CHUNK : stop - first * CHUNK]
        if not data:
            raise StorageError(f"Attachment {name!r} is shorter than its length says.")
        position += len(data)
        yield data


async def _decoded(engine: Engine, content: int, name: str, start: int, stop: int, stored: int) -> AsyncIterator[bytes]:
    position = 0
    decoder = Gunzip()
    async for data in _stored(engine, content, name, 0, stored):
        for piece in _cut(decoder.feed(data), start - position, stop - position):
            position += len(piece[0])
            if piece[1]:
                yield piece[1]
        if position >= stop:
            return


def _cut(pieces: Iterator[bytes], start: int, stop: int) -> Iterator[tuple[bytes, bytes]]:
    """Each piece, and what of it lies between ``start`` and ``stop``, counted from the first piece."""
    position = 0
    for piece in pieces:
        yield piece, piece[max(0, start - position) : max(0, stop - position)]
        position += len(piece)
        if position >= stop:
            return
