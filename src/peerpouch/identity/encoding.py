"""Bytes as text, and the labels that keep one use of a key or hash apart from every other.

Two encodings, each with exactly one text for a byte string, so that a text can be compared and signed:

* base64url without padding (RFC 4648, section 5) for keys, signatures, boxes and nonces;
* base32 in lower case with Crockford's alphabet, which has no i, l, o or u, for what people read aloud and for ids.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from peerpouch.errors import BadRequest

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
_FORGIVING = str.maketrans("oil", "011")

PROTOCOL = b"peerpouch-v1"


def label(use: str, purpose: str) -> bytes:
    """The prefix of everything that is signed, hashed or derived: ``peerpouch-v1:<use>:<purpose>`` and a zero byte.

    The zero byte ends it, and no purpose holds one, so no label is the beginning of another.
    """
    return b"%s:%s:%s\0" % (PROTOCOL, use.encode("ascii"), purpose.encode("ascii"))


def digest(purpose: str, *parts: bytes) -> bytes:
    """SHA-256 of the label for ``purpose`` and the parts, one after the other.

    The parts carry no lengths: every part but the last must have a fixed one.
    """
    sha = hashlib.sha256(label("hash", purpose))
    for part in parts:
        sha.update(part)
    return sha.digest()


def to_text(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def from_text(text: object, *, size: int | None = None, limit: int = 1 << 20) -> bytes:
    """The inverse of :func:`to_text`.

    Args:
        text: What came from outside.
        size: The exact number of bytes wanted.
        limit: The most characters looked at: a text decides nothing about memory before it was measured.

    Raises:
        BadRequest: if it is not a string, not in the one valid form, or not of this size.
    """
    if type(text) is not str or len(text) > limit:
        raise BadRequest("Expected base64url text.")
    try:
        raw = text.encode("ascii")
        data = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise BadRequest("Expected base64url text.") from None
    # Spare bits, padding and the alphabet of plain base64 would make several texts for the same bytes.
    if to_text(data) != text or (size is not None and len(data) != size):
        raise BadRequest("Expected base64url text." if size is None else f"Expected {size} bytes as base64url text.")
    return data


def to_base32(data: bytes, length: int) -> str:
    """The first ``5 * length`` bits of ``data``, five to a character."""
    number = int.from_bytes(data, "big") >> (8 * len(data) - 5 * length)
    return "".join(_CROCKFORD[number >> (5 * place) & 31] for place in range(length - 1, -1, -1))


def is_base32(text: object, length: int) -> bool:
    """Whether ``text`` is one that :func:`to_base32` makes, exactly."""
    return type(text) is str and len(text) == length and all(char in _CROCKFORD for char in text)


def read_base32(text: str, length: int) -> str:
    """What somebody typed, in the exact form: any case, with spaces and hyphens, o for 0, i and l for 1.

    Raises:
        BadRequest: if it is not ``length`` characters of the alphabet.
    """
    plain = "" if len(text) > 4 * length else "".join(text.split())
    plain = plain.replace("-", "").lower().translate(_FORGIVING)
    if not is_base32(plain, length):
        raise BadRequest(f"Expected {length} letters and digits, in groups if you like.")
    return plain
