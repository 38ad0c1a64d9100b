"""A disk that can lose power: an SQLite VFS that records what is written and what is synced.

:class:`Disk` keeps a log of every write, truncation and sync. :meth:`Disk.after_cut` then makes what a disk may hold
when power fails at a given moment: all that was synced before is there, and of what was written since the file's last
sync, any part may be: each write is kept, dropped or torn at a sector, in any order.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Op:
    """What happened to a file: a write at an offset, a truncation (``data`` is None), a sync or a deletion."""

    kind: str
    file: str
    offset: int = 0
    data: bytes | None = None


class Disk(apsw.VFS):
    """A VFS that records; registered under its name until it is closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.log: list[Op] = []
        self._lock = threading.Lock()
        super().__init__(name, "")

    def record(self, op: Op) -> None:
        with self._lock:
            self.log.append(op)

    def now(self) -> int:
        """The present moment: how many operations there were."""
        with self._lock:
            return len(self.log)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        self.record(Op("delete", Path(filename).name))

    def syncs(self) -> list[int]:
        """The moments just after each sync."""
        return [n for n, op in enumerate(self.log, 1) if op.kind == "sync"]

    def after_cut(self, moment: int, folder: Path, rng: random.Random) -> None:
        """Put into a folder what the disk may hold when power fails at a moment."""
        files: dict[str, bytearray] = {}
        unsynced: dict[str, list[Op]] = {}
        for op in self.log[:moment]:
            if op.kind == "delete":
                files.pop(op.file, None)
                unsynced.pop(op.file, None)
            elif op.kind == "sync":
                for pending in unsynced.pop(op.file, []):
                    _apply(files, pending)
            else:
                unsynced.setdefault(op.file, []).append(op)
        for pending_ops in unsynced.values():
            for pending in rng.sample(pending_ops, len(pending_ops)):
                if (torn := _tear(pending, rng)) is not None:
                    _apply(files, torn)
        for name, data in files.items():
            (folder / name).write_bytes(data)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary").name
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self._disk.record(Op("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self._disk.record(Op("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.record(Op("sync", self._name))


def _apply(files: dict[str, bytearray], op: Op) -> None:
    content = files.setdefault(op.file, bytearray())
    if op.data is None:
        del content[op.offset :]
        content.extend(bytes(op.offset - len(content)))
        return
    if len(content) < op.offset:
        content.extend(bytes(op.offset - len(content)))
    content[op.offset : op.offset + len(op.data)] = op.data


def _tear(op: Op, rng: random.Random) -> Op | None:
    fate = rng.random()
    if fate < 0.4:
        return None
    if fate < 0.7 or op.data is None or len(op.data) <= _SECTOR:
        return op
    cut = rng.randrange(_SECTOR, len(op.data), _SECTOR)
    if rng.random() < 0.5:
        return Op(op.kind, op.file, op.offset, op.data[:cut])
    return Op(op.kind, op.file, op.offset + cut, op.data[cut:])
