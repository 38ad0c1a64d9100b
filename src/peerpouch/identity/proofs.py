"""Proofs for the server of a public hub: that a session is one's own, and that a reply tag is.

A session's key is an X25519 key, which can't sign; but only its holder and the hub compute the secret that it has in
common with the hub's own key. From that secret and the time a proof is derived (``docs/protocol/public-hub.md``)::

    proof = HKDF-SHA256(ikm=X25519(session, hub), salt=session public || hub public,
                        info="peerpouch-v1:prove:session" 00 <time in decimal>, length=32)
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peerpouch.errors import BadRequest, InvalidSignal, Unauthorized
from peerpouch.identity.encoding import digest, from_text, label, to_base32, to_text
from peerpouch.identity.sealing import KEY_SIZE, SessionKey, session_id

SESSION_HEADER: Final = "peerpouch-session"
REPLY_HEADER: Final = "peerpouch-reply"
HUB_HEADER: Final = "peerpouch-hub"

SECRET_SIZE: Final = 32
"""Bytes of the secret behind a reply tag."""

TAG_LENGTH: Final = 26

TOLERANCE: Final = 900
"""Seconds between a proof's time and the hub's clock: as for all clocks of the protocol."""

_TIME: Final = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class HubSession:
    """What a hub object is to its hub.

    Attributes:
        key: The session's.
        secret: Behind the reply tag of its offers.
    """

    key: SessionKey = field(default_factory=SessionKey)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(SECRET_SIZE), repr=False)

    @property
    def reply_to(self) -> str:
        """The tag by which the session's feed finds the answers to its offers: a random one rather than the session's
        id, as the hub need not learn which of its owners open what."""
        return reply_tag(self.secret)


def hub_key(secret: bytes, name: str) -> SessionKey:
    """The key of a server's public hub, the same after every restart.

    Args:
        secret: The server's own.
        name: The hub's database.
    """
    hkdf = HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=label("prove", "hub") + name.encode())
    return SessionKey(hkdf.derive(secret))


def announce(hub: SessionKey, now: int) -> str:
    """The header by which a hub tells its key and its time, in milliseconds since 1970."""
    return f"{to_text(hub.public)}.{now}"


def read_announcement(value: str) -> tuple[bytes, int]:
    """The hub's key, and its time in milliseconds.

    Raises:
        BadRequest: if it is malformed.
    """
    key, _, time = value.partition(".")
    if not _TIME.fullmatch(time):
        raise BadRequest("The hub announced itself in a form that is not known here.")
    return from_text(key, size=KEY_SIZE), int(time)


def prove_session(session: SessionKey, hub: bytes, time: int) -> str:
    """The header that shows a hub that a session is ours.

    Args:
        hub: The hub's public key.
        time: The hub's, in milliseconds since 1970.

    Raises:
        InvalidSignal: if the hub's key is none.
    """
    proof = _derive(session.agree(hub), session.public, hub, time)
    return f"{to_text(session.public)}.{time}.{to_text(proof)}"


def check_session(value: str, hub: SessionKey, now: float) -> str:
    """The id of the session that a header proves.

    Args:
        hub: The hub's own key.
        now: Its clock, in seconds since 1970.

    Raises:
        Unauthorized: it proves nothing.
    """
    parts = value.split(".")
    if len(parts) != 3 or not _TIME.fullmatch(parts[1]):
        raise Unauthorized("The proof of the session is malformed.")
    time = int(parts[1])
    try:
        session, proof = from_text(parts[0], size=KEY_SIZE), from_text(parts[2], size=32)
        wanted = _derive(hub.agree(session), session, hub.public, time)
    except (BadRequest, InvalidSignal):
        raise Unauthorized("The proof of the session is malformed.") from None
    if not hmac.compare_digest(proof, wanted):
        raise Unauthorized("The proof of the session is not its holder's, or for another hub.")
    if abs(time / 1000 - now) > TOLERANCE:
        raise Unauthorized("The proof of the session is not of this time: make one from the hub's clock.")
    return session_id(session)


def reply_tag(secret: bytes) -> str:
    """The reply tag of a session, from its secret."""
    return to_base32(digest("reply-to", secret), TAG_LENGTH)


def check_reply(value: str) -> str:
    """The reply tag that a header proves.

    Raises:
        Unauthorized: it proves nothing.
    """
    try:
        return reply_tag(from_text(value, size=SECRET_SIZE))
    except BadRequest:
        raise Unauthorized("The proof of the reply tag is malformed.") from None


def _derive(shared: bytes, session: bytes, hub: bytes, time: int) -> bytes:
    info = label("prove", "session") + b"%d" % time
    return HKDF(algorithm=SHA256(), length=32, salt=session + hub, info=info).derive(shared)
