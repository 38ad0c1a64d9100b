from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest
from peerpouch.identity import invites
from peerpouch.identity.encoding import to_base32, to_text
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import Identity

KEY = Identity.ephemeral().key
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)


@given(TEXT, st.binary(min_size=20, max_size=20), st.none() | st.binary(min_size=16, max_size=16), st.none() | TEXT)
def test_format_and_parse_are_inverse(hub: str, share: bytes, token: bytes | None, name: str | None) -> None:
    invite = Invite(hub, to_base32(share, 26), KEY.fingerprint, token, name)
    assert Invite.parse(f" {invite.format()}\n") == invite
    assert invite.is_for(KEY)
    assert not invite.is_for(Identity.ephemeral().key)


INVITE = Invite("https://user:hunter2@hub.example/db", "0" * 26, KEY.fingerprint, b"sixteen bytes ok")


@given(st.data())
def test_a_cut_or_mistyped_invite_is_noticed(data: st.DataObject) -> None:
    text = INVITE.format()
    place = data.draw(st.integers(0, len(text) - 1))
    char = data.draw(st.characters(exclude_characters=text[place]))
    with pytest.raises(BadRequest):
        Invite.parse(text[:place] + char + text[place + 1 :].rstrip() if not char.isspace() else text[:place])


def test_a_link_with_an_invite_is_read_as_the_invite_and_other_links_are_not() -> None:
    link = f"https://server.example/_peerpouch/send/?hub=x#{INVITE}"
    assert invites.is_invite(f"  {link}\n")
    assert Invite.parse(f"  {link}\n") == INVITE
    for other in ("https://server.example/db", "https://server.example/#x", f"https://server.example/?{INVITE}", "db"):
        assert not invites.is_invite(other)
        with pytest.raises(BadRequest):
            Invite.parse(other)


def test_twin_without_the_checksum_a_mistyped_hub_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invites, "_checksum", lambda payload: b"1234")
    payload = jsonio.dumps({"h": "https://hub.exemple/db", "s": INVITE.share_id, "f": INVITE.fingerprint})
    assert Invite.parse(invites.PREFIX + to_text(b"1234" + payload)).hub == "https://hub.exemple/db"


@given(st.text() | st.text().map(lambda text: invites.PREFIX + text))
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        Invite.parse(text)


@pytest.mark.parametrize("payload", [b"[]", b"{}", b"null", b'{"h":1}', b'{"h":"x","s":"' + b"0" * 26 + b'","f":7}'])
def test_a_payload_of_the_wrong_shape_is_refused(payload: bytes) -> None:
    with pytest.raises(BadRequest):
        Invite.parse(invites.PREFIX + to_text(invites._checksum(payload) + payload))


def test_an_invite_fits_a_qr_code() -> None:
    with pytest.raises(BadRequest, match="longer"):
        Invite("https://hub.example/" + "x" * 3000, "0" * 26, KEY.fingerprint)


def test_no_secret_shows() -> None:
    assert "hunter2" not in repr(INVITE)
    assert "sixteen" not in repr(INVITE)
    with pytest.raises(BadRequest) as caught:
        Invite.parse(INVITE.format()[:-3])
    assert INVITE.format()[20:40] not in str(caught.value)
