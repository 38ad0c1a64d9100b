from __future__ import annotations

import hashlib
from typing import Any

import pytest

from peerpouch.couchapi import passwords


def test_a_record_takes_its_own_password_and_no_other() -> None:
    record = passwords.make_record("apple", iterations=10)
    assert passwords.verify("apple", record)
    assert not passwords.verify("Apple", record)
    assert not passwords.verify("", record)


def test_a_record_does_not_hold_the_password() -> None:
    assert "apple" not in repr(passwords.make_record("apple", iterations=10))


def test_two_records_of_one_password_differ() -> None:
    one, other = passwords.make_record("apple", iterations=1), passwords.make_record("apple", iterations=1)
    assert one["salt"] != other["salt"]
    assert one["derived_key"] != other["derived_key"]


def test_records_of_older_couchdbs_are_checked_with_sha1() -> None:
    derived = hashlib.pbkdf2_hmac("sha1", b"apple", b"pepper", 10).hex()
    record = {"password_scheme": "pbkdf2", "salt": "pepper", "iterations": 10, "derived_key": derived}
    assert passwords.verify("apple", record)
    simple = hashlib.sha1(b"applepepper").hexdigest()
    assert passwords.verify("apple", {"password_scheme": "simple", "salt": "pepper", "password_sha": simple})


@pytest.mark.parametrize(
    "damage",
    [
        {"salt": None},
        {"iterations": 0},
        {"iterations": "10"},
        {"iterations": 10**9},
        {"derived_key": None},
        {"pbkdf2_prf": "md5"},
        {"derived_key": "é"},
    ],
)
def test_a_damaged_record_takes_no_password(damage: dict[str, Any]) -> None:
    assert not passwords.verify("apple", passwords.make_record("apple", iterations=10) | damage)


def test_an_unknown_user_costs_as_many_iterations_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    real = hashlib.pbkdf2_hmac

    def counting(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        rounds.append(iterations)
        return real(name, password, salt, 1)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counting)
    passwords.verify("apple", None)
    passwords.verify("apple", passwords.make_record("x") | {})
    assert rounds == [passwords.ITERATIONS] * 3  # unknown, made, known
