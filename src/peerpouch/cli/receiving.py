"""One attachment as it is received: across lost connections, and across processes that ended too early."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from peerpouch.cli.pipes import Partial, read
from peerpouch.errors import (
    Conflict,
    ConnectionFailed,
    DeadlineExceeded,
    PeerPouchError,
    ProtocolError,
    ShareNotFound,
    TooManyRequests,
)
from peerpouch.ports import Attachment, Database

PATIENCE: Final = 120.0
"""Seconds without a byte after which it is given up: a peer that was restarted is back within that."""
FIRST_WAIT: Final = 0.5
LONGEST_WAIT: Final = 10.0

_PASSING = (ConnectionFailed, DeadlineExceeded, ShareNotFound, TooManyRequests)


class Receiving:
    """The bytes of one attachment, however often they break off.

    Args:
        first: As it was opened, not read yet. What comes later must be the same content.
        rev: Of this revision; by default the winning one.
    """

    def __init__(self, database: Database, doc_id: str, first: Attachment, *, rev: str | None = None) -> None:
        self._database = database
        self._doc_id = doc_id
        self._rev = rev
        self._first: Attachment | None = first
        self.name = first.name
        self.length = first.length
        self._digest = first.digest
        self._checks = first.checks

    @property
    def tag(self) -> str | None:
        """Names the content; ``None`` where it can't be checked at its end, so that nothing is taken from before."""
        if not self._checks:
            return None
        return hashlib.sha256(f"{self.length} {self._digest} {' '.join(self._checks)}".encode()).hexdigest()[:16]

    async def rest(self, start: int) -> AsyncGenerator[bytes, None]:
        """The bytes from this one on.

        Raises:
            Conflict: it is another content by now.
            ConnectionFailed, PeerUnreachable and others: nothing came for two minutes.
        """
        moved, failures = time.monotonic(), 0
        while start < self.length:
            try:
                attachment = await self._open(start)
                skip = start - attachment.start  # a server may know no ranges
                try:
                    async for data in attachment:
                        if skip >= len(data):
                            skip -= len(data)
                            continue
                        data, skip = data[skip:], 0
                        start += len(data)
                        moved, failures = time.monotonic(), 0
                        if start > self.length:
                            raise ProtocolError(f"{self.name} has {self.length:,} bytes, and more came.")
                        yield data
                finally:
                    await attachment.aclose()
                if start < self.length:
                    raise ConnectionFailed(f"{self.name} broke off after {start:,} of {self.length:,} bytes.")
            except _PASSING:
                if time.monotonic() - moved > PATIENCE:
                    raise
                failures += 1
                longest = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures, 16))
                await asyncio.sleep(longest * random.uniform(0.5, 1))  # noqa: S311 - so as not to come in step

    async def _open(self, start: int) -> Attachment:
        first, self._first = self._first, None
        if first is not None and start == 0:
            return first
        if first is not None:
            await first.aclose()
        attachment = await self._database.get_attachment(self._doc_id, self.name, rev=self._rev, start=start)
        if (attachment.length, attachment.digest) != (self.length, self._digest):
            await attachment.aclose()
            raise Conflict(f"{self.name} was changed while it was fetched. Fetch it again.")
        return attachment

    async def close(self) -> None:
        """Free what was not read."""
        first, self._first = self._first, None
        if first is not None:
            await first.aclose()

    def check(self) -> Check | None:
        """What checks the content at its end."""
        return Check(self.name, self._checks[0]) if self._checks else None


class Check:
    """Compares a content with its digest, ``sha256-…`` or ``md5-…``."""

    def __init__(self, name: str, expected: str) -> None:
        kind, _, self._expected = expected.partition("-")
        self._name = name
        self._hash: Any = hashlib.new(kind, usedforsecurity=kind != "md5")

    def add(self, data: bytes) -> None:
        """So many bytes more."""
        self._hash.update(data)

    def end(self) -> None:
        """Raises ProtocolError: the bytes are not what they are said to be."""
        if base64.b64encode(self._hash.digest()).decode() != self._expected:
            raise ProtocolError(f"What came is not {self._name}: its digest is another. Fetch it again.")


async def receive_into(out: Partial, receiving: Receiving, on_bytes: Callable[[int], None]) -> int:
    """Write what is missing behind what is there; gives how many bytes it has.

    Raises:
        ProtocolError: what is there by then is another content; then nothing of it is kept.
    """
    check = receiving.check()
    if out.size > receiving.length:
        await out.begin_again()
    if check is not None and out.size:
        async with aclosing(read(str(out.unfinished))) as there:
            async for data in there:
                check.add(data)
    on_bytes(out.size)
    async with aclosing(receiving.rest(out.size)) as rest:
        async for data in rest:
            await out.write(data)
            out.size += len(data)
            if check is not None:
                check.add(data)
            on_bytes(len(data))
    try:
        if check is not None:
            check.end()
    except PeerPouchError:
        await out.begin_again()
        raise
    return out.size
