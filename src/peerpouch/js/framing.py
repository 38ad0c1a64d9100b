"""Messages to and from the JavaScript worker.

A message is the number of its bytes (four, big-endian) and its parts, each of them the number of its bytes (four again)
and those. It is no JSON, which would be written into one growing buffer: the worker lives under a limit of address
space, where a buffer may fail to grow, and orjson then writes on all the same, from an address near zero onwards that
whoever wrote the function can choose.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

HEADER: Final = 4
"""Bytes of a length."""


def message(parts: Sequence[bytes]) -> Iterator[bytes]:
    """A message, in pieces as they are sent: large ones are not copied."""
    yield sum(HEADER + len(part) for part in parts).to_bytes(HEADER, "big")
    for part in parts:
        yield len(part).to_bytes(HEADER, "big")
        yield part


def parts_of(data: bytes) -> list[bytes]:
    """The parts of a message whose length was read already.

    Raises:
        ValueError: if they are not as long as they say.
    """
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + HEADER
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise ValueError("a part ends beyond its message")
        parts.append(data[start:at])
    return parts
