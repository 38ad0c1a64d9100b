"""What the demo replicates: every named character of Unicode, and files of the Python installation."""

from __future__ import annotations

import asyncio
import mimetypes
import os
import sys
import unicodedata
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from peerpouch.ports import Document

SMALLEST = 300
"""The fewest characters that the story can be told with: it edits some of the first 200."""

MAX_FILE = 16 << 20
"""Bytes of the largest file that is attached, so that the demo stays one of many documents and not of one binary."""

_CHUNK = 1 << 18

# Those of them that an installation lacks are left out: distributions split Python's library in different ways.
_FILES = (
    "this.py",
    "os.py",
    "typing.py",
    "asyncio/base_events.py",
    "json/decoder.py",
    "pydoc_data/topics.py",
    "unittest/mock.py",
    "turtle.py",
    "idlelib/Icons/idle_48.png",
    "ensurepip/_bundled/pip-*.whl",
)


def character_id(code_point: int) -> str:
    """``U+0041``, as Unicode writes it."""
    return f"U+{code_point:04X}"


def characters(limit: int | None = None) -> Iterator[Document]:
    """A document for each named character of Python's Unicode database, in the order of code points."""
    return islice(filter(None, map(_character, range(sys.maxunicode + 1))), limit)


def _character(code_point: int) -> Document | None:
    char = chr(code_point)
    name = unicodedata.name(char, None)
    if name is None:
        return None
    doc: Document = {
        "_id": character_id(code_point),
        "type": "character",
        "code_point": code_point,
        "character": char,
        "name": name,
        "category": unicodedata.category(char),
        "bidirectional": unicodedata.bidirectional(char),
        "combining": unicodedata.combining(char),
        "east_asian_width": unicodedata.east_asian_width(char),
        "mirrored": bool(unicodedata.mirrored(char)),
    }
    optional: dict[str, Any] = {
        "decomposition": unicodedata.decomposition(char) or None,
        "decimal": unicodedata.decimal(char, None),
        "digit": unicodedata.digit(char, None),
        "numeric": unicodedata.numeric(char, None),
    }
    return doc | {key: value for key, value in optional.items() if value is not None}


def files() -> list[Path]:
    """Files of this Python installation to attach."""
    library = Path(os.__file__).parent
    found = [path for pattern in _FILES for path in sorted(library.glob(pattern))]
    # A binary, where Python has it as a file of its own.
    if file := getattr(unicodedata, "__file__", None):
        found.append(Path(file))
    return [path for path in found if path.is_file() and 0 < path.stat().st_size <= MAX_FILE]


def file_document(path: Path) -> Document:
    """The document of a file, which its attachment goes into."""
    status = path.stat()
    return {
        "_id": f"file:{path.name}",
        "type": "file",
        "path": str(path),
        "size": status.st_size,
        "modified": datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds"),
    }


def content_type(path: Path) -> str:
    """A file's MIME type, by its name."""
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


async def chunks(path: Path) -> AsyncIterator[bytes]:
    """A file's bytes, read off the event loop."""
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK):
            yield chunk
