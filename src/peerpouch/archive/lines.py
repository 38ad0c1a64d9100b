"""What stands in an export, line by line: UTF-8, a JSON object in each line.

::

    {"_export": {"format": 1, "security": …, "revs_limit": …}}
    {"_id": …, "_rev": …, "_revisions": …, "_deleted": …, "_attachments": {…}, …}
    {"_data": "…"}
    {"_end": {"documents": …, "revisions": …}}

A document's line is a leaf as CouchDB has it with ``revs=true``, so that a file of such lines alone, from anywhere, can
be imported too. Small attachments are in it as base64, as stored: with ``encoding: "gzip"``, ``data`` holds the encoded
bytes. A larger one has ``"follows": true`` instead, and its bytes follow the document's line as base64 in lines of
``_data``, one attachment after the other in the order of ``_attachments``; so no line grows with an attachment. No
document has a field ``_export``, ``_data`` or ``_end``: names that begin with an underscore are reserved. The last line
shows that nothing was cut off.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import InvalidJSON, TooLarge

FORMAT: Final = 1

HEADER: Final = "_export"
DATA: Final = "_data"
END: Final = "_end"

MAX_LINE: Final = 256 << 20
"""Bytes of a line that is read. Exports stay below 10 MB; other programs put whole attachments into a line."""


def encode(value: Any) -> bytes:
    """One line, with its end, of a value that was read from JSON."""
    return jsonio.dumps_trusted(value) + b"\n"


def stored_length(entry: Mapping[str, Any]) -> int | None:
    """How many bytes are stored of the attachment that a stub stands for; ``None`` when it does not say."""
    length = entry.get("encoded_length" if entry.get("encoding") else "length")
    return length if type(length) is int and length >= 0 else None


async def split(data: AsyncIterable[bytes]) -> AsyncGenerator[tuple[int, bytes], None]:
    """The lines of bytes that come in any pieces, each with its number from 1; empty ones are left out.

    Raises:
        TooLarge: a line is longer than :data:`MAX_LINE`.
    """
    number = 0
    rest: list[bytes] = []
    size = 0
    async for block in data:
        *whole, last = block.split(b"\n")
        for part in whole:
            number += 1
            line = b"".join([*rest, part]) if rest else part
            rest, size = [], 0
            if line.strip():
                yield number, line
        if last:
            rest.append(last)
            size += len(last)
        if size > MAX_LINE:
            raise TooLarge(f"Line {number + 1} is longer than {MAX_LINE:,} bytes.")
    line = b"".join(rest)
    if line.strip():
        yield number + 1, line


def decode(number: int, line: bytes) -> dict[str, Any]:
    """The object in a line.

    Raises:
        InvalidJSON: naming the line.
    """
    try:
        value = jsonio.loads(line)
    except InvalidJSON as error:
        raise InvalidJSON(f"Line {number}: {error.reason}") from None
    if type(value) is not dict:
        raise InvalidJSON(f"Line {number}: a document is an object.")
    return value
