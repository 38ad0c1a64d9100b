"""Writes of documents whose large attachments flow, which outlive the attempt that began them.

When a connection is lost every stage of an attempt fails, but a write to the target that has a gigabyte behind it need
not: it waits for the source to come back, and goes on at its last byte. The next attempt finds the document missing in
the target still, and joins the write that is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

MOST = 8
"""Writes under way: as many as one attempt has at once, and as many again that an earlier one left behind. Each holds a
few chunks in memory, and what the target has staged."""

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Transfer(Generic[_T]):
    task: asyncio.Task[_T]
    waiting: int = 0


class Transfers(Generic[_T]):
    """The writes under way of one replication, by document and revision."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], _Transfer[_T]] = {}

    async def run(self, key: tuple[str, str], work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Do this work, or join the one that is under way under this key; cancelling the caller does not end it."""
        transfer = self._running.get(key)
        if transfer is None:
            await self._make_room()
            transfer = self._running[key] = _Transfer(asyncio.ensure_future(work()))
            started = transfer
            transfer.task.add_done_callback(lambda _: self._forget(key, started))
        transfer.waiting += 1
        try:
            return await asyncio.shield(transfer.task)
        finally:
            transfer.waiting -= 1

    async def close(self) -> None:
        """End all."""
        await self._end(list(self._running.values()))

    def _forget(self, key: tuple[str, str], transfer: _Transfer[_T]) -> None:
        if self._running.get(key) is transfer:
            del self._running[key]

    async def _make_room(self) -> None:
        """End the oldest that nobody waits for: its document has been replaced or purged meanwhile."""
        left_behind = [transfer for transfer in self._running.values() if not transfer.waiting]
        excess = len(self._running) + 1 - MOST
        if excess > 0:
            await self._end(left_behind[:excess])

    async def _end(self, transfers: list[_Transfer[_T]]) -> None:
        for transfer in transfers:
            transfer.task.cancel()
        await asyncio.gather(*(transfer.task for transfer in transfers), return_exceptions=True)
