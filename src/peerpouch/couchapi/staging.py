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
    * Where there is a folder for it, what came is kept in a file too (:mod:`peerpouch.couchapi.spool`). One that rests
      for long, or whose process ends, is *saved*: there is only the file, and its write begins anew from it, by the
      rights of whoever goes on.
    * Nothing of it is promised: whoever finds an upload gone begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

from peerpouch.couchapi import spool
from peerpouch.couchapi.spool import Key, Saved, Spool
from peerpouch.errors import (
    BadRequest,
    ConnectionFailed,
    DatabaseClosed,
    DigestMismatch,
    PeerPouchError,
    RangeNotSatisfiable,
    StorageError,
    TooManyRequests,
)
from peerpouch.ports import Database, Written

EACH: Final = 8
"""Uploads of one visitor: as many documents with large attachments as one replication has under way."""

ALL: Final = 32
"""Uploads of all: each may hold some 4 MiB that were not enough for a transaction yet, so 128 MiB together."""

ALL_SAVED: Final = 64
"""Saved uploads of all, which are files: twice as many as there may be under way when a process is killed."""

EACH_BYTES: Final = 64 << 30
ALL_BYTES: Final = 256 << 30
"""Bytes that the uploads of one visitor, and of all, may announce: what can lie on the disk for nothing."""

REST: Final = 3600.0
"""Seconds without a byte after which an upload is given up, or saved. Far below the day after which storage takes what
was staged for abandoned; longer than trains' tunnels and lunches."""

SAVED: Final = 24 * 3600.0
"""Seconds without a byte after which a saved upload is removed: a laptop that was closed in the evening goes on."""

_REPLAY: Final = 1 << 20
"""Bytes that are read of a file at once: a hop to a thread costs little beside them."""

KEPT: Final = 60.0
"""Seconds that the result of a finished one is kept for who lost the answer."""

DIGEST: Final = 32
"""Bytes of the SHA-256 at the end of a body."""

WITHHELD: Final = 128
"""Bytes at the end that are given last: the digest, and the longest closing delimiter there can be (76 bytes)."""

Write = Callable[[AsyncGenerator[bytes, None]], Awaitable[Written]]


class Upload:
    """One of them. Made by :meth:`Uploads.begin`.

    Attributes:
        database: As its owner was allowed to see it when it began.
        length: Bytes in all, with the digest.
        offset: Bytes taken.
        ended: It was given up; the write that it was for may take a moment to see it.
        keep: Its file stays when it ends.
    """

    def __init__(
        self, key: Key, database: Database, doc_id: str, length: int, write: Write, spool: Spool | None = None
    ) -> None:
        self.key = key
        self.database = database
        self.doc_id = doc_id
        self.length = length
        self.spool = spool
        self.offset = 0 if spool is None else spool.had
        self._given = 0
        self.moved = asyncio.get_running_loop().time()
        self._turn = 0
        self._attached = 0
        self._hash = hashlib.sha256()
        self._end = bytearray()
        self._complete = False
        self.ended = False
        self.keep = False
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
            await self._replay(turn)
            async for data in body:
                self._check(turn)
                self._add(data)
                if self.spool is not None:
                    await self.spool.room()
                    self._check(turn)
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
        self._given += len(data)
        self.moved = asyncio.get_running_loop().time()
        if self.spool is not None:
            self.spool.add(data)

    async def _replay(self, turn: int) -> None:
        """Give the write what a file has, which another one was given before."""
        while self.spool is not None and self._given < self.spool.had and not self.task.done():
            try:
                data = await self.spool.read(self._given, _REPLAY)
            except StorageError:
                data = b""
            self._check(turn)
            if not data:
                self.end()
                raise ConnectionFailed("What came of the upload before can't be read; begin it anew.")
            self._end += data
            self._given += len(data)
            await self._drain(turn)

    async def _drain(self, turn: int) -> None:
        ready = len(self._end) - WITHHELD
        if ready > 0:
            await self._pass(ready, turn)
        if self._given == self.length and not self._complete:
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


def _written(task: asyncio.Task[Written]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


class Uploads:
    """The uploads of one application.

    Args:
        rest: Seconds without a byte after which one is given up, or saved.
        folder: Where to keep what comes for a database, by its name in the path; ``None`` where there is no place.
    """

    def __init__(self, *, rest: float = REST, folder: Callable[[str], Path | None] = lambda name: None) -> None:
        self._rest = rest
        self._folder = folder
        self._known: dict[Key, Upload] = {}
        self._saved: dict[Key, Saved] = {}
        self._ending: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    async def restore(self, folders: Iterable[Path]) -> None:
        """Find what earlier processes left in these folders, and remove what is too old."""
        oldest = spool.now() - SAVED
        for folder in folders:
            for saved in await asyncio.to_thread(spool.scan, folder, oldest):
                if saved.key not in self._known:
                    self._saved[saved.key] = saved
        self._sweep()

    def _sweep(self) -> None:
        """Remove what is too old, now and then."""
        oldest = spool.now() - SAVED
        for saved in [saved for saved in self._saved.values() if saved.moved < oldest]:
            self.forget(saved)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._saved and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(REST, self._sweep)

    def find(self, key: Key) -> Upload | None:
        """The upload, if there is one for them."""
        upload = self._known.get(key)
        return None if upload is None or upload.ended else upload

    def saved(self, key: Key) -> Saved | None:
        """What a file has of it, if there is one for them, and it is not under way."""
        return self._saved.get(key)

    def forget(self, saved: Saved) -> None:
        """Remove a saved one."""
        if self._saved.get(saved.key) is saved:
            del self._saved[saved.key]
        self._later(asyncio.to_thread(saved.remove))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def begin(
        self, key: Key, database: Database, doc_id: str, length: int, write: Write, content_type: str | None = None
    ) -> Upload:
        """Begin one, in place of resting ones of the same visitor where these are too many.

        Raises:
            BadRequest: so short a body has no digest.
            TooManyRequests: there are too many, or too large ones; it goes in one request, as ever.
        """
        if length <= WITHHELD:
            raise BadRequest(f"An upload has more than {WITHHELD} bytes.")
        self._make_room(key.who, length)
        folder = self._folder(key.database)
        kept = None if folder is None else spool.begin(folder, key, doc_id, length, content_type)
        return self._start(Upload(key, database, doc_id, length, write, kept))

    def resume(self, saved: Saved, database: Database, write: Write) -> Upload:
        """Go on with a saved one.

        Raises:
            RangeNotSatisfiable: it is gone.
            TooManyRequests: too many are under way.
        """
        del self._saved[saved.key]
        try:
            self._make_room(saved.key.who, saved.length)
            kept = spool.resume(saved)
        except TooManyRequests:
            self._saved[saved.key] = saved
            raise
        if kept is None:
            raise RangeNotSatisfiable("Nothing of this upload is here any more: it begins at byte 0.")
        return self._start(Upload(saved.key, database, saved.doc_id, saved.length, write, kept))

    def _start(self, upload: Upload) -> Upload:
        self._known[upload.key] = upload
        self._ending.add(upload.task)
        upload.task.add_done_callback(lambda task: self._ended(upload, task))
        self._watch(upload)
        return upload

    def _make_room(self, who: str, length: int) -> None:
        own = [upload for upload in self._known.values() if upload.key.who == who]
        own.sort(key=lambda upload: (not upload.task.done(), upload.moved))
        saved = sorted(self._saved.values(), key=lambda each: each.moved)
        own_saved = [each for each in saved if each.key.who == who]
        of_theirs: list[Upload | Saved] = [*own_saved, *own]
        count, size = len(of_theirs), sum(each.length for each in of_theirs)
        dropped: list[Upload | Saved] = []
        for each in of_theirs:
            if count < EACH and size + length <= EACH_BYTES:
                break
            if isinstance(each, Saved) or each.resting:
                dropped.append(each)
                count, size = count - 1, size - each.length
        live = len(self._known) - sum(isinstance(each, Upload) for each in dropped)
        everything: list[Upload | Saved] = [*self._known.values(), *saved]
        total = sum(each.length for each in everything) - sum(each.length for each in dropped)
        while total + length > ALL_BYTES and (oldest := self._superfluous(dropped)) is not None:
            dropped.append(oldest)
            total -= oldest.length
        full = count >= EACH or live >= ALL or size + length > EACH_BYTES or total + length > ALL_BYTES
        if self._closed or full:
            # What others have under way is never ended for it: who floods this place keeps newcomers to one request for
            # each document.
            raise TooManyRequests("There are too many uploads; send the document in one request.")
        for each in dropped:
            if isinstance(each, Saved):
                self.forget(each)
            else:
                self.drop(each)

    def _superfluous(self, dropped: Iterable[Upload | Saved] = ()) -> Saved | None:
        """The saved one that goes first: the oldest of whoever has most of them."""
        left = [saved for saved in self._saved.values() if saved not in dropped]
        held = Counter(saved.key.who for saved in left)
        return min(left, key=lambda saved: (-held[saved.key.who], saved.moved), default=None)

    def drop(self, upload: Upload) -> None:
        """Forget one, with what is kept of it; what it wrote stays written."""
        self._remove(upload)
        if upload.spool is not None:
            self._later(upload.spool.remove())

    def _remove(self, upload: Upload) -> None:
        if self._known.get(upload.key) is upload:
            del self._known[upload.key]
        upload.end()

    async def _save(self, upload: Upload) -> None:
        """End one that rests, and keep what came of it where there is a file."""
        upload.keep = not _written(upload.task)
        self._remove(upload)
        kept = upload.spool
        if kept is None or not upload.keep:
            self.drop(upload)
            return
        await kept.close()
        saved = await asyncio.to_thread(kept.saved)
        if saved is not None and saved.key not in self._known:
            self._saved[saved.key] = saved
            while len(self._saved) > ALL_SAVED and (oldest := self._superfluous()) is not None:
                self.forget(oldest)
            self._sweep()

    def _ended(self, upload: Upload, task: asyncio.Task[Written]) -> None:
        self._ending.discard(task)
        upload.moved = asyncio.get_running_loop().time()
        closed = not task.cancelled() and isinstance(task.exception(), DatabaseClosed)
        if closed and self._known.get(upload.key) is upload:
            self._later(self._save(upload))
        elif not upload.keep:
            if upload.spool is not None:
                self._later(upload.spool.remove())
            if not _written(task):
                # Whoever waits for it is told; who comes later begins anew, and is told then.
                self._remove(upload)

    def _watch(self, upload: Upload) -> None:
        if self._known.get(upload.key) is not upload:
            return
        loop = asyncio.get_running_loop()
        patience = min(KEPT, self._rest) if upload.task.done() else self._rest
        left = upload.moved + patience - loop.time()
        if left <= 0:
            self._later(self._save(upload))
        else:
            # A finished one is looked for sooner than one that rests.
            upload.timer = loop.call_later(min(left, KEPT), self._watch, upload)

    async def close(self) -> None:
        """End all; what came of them stays in their files."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(*(self._save(upload) for upload in list(self._known.values())))
        while self._ending:
            await asyncio.wait(self._ending)
