"""What a server remembers beside its databases: who it is, what signs its cookies, who its administrators are.

A file of the folder, readable by its owner alone: ``{"uuid", "secret", "admins": {name: password record}}``.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import InvalidJSON, StorageError
from peerpouch.identity import files

FILE: Final = "peerpouch-server.json"
_TYPE: Final = "peerpouch server"


class Settings:
    """The file's content. Methods that change it do so in the file first; they wait for the disk.

    Attributes:
        uuid: Identifies the server, 32 hexadecimal digits.
        secret: Signs cookies.
        admins: The administrators' password records, by name.
    """

    def __init__(self, path: Path, content: Mapping[str, Any]) -> None:
        self._path = path
        self._take(content)

    def _take(self, content: Mapping[str, Any]) -> None:
        try:
            self.uuid = str(content["uuid"])
            self.secret = bytes.fromhex(content["secret"])
            self.admins: dict[str, dict[str, Any]] = {
                str(name): dict(record) for name, record in content["admins"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            raise StorageError(f"{self._path} is damaged; put a backup in its place, or remove it.") from None

    @classmethod
    def load(cls, folder: Path) -> Settings:
        """Read the file of a folder, and make it if there is none.

        Raises:
            StorageError: it can't be read or made, is damaged, or others may read it.
        """
        path = folder / FILE
        with files.locked(path):
            content = _read(path)
            if content is None:
                content = {"type": _TYPE, "uuid": secrets.token_hex(16), "secret": secrets.token_hex(32), "admins": {}}
                files.replace(path, jsonio.dumps(content) + b"\n")
        return cls(path, content)

    def set_admin(self, name: str, record: Mapping[str, Any]) -> None:
        """Make somebody an administrator, or change the password."""
        self._change(lambda admins: admins.update({name: dict(record)}))

    def remove_admin(self, name: str) -> None:
        """Make somebody no administrator any more. Harmless if there is none of this name."""
        self._change(lambda admins: admins.pop(name, None))

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        with files.locked(self._path):
            content = _read(self._path)
            if content is None:
                raise StorageError(f"{self._path} is gone; start the server again.")
            change(content["admins"])
            files.replace(self._path, jsonio.dumps(content) + b"\n")
            self._take(content)


def _read(path: Path) -> dict[str, Any] | None:
    found = files.read(path)
    if found is None:
        return None
    data, status = found
    if sys.platform != "win32" and status.st_mode & 0o077:
        raise StorageError(f"{path} holds passwords, and others may read it: make its mode 0600.")
    try:
        content = jsonio.loads(data)
    except InvalidJSON:
        content = None
    if not isinstance(content, dict) or content.get("type") != _TYPE or not isinstance(content.get("admins"), dict):
        raise StorageError(f"{path} is no file of a peerpouch server, or is damaged.")
    return content
