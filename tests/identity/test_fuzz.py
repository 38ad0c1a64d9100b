"""What comes from others as text or as documents raises documented errors, and nothing else."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import BadRequest, InvalidIdentity, InvalidSignal
from peerpouch.hub import shares
from peerpouch.identity.encoding import digest, to_text
from peerpouch.identity.invites import PREFIX, Invite
from peerpouch.identity.keys import Identity
from peerpouch.identity.sealing import SessionKey

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
OWNER = Identity.ephemeral(b"f" * 32)
SHARE = shares.to_document(
    OWNER, SessionKey(), database=shares.database_digest(OWNER.key, "u"), name="n", info=1, lease=90, renewal=1, now=1
)
INVITE = {"h": "hub.db", "s": SHARE["share"], "f": OWNER.fingerprint, "t": to_text(bytes(16)), "n": "x"}


def parse_invite(text: str) -> None:
    try:
        Invite.parse(text)
    except BadRequest as error:
        assert len(text) < 20 or text not in error.reason  # an invite is a secret


@given(st.text(max_size=200))
def test_any_text_is_an_invite_or_a_bad_request(text: str) -> None:
    parse_invite(text)
    parse_invite(PREFIX + text)


@given(st.dictionaries(st.sampled_from(["h", "s", "f", "t", "n", "z"]), JSON, max_size=6) | JSON)
def test_any_payload_with_a_right_checksum_is_an_invite_or_a_bad_request(change: Any) -> None:
    value = {**INVITE, **change} if isinstance(change, dict) else change
    payload = json.dumps(value).encode()
    parse_invite(PREFIX + to_text(digest("invite", payload)[:4] + payload))


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_an_identity_or_invalid(text: str | bytes) -> None:
    parse_identity(text)


@given(st.dictionaries(st.sampled_from(["type", "version", "public", "private"]), JSON, max_size=4))
def test_any_change_of_an_identity_is_invalid_and_is_not_shown(change: dict[str, Any]) -> None:
    parse_identity(json.dumps({**json.loads(OWNER.export()), **change}))


def parse_identity(text: str | bytes) -> None:
    private = json.loads(OWNER.export())["private"]
    try:
        Identity.parse(text)
    except InvalidIdentity as error:
        assert private not in error.reason + repr(error)


@given(st.dictionaries(st.sampled_from([*SHARE, "_rev", "more"]), JSON, min_size=1, max_size=5))
def test_any_change_of_a_share_document_is_refused_or_changes_nothing_that_is_signed(change: dict[str, Any]) -> None:
    try:
        found = shares.from_document({**SHARE, **change})
    except InvalidSignal:
        return
    assert found == shares.from_document(SHARE)
