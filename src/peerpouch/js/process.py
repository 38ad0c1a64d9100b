"""What both runners know of the worker: how it is started, and what its replies mean."""

from __future__ import annotations

import sys
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
from peerpouch.js.framing import message, parts_of

SECONDS: Final = 5.0
"""Processor time for one call, or for one document: CouchDB's ``os_process_timeout``."""

MEMORY: Final = 64 * 1024 * 1024
"""Bytes of JavaScript heap for one function."""

LARGEST_REPLY: Final = 128 * 1024 * 1024
"""Bytes of one reply: it ends at 16 MiB of results, the last of which is no larger than a function's memory."""

MOST_RESULTS: Final = 128 * 1024 * 1024
"""Bytes of all results for the documents that are handed in at once (those of some megabytes, for an index)."""

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


def request(op: str, source: str, modules: str, texts: Sequence[bytes]) -> bytes:
    """What the worker is asked: ``map`` for documents, ``call`` for arguments.

    Raises:
        BadRequest: the function is no text that UTF-8 can carry.
    """
    try:
        return b"".join(message([op.encode(), source.encode(), modules.encode(), *texts]))
    except UnicodeEncodeError:
        raise BadRequest("A JavaScript function has a lone surrogate, which is not valid Unicode text.") from None


def results_of(reply: bytes, seconds: float, memory: int) -> list[bytes]:
    """The results in a reply: one at least, in the order of what was asked for, perhaps not to its end.

    Raises:
        BadRequest: the function did not compile.
        DeadlineExceeded, TooLarge: it ran into a limit.
        PeerPouchError: the worker's words make no sense.
    """
    try:
        kind, *parts = parts_of(reply)
    except ValueError as error:
        raise PeerPouchError(f"The worker of JavaScript functions does not keep to its protocol: {error}.") from None
    if kind == b"results" and parts:
        return parts
    if kind != b"fatal" or len(parts) != 2:
        raise PeerPouchError("The worker of JavaScript functions gave neither a result nor an error.")
    reason = parts[1].decode()
    if parts[0] == b"time":
        raise DeadlineExceeded(f"A JavaScript function took longer than {seconds:g} seconds.")
    if parts[0] == b"memory":
        raise TooLarge(f"A JavaScript function took more than {memory:,} bytes: {reason}.")
    raise BadRequest(f"A JavaScript function could not be compiled: {reason}.")


def rows_of(text: bytes) -> list[tuple[Any, Any]] | PeerPouchError:
    """What a map function emitted for a document, or the error that it threw."""
    reply = _parse(text)
    return [(key, value) for key, value in reply["rows"]] if "rows" in reply else _thrown(reply)


def result_of(text: bytes) -> Any | PeerPouchError:
    """What a call gave, or the error that it threw."""
    reply = _parse(text)
    return reply["result"] if "result" in reply else _thrown(reply)


def _parse(text: bytes) -> dict[str, Any]:
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
