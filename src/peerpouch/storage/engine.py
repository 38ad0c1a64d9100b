"""One writer thread and a small pool of readers around one SQLite file.

Rules that hold here:

* The event loop never waits for the disk, except in :meth:`Engine.read_now`, for a point read.
* One thread writes. It takes all jobs that wait, runs them in one transaction (each in a savepoint of its own) and
  commits once, so that concurrent writers share the sync. A job is told of its success after the commit only.
* The jobs that one turn of the event loop brings are handed over together: writers that were woken by one commit share
  the next one, too, and the loop is woken once for all of a group, not once for each.
* A job that was begun is finished, whoever awaits it. A caller that is cancelled before its job begins takes it back;
  after that the write is done or not done, and either way no transaction stays open.
* A failure of the transaction itself (a full disk) must not make a small write fail because of a large one beside
  it: the jobs of the group are then run again one by one. So a job must be repeatable.
* A read is one snapshot, and ends with its call: nothing keeps the WAL from being copied back.
* In memory there is one connection, and a lock around it in place of SQLite's.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import apsw

from peerpouch.errors import DatabaseClosed, StorageError
from peerpouch.storage import schema
from peerpouch.storage.connections import FOREIGN, Location, connect, fetch, translate, translated

T = TypeVar("T")

_READERS = 3
# So many jobs share a commit at most, so that the first of them does not wait for ever more of them.
_GROUP = 256


class Mergeable(ABC):
    """A job that can be done together with others of its kind, which costs less than one after the other."""

    @abstractmethod
    def __call__(self, connection: apsw.Connection) -> Any:
        """Do it alone."""

    @abstractmethod
    def merges_with(self, other: Mergeable) -> bool:
        """Whether it and the other one may be done together."""

    @abstractmethod
    def together(self, connection: apsw.Connection, jobs: Sequence[Any]) -> list[Any]:
        """Do these, of which it is the first, in their order; gives the result of each. If it raises, each is done
        alone."""


class _Job:
    """What is to be done, and whoever waits for it. The first to take it decides whether it is done: the writer, or its
    caller, who takes it back."""

    __slots__ = ("done", "run", "take", "transaction")

    def __init__(self, run: Callable[[apsw.Connection], Any], done: asyncio.Future[Any], transaction: bool) -> None:
        self.run = run
        self.done = done
        self.transaction = transaction
        self.take = partial(threading.Lock().acquire, False)


_Outcome = tuple[Any, BaseException | None]


class Engine:
    """The threads and connections of one open database.

    Args:
        location: The file, and how to open it.
        committed: Called in the writer's thread after each commit that changed documents.
    """

    def __init__(self, location: Location, committed: Callable[[], None]) -> None:
        self.location = location
        self._committed = committed
        self._closed = False
        self._closing: asyncio.Future[None] | None = None
        # As long as the number of callers that wait: each has put in one job, and goes on when it is done.
        self._jobs: queue.SimpleQueue[list[_Job] | None] = queue.SimpleQueue()
        self._brought: list[_Job] = []
        self._writer = connect(location, writer=True)
        # In memory, the one connection is passed around as if it were a pool of one.
        self._readers: queue.LifoQueue[apsw.Connection] = queue.LifoQueue()
        self._inline: apsw.Connection | None = None
        self._shared: threading.Lock | None = None
        try:
            if location.path is None:
                self._shared = threading.Lock()
            else:
                for _ in range(_READERS):
                    self._readers.put(connect(location, writer=False))
                self._inline = connect(location, writer=False, points=True)
                self._inline.set_busy_handler(None)
        except BaseException:
            self._close_connections()
            raise
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="peerpouch-read")
        self._thread = threading.Thread(target=self._write_loop, name="peerpouch-write", daemon=True)
        self._thread.start()

    def identify(self) -> tuple[str, str]:
        """The uuid, and the incarnation that sequences carry. Before the engine is used otherwise.

        A file that is not where it was made (another inode: a copy, a backup put in place) may hold other documents
        under sequences that somebody has seen, so it gets a new incarnation.
        """
        connection = self._writer
        path = self.location.path
        with translated(self.location.label):
            meta = dict(fetch(connection, "SELECT name, value FROM meta"))
            inode = None if path is None else path.stat().st_ino
            if inode != meta.get("inode") and not self.location.read_only:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    meta = dict(fetch(connection, "SELECT name, value FROM meta"))
                    if inode != meta.get("inode"):
                        if meta.get("inode") is not None:
                            meta["incarnation"] = schema.new_incarnation()
                        connection.executemany(
                            "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                            [("inode", inode), ("incarnation", meta["incarnation"])],
                        )
                    connection.execute("COMMIT")
                finally:
                    self._roll_back()
            return meta["uuid"], meta["incarnation"]

    @property
    def closed(self) -> bool:
        return self._closed

    async def read(self, function: Callable[[apsw.Connection], T], *, snapshot: bool = True) -> T:
        """Run a read in a thread, in one snapshot, unless it is one statement that must not be in a transaction."""
        self.check_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, function, snapshot)

    def read_now(self, function: Callable[[apsw.Connection], T], *, snapshot: bool = False) -> tuple[bool, T | None]:
        """Run a point read in the caller's thread: a few pages, and one statement unless ``snapshot`` is asked for.

        A hop to a thread and back costs several times what such a read does. Gives ``(False, None)`` when it would have
        to wait for a lock: the caller then goes through :meth:`read`.
        """
        self.check_open()
        if self._shared is not None:
            if not self._shared.acquire(blocking=False):
                return False, None
            try:
                return True, function(self._writer)
            except FOREIGN as error:
                raise translate(error, self.location.label) from error
            finally:
                self._shared.release()
        assert self._inline is not None
        try:
            if snapshot:
                self._inline.execute("BEGIN")
            return True, function(self._inline)
        except (apsw.BusyError, apsw.LockedError):
            return False, None
        except FOREIGN as error:
            raise translate(error, self.location.label) from error
        finally:
            if snapshot and self._inline.in_transaction:
                self._inline.execute("ROLLBACK")

    async def write(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run a job in a transaction shared with others, and return its result after the commit.

        The job may be run more than once; only its last run counts. An error that it raises undoes its own part.
        """
        return await self._submit(job, transaction=True)

    async def alone(self, job: Callable[[apsw.Connection], T]) -> T:
        """Run a job in the writer's thread outside of any transaction."""
        return await self._submit(job, transaction=False)

    async def close(self) -> None:
        """Finish the jobs that wait, and close all connections. Idempotent: whoever calls it waits for the end."""
        if self._closing is None:
            self._closed = True
            self._hand_over()
            self._jobs.put(None)
            self._closing = asyncio.get_running_loop().run_in_executor(None, self._shut_down)
        await asyncio.shield(self._closing)

    def _shut_down(self) -> None:
        self._thread.join()
        self._pool.shutdown(wait=True)
        self._close_connections()

    def _close_connections(self) -> None:
        # The writer last: it can copy the WAL back and remove it.
        while not self._readers.empty():
            self._readers.get().close()
        if self._inline is not None:
            self._inline.close()
        self._writer.close()

    def check_open(self) -> None:
        """Raise DatabaseClosed after :meth:`close`."""
        if self._closed:
            raise DatabaseClosed(f"{self.location.label} is closed.")

    def _read(self, function: Callable[[apsw.Connection], T], snapshot: bool) -> T:
        if self._shared is not None:
            with self._shared:
                try:
                    return function(self._writer)
                except FOREIGN as error:
                    raise translate(error, self.location.label) from error
        connection = self._readers.get()
        try:
            if snapshot:
                connection.execute("BEGIN")
            return function(connection)
        except FOREIGN as error:
            raise translate(error, self.location.label) from error
        finally:
            # Back into the pool whatever happens: a reader that is lost would be missed for ever.
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            finally:
                self._readers.put(connection)

    async def _submit(self, run: Callable[[apsw.Connection], T], *, transaction: bool) -> T:
        self.check_open()
        loop = asyncio.get_running_loop()
        job = _Job(run, loop.create_future(), transaction)
        if not self._brought or self._brought[0].done.get_loop() is not loop:
            loop.call_soon(self._hand_over)
        self._brought.append(job)
        try:
            result: T = await job.done
        except asyncio.CancelledError:
            job.take()
            raise
        return result

    def _hand_over(self) -> None:
        if self._brought:
            self._jobs.put(self._brought)
            self._brought = []

    def _write_loop(self) -> None:
        # A function of its own, so that a writer that waits holds nothing of what it wrote last.
        while self._run_waiting(self._jobs.get()):
            continue

    def _run_waiting(self, jobs: list[_Job] | None) -> bool:
        """Run these jobs and all that wait behind them; whether there may be others."""
        group: list[_Job] = []
        while jobs is not None:
            for job in jobs:
                if not job.take():
                    continue
                if job.transaction:
                    group.append(job)
                if not job.transaction or len(group) >= _GROUP:
                    self._run_group(group)
                    group = []
                if not job.transaction:
                    self._run_alone(job)
            try:
                jobs = self._jobs.get_nowait()
            except queue.Empty:
                break
        self._run_group(group)
        return jobs is not None

    def _run_group(self, group: list[_Job]) -> None:
        if not group:
            return
        with self._shared or _NO_LOCK:
            outcomes = self._transaction(group)
        if outcomes is None:
            for job in group:
                with self._shared or _NO_LOCK:
                    alone = self._transaction([job])
                assert alone is not None
                self._report([job], alone)
        else:
            self._report(group, outcomes)

    def _report(self, group: list[_Job], outcomes: list[_Outcome]) -> None:
        self._committed()
        told: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], _Outcome]]] = {}
        for job, outcome in zip(group, outcomes, strict=True):
            told.setdefault(job.done.get_loop(), []).append((job.done, outcome))
        for loop, answers in told.items():
            with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_tell, answers)

    def _run_alone(self, job: _Job) -> None:
        result: Any = None
        failure: BaseException | None = None
        with self._shared or _NO_LOCK:
            try:
                result = job.run(self._writer)
            except BaseException as error:  # noqa: BLE001
                failure = self._error(error)
            finally:
                self._roll_back()
        self._report([job], [(result, failure)])

    def _transaction(self, group: list[_Job]) -> list[_Outcome] | None:
        """Outcomes of the jobs; ``None`` when a transaction of several jobs failed and each must be tried alone."""
        connection = self._writer
        outcomes: list[_Outcome] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
        except apsw.Error as failure:
            return [(None, self._error(failure)) for _ in group]
        try:
            for jobs in _alike(group):
                outcomes += self._merged(connection, jobs) or [
                    self._step(connection, job, nested=len(group) > 1) for job in jobs
                ]
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001
            self._roll_back()
            if len(group) > 1:
                return None
            return [(None, self._error(error))]
        return outcomes

    def _merged(self, connection: apsw.Connection, jobs: list[_Job]) -> list[_Outcome] | None:
        """Outcomes of jobs that are done together; ``None`` where they are to be done one after the other."""
        first = jobs[0].run
        if len(jobs) == 1 or not isinstance(first, Mergeable):
            return None
        connection.execute("SAVEPOINT jobs")
        try:
            results = first.together(connection, [job.run for job in jobs])
        except apsw.Error:
            raise  # as in a step
        except Exception:  # noqa: BLE001 - whose it is shows when each is done alone
            connection.execute("ROLLBACK TO jobs")
            connection.execute("RELEASE jobs")
            return None
        connection.execute("RELEASE jobs")
        return [(result, None) for result in results]

    def _step(self, connection: apsw.Connection, job: _Job, *, nested: bool) -> _Outcome:
        if not nested:
            return job.run(connection), None
        connection.execute("SAVEPOINT job")
        try:
            result = job.run(connection)
        except apsw.Error:
            raise  # the whole transaction may be lost: all jobs are run again, alone
        except BaseException as error:  # noqa: BLE001
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            return None, self._error(error)
        connection.execute("RELEASE job")
        return result, None

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            try:
                self._writer.execute("ROLLBACK")
            except apsw.Error:  # the disk fails; SQLite rolls back when the file is next opened or read
                return

    def _error(self, error: BaseException) -> BaseException:
        if isinstance(error, FOREIGN):
            translated = translate(error, self.location.label)
            translated.__cause__ = error
            return translated
        if isinstance(error, Exception) and not isinstance(error, StopIteration):  # which no future takes
            return error
        return StorageError(f"The write to {self.location.label} was interrupted: {error!r}.")


def _tell(answers: list[tuple[asyncio.Future[Any], _Outcome]]) -> None:
    for done, (result, error) in answers:
        if done.done():  # its caller was cancelled
            continue
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


def _alike(group: list[_Job]) -> list[list[_Job]]:
    """The jobs in their order, with those side by side that can be done together."""
    parts: list[list[_Job]] = []
    for job in group:
        before = parts[-1][0].run if parts else None
        if isinstance(before, Mergeable) and isinstance(job.run, Mergeable) and before.merges_with(job.run):
            parts[-1].append(job)
        else:
            parts.append([job])
    return parts


class _NoLock:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_NO_LOCK = _NoLock()
