"""What a string or path given for a database means."""

from __future__ import annotations

import os
import re
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple, TypeGuard
from urllib.parse import unquote, urlsplit

from peerpouch.errors import BadRequest

# A scheme of two characters or more, so that `C:\notes.db` stays a path.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")

# A path that begins so is a URL that was mistyped: its password must become neither a file's name nor part of an error.
_BROKEN_URL = re.compile(r"https?:(?!//)", re.IGNORECASE)
_INVITE = re.compile(r"\s*peerpouch:", re.IGNORECASE)

MEMORY = ":memory:"

NO_HEADERS = "Headers are for a database behind a URL; this is none."


class Kind(Enum):
    """Where a database is."""

    MEMORY = auto()
    FILE = auto()
    HTTP = auto()
    SHARE = auto()


class Target(NamedTuple):
    """A database that can be opened.

    Attributes:
        kind: Where it is.
        address: The absolute path, the URL with its credentials, or the share's ``dbname``.
        label: What may be shown: the address without credentials.
    """

    kind: Kind
    address: str
    label: str


def parse(target: str | os.PathLike[str]) -> Target:
    """Tell paths, URLs and shares apart.

    Raises:
        BadRequest: an empty string, or a URL of a scheme that is none of ``http``, ``https``, ``file``, ``webrtc``.
    """
    text = os.fspath(target)
    if not text:
        raise BadRequest("A database needs a path, a URL or ':memory:'.")
    if _INVITE.match(text):
        # It is a secret, which must become neither a file's name nor a part of an error.
        raise BadRequest("This is an invite, or was one before it was mistyped: it can only be opened, and as a whole.")
    if text == MEMORY:
        return Target(Kind.MEMORY, text, text)
    if isinstance(target, str) and _BROKEN_URL.match(text):
        raise BadRequest("A URL begins with http:// or https://, and has two slashes there.")
    match = _URL.match(text) if isinstance(target, str) else None
    if match is None:
        return _file(text)
    # Here, since it loads keys and signatures, which a path has no use for.
    from peerpouch.hub.names import SCHEME, without_credentials

    scheme = match.group(1).lower()
    if scheme in ("http", "https"):
        return Target(Kind.HTTP, text, without_credentials(text))
    if scheme == SCHEME:
        return Target(Kind.SHARE, text, text)
    if scheme == "file":
        return _file(unquote(urlsplit(text).path))
    raise BadRequest(f"{scheme}:// is no way to a database; there are http, https, webrtc and file.")


def is_path(target: object) -> TypeGuard[str | os.PathLike[str]]:
    """Whether something is plainly a path, or a database in memory. A path that might be something else is not."""
    if isinstance(target, str):
        return target == MEMORY or ":" not in target
    return isinstance(target, os.PathLike)


def _file(path: str) -> Target:
    absolute = str(Path(path).expanduser().absolute())
    return Target(Kind.FILE, absolute, absolute)
