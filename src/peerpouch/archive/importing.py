"""Lines into a database."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from peerpouch.archive import lines
from peerpouch.errors import BadRequest, PeerPouchError, ProtocolError
from peerpouch.ports import Database, Document, DocumentRefused, WriteFailure, WriteResult

BATCH = 500
"""Documents in one write."""

BATCH_BYTES = 1 << 20
"""Bytes of lines in one write. At most two batches are held, one being written and one being read."""

SHOWN = 100
"""The most refused documents that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """What an import did so far.

    Attributes:
        written: Revisions that the database took, or had already.
        failed: Revisions that it refused.
        bytes: Bytes of lines read.
        refused: The first 100 that were refused, and why.
    """

    written: int = 0
    failed: int = 0
    bytes: int = 0
    refused: tuple[DocumentRefused, ...] = ()


async def import_database(
    database: Database,
    data: AsyncIterable[bytes],
    *,
    settings: bool = False,
    on_progress: Callable[[ImportProgress], None] | None = None,
) -> ImportProgress:
    """Write what :func:`export_database` gave, or any documents, one JSON object in a line.

    A document with a ``_rev`` is written as it is, with its history; the same import once more changes nothing. One
    without is a new document, and is refused as a conflict where there is one of its id. What is refused is counted and
    named, and the rest goes on. An import that ends in an error has written what came before, and may be repeated.

    Args:
        data: The bytes, in any pieces.
        settings: Take over ``_security`` and the limit of revisions from an export.
        on_progress: Called after each batch.

    Raises:
        InvalidJSON: a line is no JSON object; the reason has its number.
        BadRequest: the lines contradict each other, or the end of an export is missing.
        StorageError, ConnectionFailed: the database could not be written.
    """
    task = _Import(database, settings=settings, on_progress=on_progress)
    return await task.run(data)


class _Lines:
    """The lines that are read one after the other, by the import and by the attachments in turn."""

    def __init__(self, source: AsyncIterator[tuple[int, bytes]]) -> None:
        self._source = source
        self._next: tuple[int, bytes] | None = None
        self.number = 0
        self.bytes = 0

    async def peek(self) -> bytes | None:
        """The next line; ``None`` at the end."""
        if self._next is None:
            self._next = await anext(self._source, None)
        return None if self._next is None else self._next[1]

    async def take(self) -> dict[str, Any] | None:
        """The next line's object; ``None`` at the end."""
        line = await self.peek()
        if line is None or self._next is None:
            return None
        self.number, self._next = self._next[0], None
        self.bytes += len(line)
        return lines.decode(self.number, line)


class _Following(AsyncIterable[bytes]):
    """The bytes of an attachment that stand in the lines after its document; read once."""

    def __init__(self, source: _Lines, where: str, length: int, before: _Following | None) -> None:
        self._source = source
        self._where = where
        self._left = length
        self._before = before
        self._begun = False
        self.ended = False
        self.failure: PeerPouchError | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._begun or (self._before is not None and not self._before.ended):
            raise ProtocolError(f"{self._where} can be read in its turn and once only.")
        self._begun = True
        while self._left:
            try:
                piece = await self._piece()
            except PeerPouchError as error:
                self.failure = error
                raise
            yield piece
        self.ended = True

    async def skip(self) -> None:
        """Pass over what was not read."""
        self._begun = True
        while self._left:
            await self._piece()
        self.ended = True

    async def _piece(self) -> bytes:
        line = await self._source.take()
        text = None if line is None else line.get(lines.DATA)
        if type(text) is not str:
            raise BadRequest(
                f"Line {self._source.number}: {self._where} lacks {self._left:,} bytes: the export was cut off."
            )
        try:
            piece = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest(f"Line {self._source.number}: the data is not valid base64.") from None
        if not piece or len(piece) > self._left:
            raise BadRequest(f"Line {self._source.number}: {self._where} has another length than its document says.")
        self._left -= len(piece)
        return piece


def _take_following(doc: Document, source: _Lines) -> list[_Following]:
    """Put streams in place of the attachments that follow the document, and give them."""
    attachments = doc.get("_attachments")
    if type(attachments) is not dict:
        return []
    streams: list[_Following] = []
    for name, entry in attachments.items():
        if type(entry) is not dict or not entry.pop("follows", False):
            continue
        where = f"Attachment {name!r} of {doc.get('_id')!r}"
        length = lines.stored_length(entry)
        if length is None:
            raise BadRequest(f"Line {source.number}: {where} follows, and its length is not said.")
        entry["data"] = stream = _Following(source, where, length, streams[-1] if streams else None)
        streams.append(stream)
    return streams


class _Import:
    def __init__(
        self, database: Database, *, settings: bool, on_progress: Callable[[ImportProgress], None] | None
    ) -> None:
        self._database = database
        self._settings = settings
        self._on_progress = on_progress
        self._batch: list[Document] = []
        self._batch_bytes = 0
        self._batch_is_new = False
        self._writing: asyncio.Task[None] | None = None
        self._progress = ImportProgress()
        self._revisions = 0

    async def run(self, data: AsyncIterable[bytes]) -> ImportProgress:
        async with aclosing(lines.split(data)) as source:
            try:
                await self._read(_Lines(source))
                await self._written()
            finally:
                if self._writing is not None:
                    # A cancelled write is done or not done; either way nothing goes on behind the caller's back.
                    self._writing.cancel()
                    await asyncio.gather(self._writing, return_exceptions=True)
        return self._progress

    async def _read(self, source: _Lines) -> None:
        is_export = ended = False
        while (item := await source.take()) is not None:
            if ended:
                raise BadRequest(f"Line {source.number}: there is more after the end of the export.")
            if lines.HEADER in item:
                is_export = True
                await self._header(item[lines.HEADER], source.number)
            elif lines.END in item:
                ended = True
                self._check_end(item[lines.END], source.number)
            elif lines.DATA in item:
                raise BadRequest(f"Line {source.number}: this data belongs to no attachment.")
            else:
                await self._document(item, source)
        await self._flush()
        if is_export and not ended:
            await self._written()
            raise BadRequest(
                f"The export was cut off after line {source.number}: {self._progress.written:,} revisions of it were "
                "written, and there were more."
            )

    async def _header(self, header: Any, number: int) -> None:
        if type(header) is not dict or header.get("format") != lines.FORMAT:
            raise BadRequest(f"Line {number}: an export of a format that this version does not know.")
        if self._settings:
            if type(header.get("security")) is dict:
                await self._database.put_security(header["security"])
            if type(header.get("revs_limit")) is int:
                await self._database.put_revs_limit(header["revs_limit"])

    def _check_end(self, end: Any, number: int) -> None:
        expected = end.get("revisions") if type(end) is dict else None
        if expected != self._revisions:
            raise BadRequest(f"Line {number}: the export should have {expected} revisions, and has {self._revisions}.")

    async def _document(self, doc: Document, source: _Lines) -> None:
        self._revisions += 1
        is_new = "_rev" not in doc
        if self._batch and is_new != self._batch_is_new:
            await self._flush()
        self._batch_is_new = is_new
        following = _take_following(doc, source)
        if following:
            await self._flush()
            self._batch = [doc]
            await self._streamed(following)
        else:
            self._batch.append(doc)
            self._batch_bytes += source.bytes - self._progress.bytes
        self._progress = replace(self._progress, bytes=source.bytes)
        if len(self._batch) >= BATCH or self._batch_bytes >= BATCH_BYTES:
            await self._flush()

    async def _streamed(self, following: list[_Following]) -> None:
        """Write the one document of the batch. Its attachments read on in the lines, so nothing else may meanwhile."""
        try:
            await self._flush()
            await self._written()
        finally:
            # What was wrong with the lines says more than what the database made of it.
            failure = next((stream.failure for stream in following if stream.failure is not None), None)
            if failure is not None:
                raise failure
        for stream in following:
            await stream.skip()

    async def _flush(self) -> None:
        """Begin to write the batch in hand, once the one before is written."""
        await self._written()
        if self._batch:
            batch, self._batch, self._batch_bytes = self._batch, [], 0
            self._writing = asyncio.ensure_future(self._write(batch, self._batch_is_new))

    async def _written(self) -> None:
        if self._writing is not None:
            await asyncio.shield(self._writing)
            self._writing = None
            if self._on_progress is not None:
                self._on_progress(self._progress)

    async def _write(self, docs: list[Document], is_new: bool) -> None:
        results = await self._database.bulk_docs(docs, new_edits=is_new)
        if len(results) != len(docs):
            raise ProtocolError(f"The database gave {len(results)} results for {len(docs)} documents.")
        self._count(docs, results)

    def _count(self, docs: list[Document], results: list[WriteResult]) -> None:
        failures = [
            DocumentRefused(result.id, str(doc.get("_rev", "")), result.error.reason)
            for doc, result in zip(docs, results, strict=True)
            if isinstance(result, WriteFailure)
        ]
        self._progress = replace(
            self._progress,
            written=self._progress.written + len(docs) - len(failures),
            failed=self._progress.failed + len(failures),
            refused=(*self._progress.refused, *failures)[:SHOWN],
        )
