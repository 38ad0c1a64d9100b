"""The process that measures: one for many rounds, and a new one after a round that hung or killed it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Self

from benchmarks.catalogue import REGISTRY
from benchmarks.registry import Benchmark, Measured, Scale, Subject
from benchmarks.runner import Failure, Hands, here, in_words

GRACE = 45.0
"""Seconds that a round has beyond its limit for ending by itself and clearing up; then its process is killed. Two peers
may take 20 each for closing."""

_SPAWN = multiprocessing.get_context("spawn")  # the WebRTC engine can't bear a fork


class Worker:
    """Runs rounds in a process of its own. When it is closed nothing is left of them, neither processes nor files."""

    def __init__(self, hands: Hands = here, grace: float = GRACE) -> None:
        self._hands, self._grace = hands, grace
        self._files = tempfile.TemporaryDirectory(prefix="peerpouch-bench-", ignore_cleanup_errors=True)
        self.folder = self._files.name
        self._running: tuple[multiprocessing.process.BaseProcess, Connection] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._files.cleanup()

    def __call__(self, benchmark: Benchmark, subject: Subject, scale: Scale) -> Measured:
        """Run one round of a subject of the catalogue.

        Raises:
            Failure: it raised something, hung, or ended its process.
        """
        process, connection = self._running = self._running or self._start()
        try:
            connection.send((benchmark.name, subject.name, scale))
            if not connection.poll(scale.limit + self._grace):
                self._kill()
                raise Failure(f"it hung, and was killed after {scale.limit + self._grace:g} seconds")
            answer = connection.recv()
        except (EOFError, ConnectionError):
            process.join(self._grace)
            code = process.exitcode
            self._kill()
            raise Failure(f"its process ended with exit code {code}") from None
        if isinstance(answer, Measured):
            return answer
        raise Failure(answer)

    def _start(self) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=work, args=(theirs, self.folder, self._hands), name="benchmarks")
        process.start()
        theirs.close()
        return process, ours

    def _kill(self) -> None:
        if self._running is None:
            return
        (process, connection), self._running = self._running, None
        connection.close()
        # All that it started is in its group. It may have ended already, and what it started not.
        if process.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
        process.close()


def work(connection: Connection, folder: str, hands: Hands) -> None:
    """The process: rounds as they are asked for, until nobody asks any more."""
    with suppress(OSError):
        os.setpgid(0, 0)
    # Ctrl-C means the parent, which ends this group.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tempfile.tempdir = folder
    with suppress(EOFError):
        while True:
            name, subject, scale = connection.recv()
            connection.send(_answer(name, subject, scale, hands))


def _answer(name: str, subject: str, scale: Scale, hands: Hands) -> Measured | str:
    benchmark = REGISTRY[name]
    try:
        return hands(benchmark, next(each for each in benchmark.subjects if each.name == subject), scale)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        traceback.print_exc()
        return in_words(error)
