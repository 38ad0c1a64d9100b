"""Uploads that outlive the connection over which they come.

The body of a document's PUT is taken in pieces, by as many requests as the line needs. One task writes the document
from it, as it would from the body of one request, and waits where the bytes end until the next request brings more. So
there is nothing that could be named to get at content: no revision ever refers to an upload, and what the write needs
(the gate, the transaction, the chunks that storage stages and discards) is what it has always been.

Rules
    * An upload belongs to who began it, and to the database of the path. To everybody else it does not exist.
    * Bytes are taken in order, each once. Who asks how many came ends the request that brought them so far: its
      connection is gone, though nobody may have noticed, and nothing may come over it any more.
    * The body ends with its own SHA-256. The last ``WITHHELD`` bytes are given to the write only when it was compared,
      and the end of the last attachment is among them: what differs in a bit, or in its length, is never written.
    * Who may not write any more when all has come does not write it.
    * Nothing of it is promised: whoever finds an upload gone begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from typing import Final

from peerpouch.errors import (
    BadRequest,
    ConnectionFailed,
    DigestMismatch,
    PeerPouchError,
    RangeNotSatisfiable,
    TooManyRequests,
)
from peerpouch.ports import Database, Written

EACH: Final = 8
"""Uploads of one visitor: as many documents with large attachments as one replication has under way."""

ALL: Final = 32
"""Uploads of all: each may hold some 4 MiB that were not enough for a transaction yet, so 128 MiB together."""

EACH_BYTES: Final = 64 << 30
ALL_BYTES: Final = 256 << 30
"""Bytes that the uploads of one visitor, and of all, may announce: what can lie on the disk for nothing."""

REST: Final = 3600.0
"""Seconds without a byte after which an upload is given up. Far below the day after which storage takes what was staged
for abandoned; longer than trains' tunnels and lunches."""

KEPT: Final = 60.0
"""Seconds that the result of a finished one is kept for who lost the answer."""

DIGEST: Final = 32
"""Bytes of the SHA-256 at the end of a body."""

WITHHELD: Final = 128
"""Bytes at the end that are given last: the digest, and the longest closing delimiter there can be (76 bytes)."""

Write = Callable[[AsyncGenerator[bytes, None]], Awaitable[Written]]
Key = tuple[Hashable, str, str]
"""Who, which database, which upload."""


class Upload:
    """One of them. Made by :meth:`Uploads.begin`.

    Attributes:
        database: As its owner was allowed to see it when it began.
        length: Bytes in all, with the digest.
        offset: Bytes taken.
        ended: It was given up; the write that it was for may take a moment to see it.
    """

    def __init__(self, key: Key, database: Database, doc_id: str, length: int, write: Write) -> None:
        self.key = key
        self.database = database
        self.doc_id = doc_id
        self.length = length
        self.offset = 0
        self.moved = asyncio.get_running_loop().time()
        self._turn = 0
        self._attached = 0
        self._hash = hashlib.sha256()
        self._end = bytearray()
        self._complete = False
        self.ended = False
        self.timer: asyncio.TimerHandle | None = None
        self._chunk: bytes | None = None
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self.task: asyncio.Task[Written] = asyncio.ensure_future(self._run(write))
        self.task.add_done_callback(lambda _: self._room.set())

    @property
    def resting(self) -> bool:
        """Whether no request brings more of it."""
        return not self._attached

    async def _run(self, write: Write) -> Written:
        return await write(self._body())

    async def _body(self) -> AsyncGenerator[bytes, None]:
        given = 0
        while given < self.length - DIGEST:
            while self._chunk is None:
                self._filled.clear()
                await self._filled.wait()
            data, self._chunk = self._chunk, None
            self._room.set()
            given += len(data)
            yield data

    def interrupt(self) -> None:
        """End the request that brings it: nothing of what it still has is taken."""
        self._turn += 1
        self._room.set()

    async def take(self, offset: int, body: AsyncGenerator[bytes, None]) -> Written | None:
        """Go on at this byte. The result, or ``None`` if the body ended before the upload did.

        Raises:
            RangeNotSatisfiable: this is not the byte where it goes on.
            BadRequest: more came than was announced; the upload has ended.
            DigestMismatch: what came is not what was sent; the upload has ended.
            ConnectionFailed: another request has taken it over.
            PeerPouchError: what the write met.
        """
        if offset != self.offset:
            raise RangeNotSatisfiable(f"The upload goes on at byte {self.offset}, and not at {offset}.")
        self.interrupt()
        turn = self._turn
        self._attached += 1
        try:
            async for data in body:
                self._check(turn)
                self._add(data)
                await self._drain(turn)
                if self.task.done():
                    break
            self._check(turn)
            await self._drain(turn)  # what a request that was cut off left behind
        finally:
            self._attached -= 1
            self.moved = asyncio.get_running_loop().time()
        if self.offset < self.length and not self.task.done():
            return None
        await asyncio.wait({self.task})
        if self.task.cancelled():
            raise ConnectionFailed("The upload was given up; begin it anew.")
        return self.task.result()

    def _check(self, turn: int) -> None:
        if turn != self._turn:
            raise ConnectionFailed("Another request goes on with this upload.")

    def _add(self, data: bytes) -> None:
        """Take bytes, in one step: those that were counted are kept, whoever is cancelled afterwards."""
        if self.offset + len(data) > self.length:
            self.end()
            raise BadRequest(f"The upload was to have {self.length} bytes, and more came.")
        self._end += data
        self.offset += len(data)
        self.moved = asyncio.get_running_loop().time()

    async def _drain(self, turn: int) -> None:
        ready = len(self._end) - WITHHELD
        if ready > 0:
            await self._pass(ready, turn)
        if self.offset == self.length and not self._complete:
            await self._finish(turn)

    async def _pass(self, size: int, turn: int) -> None:
        """Hand bytes to the write, when it has room for them."""
        while self._chunk is not None and not self.task.done():
            self._room.clear()
            await self._room.wait()
            self._check(turn)
        chunk = bytes(self._end[:size])
        del self._end[:size]
        self._hash.update(chunk)
        self._chunk = chunk
        self._filled.set()

    async def _finish(self, turn: int) -> None:
        try:
            await self.database.check_write(self.doc_id)
        except PeerPouchError:
            self.end()
            raise
        self._check(turn)
        content = bytes(self._end[:-DIGEST])
        digest = self._hash.copy()
        digest.update(content)
        if digest.digest() != self._end[-DIGEST:] and not self.task.done():
            self.end()
            raise DigestMismatch("What came of the upload is not what was sent.")
        await self._pass(len(content), turn)
        self._complete = True

    def end(self) -> None:
        """Give it up: the write is cancelled, and discards what it staged."""
        self.ended = True
        self.interrupt()
        self.task.cancel()
        if self.timer is not None:  # which would keep it in memory
            self.timer.cancel()


class Uploads:
    """The uploads of one application.

    Args:
        rest: Seconds without a byte after which one is given up.
    """

    def __init__(self, *, rest: float = REST) -> None:
        self._rest = rest
        self._known: dict[Key, Upload] = {}
        self._ending: set[asyncio.Task[Written]] = set()
        self._closed = False

    def find(self, key: Key) -> Upload | None:
        """The upload, if there is one for them."""
        upload = self._known.get(key)
        return None if upload is None or upload.ended else upload

    def begin(self, key: Key, database: Database, doc_id: str, length: int, write: Write) -> Upload:
        """Begin one, in place of resting ones of the same visitor where these are too many.

        Raises:
            BadRequest: so short a body has no digest.
            TooManyRequests: there are too many, or too large ones; it goes in one request, as ever.
        """
        if length <= WITHHELD:
            raise BadRequest(f"An upload has more than {WITHHELD} bytes.")
        self._make_room(key[0], length)
        upload = self._known[key] = Upload(key, database, doc_id, length, write)
        self._ending.add(upload.task)
        upload.task.add_done_callback(lambda task: self._ended(upload, task))
        self._watch(upload)
        return upload

    def _make_room(self, who: Hashable, length: int) -> None:
        own = [upload for upload in self._known.values() if upload.key[0] == who]
        own.sort(key=lambda upload: (not upload.task.done(), upload.moved))
        count, size = len(own), sum(upload.length for upload in own)
        dropped: list[Upload] = []
        for upload in own:
            if count < EACH and size + length <= EACH_BYTES:
                break
            if upload.resting:
                dropped.append(upload)
                count, size = count - 1, size - upload.length
        left = len(self._known) - len(dropped)
        total = sum(upload.length for upload in self._known.values()) - sum(upload.length for upload in dropped)
        full = count >= EACH or left >= ALL or size + length > EACH_BYTES or total + length > ALL_BYTES
        if self._closed or full:
            # Others' are never ended for it: who floods this place keeps newcomers to one request for each document.
            raise TooManyRequests("There are too many uploads; send the document in one request.")
        for upload in dropped:
            self.drop(upload)

    def drop(self, upload: Upload) -> None:
        """Forget one; what it wrote stays written."""
        if self._known.get(upload.key) is upload:
            del self._known[upload.key]
        upload.end()

    def _ended(self, upload: Upload, task: asyncio.Task[Written]) -> None:
        self._ending.discard(task)
        upload.moved = asyncio.get_running_loop().time()
        if (task.cancelled() or task.exception() is not None) and self._known.get(upload.key) is upload:
            # Whoever waits for it is told; who comes later begins anew, and is told then.
            del self._known[upload.key]
            upload.end()

    def _watch(self, upload: Upload) -> None:
        if self._known.get(upload.key) is not upload:
            return
        loop = asyncio.get_running_loop()
        patience = min(KEPT, self._rest) if upload.task.done() else self._rest
        left = upload.moved + patience - loop.time()
        if left <= 0:
            self.drop(upload)
        else:
            # A finished one is looked for sooner than one that rests.
            upload.timer = loop.call_later(min(left, KEPT), self._watch, upload)

    async def close(self) -> None:
        """End all."""
        self._closed = True
        for upload in list(self._known.values()):
            self.drop(upload)
        await asyncio.gather(*self._ending, return_exceptions=True)
