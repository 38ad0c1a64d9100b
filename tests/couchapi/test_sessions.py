from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peerpouch.couchapi import sessions

SECRET = b"s" * 32


def test_a_cookie_is_good_until_its_time_runs_out() -> None:
    claim = sessions.parse(sessions.issue(SECRET, "salt", "jan:1", 1000.0))
    assert claim is not None
    assert claim.name == "jan:1"
    assert sessions.verify(claim, SECRET, "salt", 1000 + sessions.TIMEOUT - 1)
    assert not sessions.verify(claim, SECRET, "salt", 1000 + sessions.TIMEOUT)
    assert not sessions.verify(claim, SECRET, "salt", 0.0)


def test_a_cookie_ends_with_the_password_or_the_server_secret() -> None:
    claim = sessions.parse(sessions.issue(SECRET, "salt", "jan", 1000.0))
    assert claim is not None
    assert not sessions.verify(claim, SECRET, "other salt", 1000.0)
    assert not sessions.verify(claim, b"t" * 32, "salt", 1000.0)


def test_a_cookie_is_renewed_in_the_last_nine_tenths_of_its_time() -> None:
    claim = sessions.parse(sessions.issue(SECRET, "salt", "jan", 1000.0))
    assert claim is not None
    assert not sessions.wants_renewal(claim, 1000 + sessions.TIMEOUT * 0.05)
    assert sessions.wants_renewal(claim, 1000 + sessions.TIMEOUT * 0.2)


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])), st.integers(0, 2**40), st.data())
def test_a_cookie_altered_anywhere_is_refused(name: str, now: int, data: st.DataObject) -> None:
    value = sessions.issue(SECRET, "salt", name, now)
    place = data.draw(st.integers(0, len(value) - 1))
    letter = data.draw(st.sampled_from("ABab01-_=!é").filter(lambda item: item != value[place]))
    altered = sessions.parse(value[:place] + letter + value[place + 1 :])
    original = sessions.parse(value)
    assert original is not None
    assert sessions.verify(original, SECRET, "salt", now)
    # The last letter of base64 may have bits that count for nothing: then the cookie is the same one.
    same = altered is not None and (altered.signed, altered.signature) == (original.signed, original.signature)
    assert altered is None or same or not sessions.verify(altered, SECRET, "salt", now)


@given(st.text())
def test_no_text_crashes_the_parser(value: str) -> None:
    sessions.parse(value)


def test_an_ended_session_has_an_empty_cookie_that_expires_at_once() -> None:
    assert "Max-Age=0" in sessions.header("")
    assert "HttpOnly" in sessions.header("x")
    assert sessions.header("x", secure=True).endswith("; Secure")
