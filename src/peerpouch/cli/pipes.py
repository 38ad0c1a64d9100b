"""Bytes from and to files, pipes and terminals, without the event loop waiting for any of them.

A pipe may stand still for hours: ``… | less``, or ``-`` with nobody at the keyboard. So reads and writes are done by a
thread that nothing waits for when the process ends, and on bare file descriptors, whose calls hold no lock of Python's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from peerpouch.errors import BadRequest, DiskFull, PeerPouchError, StorageError

BLOCK = 1 << 20
"""Bytes that are read at once: the hop to the thread and back costs little beside them."""

DASH = "-"
"""Standard input or output, in place of a file."""

_POSIX = os.name == "posix"


class _Background:
    """A thread that does one thing after another."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._work, name="peerpouch-pipe", daemon=True).start()

    async def do(self, job: Callable[[], Any]) -> Any:
        done: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put((job, done))
        return await done

    def end(self) -> None:
        """End the thread after what it has to do."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            result: Any = None
            failure: OSError | None = None
            try:
                result = job()
            except OSError as error:
                failure = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._settle, done, result, failure)

    @staticmethod
    def _settle(done: asyncio.Future[Any], result: Any, failure: OSError | None) -> None:
        if done.done():
            return  # nobody waits any more
        if failure is not None:
            done.set_exception(failure)
        else:
            done.set_result(result)


async def read(path: str, on_bytes: Callable[[int], None] = lambda size: None) -> AsyncGenerator[bytes, None]:
    """The bytes of a file, or of standard input for ``-``.

    Args:
        on_bytes: Called with the size of each block.

    Raises:
        BadRequest: it can't be opened or read.
    """
    background = _Background()
    file: BinaryIO | None = None
    try:
        if path != DASH:
            file = Path(path).open("rb", buffering=0)  # noqa: ASYNC230, SIM115 - closed below; opening waits for nothing
        number = sys.stdin.fileno() if file is None else file.fileno()
        while block := await background.do(lambda: os.read(number, BLOCK)):
            on_bytes(len(block))
            yield block
    except OSError as error:
        raise BadRequest(f"{path} can't be read: {error.strerror}.") from None
    finally:
        background.end()
        if file is not None:
            file.close()


def size_of(path: str) -> int | None:
    """Bytes of a file; ``None`` where that can't be known, or there is no file."""
    try:
        status = sys.stdin.fileno() if path == DASH else path
        found = os.stat(status)  # noqa: PTH116 - of a file or a descriptor
    except OSError:
        return None
    return found.st_size or None


class Output:
    """Where bytes go: standard output, or a file that has its name only once it is whole.

    Use it in ``async with``; leaving it with an error leaves no file behind.
    """

    def __init__(self, path: str = DASH) -> None:
        self._path = path
        self._background = _Background()
        self._file: BinaryIO | None = None
        self._unfinished = Path(f"{path}.partial")

    async def __aenter__(self) -> Self:
        if self._path != DASH:
            with _told(self._path):
                self._file = await self._background.do(lambda: self._unfinished.open("wb", buffering=0))
        return self

    async def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            DiskFull, StorageError: the file can't be written.
            BrokenPipeError: whoever read standard output has gone.
        """
        number = sys.stdout.fileno() if self._file is None else self._file.fileno()
        if self._file is None:
            await self._background.do(lambda: _write_all(number, data))
            return
        with _told(self._path):
            await self._background.do(lambda: _write_all(number, data))

    async def text(self, lines: list[str]) -> None:
        """Write lines of text."""
        if lines:
            await self.write("".join([f"{line}\n" for line in lines]).encode("utf-8", "replace"))

    async def copy(self, source: AsyncIterable[bytes], on_bytes: Callable[[int], None] = lambda size: None) -> int:
        """Write all that comes; gives how many bytes."""
        total = 0
        async for data in source:
            await self.write(data)
            total += len(data)
            on_bytes(len(data))
        return total

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, self._file = self._file, None
        if file is not None:
            # Here, and not in the thread: this must be done even while a cancelled command ends.
            with _told(self._path):
                if kind is None:
                    os.fsync(file.fileno())
                self._end(file, whole=kind is None)
        self._background.end()

    def _end(self, file: BinaryIO, *, whole: bool) -> None:
        """Close the file, and give it its name or remove it."""
        file.close()
        self._settle(whole=whole)

    def _settle(self, *, whole: bool) -> None:
        if whole:
            self._unfinished.replace(self._path)
        else:
            self._unfinished.unlink(missing_ok=True)


class Partial(Output):
    """A file that is gone on with where an earlier process ended.

    What came so far stands in ``FILE.TAG.partial``, which stays when it is left with an error, unless it is empty.

    Args:
        tag: Of the content, so that another content is never put behind it.

    Attributes:
        size: Bytes that are there.
    """

    def __init__(self, path: str, tag: str) -> None:
        super().__init__(path)
        self.unfinished = self._unfinished = Path(f"{path}.{tag}.partial")
        self.size = 0

    async def __aenter__(self) -> Self:
        with _told(self._path):
            self._file = await self._background.do(lambda: self._unfinished.open("ab", buffering=0))
        try:
            if not (_lock(self._file.fileno()) and self._is_named(self._file)):
                raise BadRequest(f"{self._path} is being written by another process.")
            self.size = os.fstat(self._file.fileno()).st_size
        except BaseException:
            self._file.close()
            self._background.end()
            raise
        return self

    async def begin_again(self) -> None:
        """Forget what is there."""
        file = self._file
        if file is not None:
            with _told(self._path):
                await self._background.do(lambda: file.truncate(0))
        self.size = 0

    def _is_named(self, file: BinaryIO) -> bool:
        """Whether it still has the name by which it was opened: who had it locked may have finished it."""
        try:
            return not _POSIX or os.path.samestat(os.fstat(file.fileno()), self.unfinished.stat())
        except OSError:
            return False

    def _end(self, file: BinaryIO, *, whole: bool) -> None:
        # The lock ends with the file: whoever gets it next must not find the name of what is finished. Windows, where
        # nothing is locked, renames no open file.
        if not _POSIX:
            file.close()
        try:
            if whole or not self.size:
                self._settle(whole=whole)
        finally:
            file.close()


def _lock(number: int) -> bool:
    """Whether a file is this process's alone, until it is closed. Where there are no such locks, it is taken to be."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _write_all(number: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]


class _told:
    """Errors of a file, as errors of peerpouch's."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise _file_error(self._path, error) from None


def _file_error(path: str, error: OSError) -> PeerPouchError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"There is no room for {path}.")
    return StorageError(f"{path} can't be written: {error.strerror}.")
