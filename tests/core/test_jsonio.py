from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.core import jsonbatch, jsonio
from peerpouch.errors import InvalidDocument, InvalidJSON

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


def typed(value: Any) -> Any:
    """The value with the type of every number, so that ``1`` and ``1.0`` differ."""
    if isinstance(value, dict):
        return {key: typed(child) for key, child in value.items()}
    if isinstance(value, list):
        return [typed(child) for child in value]
    return type(value).__name__, value


@given(VALUES)
def test_what_is_written_is_read_back_exactly(value: Any) -> None:
    assert typed(jsonio.loads(jsonio.dumps(value))) == typed(value)
    data, exact = jsonio.encode(value)
    assert exact or typed(orjson.loads(data)) == typed(value)


@given(VALUES)
def test_canonical_json_stands_for_the_same_value_and_is_its_own_canonical_form(value: Any) -> None:
    data = jsonio.canonical(value)
    assert json.loads(data) == value
    assert jsonio.canonical(jsonio.loads(data)) == data


@given(VALUES)
def test_the_fast_and_the_slow_way_to_canonical_json_agree(value: Any) -> None:
    assert jsonio.canonical(value) == jsonio._canonical_slowly(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_canonical_number_reads_back_as_the_same_number(number: float) -> None:
    text = jsonio.canonical(number).decode()
    assert float(text) == number
    assert ".0" not in text.removeprefix("0.0")[-2:]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, "1"), (-0.0, "0"), (1e16, "10000000000000000"), (1e21, "1000000000000000000000"), (0.5, "0.5"),
        (1e-6, "0.000001"), (1e-7, "1e-7"), (1.25e-9, "1.25e-9"), (-1.5, "-1.5"), (123456.789, "123456.789"),
        (2**70, "1180591620717411303424"), (5e-324, "5e-324"),
    ],
)  # fmt: skip
def test_canonical_numbers(number: float, text: str) -> None:
    assert jsonio.canonical(number).decode() == text
    assert jsonio.canonical({"n": [number]}).decode() == f'{{"n":[{text}]}}'


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", {"\udfff": 1}, {1: 2}, b"x", {1, 2}, object(), complex(1)]
)
@pytest.mark.parametrize("write", [jsonio.dumps, jsonio.canonical])
def test_what_json_cannot_carry_is_refused(write: Any, value: Any) -> None:
    for place in (value, [None, value], {"a": {"b": value}}):
        with pytest.raises(InvalidDocument):
            write(place)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"nan", b"[NaN]", b"[1e999]", b'"\\ud800"', b"\xff", b"{'a':1}", b"[" * 100_000]
)
def test_what_is_no_json_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidJSON):
        jsonio.loads(data)
    with pytest.raises(InvalidJSON):
        jsonio.loads(b"[12345678901234567890123," + data)


@pytest.mark.parametrize("text", ["{}", "[{}]", "[1,{}]", '{{"a":{}}}', '{{"a" : {} }}', "[1,\n{}]", "  {}"])
@pytest.mark.parametrize("number", [10**18, -(10**18), 2**63, 2**64, -(2**64), 10**40])
def test_a_long_integer_is_exact_wherever_it_stands(text: str, number: int) -> None:
    assert jsonio.loads(text.format(number)) == json.loads(text.format(number))


def test_digits_within_text_do_not_cost_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise AssertionError("the slow path was taken")

    monkeypatch.setattr(json, "loads", refuse)
    rev = "1-" + "12345678" * 4
    assert jsonio.loads(f'{{"_rev":"{rev}"}}') == {"_rev": rev}


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("text", [b"[" + b"[1]," * 10_000 + b"2]", b"[" * 20_000, b"{}"])
def test_the_collector_is_left_as_it_was_whatever_is_parsed(enabled: bool, text: bytes) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with suppress(ValueError):
            jsonio.parse(text)
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_the_collector_rests_while_a_large_text_is_parsed() -> None:
    text = b"[" + b"[1]," * 10_000 + b"2]"
    ran: list[str] = []

    def note(phase: str, details: dict[str, int]) -> None:
        ran.append(phase)

    def parse_and_count(parse: Callable[[bytes], object]) -> int:
        ran.clear()
        before = gc.get_threshold()
        gc.set_threshold(700, 10, 10)  # Python's own; a program may have chosen another
        gc.callbacks.append(note)
        try:
            value = parse(text)
        finally:
            gc.callbacks.remove(note)
            gc.set_threshold(*before)
        assert value
        return len(ran)

    assert parse_and_count(jsonio.parse) <= 2  # the one that makes up for it, perhaps
    assert parse_and_count(orjson.loads) > 10


@pytest.mark.parametrize("number", [1.0, -2.0, 10.0, 1e16, 1.5e300, 1e-7, -0.0, 0.0, 5e-324])
def test_a_number_that_canonical_json_writes_otherwise_is_found_wherever_it_stands(number: float) -> None:
    for value in (number, [number], [number, 1], {"a": number}, {"a": number, "b": "x"}, {"1e5": [[number], 2]}):
        again = jsonio.loads(jsonio.canonical(value))
        assert again == value
        assert b".0" not in jsonio.canonical(value)
        assert b"e16" not in jsonio.canonical(value)
    assert jsonio.canonical([1.0]) == jsonio.canonical([1])
    assert jsonio.canonical({"a": 1e16, "t": "1e5, 2.0,"}) == b'{"a":10000000000000000,"t":"1e5, 2.0,"}'


def test_an_integer_that_cpython_does_not_write_is_refused_and_the_largest_that_it_does_is_kept() -> None:
    largest = 2**jsonio.MAX_INTEGER_BITS - 1
    for value in (largest, -largest):
        assert jsonio.loads(jsonio.dumps([value])) == [value]
    for value in (10**4300, -(10**5000)):
        for write in (jsonio.dumps, jsonio.encode, jsonio.canonical, jsonio.check):
            with pytest.raises(InvalidDocument, match="at most 4,300 digits"):
                write({"n": value})


def _held(texts: Callable[[], Sequence[bytes | None]]) -> tuple[int, int]:
    """Bytes of memory that texts hold, and their length."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        found = texts()
        return tracemalloc.get_traced_memory()[0] - before, sum(len(text or b"") for text in found)
    finally:
        tracemalloc.stop()


_SMALL = [{"_id": f"note {number}", "text": "x" * 200} for number in range(200)]
_WRITERS: dict[str, Callable[[], Sequence[bytes | None]]] = {
    "encode_many": lambda: jsonbatch.encode_many(_SMALL, canonical=False).texts,
    "canonical": lambda: jsonbatch.encode_many(_SMALL, canonical=True).canonical,
    "encode": lambda: [jsonio.encode(value)[0] for value in _SMALL],
    "dumps_trusted": lambda: [jsonio.dumps_trusted(value) for value in _SMALL],
}


@pytest.mark.parametrize("write", _WRITERS.values(), ids=_WRITERS)
def test_small_texts_hold_no_more_memory_than_they_need(write: Callable[[], Sequence[bytes | None]]) -> None:
    held, length = _held(write)
    assert held < 4 * length


@pytest.mark.parametrize("write", _WRITERS.values(), ids=_WRITERS)
def test_twin_as_orjson_gives_them_they_hold_ten_times_as_much(
    write: Callable[[], Sequence[bytes | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If this fails, orjson gives its room back by itself, and ``fitted`` is not needed any more."""
    monkeypatch.setattr(jsonio, "fitted", lambda data: data)
    held, length = _held(write)
    assert held > 10 * length
