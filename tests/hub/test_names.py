from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import BadRequest
from peerpouch.hub.names import format_name, parse_name, without_credentials

ID = "0123456789abcdefghjkmnpqrs"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: "@" not in text))
def test_a_name_gives_its_parts_back(hub: str) -> None:
    assert parse_name(format_name(ID, hub)) == (ID, hub)


@pytest.mark.parametrize(
    ("hub", "shown"),
    [
        ("https://bob:hunter2@hub.example:5984/db?x=1", "https://hub.example:5984/db?x=1"),
        ("http://token@[::1]:5984/db", "http://[::1]:5984/db"),
        ("/home/bob/hub@work.db", "/home/bob/hub@work.db"),
        ("hub.db", "hub.db"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_credentials_never_get_into_a_name(hub: str, shown: str) -> None:
    assert without_credentials(hub) == shown
    assert parse_name(format_name(ID, hub)) == (ID, shown)
    assert "hunter2" not in format_name(ID, hub)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "notes.db",
        f"webrtc://{ID}",
        f"webrtc://{ID}?hub=",
        f"webrtc://{ID}?hub=a&hub=b",
        f"webrtc://{ID}/x?hub=a",
        f"http://{ID}?hub=a",
        f"webrtc://{ID[:-1]}?hub=a",
        f"webrtc://user@{ID}?hub=a",
        f"webrtc://{ID}?hub=" + "x" * 9000,
        "webrtc://[?hub=a",
    ],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        parse_name(name)


@given(st.text())
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_name(text)
    with pytest.raises(BadRequest):
        parse_name(f"webrtc://{text}")
