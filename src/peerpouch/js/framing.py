"""Messages to and from the JavaScript worker: a length (four bytes, big-endian), and so many bytes of JSON."""

from __future__ import annotations

from typing import Any, Final

from peerpouch.core import jsonio

HEADER: Final = 4
"""Bytes of the length."""


def frame(message: dict[str, Any]) -> bytes:
    """A message as it is sent."""
    data = jsonio.dumps(message)
    return len(data).to_bytes(HEADER, "big") + data
