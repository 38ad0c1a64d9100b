"""Offers and answers, attacked by whoever can be attacking: the hub, a peer, a recipient that passes things on.

Every attack on a check has a twin that takes the check away and shows that the attack then succeeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.core import jsonio
from peerpouch.errors import (
    BadRequest,
    ClockSkew,
    Forbidden,
    InvalidSignal,
    PeerPouchError,
    ShareNotFound,
    StorageError,
)
from peerpouch.hub import shares, signals
from peerpouch.hub.signals import Offer, SentOffer, document_id, make_answer, make_offer, open_answer, open_offer
from peerpouch.identity import sealing
from peerpouch.identity.encoding import from_text, to_text
from peerpouch.identity.keys import SIGNATURE_SIZE, Identity, PublicKey
from peerpouch.identity.sealing import SessionKey, seal
from peerpouch.ports import Document

ALICE, BOB, MALLORY = Identity.ephemeral(), Identity.ephemeral(), Identity.ephemeral()
ALICES, BOBS, MALLORYS = SessionKey(), SessionKey(), SessionKey()
NONCE = "0" * 26
OTHER_NONCE = "1" * 26
TIME = 1_700_000_000_000


def share_of(owner: Identity, session: SessionKey) -> shares.Share:
    digest = shares.database_digest(owner.key, "uuid")
    made = shares.to_document(owner, session, database=digest, name="n", info=None, lease=90, renewal=1, now=TIME)
    return shares.from_document(made)


SHARE = share_of(ALICE, ALICES)


def offer(opener: Identity = BOB, nonce: str = NONCE, body: Document | None = None) -> SentOffer:
    return make_offer(opener, SHARE, body or {"sdp": "bob's"}, session=BOBS.id, reply_to=NONCE, nonce=nonce, time=TIME)


def receive(document: Document) -> Offer:
    return open_offer(document, key=ALICE.key, session=ALICES)


def answer(sent: SentOffer, outcome: Document | PeerPouchError | None = None) -> Document:
    text = make_answer(ALICE, ALICES, receive(sent.document), outcome or {"sdp": "alice's"})
    return signals.with_answer(sent.document, text)


class _NoCipher:
    """In place of AES-GCM: neither hides nor protects."""

    def __init__(self, key: bytes) -> None:
        pass

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        return data + bytes(16)

    def decrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        return data[:-16]


def disable(patch: pytest.MonkeyPatch, *checks: str) -> None:
    for check in checks:
        if check == "cipher":
            patch.setattr(sealing, "AESGCM", _NoCipher)
        else:
            patch.setattr(signals, check, lambda *args, **options: None)


def refused(attack: Callable[[], object]) -> bool:
    try:
        attack()
    except InvalidSignal:
        return True
    return False


# What should work.


def test_an_offer_arrives_with_its_sender_and_body() -> None:
    received = receive(offer().document)
    assert received.body == {"sdp": "bob's"}
    assert (received.sender.key, received.sender.session) == (BOB.key.raw, BOBS.id)
    assert (received.share_id, received.nonce, received.time) == (SHARE.id, NONCE, TIME)


def test_an_answer_arrives() -> None:
    sent = offer()
    assert open_answer(answer(sent), sent).body == {"sdp": "alice's"}


@pytest.mark.parametrize("error", [Forbidden("not you"), ShareNotFound("gone")])
def test_a_refusal_arrives_as_the_same_error(error: PeerPouchError) -> None:
    sent = offer()
    got = open_answer(answer(sent, error), sent)
    assert got.body is None
    assert type(got.error) is type(error)
    assert got.error is not None
    assert got.error.reason == error.reason


def test_an_error_that_is_not_for_peers_becomes_a_plain_refusal() -> None:
    sent = offer()
    error = open_answer(answer(sent, StorageError("/home/alice/secret.db is damaged")), sent).error
    assert type(error) is Forbidden
    assert "secret" not in error.reason


def test_a_hostile_owner_can_not_make_us_raise_any_error_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "REFUSALS", (PeerPouchError,))
    sent = offer()
    hostile = answer(sent, StorageError("your disk is broken"))
    assert type(open_answer(hostile, sent).error) is StorageError  # the twin
    monkeypatch.undo()
    assert type(open_answer(hostile, sent).error) is Forbidden


def test_the_length_tells_no_more_than_a_multiple_of_a_kibibyte() -> None:
    lengths = {len(offer(body={"sdp": "x" * size}).document["offer"]) for size in range(0, 300, 20)}
    assert len(lengths) == 1


def test_a_body_is_bounded() -> None:
    with pytest.raises(BadRequest):
        offer(body={"sdp": "x" * signals.MAX_CONTENT})
    with pytest.raises(BadRequest):
        offer(body={"sdp": {1, 2}})


# The hub reads.


def test_a_hub_reads_nothing() -> None:
    assert not _hub_reads()


def test_twin_without_the_cipher_it_reads_all(monkeypatch: pytest.MonkeyPatch) -> None:
    disable(monkeypatch, "cipher")
    assert _hub_reads()


def _hub_reads() -> bool:
    sent = offer(body={"sdp": "candidate 192.0.2.7", "info": "my secret"})
    documents = [sent.document, answer(sent, {"sdp": "candidate 192.0.2.8", "info": "his secret"})]
    clear = b"".join(
        jsonio.dumps(document) + from_text(document.get("offer") or document["answer"]) for document in documents
    )
    secrets = [b"192.0.2", b"secret", BOB.key.text.encode(), BOB.key.raw, BOBS.id.encode()]
    return any(secret in clear for secret in secrets)


# The hub alters.


@given(st.data())
def test_an_altered_offer_is_refused(data: st.DataObject) -> None:
    document = offer().document
    document["offer"] = _flip(document["offer"], data)
    assert refused(lambda: receive(document))


@given(st.data())
def test_an_altered_answer_is_refused(data: st.DataObject) -> None:
    sent = offer()
    document = answer(sent)
    document["answer"] = _flip(document["answer"], data)
    assert refused(lambda: open_answer(document, sent))


def _flip(text: str, data: st.DataObject) -> str:
    box = bytearray(from_text(text))
    box[data.draw(st.integers(0, len(box) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return to_text(bytes(box))


def test_twin_without_cipher_and_signature_an_altered_offer_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    disable(monkeypatch, "cipher", "_check_signature")
    document = offer().document
    box = from_text(document["offer"]).replace(b"bob's", b"evil!")
    assert receive({**document, "offer": to_text(box)}).body == {"sdp": "evil!"}


# Somebody forges.


def _forged_offer() -> Document:
    """Mallory, in bob's name."""
    content = _content(offer())
    return _sealed(content, MALLORY)


def test_an_offer_in_anothers_name_is_refused() -> None:
    assert refused(lambda: receive(_forged_offer()))


def test_twin_without_the_signature_it_passes_as_bobs(monkeypatch: pytest.MonkeyPatch) -> None:
    disable(monkeypatch, "_check_signature")
    assert receive(_forged_offer()).sender.key == BOB.key.raw


def _forged_answer(sent: SentOffer) -> Document:
    """Mallory, in alice's place, with her own description; she even learned what the answer must be sealed to."""
    text = make_answer(ALICE, ALICES, receive(sent.document), {"sdp": "mallory's"})
    signed = sent.reply.open(from_text(text), purpose="answer", associated=sent.document["_id"].encode())
    payload = signed[SIGNATURE_SIZE:]
    box = seal(
        sent.reply.public,
        MALLORY.sign(payload, purpose="answer") + payload,
        purpose="answer",
        associated=sent.document["_id"].encode(),
    )
    return signals.with_answer(sent.document, to_text(box))


def test_an_answer_in_the_owners_place_is_refused() -> None:
    sent = offer()
    assert refused(lambda: open_answer(_forged_answer(sent), sent))


def test_twin_without_the_signature_the_opener_would_connect_to_mallory(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = offer()
    forged = _forged_answer(sent)
    disable(monkeypatch, "_check_signature")
    assert open_answer(forged, sent).body == {"sdp": "mallory's"}


def test_a_signature_made_for_an_answer_is_none_for_an_offer() -> None:
    content = _content(offer())
    payload = jsonio.dumps(content)
    signed = BOB.sign(payload, purpose="answer") + payload
    assert refused(lambda: receive(_boxed(signed, ALICES, NONCE)))


# Somebody redirects.


def test_an_offer_moved_to_another_session_is_refused() -> None:
    document = offer().document
    moved = {**document, "_id": document_id(MALLORYS.id, NONCE)}
    assert refused(lambda: open_offer(moved, key=MALLORY.key, session=MALLORYS))


def _passed_on() -> Document:
    """Alice opens bob's offer, and seals his very words to mallory's session."""
    sent = offer()
    signed = ALICES.open(from_text(sent.document["offer"]), purpose="offer", associated=sent.document["_id"].encode())
    return _boxed(signed, MALLORYS, NONCE)


def test_an_offer_that_its_recipient_passes_on_is_refused() -> None:
    assert refused(lambda: open_offer(_passed_on(), key=MALLORY.key, session=MALLORYS))


def test_twin_without_the_recipient_in_the_signature_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    disable(monkeypatch, "_check_recipient")
    received = open_offer(_passed_on(), key=MALLORY.key, session=MALLORYS)
    assert received.sender.key == BOB.key.raw


def test_an_offer_moved_to_another_document_is_refused() -> None:
    document = offer().document
    assert refused(lambda: receive({**document, "_id": document_id(ALICES.id, OTHER_NONCE)}))


def test_twin_when_neither_box_nor_signature_know_the_document_it_passes_as_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disable(monkeypatch, "cipher")
    document = {**offer().document, "_id": document_id(ALICES.id, OTHER_NONCE)}
    assert refused(lambda: receive(document))  # the signature still knows it
    disable(monkeypatch, "_check_nonce")
    assert receive(document).nonce == OTHER_NONCE


# Somebody swaps or replays answers.


def test_answers_swapped_between_two_offers_are_refused() -> None:
    one, two = offer(), offer(nonce=OTHER_NONCE)
    swapped = {**one.document, "answer": answer(two)["answer"]}
    assert refused(lambda: open_answer(swapped, one))


def _resealed_answer(one: SentOffer, two: SentOffer) -> Document:
    """The answer to one offer, alice's signature intact, put in the place of the answer to another."""
    box = from_text(answer(one, {"sdp": "an earlier one"})["answer"])
    signed = one.reply.open(box, purpose="answer", associated=one.document["_id"].encode())
    again = seal(two.reply.public, signed, purpose="answer", associated=two.document["_id"].encode())
    return signals.with_answer(two.document, to_text(again))


def test_an_answer_to_another_offer_is_refused() -> None:
    one, two = offer(), offer(nonce=OTHER_NONCE)
    assert refused(lambda: open_answer(_resealed_answer(one, two), two))


def test_twin_without_the_offers_hash_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = offer(), offer(nonce=OTHER_NONCE)
    resealed = _resealed_answer(one, two)
    disable(monkeypatch, "_check_answers")
    assert open_answer(resealed, two).body == {"sdp": "an earlier one"}


# Somebody delays, or replays after a restart.


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_stale_offer_is_refused_and_clocks_are_named(minutes: int) -> None:
    with pytest.raises(ClockSkew, match="16 minutes"):
        signals.check_time(TIME, TIME / 1000 + 60 * minutes)
    signals.check_time(TIME, TIME / 1000 + (60 * minutes) * 0.9)


def test_an_offer_recorded_before_a_restart_can_not_be_opened_after_it() -> None:
    restarted = SessionKey()
    document = {**offer().document, "_id": document_id(restarted.id, NONCE)}
    assert refused(lambda: open_offer(document, key=ALICE.key, session=restarted))


def test_twin_with_the_same_session_key_after_a_restart_it_could() -> None:
    assert receive(offer().document).body == {"sdp": "bob's"}


# Garbage.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["_id", "type", "version", "offer"]), JSON | st.binary(max_size=200).map(to_text))
def test_a_garbled_document_is_refused(field: str, value: Any) -> None:
    if field == "version" and type(value) is int and value == 1:
        return
    assert refused(lambda: receive({**offer().document, field: value}))


@given(st.sampled_from(["version", "share", "to", "from", "reply_key", "time", "nonce", "body"]), JSON)
def test_content_of_the_wrong_shape_is_refused_though_it_is_signed(field: str, value: Any) -> None:
    """A hostile opener signs what it likes."""
    content = {**_content(offer()), field: value}
    if (field == "body" and isinstance(value, dict)) or (
        field == "time" and type(value) is int and 0 <= value <= signals.MAX_INTEGER
    ):
        assert receive(_sealed(content, BOB)).time == content["time"]
    elif field == "version" and value == 1:
        return
    else:
        assert refused(lambda: receive(_sealed(content, BOB)))


@given(st.binary(max_size=300))
def test_sealed_garbage_is_refused(content: bytes) -> None:
    assert refused(lambda: receive(_boxed(content, ALICES, NONCE)))


@given(st.sampled_from(["version", "offer", "from", "to", "body", "refused"]), JSON)
def test_an_answer_of_the_wrong_shape_is_refused_though_it_is_signed(field: str, value: Any) -> None:
    sent = offer()
    content: dict[str, Any] = {
        "version": 1,
        "offer": to_text(sent.digest),
        "from": {"key": ALICE.key.text, "session": ALICES.id},
        "to": {"key": BOB.key.text, "session": BOBS.id},
        "body": {},
        field: value,
    }
    payload = jsonio.dumps(content)
    box = seal(
        sent.reply.public,
        ALICE.sign(payload, purpose="answer") + payload,
        purpose="answer",
        associated=sent.document["_id"].encode(),
    )
    document = signals.with_answer(sent.document, to_text(box))
    if (field == "refused" and value is None) or (field == "body" and isinstance(value, dict)):
        assert open_answer(document, sent).error is None
    elif field == "refused" and isinstance(value, dict):
        assert open_answer(document, sent).error is not None
    elif field == "version" and value == 1:
        return
    else:
        assert refused(lambda: open_answer(document, sent))


def _content(sent: SentOffer) -> dict[str, Any]:
    box = from_text(sent.document["offer"])
    signed = ALICES.open(box, purpose="offer", associated=sent.document["_id"].encode())
    content: dict[str, Any] = jsonio.loads(signed[SIGNATURE_SIZE:])
    assert PublicKey.parse(content["from"]["key"]) == BOB.key
    return content


def _sealed(content: dict[str, Any], signer: Identity) -> Document:
    payload = jsonio.dumps(content)
    return _boxed(signer.sign(payload, purpose="offer") + payload, ALICES, NONCE)


def _boxed(signed: bytes, recipient: SessionKey, nonce: str) -> Document:
    id = document_id(recipient.id, nonce)
    box = seal(recipient.public, signed, purpose="offer", associated=id.encode())
    return {"_id": id, "type": signals.TYPE, "version": 1, "reply_to": NONCE, "created": TIME, "offer": to_text(box)}
