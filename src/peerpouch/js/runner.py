"""The port FunctionRunner: functions of design documents in QuickJS, in a worker process with limits.

The functions may be anybody's: a design document replicates like any other. In the worker they can't reach this
process's memory, the disk or the network, and they are stopped after some processor time, some memory, and (whatever
the worker may be doing) some time on the wall. A worker that was stopped, or whose caller went away in the middle, is
replaced.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import (
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    InvalidJSON,
    NotSupported,
    PeerPouchError,
    TooLarge,
    Unauthorized,
)
from peerpouch.js.framing import HEADER, frame
from peerpouch.ports import Document, FunctionRunner

BATCH: Final = 200
"""Documents in one request: a round trip costs as much as mapping a few."""

BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of documents in one request, beyond which no further document is added."""

_LARGEST_REPLY: Final = 128 * 1024 * 1024
_PROCESS_MEMORY: Final = 1024 * 1024 * 1024
"""Address space of the worker: its contexts, a request and a reply."""


class QuickJSRunner(FunctionRunner):
    """Runs JavaScript functions in one worker process, started when it is first needed.

    Without the extra ``js`` its methods raise ``NotSupported``.

    Args:
        seconds: Processor time for one call, or for one document. CouchDB's is 5 seconds (``os_process_timeout``).
        memory: Bytes of JavaScript heap for one function.
        deadline: Seconds on the wall for one request of up to 200 documents.
    """

    def __init__(self, *, seconds: float = 5.0, memory: int = 64 * 1024 * 1024, deadline: float = 60.0) -> None:
        self._seconds = seconds
        self._memory = memory
        self._deadline = deadline
        self._process: Process | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def map(self, source: str, docs: Sequence[Document]) -> list[list[tuple[Any, Any]] | PeerPouchError]:
        results: list[list[tuple[Any, Any]] | PeerPouchError] = []
        batch: list[str] = []
        size = 0
        for doc in docs:
            batch.append(jsonio.dumps(doc).decode())
            size += len(batch[-1])
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                results += await self._map(source, batch)
                batch, size = [], 0
        if batch:
            results += await self._map(source, batch)
        return results

    async def _map(self, source: str, docs: list[str]) -> list[list[tuple[Any, Any]] | PeerPouchError]:
        replies = await self._ask({"op": "map", "source": source, "docs": docs})
        return await asyncio.to_thread(lambda: [_rows(reply) for reply in replies])

    async def call(self, source: str, *arguments: Any) -> Any:
        text = jsonio.dumps(list(arguments)).decode()
        (answer,) = await self._ask({"op": "call", "source": source, "arguments": text})
        reply = _parse(answer)
        if "result" in reply:
            return reply["result"]
        raise _thrown(reply)

    async def close(self) -> None:
        self._closed = True
        async with self._lock:
            await self._stop()

    async def _ask(self, request: dict[str, Any]) -> list[str]:
        async with self._lock:
            if self._closed:
                raise NotSupported("The JavaScript runner is closed.")
            answered = False
            try:
                async with asyncio.timeout(self._deadline):
                    reply = await self._exchange(frame(request))
                answered = True
            except TimeoutError:
                raise DeadlineExceeded(f"A JavaScript function took longer than {self._deadline:g} seconds.") from None
            except (OSError, asyncio.IncompleteReadError) as error:
                raise TooLarge(f"A JavaScript function ended its worker process: {error}.") from None
            finally:
                if not answered:
                    # Its reply, if one still came, would be taken for the next request's.
                    await self._stop()
        if "fatal" in reply:
            raise self._fatal(reply["fatal"], reply["reason"])
        results: list[str] = reply["results"]
        return results

    async def _exchange(self, data: bytes) -> dict[str, Any]:
        process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        await process.stdin.drain()
        size = int.from_bytes(await process.stdout.readexactly(HEADER), "big")
        if size > _LARGEST_REPLY:
            raise OSError(f"its answer has {size:,} bytes")
        reply: dict[str, Any] = jsonio.loads(await process.stdout.readexactly(size))
        return reply

    async def _start(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            if find_spec("quickjs") is None:
                raise NotSupported("JavaScript functions need the extra `js`: pip install 'peerpouch[js]'.")
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                "peerpouch.js.worker",
                str(self._seconds),
                str(self._memory),
                str(_PROCESS_MEMORY),
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

    def _fatal(self, kind: str, reason: str) -> PeerPouchError:
        if kind == "time":
            return DeadlineExceeded(f"A JavaScript function took longer than {self._seconds:g} seconds.")
        if kind == "memory":
            return TooLarge(f"A JavaScript function took more than {self._memory:,} bytes: {reason}.")
        return BadRequest(f"A JavaScript function could not be compiled: {reason}.")


def _rows(text: str) -> list[tuple[Any, Any]] | PeerPouchError:
    reply = _parse(text)
    return [(key, value) for key, value in reply["rows"]] if "rows" in reply else _thrown(reply)


def _parse(text: str) -> dict[str, Any]:
    try:
        reply: dict[str, Any] = jsonio.loads(text)
    except InvalidJSON as error:
        return {"error": f"its result can't be read: {error.reason}"}
    return reply


def _thrown(reply: dict[str, Any]) -> PeerPouchError:
    if "forbidden" in reply:
        return Forbidden(reply["forbidden"])
    if "unauthorized" in reply:
        return Unauthorized(reply["unauthorized"])
    return PeerPouchError(f"A JavaScript function threw: {reply.get('error')}")
