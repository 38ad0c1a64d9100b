"""The order of keys: CouchDB's order of types, with strings compared as PouchDB compares them.

``null < false < true < numbers < strings < arrays < objects``. Numbers compare by value, integers of any size and
floats together. Arrays compare element by element, a prefix first. Objects compare pair by pair in the order in which
they were written, each name before its value, a prefix first. (CouchDB documentation, "Views Collation";
``couch_ejson_compare.erl``; ``pouchdb-collate``, ``collate`` and ``objectCollate``.)

Strings compare by UTF-16 code units, which is what JavaScript's ``<`` does and therefore ``stringCollate`` of
``pouchdb-collate``. (On LevelDB, PouchDB's indexes are stored by their UTF-8 bytes, which differs beyond U+DFFF.)
CouchDB uses ICU there, whose order depends on its version; PouchDB never follows it, and neither does this module.
Document ids are the exception in both: they compare by their UTF-8 bytes (``raw`` below).

A key is encoded to bytes so that ``memcmp`` gives this order, and SQLite can sort and search it without a callback::

    null 10    false 20    true 21
    number     30, eight bytes of the largest double <= the number, made to sort; if the double is smaller than
               the number, FE, one byte of length, and the difference as a big-endian integer
    string     40, UTF-8 in which EE and EF (U+E000 to U+FFFF) are written F5 and F6, so that they sort after the
               astral planes as in UTF-16; 00 is written 00 FF; then 00
    array      50, the elements, 00
    object     60, name and value of each pair, 00

What follows a value is the end, ``00`` or a tag below ``7F``, so ``FE`` and ``FF`` can say "this value goes on".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, Final

from peerpouch.errors import InvalidDocument

_NULL, _FALSE, _TRUE, _NUMBER, _STRING, _ARRAY, _OBJECT = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50, 0x60
_END, _GOES_ON = 0x00, 0xFE

LOWEST: Final = b""
"""Not above any encoded key."""

HIGHEST: Final = b"\x7f"
"""Above every encoded key; after an array's unfinished prefix, above every array that goes on from there."""

_DOUBLE = struct.Struct(">d")
_BITS = struct.Struct(">Q")
_TAGGED_BITS = struct.Struct(">BQ")
_SIGN = 1 << 63
_ALL = (1 << 64) - 1
_TO_UTF16_ORDER = bytes.maketrans(b"\xee\xef", b"\xf5\xf6")
_FROM_UTF16_ORDER = bytes.maketrans(b"\xf5\xf6", b"\xee\xef")
# Integers up to here are doubles themselves.
_EXACT = 1 << 53


def encode_key(value: Any) -> bytes:
    """The bytes of a JSON value, so that comparing bytes compares keys. Equal keys (``1``, ``1.0``) give equal bytes.

    Raises:
        InvalidDocument: for what is not a JSON value.
    """
    kind = type(value)
    if kind is str:
        return b"\x40" + _text(value) + b"\x00"
    if kind is int or kind is float:
        return _number(value)
    out = bytearray()
    try:
        _encode(value, out)
    except RecursionError:
        raise InvalidDocument("A key is nested too deeply.") from None
    return bytes(out)


def encode_raw(text: str) -> bytes:
    """Like :func:`encode_key` for a document id: strings in the order of their UTF-8 bytes."""
    return b"\x40" + _escape(text.encode()) + b"\x00"


def encode_columns(columns: Sequence[bytes]) -> bytes:
    """The array of values that are encoded already."""
    return b"\x50" + b"".join(columns) + b"\x00"


def encode_prefix(columns: Sequence[bytes]) -> bytes:
    """The beginning of every array that begins with these encoded values; append :data:`HIGHEST` for their end."""
    return b"\x50" + b"".join(columns)


def _encode(value: Any, out: bytearray) -> None:
    kind = type(value)
    if kind is str:
        out += b"\x40"
        out += _text(value)
        out.append(_END)
    elif kind is int or kind is float:
        out += _number(value)
    elif value is None:
        out.append(_NULL)
    elif kind is bool:
        out.append(_TRUE if value else _FALSE)
    elif kind is list or kind is tuple:
        out.append(_ARRAY)
        for item in value:
            _encode(item, out)
        out.append(_END)
    elif kind is dict:
        out.append(_OBJECT)
        for name, item in value.items():
            if type(name) is not str:
                raise InvalidDocument(f"A key with the field name {name!r} is not JSON.")
            out += b"\x40"
            out += _text(name)
            out.append(_END)
            _encode(item, out)
        out.append(_END)
    else:
        raise InvalidDocument(f"A key of type {kind.__name__} is not JSON.")


def _escape(data: bytes) -> bytes:
    return data.replace(b"\x00", b"\x00\xff") if b"\x00" in data else data


def _text(text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise InvalidDocument("A key with a lone surrogate is not valid Unicode text.") from None
    if not text.isascii():
        data = data.translate(_TO_UTF16_ORDER)
    return _escape(data)


def _sortable(value: float) -> int:
    # Adding 0.0 makes -0.0 a 0.0: they are equal keys.
    bits: int = _BITS.unpack(_DOUBLE.pack(value + 0.0))[0]
    return bits ^ _ALL if bits & _SIGN else bits | _SIGN


def _number(value: float) -> bytes:
    if type(value) is float:
        if not math.isfinite(value):
            raise InvalidDocument(f"A key that is {value} is not JSON.")
        return _TAGGED_BITS.pack(_NUMBER, _sortable(value))
    whole = int(value)
    if -_EXACT <= whole <= _EXACT:
        return _TAGGED_BITS.pack(_NUMBER, _sortable(float(whole)))
    try:
        floor = float(whole)
    except OverflowError:
        return _beyond_doubles(whole)
    if floor > whole:
        floor = math.nextafter(floor, -math.inf)
    if floor == -math.inf:
        return _beyond_doubles(whole)
    head = _TAGGED_BITS.pack(_NUMBER, _sortable(floor))
    rest = whole - int(floor)
    # At most 122 bytes: a double's unit in the last place is at most 2 ** 971.
    return head + _length_and_bytes(rest, 1) if rest else head


def _beyond_doubles(whole: int) -> bytes:
    """Integers that no double reaches: infinity, and the number itself; negative ones with all bits turned."""
    infinity = math.inf if whole > 0 else -math.inf
    tail = _length_and_bytes(abs(whole), 8)
    if whole < 0:
        tail = tail[:1] + bytes(255 - byte for byte in tail[1:])
    return _TAGGED_BITS.pack(_NUMBER, _sortable(infinity)) + tail


def _length_and_bytes(number: int, width: int) -> bytes:
    size = (number.bit_length() + 7) // 8
    return bytes((_GOES_ON,)) + size.to_bytes(width, "big") + number.to_bytes(size, "big")


def decode_key(data: bytes) -> Any:
    """The key that ``encode_key`` made these bytes of, up to equality: ``1.0`` comes back as ``1``.

    Integral numbers of up to 64 bits come back as ``int``, larger ones as ``float`` where a float is exact.
    """
    value, end = _decode(data, 0)
    if end != len(data):
        raise ValueError("bytes after the end of an encoded key")
    return value


def _decode(data: bytes, at: int) -> tuple[Any, int]:
    tag = data[at]
    at += 1
    if tag == _NULL:
        return None, at
    if tag in (_FALSE, _TRUE):
        return tag == _TRUE, at
    if tag == _NUMBER:
        return _decode_number(data, at)
    if tag == _STRING:
        return _decode_text(data, at)
    if tag == _ARRAY:
        items: list[Any] = []
        while data[at] != _END:
            item, at = _decode(data, at)
            items.append(item)
        return items, at + 1
    if tag == _OBJECT:
        pairs: dict[str, Any] = {}
        while data[at] != _END:
            name, at = _decode(data, at)
            pairs[name], at = _decode(data, at)
        return pairs, at + 1
    raise ValueError(f"0x{tag:02x} begins no encoded key")


def _decode_text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\x00", at)
    while data[end + 1 : end + 2] == b"\xff":
        end = data.index(b"\x00", end + 2)
    text = data[at:end].replace(b"\x00\xff", b"\x00").translate(_FROM_UTF16_ORDER)
    return text.decode(), end + 1


def _decode_number(data: bytes, at: int) -> tuple[int | float, int]:
    bits = _BITS.unpack_from(data, at)[0]
    value: float = _DOUBLE.unpack(_BITS.pack(bits ^ _SIGN if bits & _SIGN else bits ^ _ALL))[0]
    at += 8
    goes_on = data[at : at + 1] == bytes((_GOES_ON,))
    if not math.isfinite(value):
        turned = data[at + 1 :] if value > 0 else bytes(255 - byte for byte in data[at + 1 :])
        size = int.from_bytes(turned[:8], "big")
        whole = int.from_bytes(turned[8 : 8 + size], "big")
        return (whole if value > 0 else -whole), at + 9 + size
    if goes_on:
        size = data[at + 1]
        return int(value) + int.from_bytes(data[at + 2 : at + 2 + size], "big"), at + 2 + size
    if value.is_integer() and -_SIGN <= value < _SIGN:
        return int(value), at
    return value, at


def compare(a: Any, b: Any) -> int:
    """Negative, zero or positive, as ``a`` sorts before, with or after ``b``."""
    left, right = encode_key(a), encode_key(b)
    return (left > right) - (left < right)


def text_less(a: str, b: str) -> bool:
    """Whether ``a`` sorts before ``b`` by UTF-16 code units. Where one is ASCII, code points give the same order."""
    if a.isascii() or b.isascii():
        return a < b
    return _text(a) < _text(b)
