"""MIME multipart bodies, read as a stream of events and written piece by piece (RFC 2046, section 5.1).

CouchDB sends a document with its attachments as ``multipart/related`` (the document first, then the attachments that
it marks ``"follows": true``, in the order in which it lists them), and several revisions of a document as
``multipart/mixed``. :class:`MultipartParser` takes bytes as they arrive and gives events; content is never gathered,
so its memory is bounded whatever the size of a part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from peerpouch.errors import BadRequest

MAX_HEADER_BYTES = 16 * 1024
"""The most that the headers of one part may take: several times what CouchDB writes with the longest file name."""

MAX_BOUNDARY = 70
"""The longest boundary that RFC 2046 allows."""


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins. Header names are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartData:
    """Content of the current part, never empty."""

    data: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The current part has ended."""


@dataclass(frozen=True, slots=True)
class MultipartEnd:
    """The closing boundary was read; what follows is ignored."""


MultipartEvent = PartBegin | PartData | PartEnd | MultipartEnd


class _State(Enum):
    PREAMBLE = auto()
    BOUNDARY = auto()  # a delimiter was read; what comes after it decides between a part and the end
    HEADERS = auto()
    CONTENT = auto()
    DONE = auto()


class MultipartParser:
    """Bytes in, events out. An instance reads one body.

    Args:
        boundary: The parameter of the content type, without the leading dashes.
    """

    def __init__(self, boundary: str) -> None:
        if not 0 < len(boundary) <= MAX_BOUNDARY or not boundary.isascii():
            raise BadRequest("The multipart boundary is missing, too long or not ASCII.")
        self._delimiter = b"\r\n--" + boundary.encode()
        # The body may begin with the delimiter itself: a line break before it makes that the general case.
        self._buffer = bytearray(b"\r\n")
        self._state = _State.PREAMBLE

    @property
    def done(self) -> bool:
        """Whether the closing boundary was read."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> list[MultipartEvent]:
        """The events that these bytes complete.

        Raises:
            BadRequest: when the body is not well-formed.
        """
        self._buffer += data
        events: list[MultipartEvent] = []
        while self._step(events):
            pass
        return events

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            BadRequest: when the closing boundary is missing: the body was cut off.
        """
        if self._state is not _State.DONE:
            raise BadRequest("The multipart body ended before its closing boundary.")

    def _step(self, events: list[MultipartEvent]) -> bool:
        match self._state:
            case _State.PREAMBLE:
                return self._content(events, inside=False)
            case _State.CONTENT:
                return self._content(events, inside=True)
            case _State.BOUNDARY:
                return self._boundary(events)
            case _State.HEADERS:
                return self._headers(events)
            case _State.DONE:
                self._buffer.clear()
                return False

    def _content(self, events: list[MultipartEvent], *, inside: bool) -> bool:
        at = self._buffer.find(self._delimiter)
        # Without a delimiter, all but what may be the beginning of one is content.
        upto = at if at >= 0 else max(0, len(self._buffer) - len(self._delimiter) + 1)
        if inside and upto:
            events.append(PartData(bytes(self._buffer[:upto])))
        if at < 0:
            del self._buffer[:upto]
            return False
        del self._buffer[: at + len(self._delimiter)]
        if inside:
            events.append(PartEnd())
        self._state = _State.BOUNDARY
        return True

    def _boundary(self, events: list[MultipartEvent]) -> bool:
        if self._buffer.startswith(b"--"):
            self._state = _State.DONE
            events.append(MultipartEnd())
            return True
        at = self._buffer.find(b"\r\n")
        if at < 0:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise BadRequest("A multipart boundary is not followed by a line break.")
            return False
        if self._buffer[:at].strip(b" \t"):
            raise BadRequest("A multipart boundary is followed by something other than a line break.")
        # The line break stays: a part without headers begins with an empty line right here.
        del self._buffer[:at]
        self._state = _State.HEADERS
        return True

    def _headers(self, events: list[MultipartEvent]) -> bool:
        at = self._buffer.find(b"\r\n\r\n")
        if at > MAX_HEADER_BYTES or (at < 0 and len(self._buffer) > MAX_HEADER_BYTES):
            raise BadRequest("The headers of a multipart part are too long.")
        if at < 0:
            return False
        block = bytes(self._buffer[:at])
        # The delimiter's own line break may be the one before the next delimiter, when a part is empty.
        del self._buffer[: at + 4]
        self._state = _State.CONTENT
        events.append(PartBegin(_parse_headers(block)))
        return True


def _parse_headers(block: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in block.decode("utf-8", "replace").split("\r\n"):
        if not line:
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest("A header of a multipart part has no colon.")
        headers[name.strip().lower()] = value.strip()
    return headers


_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]*)')


def parse_content_type(value: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case, and its parameters (RFC 9110, section 8.3.1)."""
    media_type, _, _ = value.partition(";")
    parameters = {}
    for name, raw in _PARAMETER.findall(value):
        text = re.sub(r"\\(.)", r"\1", raw[1:-1]) if raw.startswith('"') else raw
        parameters[name.lower()] = text
    return media_type.strip().lower(), parameters


def boundary_of(content_type: str) -> str:
    """The boundary of a multipart content type.

    Raises:
        BadRequest: when it has none.
    """
    boundary = parse_content_type(content_type)[1].get("boundary", "")
    if not boundary:
        raise BadRequest("A multipart content type needs a boundary.")
    return boundary


_LINE_BREAKS = re.compile(r"[\r\n]+")


def part_head(boundary: str, headers: Mapping[str, str], *, first: bool = False) -> bytes:
    """What stands before a part's content. A header's value must not contain line breaks: they become spaces."""
    lines = [f"--{boundary}" if first else f"\r\n--{boundary}"]
    lines += [f"{name}: {_LINE_BREAKS.sub(' ', value)}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def closing(boundary: str) -> bytes:
    """What stands after the last part's content."""
    return f"\r\n--{boundary}--".encode()
