"""Whatever a hub gives for signals and shares: documented errors and nothing else, and honest signals get through."""

from __future__ import annotations

import copy
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerpouch.core import jsonio
from peerpouch.errors import ClockSkew, InvalidSignal
from peerpouch.hub import shares, signals
from peerpouch.hub.signals import Answer, Offer, SentOffer, make_answer, make_offer, open_answer, open_offer
from peerpouch.identity.encoding import from_text, to_text
from peerpouch.identity.keys import SIGNATURE_SIZE, Identity
from peerpouch.identity.sealing import SessionKey, seal
from peerpouch.ports import Document, Peer
from tests.hub.conftest import Join, echo, publish
from tests.hub.fakes import MemoryHub, settle

OWNER, OPENER = Identity.ephemeral(), Identity.ephemeral()
OWNERS, OPENERS = SessionKey(), SessionKey()
NONCE, TIME = "0" * 26, 1_700_000_000_000
SHARE = shares.from_document(
    shares.to_document(
        OWNER,
        OWNERS,
        database=shares.database_digest(OWNER.key, "u"),
        name="n",
        info=None,
        lease=90,
        renewal=1,
        now=TIME,
    )
)
SENT = make_offer(OPENER, SHARE, {"sdp": "v=0"}, session=OPENERS.id, reply_to=NONCE, nonce=NONCE, time=TIME)
OFFER = open_offer(SENT.document, key=OWNER.key, session=OWNERS)
ANSWERED = signals.with_answer(SENT.document, make_answer(OWNER, OWNERS, OFFER, {"sdp": "v=0"}))

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["_id", "_rev", "type", "version", "reply_to", "created", "offer", "answer", "more"]),
    JSON | st.binary(max_size=300).map(to_text),
    max_size=8,
)
PLACES = ["version", "share", "to", "from", "reply_key", "time", "nonce", "body", "offer", "refused"]
PATHS = st.lists(st.sampled_from([*PLACES, "key", "session", "session_key", "error", "reason"]), min_size=1, max_size=2)


unhurried = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def opened(document: Document) -> Offer | None:
    try:
        return open_offer(document, key=OWNER.key, session=OWNERS)
    except InvalidSignal:
        return None


def answered(document: Document) -> Answer | None:
    try:
        return open_answer(document, SENT)
    except InvalidSignal:
        return None


def changed(content: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """A copy with one member, at whatever depth, put in another's place, or added."""
    result = copy.deepcopy(content)
    at: Any = result
    for name in path[:-1]:
        if not isinstance(at.get(name), dict):
            at[name] = {}
        at = at[name]
    at[path[-1]] = value
    return result


def content_of(text: str, key: SessionKey, purpose: str) -> dict[str, Any]:
    signed = key.open(from_text(text), purpose=purpose, associated=SENT.document["_id"].encode())
    content: dict[str, Any] = jsonio.loads(signed[SIGNATURE_SIZE:])
    return content


def boxed(content: dict[str, Any], signer: Identity, recipient: bytes, purpose: str) -> str:
    """Signed and sealed as it should be, whatever it says."""
    payload = jsonio.dumps(content)
    signed = signer.sign(payload, purpose=purpose) + payload
    return to_text(seal(recipient, signed, purpose=purpose, associated=SENT.document["_id"].encode()))


@unhurried
@given(DOCUMENTS)
def test_any_document_is_an_offer_of_the_opener_or_refused(change: dict[str, Any]) -> None:
    for document in (change, {**SENT.document, **change}):
        found = opened(document)
        assert found is None or found == OFFER


@unhurried
@given(DOCUMENTS)
def test_any_document_is_the_owners_answer_or_refused(change: dict[str, Any]) -> None:
    for document in (change, {**ANSWERED, **change}):
        found = answered(document)
        assert found is None or found.body == {"sdp": "v=0"}


@unhurried
@given(st.sampled_from(["offer", "answer"]), st.integers(0, 2000), st.binary(max_size=8), st.integers(0, 8))
def test_any_change_of_a_boxs_bytes_is_refused(field: str, at: int, put: bytes, cut: int) -> None:
    document = SENT.document if field == "offer" else ANSWERED
    box = from_text(document[field])
    at %= len(box)
    altered = box[:at] + put + box[at + cut :]
    if altered == box:
        return
    document = {**document, field: to_text(altered)}
    assert (opened(document) if field == "offer" else answered(document)) is None


@unhurried
@given(PATHS, JSON)
def test_an_opener_that_signs_anything_gets_an_offer_of_the_documented_shape_or_none(
    path: list[str], value: Any
) -> None:
    content = changed(content_of(SENT.document["offer"], OWNERS, "offer"), path, value)
    found = opened({**SENT.document, "offer": boxed(content, OPENER, SHARE.session_key, "offer")})
    if found is None:
        return
    assert found.sender.key == OPENER.key.raw
    assert (found.document_id, found.nonce) == (SENT.document["_id"], NONCE)
    assert type(found.time) is int and type(found.body) is dict and len(found.reply_key) == 32
    assert shares.is_share_id(found.share_id) and isinstance(found.sender, Peer)
    with suppress(ClockSkew):
        signals.check_time(found.time, TIME / 1000)


@unhurried
@given(PATHS, JSON)
def test_an_owner_that_signs_anything_gives_an_answer_of_the_documented_shape_or_none(
    path: list[str], value: Any
) -> None:
    content = changed(content_of(ANSWERED["answer"], SENT.reply, "answer"), path, value)
    found = answered({**ANSWERED, "answer": boxed(content, OWNER, SENT.reply.public, "answer")})
    if found is None:
        return
    if found.error is None:
        assert type(found.body) is dict
    else:
        assert found.body is None and isinstance(found.error, signals.REFUSALS)
        assert type(found.error.reason) is str and len(found.error.reason) <= signals.MAX_REASON


def test_twin_with_any_signer_taken_for_the_owner_a_strangers_answer_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    content = content_of(ANSWERED["answer"], SENT.reply, "answer")
    forged = {**ANSWERED, "answer": boxed({**content, "body": {}}, OPENER, SENT.reply.public, "answer")}
    assert answered(forged) is None
    monkeypatch.setattr(signals, "_check_signature", lambda *args, **options: None)
    assert answered(forged) is not None


def _rubbish(chance: random.Random, session: str, number: int) -> Document:
    """A document as a hostile writer might put it where a session looks for its signals, and for shares."""
    values: list[Any] = [None, True, -1, 2**70, 1.5, "", "x" * 300, [], {}, [[]], {"a": None}, SENT.document["offer"]]
    prefix = chance.choice([f"signal:{session}:", "signal:", "share:", f"share:{SHARE.id[:20]}"])
    document = {name: chance.choice(values) for name in chance.sample([*PLACES, "type", "offer", "answer"], 6)}
    document["type"] = chance.choice([signals.TYPE, shares.TYPE, *values])
    document["version"] = chance.choice([1, 1.0, True, *values])
    return {**document, "_id": prefix + chance.choice([f"{number:026}", "", "\u2603", "x" * 400, f"{number}"])}


@pytest.mark.parametrize("seed", range(5))
async def test_a_hub_full_of_rubbish_of_any_shape_keeps_no_honest_signal_from_its_answer(
    join: Join, hub: MemoryHub, seed: int
) -> None:
    chance = random.Random(seed)
    alice, bob = join(), join()
    share_id = await publish(alice, handler=echo)
    await settle()
    for number in range(200):
        for client in (alice, bob):
            hub.force(_rubbish(chance, client.address.session, number))
    await settle()
    assert alice.invalid_documents > 50
    assert [share.id for share in await bob.shares()] == [share_id]
    assert (await bob.signal(share_id, {"sdp": "v=0"}, timeout=30))["sdp"] == "answer to v=0"


@pytest.mark.parametrize("time", [10**400, -(10**400), 2**53, -1])
async def test_a_signed_offer_of_a_time_beyond_all_clocks_is_refused_and_the_next_one_is_answered(
    join: Join, hub: MemoryHub, time: int
) -> None:
    alice, bob = join(), join()
    share_id = await publish(alice, handler=echo)
    share = await bob.find(share_id)
    sent = make_offer(OPENER, share, {}, session=OPENERS.id, reply_to=NONCE, nonce=NONCE, time=time)
    hub.force(sent.document)
    await settle()
    assert alice.invalid_documents == 1
    assert (await bob.signal(share_id, {"sdp": "v=0"}, timeout=30))["sdp"] == "answer to v=0"


def test_the_fuzzed_offer_is_one(sent: SentOffer = SENT) -> None:
    assert opened(sent.document) == OFFER
    assert answered(ANSWERED) == Answer({"sdp": "v=0"}, None)
