"""``replicate`` and ``sync``: databases, paths and URLs, and what is open only for a replication."""

from __future__ import annotations

import asyncio
import os
from abc import abstractmethod
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from typing import Any, Final, Generic, TypeVar

from peerpouch.errors import BadRequest, PeerPouchError
from peerpouch.node.entry import open as open_database
from peerpouch.node.remotes import RemoteShare
from peerpouch.ports import (
    Database,
    Replication,
    ReplicationOptions,
    ReplicationProgress,
    Sync,
    SyncProgress,
)
from peerpouch.replication import PipelinedReplicator

AnyDatabase = Database | str | os.PathLike[str]

_OPTIONS: Final = frozenset(option.name for option in fields(ReplicationOptions))


def replicate(source: AnyDatabase, target: AnyDatabase, **options: Any) -> Replication:
    """Copy to ``target`` what it lacks of ``source``. It runs at once, as a task of the running event loop.

    Await what this gives for the final :class:`~peerpouch.ReplicationProgress`; iterate it for progress.

    Args:
        source, target: Open databases; or paths, URLs and ``dbname``\\ s, which are open while it runs.
        options: The fields of :class:`~peerpouch.ReplicationOptions`: ``live``, ``retry``, ``doc_ids``, ``selector``,
            ``filter``, ``query``, ``design_docs``, ``since``, ``checkpoint``, ``batch_size``. Design documents travel
            unless one side is a share, or ``design_docs`` says otherwise.

    Raises:
        BadRequest: an option is unknown, or options contradict each other.
    """
    given = _parse(options)
    if isinstance(source, Database) and isinstance(target, Database):
        return PipelinedReplicator().replicate(source, target, _for_both(given, source, target))
    return _OpeningReplication(source, target, given)


def sync(
    here: AnyDatabase,
    there: AnyDatabase,
    *,
    push: Mapping[str, Any] | None = None,
    pull: Mapping[str, Any] | None = None,
    **options: Any,
) -> Sync:
    """Replicate in both directions, as :func:`replicate` does in one.

    Args:
        push, pull: Options for one direction only: from ``here`` to ``there``, and back.

    Raises:
        BadRequest: an option is unknown, or options contradict each other.
    """
    both = _parse({**options, **(push or {})}), _parse({**options, **(pull or {})})
    if isinstance(here, Database) and isinstance(there, Database):
        to, fro = (_for_both(given, here, there) for given in both)
        return PipelinedReplicator().sync(here, there, to, fro)
    return _OpeningSync(here, there, *both)


def _parse(options: Mapping[str, Any]) -> ReplicationOptions:
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        raise BadRequest(f"Replications have no option {unknown[0]!r}; there are {', '.join(sorted(_OPTIONS))}.")
    doc_ids = options.get("doc_ids")
    if doc_ids is not None and (isinstance(doc_ids, str) or not isinstance(doc_ids, Sequence)):
        raise BadRequest("doc_ids is a list of ids.")
    return ReplicationOptions(**{**options, "doc_ids": None if doc_ids is None else tuple(doc_ids)})


def _for_both(options: ReplicationOptions, *databases: Database) -> ReplicationOptions:
    """Design documents are code: one's own do not go to others by default, nor others' to oneself."""
    if options.design_docs is not None:
        return options
    return replace(options, design_docs=not any(isinstance(database, RemoteShare) for database in databases))


P = TypeVar("P", ReplicationProgress, SyncProgress)


class _Opened(Generic[P]):
    """A replication whose databases are opened first, and closed after it."""

    def __init__(self, *databases: AnyDatabase) -> None:
        self._databases = databases
        self._run: Any = None
        self._started = asyncio.Event()
        self._task: asyncio.Task[P] = asyncio.get_running_loop().create_task(self._work())
        self._task.add_done_callback(self._ended)

    @abstractmethod
    def _start(self, *databases: Database) -> Any:
        """Begin, with the open databases."""

    @abstractmethod
    def _ended_early(self, state: str, error: PeerPouchError | None) -> P:
        """The progress of what ended before it began."""

    async def _work(self) -> P:
        async with AsyncExitStack() as stack:
            databases = [
                each if isinstance(each, Database) else await stack.enter_async_context(open_database(each))
                for each in self._databases
            ]
            self._run = self._start(*databases)
            self._started.set()
            result: P = await self._run
            return result

    def _ended(self, task: asyncio.Task[P]) -> None:
        self._started.set()
        if not task.cancelled():
            task.exception()  # whoever awaits it gets it

    @property
    def progress(self) -> P:
        if self._run is not None:
            progress: P = self._run.progress
            return progress
        if not self._task.done():
            return self._ended_early("starting", None)
        error = None if self._task.cancelled() else self._task.exception()
        if isinstance(error, PeerPouchError):
            return self._ended_early("failed", error)
        return self._ended_early("cancelled", None)

    def __await__(self) -> Generator[Any, None, P]:
        return self._result().__await__()

    async def _result(self) -> P:
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            await self.cancel()
            raise
        return self.progress if self._task.cancelled() else self._task.result()

    async def __aiter__(self) -> AsyncIterator[P]:
        await self._started.wait()
        if self._run is not None:
            async for step in self._run:
                yield step
        else:
            yield self.progress

    async def cancel(self) -> None:
        """Stop after the batch in hand, write the checkpoint, and close what was opened."""
        if self._run is not None:
            await self._run.cancel()
        else:
            self._task.cancel()
        await asyncio.wait({self._task})


class _OpeningReplication(_Opened[ReplicationProgress], Replication):
    def __init__(self, source: AnyDatabase, target: AnyDatabase, options: ReplicationOptions) -> None:
        self._options = options
        super().__init__(source, target)

    def _start(self, *databases: Database) -> Any:
        source, target = databases
        return PipelinedReplicator().replicate(source, target, _for_both(self._options, source, target))

    def _ended_early(self, state: str, error: PeerPouchError | None) -> ReplicationProgress:
        return ReplicationProgress(state=state, error=error)


class _OpeningSync(_Opened[SyncProgress], Sync):
    def __init__(
        self, here: AnyDatabase, there: AnyDatabase, push: ReplicationOptions, pull: ReplicationOptions
    ) -> None:
        self._options = push, pull
        super().__init__(here, there)
        self._push = _Half(self, "push")
        self._pull = _Half(self, "pull")

    def _start(self, *databases: Database) -> Any:
        here, there = databases
        push, pull = (_for_both(options, here, there) for options in self._options)
        return PipelinedReplicator().sync(here, there, push, pull)

    def _ended_early(self, state: str, error: PeerPouchError | None) -> SyncProgress:
        one = ReplicationProgress(state=state, error=error)
        return SyncProgress(one, one)

    @property
    def push(self) -> Replication:
        return self._push

    @property
    def pull(self) -> Replication:
        return self._pull


class _Half(Replication):
    """One direction of a sync whose databases are opened first."""

    def __init__(self, whole: _OpeningSync, direction: str) -> None:
        self._whole = whole
        self._direction = direction

    def _of(self, whole: SyncProgress) -> ReplicationProgress:
        return whole.push if self._direction == "push" else whole.pull

    @property
    def progress(self) -> ReplicationProgress:
        return self._of(self._whole.progress)

    def __await__(self) -> Generator[Any, None, ReplicationProgress]:
        return self._result().__await__()

    async def _result(self) -> ReplicationProgress:
        return self._of(await self._whole)

    async def __aiter__(self) -> AsyncIterator[ReplicationProgress]:
        async for step in self._whole:
            yield self._of(step)

    async def cancel(self) -> None:
        await self._whole.cancel()
