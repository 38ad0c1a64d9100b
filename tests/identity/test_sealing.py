from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import InvalidSignal
from peerpouch.identity import sealing
from peerpouch.identity.sealing import OVERHEAD, SessionKey, seal, session_id

KEY = SessionKey(bytes(range(32)))


@given(st.binary(max_size=500))
def test_a_box_opens_with_its_key(content: bytes) -> None:
    box = seal(KEY.public, content, purpose="offer", associated=b"id")
    assert len(box) == len(content) + OVERHEAD
    assert KEY.open(box, purpose="offer", associated=b"id") == content


def test_a_box_opens_with_nothing_else() -> None:
    box = seal(KEY.public, b"secret", purpose="offer", associated=b"id")
    with pytest.raises(InvalidSignal):
        SessionKey().open(box, purpose="offer", associated=b"id")
    with pytest.raises(InvalidSignal):
        KEY.open(box, purpose="answer", associated=b"id")
    with pytest.raises(InvalidSignal):
        KEY.open(box, purpose="offer", associated=b"other")


@given(st.data())
def test_an_altered_box_does_not_open(data: st.DataObject) -> None:
    box = bytearray(seal(KEY.public, b"secret", purpose="offer", associated=b"id"))
    # The highest bit of an X25519 key is ignored by the curve (RFC 7748, section 5); the salt covers it all the same.
    place = data.draw(st.integers(0, len(box) - 1))
    box[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidSignal):
        KEY.open(bytes(box), purpose="offer", associated=b"id")


@given(st.binary(max_size=100))
def test_garbage_does_not_open(box: bytes) -> None:
    with pytest.raises(InvalidSignal):
        KEY.open(box, purpose="offer", associated=b"id")


def test_points_of_small_order_are_refused() -> None:
    with pytest.raises(InvalidSignal):
        seal(bytes(32), b"secret", purpose="offer", associated=b"")
    with pytest.raises(InvalidSignal):
        KEY.open(bytes(32) + bytes(50), purpose="offer", associated=b"")
    with pytest.raises(InvalidSignal):
        seal(b"short", b"secret", purpose="offer", associated=b"")


def test_two_boxes_of_the_same_content_have_nothing_in_common() -> None:
    one, two = (seal(KEY.public, bytes(64), purpose="offer", associated=b"") for _ in range(2))
    assert one[:32] != two[:32]
    assert one[32:] != two[32:]


def test_the_derived_key_depends_on_both_public_keys_and_the_purpose() -> None:
    one = sealing._derive(bytes(32), b"e" * 32, b"r" * 32, "offer")
    assert sealing._derive(bytes(32), b"x" * 32, b"r" * 32, "offer") != one
    assert sealing._derive(bytes(32), b"e" * 32, b"x" * 32, "offer") != one
    assert sealing._derive(bytes(32), b"e" * 32, b"r" * 32, "answer") != one


def test_twin_without_the_purpose_in_the_key_an_offer_opens_as_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "label", lambda use, purpose: b"")
    box = seal(KEY.public, b"secret", purpose="offer", associated=b"id")
    assert KEY.open(box, purpose="answer", associated=b"id") == b"secret"


def test_session_ids_follow_from_the_key() -> None:
    assert KEY.id == session_id(KEY.public)
    assert sealing.is_session_id(KEY.id)
    assert SessionKey().id != SessionKey().id


def test_a_session_key_shows_and_leaves_nothing() -> None:
    assert bytes(range(32)).hex() not in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(TypeError):
        copy.copy(KEY)
