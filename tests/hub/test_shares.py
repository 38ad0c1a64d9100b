from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, InvalidSignal
from peerpouch.hub import shares
from peerpouch.hub.shares import check_description, database_digest, from_document, share_id, to_document
from peerpouch.identity import canonical, keys
from peerpouch.identity.encoding import to_text
from peerpouch.identity.keys import Identity
from peerpouch.identity.sealing import SessionKey
from peerpouch.ports import Document

ALICE = Identity.ephemeral(bytes(range(32)))
SESSION = SessionKey(bytes(range(32, 64)))
DATABASE = database_digest(ALICE.key, "uuid")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def document(**changes: Any) -> Document:
    options: dict[str, Any] = {"name": "Field notes", "info": {"site": 3}, "lease": 90, "renewal": 1, "now": 10**12}
    made = to_document(ALICE, SESSION, database=DATABASE, **{**options, **changes})
    return {**made, "_rev": "1-abc"}


def test_a_document_gives_the_share_back() -> None:
    share = from_document(document())
    assert share.id == share_id(ALICE.key, DATABASE)
    assert (share.name, share.info, share.key, share.session) == ("Field notes", {"site": 3}, ALICE.key, SESSION.id)
    assert (share.session_key, share.lease, share.renewal, share.renewed) == (SESSION.public, 90, 1, 10**12)
    assert share.peer.key == ALICE.key.raw


def test_ids_are_stable_for_owner_and_database_and_differ_otherwise() -> None:
    assert share_id(ALICE.key, database_digest(ALICE.key, "uuid")) == share_id(ALICE.key, DATABASE)
    assert share_id(ALICE.key, database_digest(ALICE.key, "uuie")) != share_id(ALICE.key, DATABASE)
    other = Identity.ephemeral().key
    assert share_id(other, database_digest(other, "uuid")) != share_id(ALICE.key, DATABASE)


def test_the_databases_uuid_is_not_in_the_document() -> None:
    uuid = "5f2c9a7e4b1d4c0f8a3e6d7b9c0a1b2c"
    made = to_document(
        ALICE, SESSION, database=database_digest(ALICE.key, uuid), name="x", info=None, lease=90, renewal=1, now=1
    )
    assert uuid not in jsonio.dumps(made).decode()


@pytest.mark.parametrize("relay", ["reordered", "floats", "extra"])
def test_what_databases_do_to_json_leaves_the_signature_valid(relay: str) -> None:
    made = document(info={"a": 1, "b": 1.5, "é": "\u20ac"})
    if relay == "reordered":
        made = dict(reversed(made.items()))
    elif relay == "floats":
        made = {**made, "renewed": 1e12, "lease": 90.0}
    else:
        made = {**made, "_revisions": {"start": 1, "ids": ["abc"]}}
    assert from_document(made).info == {"a": 1, "b": 1.5, "é": "\u20ac"}


CHANGES: list[Document] = [
    {"name": "Other"},
    {"info": {"site": 4}},
    {"info": {"site": 3, "more": 1}},
    {"lease": 91},
    {"renewal": 2},
    {"renewed": 10**12 + 1},
    {"session": "0" * 26},
    {"session_key": to_text(bytes(32))},
    {"key": Identity.ephemeral().key.text},
    {"database": to_text(bytes(32))},
    {"share": "0" * 26},
    {"_id": "share:" + "0" * 26},
    {"_id": "signal:" + "0" * 26},
    {"version": 2},
    {"type": "peerpouch signal"},
    {"signature": to_text(bytes(64))},
    {"signature": None},
    {"added": True},
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_altered_document_is_refused(change: Document) -> None:
    with pytest.raises(InvalidSignal):
        from_document({**document(), **change})


@pytest.mark.parametrize("missing", [name for name in document() if name != "_rev"])
def test_a_document_with_a_missing_field_is_refused(missing: str) -> None:
    made = document()
    del made[missing]
    with pytest.raises(InvalidSignal):
        from_document(made)


def test_twin_without_the_signature_an_altered_document_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys.PublicKey, "verify", lambda *args, **options: True)
    assert from_document({**document(), "name": "Other"}).name == "Other"


def _resigned(change: Document) -> Document:
    """What a hostile owner signs itself."""
    fields = {name: value for name, value in {**document(), **change}.items() if name[0] != "_" and name != "signature"}
    signature = ALICE.sign(canonical.encode(fields, exact=False), purpose="share")
    return {"_id": document()["_id"], **fields, "signature": to_text(signature)}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a\x1b[2Jb"},
        {"name": "a\u202eb"},
        {"name": ""},
        {"name": "x" * 201},
        {"name": 7},
        {"lease": 9},
        {"lease": 10**9},
        {"lease": "90"},
        {"lease": True},
        {"version": True},
        {"renewal": -1},
        {"renewal": 1.5},
        {"renewed": 2**60},
        {"info": "x" * 9000},
        {"padding": "x" * 20_000},
        {"session": "0" * 26},
    ],
)
def test_what_is_signed_but_out_of_bounds_is_refused(change: Document) -> None:
    with pytest.raises(InvalidSignal):
        from_document(_resigned(change))


def test_fields_that_later_versions_may_add_are_covered_and_ignored() -> None:
    assert from_document(_resigned({"added": [1]})).name == "Field notes"
    with pytest.raises(InvalidSignal):
        from_document({**_resigned({"added": [1]}), "added": [2]})


def test_an_integer_that_somebody_exchanged_for_another_of_the_same_double_is_not_what_is_read() -> None:
    made = document(info=float(2**53))
    assert from_document({**made, "info": 2**53 + 1}).info == 2**53


def test_another_key_can_not_take_a_shares_place() -> None:
    """Mallory signs a share document of her own under alice's id."""
    with pytest.raises(InvalidSignal, match="owner's key"):
        from_document(_usurped())


def test_twin_when_ids_are_not_tied_to_keys_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    usurped = _usurped()
    monkeypatch.setattr(shares, "share_id", lambda key, database: share_id(ALICE.key, DATABASE))
    assert from_document(usurped).id == share_id(ALICE.key, DATABASE)
    assert from_document(usurped).key != ALICE.key


def _usurped() -> Document:
    mallory = Identity.ephemeral()
    made = to_document(mallory, SessionKey(), database=DATABASE, name="x", info=None, lease=90, renewal=9, now=10**12)
    fields = {name: value for name, value in made.items() if name not in ("_id", "signature")}
    fields["share"] = share_id(ALICE.key, DATABASE)
    signature = mallory.sign(canonical.encode(fields), purpose="share")
    return {"_id": "share:" + fields["share"], **fields, "signature": to_text(signature)}


@given(st.dictionaries(st.text(max_size=10) | st.sampled_from(sorted(document())), JSON, max_size=14))
def test_garbage_is_refused_with_the_documented_error(made: Document) -> None:
    with pytest.raises(InvalidSignal):
        from_document(made)


@given(st.sampled_from(sorted(document())), JSON)
def test_a_field_replaced_by_garbage_is_refused_or_changes_nothing(field: str, value: Any) -> None:
    made = {**document(), field: value}
    if field == "_rev" or (made[field] == document()[field] and type(value) is not bool):
        return
    with pytest.raises(InvalidSignal):
        from_document(made)


def test_descriptions_are_checked_before_they_are_signed() -> None:
    check_description("Field notes", {"any": ["json", 1.5, None]})
    for name, info in (("", None), ("a\tb", None), ("x", b""), ("x", "\ud800"), ("x", 2**53), ("x", "y" * 8192)):
        with pytest.raises(BadRequest):
            check_description(name, info)


def test_every_share_lies_in_the_listed_range_and_no_signal_does() -> None:
    assert shares.FIRST <= document()["_id"] <= shares.LAST
    assert not shares.FIRST <= "signal:" + "z" * 26 <= shares.LAST
