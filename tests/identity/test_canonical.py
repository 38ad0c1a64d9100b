from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import InvalidDocument
from peerpouch.identity import canonical

# RFC 8785, appendix B: the bits of a double, and how it is written.
RFC_NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize(("bits", "text"), RFC_NUMBERS)
def test_numbers_are_written_as_the_rfc_says(bits: str, text: str) -> None:
    assert canonical.encode(struct.unpack(">d", bytes.fromhex(bits))[0]).decode() == text


def test_keys_are_ordered_by_utf16_code_units() -> None:
    # RFC 8785, section 3.2.3.
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical.encode(dict.fromkeys(names)))) == ordered


def test_strings_are_escaped_only_where_they_must() -> None:
    text = '\u20ac$\u000f\nA\'B"\\\\"/\u2028\x7f'
    assert canonical.encode(text) == '"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\u2028\x7f"'.encode()


@given(JSON)
def test_the_form_survives_any_reading_and_writing(value: Any) -> None:
    once = canonical.encode(value)
    assert canonical.encode(canonical.decode(once), exact=False) == once
    assert canonical.encode(json.loads(json.dumps(value)), exact=False) == once


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert float(canonical.decode(canonical.encode(value))) == value


def test_a_signer_refuses_integers_that_a_double_can_not_hold_and_a_verifier_rounds_them() -> None:
    with pytest.raises(InvalidDocument):
        canonical.encode(2**53)
    assert canonical.encode(2**53 + 1, exact=False) == b"9007199254740992"
    with pytest.raises(InvalidDocument):
        canonical.encode(10**400, exact=False)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", {"\ud800": 1}, {1: 2}, b"x", {1}, _deep(65)])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidDocument):
        canonical.encode({"a": [value]})


def test_as_many_levels_as_promised_are_written() -> None:
    assert canonical.encode(_deep(canonical.MAX_DEPTH)).count(b"[") == canonical.MAX_DEPTH
