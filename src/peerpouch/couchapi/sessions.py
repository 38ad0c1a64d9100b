"""The ``AuthSession`` cookie: who logged in and when, signed by the server.

The value is base64url of ``name:TIME:`` and an HMAC-SHA-256 over ``name:TIME``, where ``TIME`` is the login's second
since 1970 in hexadecimal. The key is the server's secret followed by the user's salt, so that a changed password ends
all of the user's sessions. The form is CouchDB's; as there, the server's secret must not leave it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import NamedTuple

NAME = "AuthSession"
TIMEOUT = 600
"""Seconds that a session lasts without a request; CouchDB's default."""

_RENEW_BELOW = 0.9
"""A cookie is renewed when less than this share of its time is left, so that not every response sets one."""

_FUTURE = 60
"""Seconds by which a cookie may be from the future: the server's clock was set back a little."""


class Claim(NamedTuple):
    """What a cookie says, before its signature was checked."""

    name: str
    time: int
    signature: bytes
    signed: bytes


def issue(secret: bytes, salt: str, name: str, now: float) -> str:
    """The cookie's value for a user who has just logged in."""
    signed = f"{name}:{int(now):X}".encode()
    return base64.urlsafe_b64encode(signed + b":" + _sign(secret, salt, signed)).decode().rstrip("=")


def parse(value: str) -> Claim | None:
    """What a cookie's value claims, or ``None`` when it is malformed."""
    try:
        raw = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
        # The name may have colons; the signature is of known length.
        head, separator, signature = raw[:-33], raw[-33:-32], raw[-32:]
        name, _, time = head.decode().rpartition(":")
        if separator != b":" or not name:
            return None
        return Claim(name, int(time, 16), signature, head)
    except (binascii.Error, ValueError):
        return None


def verify(claim: Claim, secret: bytes, salt: str, now: float, timeout: int = TIMEOUT) -> bool:
    """Whether the claim was signed by this server for this user, and is still good."""
    authentic = hmac.compare_digest(claim.signature, _sign(secret, salt, claim.signed))
    return authentic and claim.time - _FUTURE <= now < claim.time + timeout


def wants_renewal(claim: Claim, now: float, timeout: int = TIMEOUT) -> bool:
    """Whether the response should carry a fresh cookie."""
    return claim.time + timeout - now < timeout * _RENEW_BELOW


def header(value: str, *, timeout: int = TIMEOUT, secure: bool = False) -> str:
    """The ``Set-Cookie`` header; an empty value ends the session."""
    age = f"; Max-Age={timeout}" if value else "; Max-Age=0"
    return f"{NAME}={value}; Version=1; Path=/; HttpOnly; SameSite=Lax{age}" + ("; Secure" if secure else "")


def _sign(secret: bytes, salt: str, signed: bytes) -> bytes:
    return hmac.digest(secret + salt.encode(), signed, hashlib.sha256)
