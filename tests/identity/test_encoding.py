from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import BadRequest
from peerpouch.identity.encoding import digest, from_text, is_base32, label, read_base32, to_base32, to_text


@given(st.binary(max_size=100))
def test_text_gives_the_bytes_back(data: bytes) -> None:
    assert from_text(to_text(data), size=len(data)) == data


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "+/8A", "-_8\n", "é", "AAAB ", None, 7, b"AAAA", "////"])
def test_only_the_one_valid_text_is_read(text: object) -> None:
    with pytest.raises(BadRequest):
        from_text(text)


def test_spare_bits_make_no_second_text_for_the_same_bytes() -> None:
    assert from_text("AA") == b"\0"
    with pytest.raises(BadRequest):
        from_text("AB")


def test_size_and_limit_hold() -> None:
    with pytest.raises(BadRequest):
        from_text(to_text(bytes(31)), size=32)
    with pytest.raises(BadRequest):
        from_text("A" * 8, limit=4)


@given(st.binary(min_size=20, max_size=32))
def test_base32_is_read_back_however_it_was_typed(data: bytes) -> None:
    text = to_base32(data, 20)
    assert is_base32(text, 20)
    assert read_base32(text.upper(), 20) == text
    assert read_base32(f" {text[:4]}-{text[4:10]} {text[10:]}\n".replace("0", "O").replace("1", "l"), 20) == text


@pytest.mark.parametrize("text", ["", "0" * 19, "0" * 21, "u" * 20, "0" * 20 + " " * 70 + "zzz"])
def test_what_is_not_base32_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        read_base32(text, 20)


def test_no_label_is_the_beginning_of_another() -> None:
    assert not label("sign", "offers").startswith(label("sign", "offer"))
    assert digest("share-id", b"a") != digest("session-id", b"a")
