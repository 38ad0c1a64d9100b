"""tests/vectors/trust.json: built anew it is the same, and reading what it holds gives what it says."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.core import jsonio
from peerpouch.errors import Forbidden
from peerpouch.hub import shares, signals
from peerpouch.identity import canonical
from peerpouch.identity.encoding import from_text, to_base32
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import Identity, PublicKey
from peerpouch.identity.sealing import SessionKey, session_id
from peerpouch.ports import Peer
from tests.hub.vectors import PATH, text


@pytest.fixture(scope="module")
def vectors() -> Any:
    return jsonio.loads(PATH.read_bytes())


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value)


def test_the_file_is_what_the_scheme_gives_today() -> None:
    assert PATH.read_text(encoding="utf-8") == text()


def test_encodings_and_canonical_forms(vectors: Any) -> None:
    for vector in vectors["base32"]:
        assert to_base32(_bytes(vector["bytes"]), vector["length"]) == vector["text"]
    for vector in vectors["canonical"]:
        assert canonical.encode(vector["value"]).decode() == vector["text"]


def test_keys_and_signatures(vectors: Any) -> None:
    for vector in vectors["identities"]:
        identity = Identity.ephemeral(_bytes(vector["private"]))
        assert (identity.key.raw.hex(), identity.key.text) == (vector["public"], vector["text"])
        assert identity.fingerprint == vector["fingerprint"]
    vector = vectors["signature"]
    key = Identity.ephemeral(_bytes(vector["private"])).key
    assert key.verify(_bytes(vector["signature"]), _bytes(vector["payload"]), purpose=vector["purpose"])


def test_sessions_and_boxes(vectors: Any) -> None:
    for vector in vectors["sessions"]:
        session = SessionKey(_bytes(vector["private"]))
        assert (session.public.hex(), session.id) == (vector["public"], vector["id"])
        assert session_id(session.public) == vector["id"]
    vector = vectors["sealed"]
    content = SessionKey(_bytes(vector["recipient"])).open(
        _bytes(vector["box"]), purpose=vector["purpose"], associated=_bytes(vector["associated"])
    )
    assert content.hex() == vector["content"]


def test_the_share(vectors: Any) -> None:
    vector = vectors["share"]
    share = shares.from_document(vector["document"])
    owner = Identity.ephemeral(_bytes(vector["owner"])).key
    assert share.key == owner
    assert share.id == shares.share_id(owner, shares.database_digest(owner, vector["database_uuid"]))
    assert shares.signed_bytes(vector["document"]).decode() == vector["signed"]


def test_the_offer_and_its_answers(vectors: Any) -> None:
    vector = vectors["offer"]
    owner = Identity.ephemeral(_bytes(vectors["share"]["owner"])).key
    session = SessionKey(_bytes(vectors["share"]["session"]))
    offer = signals.open_offer(vector["document"], key=owner, session=session)
    opener = Identity.ephemeral(_bytes(vector["opener"])).key
    assert offer.sender == Peer(opener.raw, SessionKey(_bytes(vector["opener_session"])).id)
    assert offer.digest.hex() == vector["digest"]
    assert offer.time == vector["time"]
    assert offer.body == jsonio.loads(vector["content"].encode())["body"]
    sent = signals.SentOffer(
        vector["document"],
        shares.from_document(vectors["share"]["document"]),
        offer.sender,
        SessionKey(_bytes(vector["reply"])),
        offer.digest,
    )
    accepted, refused = (signals.open_answer(answer["document"], sent) for answer in vectors["answers"])
    assert accepted.body == {"sdp": "v=0\r\n", "info": 3}
    assert type(refused.error) is Forbidden
    assert refused.error.reason == "Not today."


def test_the_invite(vectors: Any) -> None:
    vector = vectors["invite"]
    invite = Invite.parse(vector["text"])
    assert (invite.hub, invite.share_id, invite.name) == (vector["hub"], vector["share"], vector["name"])
    assert invite.token == _bytes(vector["token"])
    assert invite.is_for(PublicKey(_bytes(vectors["identities"][0]["public"])))


def test_every_field_of_the_document_is_text_that_reads_back(vectors: Any) -> None:
    document = vectors["share"]["document"]
    for field in ("key", "database", "session_key"):
        assert len(from_text(document[field])) == 32
