"""What tests in pages compare: the leaves of a database in Python."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

import peerpouch

SCALE = float(os.environ.get("PEERPOUCH_TEST_TIMEOUT_SCALE", "1"))
LIMIT = 120 * SCALE
"""Seconds for one step of a test: a machine that runs several browsers is slow."""


async def leaves(database: peerpouch.Database) -> list[str]:
    """Every leaf of every document, as ``leaves()`` of the test page gives them."""
    found = []
    async for row in database.changes(style="all_docs"):
        found += [f"{row['id']} {change['rev']}" for change in row["changes"]]
    # As JavaScript sorts: by UTF-16 code units, which for these ids is by characters.
    return sorted(found)


def documents(prefix: str, count: int, attachments: int = 0) -> list[dict[str, Any]]:
    """Documents as ``fill()`` of the test page makes them."""
    made: list[dict[str, Any]] = []
    for n in range(count):
        document: dict[str, Any] = {"_id": f"{prefix}-{n}", "n": n, "text": "some words " * 10}
        if n < attachments:
            data = bytes([n % 256]) * 3000
            document["_attachments"] = {"a.bin": {"content_type": "application/x-test", "data": data}}
        made.append(document)
    return made


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """What a condition gives, once that is true."""
    async with asyncio.timeout(LIMIT):
        while not (found := await condition()):
            await asyncio.sleep(0.1)
        return found
