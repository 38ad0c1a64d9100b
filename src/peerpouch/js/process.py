"""What both runners know of the worker: how it is started, and what its replies mean."""

from __future__ import annotations

import sys
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

SECONDS: Final = 5.0
"""Processor time for one call, or for one document: CouchDB's ``os_process_timeout``."""

MEMORY: Final = 64 * 1024 * 1024
"""Bytes of JavaScript heap for one function."""

LARGEST_REPLY: Final = 128 * 1024 * 1024
"""Bytes of one reply: what a batch of documents can emit within the limits, far below what the process may have."""

_PROCESS_MEMORY: Final = 1024 * 1024 * 1024
"""Address space of the worker: its contexts, a request and a reply."""


def command(seconds: float, memory: int) -> list[str]:
    """What starts a worker.

    Raises:
        NotSupported: the extra ``js`` is not installed.
    """
    if find_spec("quickjs") is None:
        raise NotSupported("JavaScript functions need the extra `js`: pip install 'peerpouch[js]'.")
    worker = "peerpouch.js.worker"
    return [sys.executable, "-I", "-m", worker, str(seconds), str(memory), str(_PROCESS_MEMORY)]


def fatal(reply: dict[str, Any], seconds: float, memory: int) -> PeerPouchError:
    """The error of a function that did not compile or ran into a limit."""
    if reply["fatal"] == "time":
        return DeadlineExceeded(f"A JavaScript function took longer than {seconds:g} seconds.")
    if reply["fatal"] == "memory":
        return TooLarge(f"A JavaScript function took more than {memory:,} bytes: {reply['reason']}.")
    return BadRequest(f"A JavaScript function could not be compiled: {reply['reason']}.")


def rows_of(text: str) -> list[tuple[Any, Any]] | PeerPouchError:
    """What a map function emitted for a document, or the error that it threw."""
    reply = _parse(text)
    return [(key, value) for key, value in reply["rows"]] if "rows" in reply else _thrown(reply)


def result_of(text: str) -> Any | PeerPouchError:
    """What a call gave, or the error that it threw."""
    reply = _parse(text)
    return reply["result"] if "result" in reply else _thrown(reply)


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
