"""A database with everything that an export has to carry."""

from __future__ import annotations

import gzip
import random
from collections.abc import AsyncIterator
from typing import Any

from peerpouch.ports import Database, WriteFailure

LARGE = 3_000_001
"""Bytes of an attachment that follows its document, and fills no whole number of lines."""


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that don't compress."""
    return random.Random(seed).randbytes(size)


async def pieces(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    """Bytes as a stream."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def leaf(doc_id: str, *revs: str, **fields: Any) -> dict[str, Any]:
    """A revision with its history, the newest first."""
    generation, _, first = revs[0].partition("-")
    ids = [first, *(rev.partition("-")[2] for rev in revs[1:])]
    return {"_id": doc_id, "_rev": revs[0], "_revisions": {"start": int(generation), "ids": ids}, **fields}


def rev(generation: int, digit: str) -> str:
    """A revision's id."""
    return f"{generation}-{digit * 32}"


async def fill(database: Database) -> None:
    """Write conflicts, deletions with and without a body, attachments of every kind, and odd values."""
    compressed = gzip.compress(b"hello " * 1000, mtime=0)
    given = [
        leaf("conflict", rev(2, "b"), rev(1, "a"), side="left"),
        leaf("conflict", rev(2, "c"), rev(1, "a"), side="right"),
        leaf("conflict", rev(3, "d"), rev(2, "e"), rev(1, "a"), _deleted=True, gone="here"),
        leaf("gone", rev(2, "2"), rev(1, "1"), _deleted=True, why="moved"),
        leaf("a/b ü\U0001f600\n", rev(1, "1"), big=2**70, deep=[[[[]]]], null=None, quote='"\\'),
        leaf(
            "files",
            rev(1, "1"),
            _attachments={
                "empty": {"content_type": "text/plain", "data": b"", "revpos": 1},
                "small": {"content_type": "text/plain", "data": b"hallo", "revpos": 1},
                "large": {"content_type": "image/png", "data": pieces(noise(LARGE)), "revpos": 1},
                "after": {"content_type": "text/plain", "data": b"small, after a large one", "revpos": 1},
                "zipped": {"content_type": "text/plain", "data": compressed, "encoding": "gzip", "revpos": 1},
                "second": {"content_type": "image/png", "data": pieces(noise(200_000, 2)), "revpos": 1},
            },
        ),
        leaf("files-2", rev(1, "1"), _attachments={"same": {"data": noise(LARGE), "content_type": "image/png"}}),
        leaf("_design/views", rev(1, "1"), views={}),
    ]
    for doc in given:
        (result,) = await database.bulk_docs([doc], new_edits=False)
        assert not isinstance(result, WriteFailure), result
    await database.bulk_docs([{"_id": f"doc-{n:04d}", "n": n} for n in range(1200)])
    edited = await database.put(await database.get("doc-0007") | {"edited": True})
    await database.remove("doc-0008", (await database.get("doc-0008"))["_rev"])
    assert edited.rev.startswith("2-")
