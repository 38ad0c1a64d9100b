"""The bytes of the channel protocol: frames, heads, settings. ``docs/protocol/channel.md`` is the specification.

A message of the data channel holds one or more whole frames back to back. A frame is eight bytes of header
(type, flags, length of the payload in 16 bits, stream in 32 bits, all big-endian) and its payload. Everything
here is a function of its arguments. What can't be decoded raises :class:`Malformed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from struct import Struct
from struct import error as _StructError

from peerpouch.errors import ProtocolError

from .limits import LARGEST_CREDIT, PORTABLE_MESSAGE, Limits

HEADER = Struct(">BBHI")
HEADER_SIZE = HEADER.size
LARGEST_STREAM = 2**32 - 1
#: The versions of the protocol that this implementation speaks, lowest and highest.
VERSIONS = (1, 1)
_MAGIC = b"PPCH"
_HELLO = Struct(">4sBBH")
_SETTING = Struct(">HI")
_U16 = Struct(">H")
_U32 = Struct(">I")
_GO_AWAY = Struct(">II")
#: A reason is a sentence for a person, not a document.
_LONGEST_REASON = 256

Header = tuple[bytes, bytes]


class FrameType(IntEnum):
    """What a frame is. A receiver skips types that it does not know."""

    HELLO = 1
    REQUEST = 2
    RESPONSE = 3
    DATA = 4
    CREDIT = 5
    RESET = 6
    PING = 7
    PONG = 8
    GO_AWAY = 9


class Flag(IntFlag):
    """The flags of REQUEST, RESPONSE and DATA. A receiver ignores bits that it does not know."""

    END = 1


class Setting(IntEnum):
    """What a HELLO tells. A receiver ignores numbers that it does not know."""

    MAX_MESSAGE = 1
    STREAM_CREDIT = 2
    CONNECTION_CREDIT = 3
    MAX_STREAMS = 4
    MAX_HEAD = 5
    FEATURES = 6


class Feature(IntFlag):
    """What an end can do beyond the least, as bits of the setting FEATURES. Unknown ones are ignored."""

    #: What it serves takes requests whose body of JSON is gzipped.
    GZIP = 1


class Code(IntEnum):
    """Why a stream was reset or a connection closed."""

    NONE = 0
    CANCELLED = 1
    REFUSED = 2
    INTERNAL = 3
    PROTOCOL = 4
    FLOW = 5
    TOO_LARGE = 6
    EXCESS = 7
    VERSION = 8


class Malformed(ProtocolError):
    """Bytes that don't follow the specification. ``code`` is what the other end is told."""

    def __init__(self, reason: str, code: Code = Code.PROTOCOL) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request without its body.

    ``method`` is upper case; ``path`` is the percent-encoded path with its query; names of headers are lower case.
    """

    method: bytes
    path: bytes
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response without its body: a status of 200 to 599, and headers with lower case names."""

    status: int
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Hello:
    """What an end tells of itself: the versions that it speaks (inclusive), and its settings by number."""

    lowest: int
    highest: int
    settings: Mapping[int, int]


_METHOD = re.compile(rb"[A-Z]{1,32}")
_PATH = re.compile(rb"/[\x21-\x7e]*")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]{1,255}")
# What HTTP forbids in a field's value (RFC 9110, section 5.5): these would split headers further on.
_VALUE = re.compile(rb"[^\x00\r\n]*")


def frame(kind: int, stream: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame."""
    return HEADER.pack(kind, flags, len(payload), stream) + payload


def split(message: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The frames of a message: type, flags, stream, payload. A message holds whole frames, at least one."""
    size = len(message)
    at = 0
    while at < size or not size:
        if size - at < HEADER_SIZE:
            raise Malformed("A message holds no whole frame, or ends within a frame's header.")
        kind, flags, length, stream = HEADER.unpack_from(message, at)
        start = at + HEADER_SIZE
        at = start + length
        if at > size:
            raise Malformed("A message ends within a frame.")
        yield kind, flags, stream, message[start:at]


def encode_hello(limits: Limits, features: int = 0) -> bytes:
    """The payload of a HELLO that tells ``limits``."""
    settings = (
        (Setting.MAX_MESSAGE, limits.max_message),
        (Setting.STREAM_CREDIT, limits.stream_credit),
        (Setting.CONNECTION_CREDIT, limits.connection_credit),
        (Setting.MAX_STREAMS, limits.max_streams),
        (Setting.MAX_HEAD, limits.max_head),
        (Setting.FEATURES, features),
    )
    head = _HELLO.pack(_MAGIC, *VERSIONS, len(settings))
    return head + b"".join(_SETTING.pack(number, value) for number, value in settings)


def decode_hello(payload: bytes) -> Hello:
    """The inverse of :func:`encode_hello`. Bytes after the last setting belong to later versions."""
    if len(payload) < _HELLO.size:
        raise Malformed("HELLO is cut short.")
    magic, lowest, highest, count = _HELLO.unpack_from(payload)
    if magic != _MAGIC:
        raise Malformed("HELLO does not start with PPCH: the other side speaks another protocol.")
    if len(payload) < _HELLO.size + count * _SETTING.size or not 0 < lowest <= highest:
        raise Malformed("HELLO is cut short or names no version.")
    body = payload[_HELLO.size : _HELLO.size + count * _SETTING.size]
    return Hello(lowest, highest, dict(_SETTING.iter_unpack(body)))


#: The least and the largest value that each setting may have, and the value that stands where it is not told.
_BOUNDS: dict[Setting, tuple[int, int, int]] = {
    Setting.MAX_MESSAGE: (PORTABLE_MESSAGE, LARGEST_STREAM, PORTABLE_MESSAGE),
    Setting.STREAM_CREDIT: (1, LARGEST_CREDIT, 64 * 1024),
    Setting.CONNECTION_CREDIT: (1, LARGEST_CREDIT, 1024 * 1024),
    Setting.MAX_STREAMS: (0, LARGEST_STREAM, 16),
    Setting.MAX_HEAD: (1, LARGEST_STREAM, 8 * 1024),
    Setting.FEATURES: (0, LARGEST_STREAM, 0),
}


def agreed_version(hello: Hello) -> int:
    """The highest version that both ends speak, or :class:`Malformed` where there is none."""
    version = min(VERSIONS[1], hello.highest)
    if version < max(VERSIONS[0], hello.lowest):
        raise Malformed(
            f"The other side speaks versions {hello.lowest} to {hello.highest} of the channel protocol, "
            f"this one {VERSIONS[0]} to {VERSIONS[1]}: update the older one.",
            Code.VERSION,
        )
    return version


def settings_of(hello: Hello) -> dict[Setting, int]:
    """All settings of a HELLO, defaults included, or :class:`Malformed` where one is out of its bounds."""
    result: dict[Setting, int] = {}
    for setting, (least, largest, default) in _BOUNDS.items():
        value = hello.settings.get(setting, default)
        if not least <= value <= largest:
            raise Malformed(f"HELLO has {value} for {setting.name}; {least} to {largest} are allowed.")
        result[setting] = value
    return result


def _encode_headers(headers: Iterable[Header], parts: list[bytes]) -> None:
    count_at = len(parts)
    parts.append(b"")
    count = 0
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or len(value) > 0xFFFF:
            raise Malformed(f"The header {name[:64]!r} has a name or a value that can't be sent.")
        parts += (bytes((len(name),)), name, _U16.pack(len(value)), value)
        count += 1
    parts[count_at] = _U16.pack(count)


def encode_request(head: RequestHead) -> bytes:
    """The payload of a REQUEST, or :class:`Malformed` for what HTTP does not allow."""
    if not _METHOD.fullmatch(head.method) or not _PATH.fullmatch(head.path):
        raise Malformed(f"{head.method[:32]!r} {head.path[:64]!r} is not a method and an encoded path.")
    if len(head.path) > 0xFFFF:
        raise Malformed("The path is longer than 65,535 bytes.", Code.TOO_LARGE)
    parts = [bytes((len(head.method),)), head.method, _U16.pack(len(head.path)), head.path]
    _encode_headers(head.headers, parts)
    return b"".join(parts)


def encode_response(head: ResponseHead) -> bytes:
    """The payload of a RESPONSE, or :class:`Malformed` for what HTTP does not allow."""
    if not 200 <= head.status <= 599:
        raise Malformed(f"{head.status} is not the status of a response.")
    parts = [_U16.pack(head.status)]
    _encode_headers(head.headers, parts)
    return b"".join(parts)


def _decode_headers(payload: bytes, at: int, max_headers: int) -> tuple[Header, ...]:
    (count,) = _U16.unpack_from(payload, at)
    at += 2
    if count > max_headers:
        raise Malformed(f"A head has {count} headers; {max_headers} are allowed.", Code.TOO_LARGE)
    headers: list[Header] = []
    for _ in range(count):
        start = at + 1
        at = start + payload[at]
        name = payload[start:at]
        (length,) = _U16.unpack_from(payload, at)
        start = at + 2
        at = start + length
        value = payload[start:at]
        if at > len(payload) or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Malformed("A head has a header that is cut short or not allowed.")
        headers.append((name, value))
    if at != len(payload):
        raise Malformed("A head has bytes after its last header.")
    return tuple(headers)


def decode_request(payload: bytes, max_headers: int) -> RequestHead:
    """The inverse of :func:`encode_request`."""
    try:
        at = 1 + payload[0]
        method = payload[1:at]
        (length,) = _U16.unpack_from(payload, at)
        path = payload[at + 2 : at + 2 + length]
        headers = _decode_headers(payload, at + 2 + length, max_headers)
    except (IndexError, _StructError) as error:
        raise Malformed("The head of a request is cut short.") from error
    if not _METHOD.fullmatch(method) or not _PATH.fullmatch(path):
        raise Malformed("The head of a request has a method or a path that is not allowed.")
    return RequestHead(method, path, headers)


def decode_response(payload: bytes, max_headers: int) -> ResponseHead:
    """The inverse of :func:`encode_response`."""
    try:
        (status,) = _U16.unpack_from(payload)
        headers = _decode_headers(payload, 2, max_headers)
    except (IndexError, _StructError) as error:
        raise Malformed("The head of a response is cut short.") from error
    if not 200 <= status <= 599:
        raise Malformed(f"{status} is not the status of a response.")
    return ResponseHead(status, headers)


def encode_credit(amount: int) -> bytes:
    """The payload of a CREDIT: bytes of body that may be sent in addition."""
    return _U32.pack(amount)


def decode_credit(payload: bytes) -> int:
    """The inverse of :func:`encode_credit`."""
    if len(payload) != _U32.size:
        raise Malformed("CREDIT does not have four bytes.")
    (amount,) = _U32.unpack(payload)
    if not 0 < amount <= LARGEST_CREDIT:
        raise Malformed(f"CREDIT has {amount}; 1 to {LARGEST_CREDIT} are allowed.", Code.FLOW)
    return int(amount)


def _encode_reason(reason: str) -> bytes:
    # Cut at a character's border: a reason must stay valid UTF-8.
    return reason.encode("utf-8", "replace")[:_LONGEST_REASON].decode("utf-8", "ignore").encode()


def _decode_reason(payload: bytes) -> str:
    text = payload[:_LONGEST_REASON].decode("utf-8", "replace")
    # It ends in logs and on terminals: nothing in it may move a cursor or forge a line.
    return "".join(character if character.isprintable() else " " for character in text)


def encode_reset(code: int, reason: str = "") -> bytes:
    """The payload of a RESET."""
    return _U32.pack(code) + _encode_reason(reason)


def decode_reset(payload: bytes) -> tuple[int, str]:
    """Code (perhaps one that this version does not know) and reason."""
    if len(payload) < _U32.size:
        raise Malformed("RESET is cut short.")
    return _U32.unpack_from(payload)[0], _decode_reason(payload[_U32.size :])


def encode_go_away(code: int, last_stream: int, reason: str = "") -> bytes:
    """The payload of a GO_AWAY; ``last_stream`` is the highest stream of the receiver that was accepted."""
    return _GO_AWAY.pack(code, last_stream) + _encode_reason(reason)


def decode_go_away(payload: bytes) -> tuple[int, int, str]:
    """Code, last stream and reason."""
    if len(payload) < _GO_AWAY.size:
        raise Malformed("GO_AWAY is cut short.")
    code, last_stream = _GO_AWAY.unpack_from(payload)
    return code, last_stream, _decode_reason(payload[_GO_AWAY.size :])
