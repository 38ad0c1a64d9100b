"""What goes to and from the JavaScript worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import PeerPouchError
from peerpouch.js.framing import HEADER, message, parts_of
from peerpouch.js.process import results_of


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_the_parts_of_a_message_come_back(parts: list[bytes]) -> None:
    data = b"".join(message(parts))
    assert int.from_bytes(data[:HEADER], "big") == len(data) - HEADER
    assert parts_of(data[HEADER:]) == parts


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=5), st.integers(1, 200))
def test_a_message_that_was_cut_is_refused_or_has_fewer_parts(parts: list[bytes], cut: int) -> None:
    data = b"".join(message(parts))[HEADER:]
    try:
        read = parts_of(data[: max(0, len(data) - cut)])
    except ValueError:
        return
    assert read == parts[: len(read)] and len(read) < len(parts)


@pytest.mark.parametrize(
    "parts", [[], [b"results"], [b"fatal"], [b"fatal", b"time"], [b"other", b"1"]], ids=lambda parts: b"-".join(parts)
)
def test_a_reply_that_makes_no_sense_is_an_error(parts: list[bytes]) -> None:
    with pytest.raises(PeerPouchError):
        results_of(b"".join(message(parts))[HEADER:], 1, 1)
    with pytest.raises(PeerPouchError):
        results_of(b"\0\0\0\x09ab", 1, 1)
