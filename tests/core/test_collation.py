"""Keys as bytes, compared with a comparison that is written straight from the rules."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from peerpouch.core import collation
from peerpouch.core.collation import HIGHEST, compare, decode_key, encode_key, encode_prefix, encode_raw, text_less
from peerpouch.errors import InvalidDocument

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.text(
    "\x00\x01a\ud7ff\ue000\uffff😀", max_size=4
)
numbers = (
    st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [2**53, 2**53 + 1, 2**64 - 1, 2**1024, 2**1024 - 1, -(2**1024), 10**400, -(10**400), -0.0, 5e-324]
    )
    | st.integers(-3, 3).map(lambda n: 2**53 + n)
    | st.integers(-3, 3).map(lambda n: -(2**63) + n)
)
scalars = st.none() | st.booleans() | numbers | text
keys = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


def utf16(value: str) -> list[int]:
    data = value.encode("utf-16-be")
    return [data[n] * 256 + data[n + 1] for n in range(0, len(data), 2)]


def rank(value: Any) -> int:
    order = [type(None), bool, int, str, list, dict]
    return order.index(int if isinstance(value, float) else type(value))


def naive(a: Any, b: Any) -> int:
    """The order as the documentation tells it, slowly."""
    if rank(a) != rank(b):
        return rank(a) - rank(b)
    if a is None:
        return 0
    if isinstance(a, bool):
        return int(a) - int(b)
    if isinstance(a, (int, float)):
        left, right = Fraction(a), Fraction(b)
        return (left > right) - (left < right)
    if isinstance(a, str):
        return (utf16(a) > utf16(b)) - (utf16(a) < utf16(b))
    if isinstance(a, dict):
        a, b = [part for pair in a.items() for part in pair], [part for pair in b.items() for part in pair]
    for left, right in zip(a, b, strict=False):
        result = naive(left, right)
        if result:
            return result
    return len(a) - len(b)


def sign(number: int) -> int:
    return (number > 0) - (number < 0)


@settings(max_examples=1500)
@given(keys, keys)
@example(2**53, 2**53 + 1)
@example(float(2**60), 2**60 + 1)
@example([2**53 + 1], [2**53, 0])
@example("a", "a\x00")
@example(["a"], ["a\x00"])
@example("\uffff", "😀")
def test_bytes_compare_as_keys_do(a: Any, b: Any) -> None:
    assert sign(compare(a, b)) == sign(naive(a, b))


@settings(max_examples=500)
@given(numbers, numbers)
def test_numbers_of_both_types_compare_by_value(a: float, b: float) -> None:
    assert sign(compare(a, b)) == sign(naive(a, b))


@settings(max_examples=500)
@given(text, text)
def test_strings_compare_by_utf16_code_units(a: str, b: str) -> None:
    assert sign(compare(a, b)) == sign(naive(a, b))
    assert text_less(a, b) == (naive(a, b) < 0)
    assert (encode_raw(a) < encode_raw(b)) == (a.encode() < b.encode())


@settings(max_examples=500)
@given(keys)
def test_decoding_gives_an_equal_key(key: Any) -> None:
    decoded = decode_key(encode_key(key))
    assert naive(decoded, key) == 0
    assert encode_key(decoded) == encode_key(key)


@given(st.lists(keys, max_size=3), keys, keys)
def test_a_prefix_bounds_exactly_the_arrays_that_begin_with_it(prefix: list[Any], more: Any, other: Any) -> None:
    begin = encode_prefix([encode_key(item) for item in prefix])
    assert begin < encode_key([*prefix, more]) < begin + HIGHEST
    if naive(other, [*prefix]) > 0 and not (isinstance(other, list) and naive(other[: len(prefix)], prefix) == 0):
        assert encode_key(other) > begin + HIGHEST


def test_the_types_stand_in_couchdbs_order() -> None:
    ordered: list[Any] = [
        None,
        False,
        True,
        -1,
        0,
        1.5,
        2,
        "",
        "a",
        "b",
        [],
        [None],
        ["a"],
        [[]],
        {},
        {"a": 1},
        {"a": 2},
        {"b": 0},
    ]
    ordered.reverse()
    assert sorted(ordered, key=encode_key) == ordered[::-1]


def test_zero_has_one_key_whatever_its_sign_and_type() -> None:
    assert encode_key(0) == encode_key(-0.0) == encode_key(0.0)
    assert encode_key(False) != encode_key(0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, b"x", {1: 2}, [object()], "\ud800", {"a\ud800": 1}])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(InvalidDocument):
        encode_key(value)


def test_garbage_is_not_decoded() -> None:
    with pytest.raises(ValueError, match="begins no encoded key"):
        decode_key(b"\x99")
    with pytest.raises(ValueError, match="after the end"):
        decode_key(encode_key(1) + b"\x10")


def test_keys_nested_as_deeply_as_documents_may_be_are_encoded() -> None:
    key: Any = 1
    for _ in range(400):
        key = [key]
    assert decode_key(encode_key(key)) == key


def test_a_key_that_is_nested_too_deeply_is_refused() -> None:
    key: Any = 1
    for _ in range(5000):
        key = [key]
    with pytest.raises(InvalidDocument, match="deeply"):
        encode_key(key)


def test_columns_make_the_array_of_their_values() -> None:
    assert collation.encode_columns([encode_key("x"), encode_key(3)]) == encode_key(["x", 3])
