"""Python processes that are called by lines of JSON: one object a line, calls in on stdin, answers out on stdout.

The parent sends ``{"call": n, "method": …, "arguments": {…}}``. The child answers ``{"call": n, "result": …}`` or
``{"call": n, "error": …, "status": …, "reason": …}``, and sends ``{"event": {…}}`` whenever it likes. Calls run side by
side. The child ends when its stdin does, so it never outlives its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Self

from peerpouch.cli.running import settle_process
from peerpouch.errors import DeadlineExceeded, PeerPouchError, from_response

LINE_LIMIT = 16 << 20
"""Bytes of the longest line. A listing of one call's results stays far below; more is a mistake, not data."""

STOP_TIMEOUT = 20.0
"""Seconds that a child has for closing its databases and connections before it is killed."""

Event = dict[str, Any]


class Process:
    """A child process and the calls that are under way in it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, on_event: Callable[[Event], None]) -> None:
        self.name = name
        self._process = process
        self._on_event = on_event
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._numbers = iter(range(1, sys.maxsize))
        self._reader = asyncio.create_task(self._read(), name=f"answers of {name}")

    @classmethod
    async def start(
        cls,
        name: str,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        on_event: Callable[[Event], None] = lambda event: None,
    ) -> Self:
        """Start ``python -m module arguments…``: a new interpreter, never a fork, which the WebRTC engine can't bear.

        Args:
            name: What errors call it.
            env: Variables on top of this process's own.
            on_event: Called with each event that the child sends.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **(env or {})},
            limit=LINE_LIMIT,
        )
        return cls(name, process, on_event)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def call(self, method: str, *, timeout: float, **arguments: Any) -> Any:
        """Call a method in the child and wait for its result.

        Raises:
            DeadlineExceeded: no answer within ``timeout`` seconds.
            PeerPouchError: the child raised it, or the child ended; the class is the child's own.
        """
        number = next(self._numbers)
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        line = json.dumps({"call": number, "method": method, "arguments": arguments}).encode() + b"\n"
        try:
            if self._process.stdin is None or self._reader.done():
                raise self._ended()
            self._process.stdin.write(line)
            async with asyncio.timeout(timeout):
                # A child that has ended breaks the pipe; the reader then fails the answer, and says how it ended.
                with contextlib.suppress(ConnectionError):
                    await self._process.stdin.drain()
                return await answer
        except TimeoutError:
            raise DeadlineExceeded(f"{self.name} did not finish {method!r} within {timeout:g} seconds.") from None
        finally:
            del self._calls[number]

    async def stop(self) -> int:
        """Let the child end by itself, and kill it if it does not. Gives its exit code."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()
        finally:
            await self._reader

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._reader

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _read(self) -> None:
        if self._process.stdout is None:
            return
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "event" in message:
                self._on_event(message["event"])
                continue
            answer = self._calls.get(message["call"])
            if answer is None or answer.done():
                continue
            if "error" in message:
                answer.set_exception(from_response(message["status"], message["error"], message["reason"]))
            else:
                answer.set_result(message["result"])
        await self._process.wait()
        for answer in self._calls.values():
            if not answer.done():
                answer.set_exception(self._ended())

    def _ended(self) -> PeerPouchError:
        return PeerPouchError(f"The process of {self.name} has ended, with exit code {self._process.returncode}.")


class Served:
    """What a child serves: its public ``async`` methods. Subclasses free what they hold in ``close``."""

    def emit(self, **event: Any) -> None:
        """Send an event to the parent."""
        _send({"event": event})

    async def close(self) -> None:
        """Called once, when the parent is done or gone."""


_stdout_lock = threading.Lock()


def _send(message: dict[str, Any]) -> None:
    with _stdout_lock:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def serve(target: Served) -> None:
    """The child's main: answer calls until stdin ends."""
    # Ctrl-C reaches the whole group; the parent decides what it means, and ends this process by closing its stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle_process()
    asyncio.run(_serve(target))


async def _serve(target: Served) -> None:
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[bytes] = asyncio.Queue()

    # A thread, since not every platform's loop can read from a pipe that it was given.
    def read() -> None:
        for line in sys.stdin.buffer:
            loop.call_soon_threadsafe(lines.put_nowait, line)
        with contextlib.suppress(RuntimeError):  # the loop has been closed already
            loop.call_soon_threadsafe(lines.put_nowait, b"")

    threading.Thread(target=read, daemon=True, name="stdin").start()
    tasks: set[asyncio.Task[None]] = set()
    try:
        while line := await lines.get():
            task = asyncio.create_task(_answer(target, json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await target.close()


async def _answer(target: Served, message: dict[str, Any]) -> None:
    number, method = message["call"], message["method"]
    try:
        result = await getattr(target, method)(**message["arguments"])
        _send({"call": number, "result": result})
    except PeerPouchError as error:
        _send({"call": number, "status": error.status, **error.as_json()})
    except Exception as error:  # noqa: BLE001 - the parent has to hear of it, whatever it is
        traceback.print_exc()
        _send({"call": number, "status": 500, **PeerPouchError(f"{type(error).__name__}: {error}").as_json()})
