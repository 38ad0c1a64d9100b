"""The one byte string of a JSON value: the JSON Canonicalization Scheme, RFC 8785, with two limits.

What is signed passes through databases that reorder keys, write ``1.0`` as ``1`` and ``é`` as ``\\u00e9``. The
canonical form undoes all of that: no white space, keys ordered by their UTF-16 code units, strings and numbers as
ECMAScript's ``JSON.stringify`` writes them. Every number is an IEEE double. The limits: at most :data:`MAX_DEPTH`
levels, and whoever signs refuses an integer that a double can't hold, since a JavaScript peer would read another.

A reader must go on with what :func:`decode` gives for the canonical bytes, never with the document that it took
them of: otherwise somebody in between could exchange an integer for another that rounds to the same double.
"""

from __future__ import annotations

import json
from typing import Any

from peerpouch.core import jsonio
from peerpouch.errors import InvalidDocument

MAX_DEPTH = 64
"""Levels of arrays and objects. Far below what any JSON parser of a peer stops at."""

MAX_SAFE_INTEGER = 2**53 - 1

_write_text = json.JSONEncoder(ensure_ascii=False).encode


def encode(value: Any, *, exact: bool = True) -> bytes:
    """The canonical form of a JSON value, in UTF-8.

    Args:
        value: ``dict, list, tuple, str, int, float, bool, None``, nested.
        exact: Refuse integers beyond 2^53 - 1; what a signer does. Without it they are rounded to the nearest
            double, as a JavaScript peer that relayed them would have done; what a verifier does.

    Raises:
        InvalidDocument: if it is not JSON, nests too deeply, or has a number that is not allowed.
    """
    parts: list[str] = []
    _write(value, parts, 0, exact)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError:
        raise InvalidDocument("A lone surrogate is not valid Unicode text.") from None


def decode(data: bytes) -> Any:
    """The value of canonical bytes. Raises InvalidJSON for what is not JSON."""
    return jsonio.loads(data)


def _write(value: Any, parts: list[str], depth: int, exact: bool) -> None:
    kind = type(value)
    if kind is str:
        parts.append(_write_text(value))
    elif value is None:
        parts.append("null")
    elif kind is bool:
        parts.append("true" if value else "false")
    elif kind is int or kind is float:
        parts.append(_number(value, exact))
    elif kind is dict:
        _write_object(value, parts, _deeper(depth), exact)
    elif kind is list or kind is tuple:
        depth = _deeper(depth)
        parts.append("[")
        for place, child in enumerate(value):
            if place:
                parts.append(",")
            _write(child, parts, depth, exact)
        parts.append("]")
    else:
        raise InvalidDocument(f"A value of type {kind.__name__} is not JSON.")


def _write_object(value: dict[Any, Any], parts: list[str], depth: int, exact: bool) -> None:
    for key in value:
        if type(key) is not str:
            raise InvalidDocument(f"The key {key!r} is not a string.")
    # Surrogates pass here; encode() refuses them for the whole text at once.
    ordered = sorted(value, key=lambda text: text.encode("utf-16-be", "surrogatepass"))
    parts.append("{")
    for place, key in enumerate(ordered):
        parts.append(f"{',' if place else ''}{_write_text(key)}:")
        _write(value[key], parts, depth, exact)
    parts.append("}")


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise InvalidDocument(f"Nested deeper than {MAX_DEPTH} levels.")
    return depth + 1


def _number(value: int | float, exact: bool) -> str:
    if type(value) is int:
        if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return str(value)
        if exact:
            raise InvalidDocument("An integer beyond 2^53 - 1 would change on its way through a JavaScript peer.")
    try:
        return _as_ecmascript(float(value))
    except OverflowError:
        raise InvalidDocument("A number is larger than a double can hold.") from None


def _as_ecmascript(value: float) -> str:
    """Number::toString of ECMAScript (section 6.1.6.1.20), which RFC 8785, section 3.2.2.3, asks for.

    Python's ``repr`` finds the same shortest digits; only where it puts the point and the exponent differs.
    """
    if value != value or value in (float("inf"), float("-inf")):
        raise InvalidDocument(f"{value} is not a JSON number.")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    padded = (whole + fraction).rstrip("0")
    digits = padded.lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(padded) - len(digits))
    return sign + _place_point(digits, point)


def _place_point(digits: str, point: int) -> str:
    if len(digits) <= point <= 21:
        return digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"
