"""The port BlockingRunner: the same worker, for a thread that waits for it.

Guards run in the writer's thread, in the middle of a transaction, where nothing can be awaited. So this one has a
worker of its own, never the one that is busy with a view, and waits for it with a limit on the wall besides the
worker's own.
"""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import DeadlineExceeded, NotSupported, PeerPouchError, TooLarge
from peerpouch.js.framing import HEADER
from peerpouch.js.process import LARGEST_REPLY, MEMORY, SECONDS, command, request, result_of, results_of
from peerpouch.ports import BlockingRunner

_GRACE: Final = 2.0
"""Seconds beyond the processor time that a call may take on the wall: the machine may be busy with other things."""

_LOOK: Final = 0.25
"""Seconds between two looks at the clock while calls are made: a thread for each call would cost more than the call."""

_REST: Final = 20
"""So many looks without a call under way, and the watch goes to sleep."""


class QuickJSBlockingRunner(BlockingRunner):
    """Calls JavaScript functions in a worker process of its own. To be used by one thread at a time, except ``close``.

    Args:
        seconds: Processor time for one call.
        memory: Bytes of JavaScript heap for one function.
    """

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._lock = threading.Lock()  # of what follows; never held while waiting for a reply
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._watch: threading.Thread | None = None
        self._until: float | None = None
        self._late = False
        self._wake = threading.Event()

    def prepare(self) -> None:
        self._start()

    def call(self, source: str, *arguments: Any, modules: str = "") -> Any:
        reply = self._ask(request("call", source, modules, [jsonio.dumps(list(arguments))]))
        result = result_of(results_of(reply, self._seconds, self._memory)[0])
        if isinstance(result, PeerPouchError):
            raise result
        return result

    def close(self) -> None:
        with self._lock:
            self._closed = True
        self._stop()
        self._wake.set()

    def _ask(self, asked: bytes) -> bytes:
        process = self._start()
        limit = self._seconds + _GRACE
        answered = False
        with self._lock:
            self._late, self._until = False, time.monotonic() + limit
        self._wake.set()
        try:
            reply = _exchange(process, asked)
            answered = True
            return reply
        except (OSError, EOFError, ValueError) as error:
            if self._late:
                raise DeadlineExceeded(f"A JavaScript function took longer than {limit:g} seconds.") from None
            raise TooLarge(f"A JavaScript function ended its worker process: {error}.") from None
        finally:
            with self._lock:
                self._until = None
            if not answered:
                self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise NotSupported("The JavaScript runner is closed.")
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(  # noqa: S603 - this very Python
                    command(self._seconds, self._memory),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={},
                )
            if self._watch is None:
                self._watch = threading.Thread(target=self._look_on, name="peerpouch-js-watch", daemon=True)
                self._watch.start()
            return self._process

    def _stop(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue  # what could not be written any more

    def _look_on(self) -> None:
        """Kill the worker when a call is late."""
        idle = 0
        while not self._closed:
            until = self._until
            if until is not None and time.monotonic() > until:
                with self._lock:
                    if self._until == until and self._process is not None:
                        self._late, self._until = True, None
                        self._process.kill()
            idle = idle + 1 if until is None else 0
            if idle > _REST:
                self._wake.clear()
                if self._until is None and not self._closed:
                    self._wake.wait()
                idle = 0
            else:
                time.sleep(_LOOK)


def _exchange(process: subprocess.Popen[bytes], asked: bytes) -> bytes:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(asked)
    process.stdin.flush()
    size = int.from_bytes(_exactly(process, HEADER), "big")
    if size > LARGEST_REPLY:
        raise OSError(f"its answer has {size:,} bytes")
    return _exactly(process, size)


def _exactly(process: subprocess.Popen[bytes], size: int) -> bytes:
    assert process.stdout is not None
    data = process.stdout.read(size)
    if len(data) < size:
        raise EOFError("it ended")
    return data
