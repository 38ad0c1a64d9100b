"""Small private files that several processes read and replace at the same time.

A reader sees the old content or the new, never a part: new content goes to a temporary file in the same folder, to
the disk, and then takes the name. Writers take turns by a lock on a file beside it, so none loses another's change.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from peerpouch.errors import StorageError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LIMIT = 4 << 20
"""Bytes read of a file at most: 10,000 remembered names with room to spare."""


def data_folder() -> Path:
    """Where a user's identity and contacts live: ``$PEERPOUCH_HOME``, or the platform's folder for user data."""
    override = os.environ.get("PEERPOUCH_HOME")
    return Path(override) if override else platformdirs.user_data_path("peerpouch", appauthor=False)


def read(path: Path) -> tuple[bytes, os.stat_result] | None:
    """The file's content, and what ``fstat`` says of the very file that was read; None if there is none.

    Raises:
        StorageError: if it can't be read or is unreasonably large.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror or error}.") from None
    if len(content) > _LIMIT:
        raise StorageError(f"{path} is larger than {_LIMIT} bytes; it is not a file of peerpouch.")
    return content, status


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep every other writer of ``path`` out. Makes its folder, for this user alone, if there is none.

    Raises:
        StorageError: if the folder or the lock can't be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}.") from None
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)  # which releases the lock


def _lock(descriptor: int, path: Path) -> None:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        raise StorageError(f"{path} can't be locked: {error.strerror or error}.") from None


def replace(path: Path, content: bytes) -> None:
    """Make ``content`` the file's content, readable by this user alone. Call it inside :func:`locked`.

    Raises:
        StorageError: if it can't be written; the old content is then still there.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600 from the start
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}.") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, where a folder can be opened at all."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
