"""JSON in and out: strict, exact, and as fast as orjson allows.

orjson is the fast path. It has four habits that a database can't live with, each of which is caught here and
handed to the standard library or refused:

* it writes ``nan`` and infinity as ``null``;
* it reads an integer beyond 64 bits as a float, and refuses to write one;
* it refuses to nest deeper than 254 levels when writing;
* it writes UUIDs, enums and dataclasses, which are not JSON values.
"""

from __future__ import annotations

import gc
import json
import re
from decimal import Decimal
from typing import Any

import orjson

from peerpouch.errors import InvalidDocument, InvalidJSON

# A number that may be an integer outside 64 bits: 19 digits is where they begin. Only what may stand before a number is
# allowed before it, as the hashes of revisions have such runs too, and a page of a listing has many of those.
_LONG_INTEGER = re.compile(rb"(?:^|[:\[,\s])-?\d{19}")
# A search for a run of equal bytes costs a fraction of what the pattern does, and mostly finds that there is none.
_DIGITS_TO_ZERO = bytes(ord("0") if chr(byte).isdecimal() and byte < 128 else ord(" ") for byte in range(256))
_RUN = b"0" * 19
OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
CANONICAL_OPTIONS = OPTIONS | orjson.OPT_SORT_KEYS
# What orjson writes for a float that canonical JSON writes otherwise: "1.0", "1e16", "1e-7".
_OTHER_FLOAT = re.compile(rb"[0-9](?:\.0|[eE][+-]?[0-9]+)(?:[,}\]]|\Z)")
# Three searches in what is left of a text without most letters, after which nearly none is left for the pattern.
_DIGITS_TO_ONE = bytes.maketrans(b"23456789}]E", b"11111111,,e")
_NO_NUMBER = bytes(byte for byte in range(256) if byte not in b'0123456789.eE,}]"')

# Bytes from which on a text may make enough objects for the collector to begin.
_LARGE = 16 * 1024
# What orjson writes keeps the room that it was written in: 4 KiB for the smallest, and eight times as much as it has
# where there is text. So a thousand small documents hold 4 MB in place of 300 kB, until they are copied, which costs
# nothing, as the next one is then written where the last one was. Longer ones than this keep their room: they are few,
# and what was never touched is no memory.
ROOMY = 64 * 1024

MAX_DEPTH = 500
"""How deep arrays and objects may nest. CPython's own JSON parser recurses, so it must stay well below the
interpreter's limit of 1,000 frames."""

MAX_INTEGER_BITS = 14_284
"""How large an integer may be: 4,300 decimal digits, more than which CPython neither writes nor reads."""


def dumps(value: Any) -> bytes:
    """The compact UTF-8 encoding of a JSON value.

    Raises:
        InvalidDocument: for a value that JSON can't carry: nan, infinity, a lone surrogate, bytes, a set, a key
            that is not a string, and everything else that is not ``dict, list, tuple, str, int, float, bool, None``.
    """
    return encode(value)[0]


def encode(value: Any) -> tuple[bytes, bool]:
    """:func:`dumps`, and whether only :func:`loads` reads it back exactly, and not orjson by itself."""
    try:
        data = orjson.dumps(value, option=OPTIONS)
    except TypeError:
        check(value)
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(), True
    # A null may be a nan in disguise, which is not equal to what is read back.
    if b"null" in data and orjson.loads(data) != value:
        check(value)
    return fitted(data), False


def fitted(data: bytes) -> bytes:
    """What orjson wrote, without the room that it was written in."""
    return b"".join((data, b"")) if len(data) < ROOMY else data


def canonical(value: Any, *, checked: bool = False) -> bytes:
    """The one encoding of a JSON value that every implementation agrees on, for hashes and signatures.

    No white space; UTF-8 with only what JSON demands escaped (``\\b \\f \\n \\r \\t``, other controls as ``\\u00xx``);
    the keys of an object in the order of their code points; numbers by value: one that is an integer as its decimal
    digits without exponent (so ``1``, ``1.0`` and ``1e0`` are ``1``, and ``-0.0`` is ``0``), any other in the
    shortest form that reads back exactly, written as ECMAScript's ``Number::toString`` writes it (RFC 8785).

    Args:
        checked: Whether :func:`encode` took the value: it is not searched for nan again.

    Raises:
        InvalidDocument: for a value that JSON can't carry.
    """
    try:
        data = orjson.dumps(value, option=CANONICAL_OPTIONS)
    except TypeError:
        check(value)
        return _canonical_slowly(value)
    if not checked and b"null" in data and orjson.loads(data) != value:
        check(value)
    plain = data.translate(_DIGITS_TO_ONE, _NO_NUMBER)
    suspicious = b".0," in plain or b"1e" in plain or b"0e" in plain or type(value) is float
    return _canonical_slowly(value) if suspicious and _OTHER_FLOAT.search(data) is not None else data


def loads(data: bytes | bytearray | memoryview | str) -> Any:
    """The value that UTF-8 JSON stands for, integers of any size exact.

    Raises:
        InvalidJSON: if it is not JSON, has a lone surrogate, or nests too deeply.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else bytes(data)
    try:
        if _RUN not in raw.translate(_DIGITS_TO_ZERO) or _LONG_INTEGER.search(raw) is None:
            return parse(raw)
        value = json.loads(raw, parse_constant=_refuse_constant)
        check(value)
        return value
    except InvalidDocument as error:
        raise InvalidJSON(error.reason) from None
    except (ValueError, RecursionError) as error:
        raise InvalidJSON(f"invalid UTF-8 JSON: {error}") from None


def parse(data: bytes) -> Any:
    """What orjson reads, for JSON that it reads exactly.

    A large text makes thousands of objects, none of them garbage. Left alone, the collector would begin again and again
    meanwhile, and walk through all of them and the rest of the program: that took a third of a replication's time.
    Nothing else of the process runs during the call, as orjson keeps the interpreter's lock.

    Raises:
        ValueError: if it is not JSON.
    """
    if len(data) < _LARGE or not gc.isenabled():
        return orjson.loads(data)
    gc.disable()
    try:
        return orjson.loads(data)
    finally:
        gc.enable()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def check(value: Any) -> None:
    """Raise InvalidDocument, naming the place, if ``value`` is not a JSON value."""
    stack: list[tuple[Any, str, int]] = [(value, "", 0)]
    while stack:
        item, path, depth = stack.pop()
        kind = type(item)
        if kind is int:
            if item.bit_length() > MAX_INTEGER_BITS:
                raise InvalidDocument(f"{_at(path)}: an integer has at most 4,300 digits.")
        elif item is None or kind is bool:
            continue
        elif kind is str:
            _check_text(item, path)
        elif kind is float:
            if item != item or item in (float("inf"), float("-inf")):
                raise InvalidDocument(f"{_at(path)}: {item} is not a JSON number.")
        elif kind is dict or kind is list or kind is tuple:
            if depth >= MAX_DEPTH:
                raise InvalidDocument(f"{_at(path[:80])}: nested deeper than {MAX_DEPTH} levels.")
            if kind is dict:
                for key, child in item.items():
                    if type(key) is not str:
                        raise InvalidDocument(f"{_at(path)}: the key {key!r} is not a string.")
                    _check_text(key, path)
                    stack.append((child, f"{path}.{key}", depth + 1))
            else:
                stack.extend((child, f"{path}[{n}]", depth + 1) for n, child in enumerate(item))
        else:
            raise InvalidDocument(f"{_at(path)}: a value of type {kind.__name__} is not JSON.")


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidDocument(f"{_at(path)}: a lone surrogate is not valid Unicode text.") from None


def _at(path: str) -> str:
    return path.lstrip(".") or "the document"


class _Token(str):
    """A piece of finished JSON among values that are still to be written."""

    __slots__ = ()


def _canonical_slowly(value: Any) -> bytes:
    out: list[str] = []
    stack: list[Any] = [value]
    while stack:
        item = stack.pop()
        kind = type(item)
        if kind is _Token:
            out.append(item)
        elif kind is dict:
            parts: list[Any] = [_Token("{")]
            for key in sorted(item):
                if len(parts) > 1:
                    parts.append(_Token(","))
                parts += [_Token(f"{json.dumps(key, ensure_ascii=False)}:"), item[key]]
            stack.extend(reversed([*parts, _Token("}")]))
        elif kind is list or kind is tuple:
            parts = [_Token("[")]
            for child in item:
                if len(parts) > 1:
                    parts.append(_Token(","))
                parts.append(child)
            stack.extend(reversed([*parts, _Token("]")]))
        elif kind is float:
            out.append(_canonical_float(item))
        else:
            out.append(json.dumps(item, ensure_ascii=False))
    return "".join(out).encode()


def _canonical_float(number: float) -> str:
    if number.is_integer():
        return str(int(number))
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    point = len(digits) + int(exponent)  # the number is 0.text * 10**point
    if point > 0:
        text = f"{text[:point]}.{text[point:]}"
    elif point > -6:
        text = f"0.{'0' * -point}{text}"
    else:
        text = f"{text[0]}{'.' if len(text) > 1 else ''}{text[1:]}e{point - 1}"
    return "-" + text if sign else text


def dumps_trusted(value: Any) -> bytes:
    """:func:`dumps` for a value that was read from JSON, so that nan and lone surrogates can't be in it.

    Listings are written with it: looking for a nan behind every ``null`` would cost more than all the rest.
    """
    try:
        return fitted(orjson.dumps(value, option=OPTIONS))
    except TypeError:
        return dumps(value)
