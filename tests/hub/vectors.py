"""Builds tests/vectors/trust.json: the scheme of docs/protocol/trust.md with fixed keys and fixed randomness.

``python -m tests.hub.vectors`` writes the file anew; a test checks that it is what this builds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peerpouch.errors import Forbidden
from peerpouch.hub import shares, signals
from peerpouch.identity import canonical
from peerpouch.identity.encoding import digest, from_text, label, to_base32
from peerpouch.identity.invites import Invite
from peerpouch.identity.keys import Identity
from peerpouch.identity.sealing import SessionKey, seal

PATH = Path(__file__).parent.parent / "vectors" / "trust.json"

TIME = 1_700_000_000_000
DATABASE = "5f2c9a7e4b1d4c0f8a3e6d7b9c0a1b2c"

CANONICAL: list[Any] = [
    None,
    [True, False, "", 0, -0.0, 1.0, 1.5],
    {"b": 1, "a": [], "é": {}, "\U0001f600": 1, "\ufb33": 2, "\r": 3},
    [1e21, 1e20, 123456789012345680000.0, 0.000001, 1e-7, 5e-324, 1.7976931348623157e308, 4.35, 2**53 - 1],
    '\u20ac$\u000f\nA\'B"\\\\"/\u2028\x7f',
]


def build() -> dict[str, Any]:
    alice, bob = Identity.ephemeral(_bytes(0)), Identity.ephemeral(_bytes(1))
    alices, bobs = SessionKey(_bytes(2)), SessionKey(_bytes(3))
    share_document = shares.to_document(
        alice,
        alices,
        database=shares.database_digest(alice.key, DATABASE),
        name="Field notes",
        info={"site": 3, "où": ["là", 1.5]},
        lease=90,
        renewal=7,
        now=TIME,
    )
    share = shares.from_document(share_document)
    reply = SessionKey(_bytes(4))
    nonce, reply_to = signals.new_nonce(_bytes(6)[:17]), signals.new_nonce(_bytes(7)[:17])
    sent = signals.make_offer(
        bob,
        share,
        {"share": share.id, "info": {"who": "bob"}, "sdp": "v=0\r\n"},
        session=bobs.id,
        reply_to=reply_to,
        nonce=nonce,
        time=TIME + 1000,
        reply=reply,
        ephemeral=SessionKey(_bytes(5)),
    )
    offer = signals.open_offer(sent.document, key=alice.key, session=alices)
    accepted = signals.make_answer(alice, alices, offer, {"sdp": "v=0\r\n", "info": 3}, ephemeral=SessionKey(_bytes(8)))
    refused = signals.make_answer(alice, alices, offer, Forbidden("Not today."), ephemeral=SessionKey(_bytes(9)))
    box = seal(alices.public, b"content", purpose="offer", associated=b"associated", ephemeral=SessionKey(_bytes(10)))
    invite = Invite("https://hub.example/pouch", share.id, alice.fingerprint, _bytes(11)[:16], "Field notes")
    return {
        "protocol": "peerpouch trust",
        "version": 1,
        "about": "Bytes are hexadecimal unless a field of a document holds them. Keys are the private ones.",
        "base32": [{"bytes": _bytes(n).hex(), "length": 26, "text": to_base32(_bytes(n), 26)} for n in range(2)],
        "labels": {"sign offer": label("sign", "offer").hex(), "hash share-id": label("hash", "share-id").hex()},
        "canonical": [{"value": value, "text": canonical.encode(value).decode()} for value in CANONICAL],
        "identities": [
            {"private": _bytes(n).hex(), "public": key.raw.hex(), "text": key.text, "fingerprint": key.fingerprint}
            for n, key in enumerate((alice.key, bob.key))
        ],
        "signature": {
            "private": _bytes(0).hex(),
            "purpose": "offer",
            "payload": b"payload".hex(),
            "signature": alice.sign(b"payload", purpose="offer").hex(),
        },
        "sessions": [
            {"private": _bytes(n).hex(), "public": session.public.hex(), "id": session.id}
            for n, session in ((2, alices), (3, bobs))
        ],
        "sealed": {
            "recipient": _bytes(2).hex(),
            "ephemeral": _bytes(10).hex(),
            "purpose": "offer",
            "associated": b"associated".hex(),
            "content": b"content".hex(),
            "box": box.hex(),
        },
        "share": {
            "owner": _bytes(0).hex(),
            "session": _bytes(2).hex(),
            "database_uuid": DATABASE,
            "signed": shares.signed_bytes(share_document).decode(),
            "document": share_document,
        },
        "offer": {
            "opener": _bytes(1).hex(),
            "opener_session": _bytes(3).hex(),
            "reply": _bytes(4).hex(),
            "ephemeral": _bytes(5).hex(),
            "nonce_random": _bytes(6)[:17].hex(),
            "time": TIME + 1000,
            "content": _content(alices, sent.document, "offer", "offer"),
            "digest": offer.digest.hex(),
            "document": sent.document,
        },
        "answers": [
            {
                "ephemeral": _bytes(n).hex(),
                "content": _content(reply, signals.with_answer(sent.document, text), "answer", "answer"),
                "document": signals.with_answer(sent.document, text),
            }
            for n, text in ((8, accepted), (9, refused))
        ],
        "invite": {
            "hub": invite.hub,
            "share": invite.share_id,
            "fingerprint": invite.fingerprint,
            "token": _bytes(11)[:16].hex(),
            "name": invite.name,
            "text": invite.format(),
        },
    }


def _content(key: SessionKey, document: dict[str, Any], field: str, purpose: str) -> str:
    """The signed JSON in a box, with the spaces at its end."""
    box = from_text(document[field])
    return key.open(box, purpose=purpose, associated=document["_id"].encode())[64:].decode()


def _bytes(number: int) -> bytes:
    """32 bytes that look random and are not."""
    return digest("test-vector", bytes([number]))


def text() -> str:
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
