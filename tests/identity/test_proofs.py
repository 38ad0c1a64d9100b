"""Proofs for public hubs: what passes, what does not, and the vectors."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, InvalidSignal, Unauthorized
from peerpouch.identity import proofs
from peerpouch.identity.encoding import to_text
from peerpouch.identity.sealing import SessionKey
from tests.hub.public_vectors import PATH, text

NOW = 1_700_000_000.0
MS = round(NOW * 1000)


@pytest.fixture(scope="module")
def vectors() -> Any:
    return jsonio.loads(PATH.read_bytes())


def test_the_file_is_what_the_scheme_gives_today() -> None:
    assert PATH.read_text(encoding="utf-8") == text()


def test_the_vectors_pass(vectors: Any) -> None:
    hub = SessionKey(bytes.fromhex(vectors["hub"]["private"]))
    assert proofs.read_announcement(vectors["hub"]["header"]) == (hub.public, MS)
    session = vectors["session"]
    assert hub.agree(bytes.fromhex(session["public"])).hex() == session["shared"]
    for proof in session["proofs"]:
        assert proofs.check_session(proof["header"], hub, proof["time"] / 1000) == session["id"]
    assert proofs.check_reply(vectors["reply"]["header"]) == vectors["reply"]["reply_to"]


def test_a_hubs_key_is_the_same_again_and_another_for_another_name_or_server() -> None:
    keys = [proofs.hub_key(secret, name).public for secret, name in ((b"a" * 32, "hub"), (b"a" * 32, "b"), (b"b", "b"))]
    assert len(set(keys)) == 3
    assert proofs.hub_key(b"a" * 32, "hub").public == keys[0]


@pytest.mark.parametrize("skew", [-901, 901])
def test_a_proof_of_another_time_is_refused(skew: int) -> None:
    hub, session = SessionKey(), SessionKey()
    header = proofs.prove_session(session, hub.public, MS + 1000 * skew)
    with pytest.raises(Unauthorized, match="not of this time"):
        proofs.check_session(header, hub, NOW)
    header = proofs.prove_session(session, hub.public, MS + 1000 * (skew - (1 if skew > 0 else -1)))
    assert proofs.check_session(header, hub, NOW) == session.id


def test_a_proof_is_for_one_session_one_hub_and_one_time() -> None:
    hub, session, other = SessionKey(), SessionKey(), SessionKey()
    key, time, proof = proofs.prove_session(session, hub.public, MS).split(".")
    assert proofs.check_session(f"{key}.{time}.{proof}", hub, NOW) == session.id
    for forged, at in (
        (f"{to_text(other.public)}.{time}.{proof}", hub),
        (f"{key}.{MS + 1}.{proof}", hub),
        (f"{key}.{time}.{to_text(bytes(32))}", hub),
        (f"{key}.{time}.{proof}", other),
    ):
        with pytest.raises(Unauthorized):
            proofs.check_session(forged, at, NOW)


def test_who_knows_only_public_keys_proves_nothing() -> None:
    # Both public keys are known to everybody; a key of small order would give a secret that everybody knows, too.
    hub, session, attacker = SessionKey(), SessionKey(), SessionKey()
    _, time, proof = proofs.prove_session(attacker, hub.public, MS).split(".")
    with pytest.raises(Unauthorized):
        proofs.check_session(f"{to_text(session.public)}.{time}.{proof}", hub, NOW)
    with pytest.raises(Unauthorized):
        proofs.check_session(f"{to_text(bytes(32))}.{time}.{proof}", hub, NOW)
    with pytest.raises(InvalidSignal):
        proofs.prove_session(session, bytes(32), MS)


@pytest.mark.parametrize("value", ["", ".", "..", "a.b.c", "a.1.c.d", f"{to_text(bytes(32))}.01.{to_text(bytes(32))}"])
def test_what_is_malformed_is_refused(value: str) -> None:
    with pytest.raises(Unauthorized):
        proofs.check_session(value, SessionKey(), NOW)
    with pytest.raises(Unauthorized):
        proofs.check_reply(value)
    with pytest.raises(BadRequest):
        proofs.read_announcement(value)
