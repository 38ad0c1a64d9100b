"""The worker process: reads requests from its standard input, runs functions in QuickJS, writes replies.

Requests and replies are lists of parts, framed as :mod:`peerpouch.js.framing` says, all of them UTF-8::

    "map", source, modules, document, …        -> "results", result, …
    "call", source, modules, arguments, …      -> "fatal", "compile" | "time" | "memory", reason

Modules are the JSON text of the object that the function may ``require`` from, or empty. Documents and arguments are
JSON texts, and so are results: ``{"rows": [[key, value], …]}`` or ``{"error": "…"}`` of a document; ``{"result": …}``,
``{"error": …}``, ``{"forbidden": …}`` or ``{"unauthorized": …}`` of arguments. There may be fewer results than were
asked for, but one at least: they have become large, and the rest is to be asked for again.

A function gets a context of its own: it sees nothing of other functions, nothing of the machine, and has its own
limits. What it throws is a result; running into a limit ends the request.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import quickjs

from peerpouch.js.framing import HEADER, message, parts_of
from peerpouch.js.harness import HARNESS

CONTEXTS: Final = 8
"""Functions kept compiled; the one that was not used for the longest goes first."""

ENOUGH: Final = 16 * 1024 * 1024
"""Bytes of results, from which on a reply ends. One result more is as large as a function's memory lets it be: both
together stay far below what the process may have."""

STACK: Final = 512 * 1024
"""Bytes of JavaScript stack: enough for some thousand frames, far from the thread's own."""


class FatalError(Exception):
    """A function did not compile, or ran into a limit."""

    def __init__(self, kind: str, reason: str) -> None:
        self.kind = kind
        super().__init__(reason)


class CompiledFunction:
    """One function in a context of its own.

    Args:
        source: A JavaScript function expression.
        modules: JSON text of the object that ``require`` looks in, and that ``this`` is; empty for none.
        seconds: Processor time for one call.
        memory: Bytes of JavaScript heap.
    """

    def __init__(self, source: str, modules: str, seconds: float, memory: int) -> None:
        self._context = quickjs.Context()
        self._context.set_memory_limit(memory)
        self._context.set_max_stack_size(STACK)
        self._context.set_time_limit(seconds)
        try:
            harness = self._context.eval(HARNESS)
            # A function around it, so that what it asks for while it is compiled finds `require`; on a line of its own,
            # so that a comment at the source's end can't swallow the bracket.
            compile_ = self._context.eval(f"(() => ({source.strip().rstrip(';')}\n))")
            self._context.set("__harness", harness)
            self._context.set("__compile", compile_)
            self._context.set("__modules", modules)
            self._context.eval(
                "globalThis.__functions = __harness(__compile, __modules);"
                "delete globalThis.__harness; delete globalThis.__compile; delete globalThis.__modules;"
            )
            self._map = self._context.eval("__functions.map")
            self._call = self._context.eval("__functions.call")
            self._context.eval("delete globalThis.__functions")
        except quickjs.JSException as error:
            raise _fatal(error, "compile") from None

    def map(self, doc: bytes) -> bytes:
        """What it emits for a document."""
        return self._run(self._map, doc)

    def call(self, arguments: bytes) -> bytes:
        """What it gives for arguments."""
        return self._run(self._call, arguments)

    def _run(self, function: Any, argument: bytes) -> bytes:
        # Passed on as text: what is in it may be nested too deeply to be read, which is the reader's to say.
        try:
            result: str = function(argument.decode())
        except quickjs.JSException as error:
            raise _fatal(error, "memory") from None
        if result.startswith('{"limit":'):
            raise FatalError("memory", result)
        return result.encode()


def _fatal(error: quickjs.JSException, otherwise: str) -> FatalError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else "out of memory"
    if "interrupted" in reason:
        return FatalError("time", reason)
    if "out of memory" in reason:
        return FatalError("memory", reason)
    return FatalError(otherwise, reason)


class Worker:
    """Answers requests."""

    def __init__(self, seconds: float, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory
        self._functions: OrderedDict[tuple[str, str], CompiledFunction] = OrderedDict()

    def answer(self, request: list[bytes]) -> list[bytes]:
        """The reply to one request."""
        op, source, modules, *texts = request
        wanted = (source.decode(), modules.decode())
        try:
            function = self._compiled(wanted)
            return [b"results", *_up_to_enough(function.map if op == b"map" else function.call, texts)]
        except FatalError as error:
            # After a limit the context may be in any state.
            self._functions.pop(wanted, None)
            return [b"fatal", error.kind.encode(), str(error).encode()]
        except MemoryError:
            self._functions.clear()
            return [b"fatal", b"memory", b"out of memory"]

    def _compiled(self, wanted: tuple[str, str]) -> CompiledFunction:
        function = self._functions.get(wanted)
        if function is None:
            function = self._functions[wanted] = CompiledFunction(*wanted, self._seconds, self._memory)
            if len(self._functions) > CONTEXTS:
                self._functions.popitem(last=False)
        self._functions.move_to_end(wanted)
        return function


def _up_to_enough(function: Callable[[bytes], bytes], texts: list[bytes]) -> list[bytes]:
    results: list[bytes] = []
    size = 0
    for text in texts:
        results.append(function(text))
        size += len(results[-1])
        if size >= ENOUGH:
            break
    return results


def requests(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Requests until the stream ends: then the other process is gone, or wants this one to go."""
    while len(header := stream.read(HEADER)) == HEADER:
        yield parts_of(stream.read(int.from_bytes(header, "big")))


def limit_process(memory: int) -> None:
    """Bound the whole process, where the system can: the limits inside of it are QuickJS's own word."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def main(arguments: list[str]) -> None:
    """Serve until the standard input ends. Arguments: seconds per call, bytes per function, bytes of the process."""
    seconds, memory, process = float(arguments[0]), int(arguments[1]), int(arguments[2])
    limit_process(process)
    worker = Worker(seconds, memory)
    for request in requests(sys.stdin.buffer):
        sys.stdout.buffer.writelines(message(worker.answer(request)))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
