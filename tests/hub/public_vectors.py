"""Builds tests/vectors/public-hub.json: the proofs of docs/protocol/public-hub.md with fixed keys.

``python -m tests.hub.public_vectors`` writes the file anew; a test checks that it is what this builds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peerpouch.identity import proofs
from peerpouch.identity.encoding import digest, label, to_text
from peerpouch.identity.sealing import SessionKey

PATH = Path(__file__).parent.parent / "vectors" / "public-hub.json"

TIME = 1_700_000_000_000


def build() -> dict[str, Any]:
    hub, session, secret = SessionKey(_bytes(0)), SessionKey(_bytes(1)), _bytes(2)
    times = (TIME, TIME + 12_345)
    return {
        "protocol": "peerpouch public hub",
        "version": 1,
        "about": "Bytes are hexadecimal unless a header holds them. Keys are the private ones.",
        "labels": {"prove session": label("prove", "session").hex(), "hash reply-to": label("hash", "reply-to").hex()},
        "hub": {"private": _bytes(0).hex(), "public": hub.public.hex(), "header": proofs.announce(hub, TIME)},
        "session": {
            "private": _bytes(1).hex(),
            "public": session.public.hex(),
            "id": session.id,
            "shared": session.agree(hub.public).hex(),
            "proofs": [{"time": time, "header": proofs.prove_session(session, hub.public, time)} for time in times],
        },
        "reply": {"secret": secret.hex(), "header": to_text(secret), "reply_to": proofs.reply_tag(secret)},
    }


def _bytes(number: int) -> bytes:
    """32 bytes that look random and are not."""
    return digest("test-vector", b"public hub", bytes([number]))


def text() -> str:
    return json.dumps(build(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
