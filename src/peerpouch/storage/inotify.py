"""Linux's notifications that a file was written, without a thread: inotify(7).

Two calls of the C library. The packages that wrap them search for that library with the compiler or ``ldconfig``,
which takes longer than all else that opening a database does, and those for several systems look several hundred times
a second whether there is news.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_EVENT: Final = struct.Struct("iIII")
"""``struct inotify_event`` without its name: watch, mask, cookie, length of the name."""
_MODIFY, _MOVED_TO, _CREATE, _OVERFLOW = 0x2, 0x80, 0x100, 0x4000
_READ: Final = 1 << 14
"""Bytes that are read at once: some hundred events."""


def available() -> bool:
    """Whether this system has it."""
    return sys.platform == "linux"


class FolderWatch:
    """Calls ``tell`` in the event loop whenever one of the files ``names`` in ``folder`` was written.

    Raises:
        OSError: the folder can't be watched, or there are too many watches already.
    """

    def __init__(self, folder: Path, names: Iterable[str], tell: Callable[[], None]) -> None:
        self._names = {os.fsencode(name) for name in names}
        self._tell = tell
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = _checked(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        try:
            _checked(libc.inotify_add_watch(self._fd, os.fsencode(folder), _MODIFY | _MOVED_TO | _CREATE))
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._fd, self._read)
        except BaseException:
            os.close(self._fd)
            raise

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            if any(mask & _OVERFLOW or name in self._names for mask, name in _events(os.read(self._fd, _READ))):
                self._tell()


def _events(data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        _, mask, _, length = _EVENT.unpack_from(data, at)
        at += _EVENT.size + length
        yield mask, data[at - length : at].rstrip(b"\0")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
