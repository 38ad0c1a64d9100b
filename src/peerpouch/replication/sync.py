"""Two replications in opposite directions, held as one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import Any

from peerpouch.ports import Sync, SyncProgress
from peerpouch.replication.progress import Bell
from peerpouch.replication.run import PipelinedReplication


class PipelinedSync(Sync):
    """See :class:`~peerpouch.ports.Sync`."""

    def __init__(self, push: PipelinedReplication, pull: PipelinedReplication) -> None:
        self._push = push
        self._pull = pull
        self._bell = Bell()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sync")

    @property
    def push(self) -> PipelinedReplication:
        """From the first database to the second."""
        return self._push

    @property
    def pull(self) -> PipelinedReplication:
        """From the second database to the first."""
        return self._pull

    @property
    def progress(self) -> SyncProgress:
        """The state of this moment, of both."""
        return SyncProgress(self._push.progress, self._pull.progress)

    def __await__(self) -> Generator[Any, None, SyncProgress]:
        return self._finished().__await__()

    def __aiter__(self) -> AsyncGenerator[SyncProgress, None]:
        return self._bell.follow(lambda: self.progress)

    async def cancel(self) -> None:
        """Cancel both, at the same time."""
        await asyncio.gather(self._push.cancel(), self._pull.cancel())
        await asyncio.wait([self._task])

    async def _finished(self) -> SyncProgress:
        try:
            await asyncio.wait([self._task])
        except asyncio.CancelledError:
            await self.cancel()
            raise
        for direction in (self._push, self._pull):
            if direction.progress.state == "failed":
                await direction  # raises what ended it
        return self.progress

    async def _run(self) -> None:
        """Passes both directions' progress on; the first that fails takes the other with it."""
        await asyncio.gather(self._watch(self._push, self._pull), self._watch(self._pull, self._push))
        self._bell.end()

    async def _watch(self, one: PipelinedReplication, other: PipelinedReplication) -> None:
        async for progress in one:
            self._bell.ring()
            if progress.state == "failed":
                await other.cancel()
