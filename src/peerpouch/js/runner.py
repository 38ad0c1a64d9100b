"""The port FunctionRunner: functions of design documents in QuickJS, in a worker process with limits.

The functions may be anybody's: a design document replicates like any other. In the worker they can't reach this
process's memory, the disk or the network, and they are stopped after some processor time, some memory, and (whatever
the worker may be doing) some time on the wall. A worker that was stopped, or whose caller went away in the middle, is
replaced.
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import DeadlineExceeded, NotSupported, PeerPouchError, TooLarge
from peerpouch.js.framing import HEADER
from peerpouch.js.process import (
    LARGEST_REPLY,
    MEMORY,
    MOST_RESULTS,
    SECONDS,
    command,
    request,
    result_of,
    results_of,
    rows_of,
)
from peerpouch.ports import Document, FunctionRunner

BATCH: Final = 200
"""Documents in one request: a round trip costs as much as mapping a few."""

BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of documents in one request, beyond which no further document is added."""


class QuickJSRunner(FunctionRunner):
    """Runs JavaScript functions in one worker process, started when it is first needed.

    Without the extra ``js`` its methods raise ``NotSupported``.

    Args:
        seconds: Processor time for one call, or for one document. CouchDB's is 5 seconds (``os_process_timeout``).
        memory: Bytes of JavaScript heap for one function.
        deadline: Seconds on the wall for one request of up to 200 documents.
    """

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY, deadline: float = 60.0) -> None:
        self._seconds = seconds
        self._memory = memory
        self._deadline = deadline
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def map(
        self, source: str, docs: Sequence[Document], *, modules: str = ""
    ) -> list[list[tuple[Any, Any]] | PeerPouchError]:
        replies = await self._in_batches("map", source, modules, docs)
        return await asyncio.to_thread(lambda: [rows_of(reply) for reply in replies])

    async def call(self, source: str, *arguments: Any, modules: str = "") -> Any:
        (result,) = await self.call_each(source, [arguments], modules=modules)
        if isinstance(result, PeerPouchError):
            raise result
        return result

    async def call_each(
        self, source: str, calls: Sequence[Sequence[Any]], *, modules: str = ""
    ) -> list[Any | PeerPouchError]:
        replies = await self._in_batches("call", source, modules, calls)
        return [result_of(reply) for reply in replies]

    async def _in_batches(self, op: str, source: str, modules: str, items: Sequence[Any]) -> list[bytes]:
        results: list[bytes] = []
        room = MOST_RESULTS
        batch: list[bytes] = []
        size = 0
        for at, item in enumerate(items, 1):
            batch.append(jsonio.dumps(item))
            size += len(batch[-1])
            # A reply ends early where results are large: what it has none for is asked for again.
            while batch and (len(batch) >= BATCH or size >= BATCH_BYTES or at == len(items)):
                given = await self._ask(request(op, source, modules, batch))
                results += given
                room -= sum(map(len, given))
                if room < 0:
                    raise TooLarge(f"The results of a JavaScript function have more than {MOST_RESULTS:,} bytes.")
                del batch[: len(given)]
                size = sum(map(len, batch))
        return results

    async def close(self) -> None:
        self._closed = True
        async with self._lock:
            await self._stop()

    async def _ask(self, asked: bytes) -> list[bytes]:
        async with self._lock:
            if self._closed:
                raise NotSupported("The JavaScript runner is closed.")
            answered = False
            try:
                async with asyncio.timeout(self._deadline):
                    reply = await self._exchange(asked)
                answered = True
            except TimeoutError:
                raise DeadlineExceeded(f"A JavaScript function took longer than {self._deadline:g} seconds.") from None
            except (OSError, asyncio.IncompleteReadError) as error:
                raise TooLarge(f"A JavaScript function ended its worker process: {error}.") from None
            finally:
                if not answered:
                    # Its reply, if one still came, would be taken for the next request's.
                    await self._stop()
        return results_of(reply, self._seconds, self._memory)

    async def _exchange(self, data: bytes) -> bytes:
        process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        await process.stdin.drain()
        size = int.from_bytes(await process.stdout.readexactly(HEADER), "big")
        if size > LARGEST_REPLY:
            raise OSError(f"its answer has {size:,} bytes")
        return await process.stdout.readexactly(size)

    async def _start(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *command(self._seconds, self._memory),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={},
            )
        return self._process

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        # Also when the caller is cancelled: a process that nobody waits for would stay as a zombie.
        await asyncio.shield(process.wait())
