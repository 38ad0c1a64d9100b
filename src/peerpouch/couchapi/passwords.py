"""Password records as CouchDB writes them into ``_users`` documents, made and checked.

A record has ``password_scheme: "pbkdf2"``, ``pbkdf2_prf``, ``salt`` (text, used as its UTF-8 bytes), ``iterations`` and
``derived_key`` (hexadecimal, as long as the hash). CouchDB before 3.4 wrote no ``pbkdf2_prf`` and meant SHA-1;
records of the scheme ``simple`` (salted SHA-1) are checked too, never written.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

PRF = "sha256"
ITERATIONS = 50_000
"""CouchDB 3.4's default. A login costs some 15 ms of one core."""

_MAX_ITERATIONS = 10_000_000
"""A record that asks for more would keep a core busy for seconds at each login; nobody writes such."""

_NOBODY = {"pbkdf2_prf": PRF, "salt": secrets.token_hex(16), "iterations": ITERATIONS, "derived_key": ""}
"""Takes no password: no derived key is empty."""

_HASHES = {"sha": "sha1"} | {name: name for name in ("sha1", "sha224", "sha256", "sha384", "sha512")}


def make_record(password: str, *, iterations: int = ITERATIONS) -> dict[str, Any]:
    """The fields that take the place of ``password`` in a user's document."""
    salt = secrets.token_hex(16)
    return {
        "password_scheme": "pbkdf2",
        "pbkdf2_prf": PRF,
        "salt": salt,
        "iterations": iterations,
        "derived_key": _derive(PRF, password, salt, iterations),
    }


def verify(password: str, record: Mapping[str, Any] | None) -> bool:
    """Whether the password is the record's.

    An unknown user (``None``) costs as much time as a known one with the default number of iterations, so that the
    time of the answer does not tell which names exist.
    """
    if record is None:
        _matches(password, _NOBODY)
        return False
    return _matches(password, record)


def _matches(password: str, record: Mapping[str, Any]) -> bool:
    salt = record.get("salt")
    if type(salt) is not str:
        return False
    if record.get("password_scheme") == "simple":
        expected = record.get("password_sha")
        made = hashlib.sha1(password.encode() + salt.encode()).hexdigest()  # noqa: S324 - CouchDB's old scheme
    else:
        prf, iterations, expected = record.get("pbkdf2_prf", "sha"), record.get("iterations"), record.get("derived_key")
        if prf not in _HASHES or type(iterations) is not int or not 0 < iterations <= _MAX_ITERATIONS:
            return False
        made = _derive(prf, password, salt, iterations)
    return type(expected) is str and hmac.compare_digest(made.encode(), expected.encode())


def _derive(prf: str, password: str, salt: str, iterations: int) -> str:
    return hashlib.pbkdf2_hmac(_HASHES[prf], password.encode(), salt.encode(), iterations).hex()
