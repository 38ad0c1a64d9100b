"""Sealed boxes: what only the holder of one session's key can read, and what nobody can alter or move.

A box is ``ephemeral public key (32 bytes) || AES-256-GCM ciphertext || tag (16 bytes)``. The ephemeral X25519
key is made for one box, so the key and the nonce that HKDF-SHA256 derives from it are used once:

    shared = X25519(ephemeral private, recipient public)
    key || nonce = HKDF-SHA256(ikm=shared, salt=ephemeral public || recipient public,
                               info="peerpouch-v1:seal:<purpose>" 00, length=44)

The associated data is the id of the document that carries the box, so a box can't be moved to another document.
"""

from __future__ import annotations

from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peerpouch.errors import InvalidSignal
from peerpouch.identity.encoding import digest, is_base32, label, to_base32

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
OVERHEAD: Final = KEY_SIZE + TAG_SIZE

SESSION_ID_LENGTH: Final = 26
"""Characters of a session id: 130 bits, so that two sessions never have the same one."""


class SessionKey:
    """An X25519 key pair that lives as long as one session, or for one answer only.

    It is never written anywhere: what was sealed to a session that ended can't be opened by anybody, so nothing that
    was recorded can be replayed to the next one.

    Args:
        private: 32 random bytes, for test vectors. Without it, a fresh key.
    """

    __slots__ = ("_private", "id", "public")

    def __init__(self, private: bytes | None = None) -> None:
        self._private = X25519PrivateKey.generate() if private is None else X25519PrivateKey.from_private_bytes(private)
        self.public = self._private.public_key().public_bytes_raw()
        self.id = session_id(self.public)

    def __repr__(self) -> str:
        return f"<SessionKey {self.id}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A session key is not to be copied or stored.")

    def agree(self, other: bytes) -> bytes:
        """The secret that this key and another public key have in common, to derive keys from.

        Raises:
            InvalidSignal: if the other is no key, or one of small order, which gives the same secret to everybody.
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(other))
        except ValueError:
            raise InvalidSignal("The other side's key is not a valid X25519 key.") from None

    def open(self, box: bytes, *, purpose: str, associated: bytes) -> bytes:
        """The content of a box that was sealed to this key.

        Raises:
            InvalidSignal: if it was sealed to another key, for another purpose or document, or altered.
        """
        if len(box) < OVERHEAD:
            raise InvalidSignal("The sealed box is too short.")
        ephemeral = box[:KEY_SIZE]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
            key, nonce = _derive(shared, ephemeral, self.public, purpose)
            return AESGCM(key).decrypt(nonce, box[KEY_SIZE:], associated)
        except (InvalidTag, ValueError):  # ValueError: a point of small order, which gives an all-zero secret
            raise InvalidSignal("The sealed box can't be opened: it is for another session, or was altered.") from None


def seal(
    recipient: bytes, content: bytes, *, purpose: str, associated: bytes, ephemeral: SessionKey | None = None
) -> bytes:
    """A box that only the holder of ``recipient``'s private key opens.

    Args:
        recipient: An X25519 public key, 32 bytes.
        content: What goes in.
        purpose: ``offer`` or ``answer``; the one can't be taken for the other.
        associated: What must be presented again to open it.
        ephemeral: For test vectors only. A key must never seal twice.

    Raises:
        InvalidSignal: if the recipient's key is not one.
    """
    ephemeral = SessionKey() if ephemeral is None else ephemeral
    try:
        shared = ephemeral._private.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError:
        raise InvalidSignal("The recipient's session key is not a valid X25519 key.") from None
    key, nonce = _derive(shared, ephemeral.public, recipient, purpose)
    return ephemeral.public + AESGCM(key).encrypt(nonce, content, associated)


def session_id(public: bytes) -> str:
    """The id of the session whose public key this is: a hash of it, so nobody else can claim the id."""
    return to_base32(digest("session-id", public), SESSION_ID_LENGTH)


def is_session_id(text: object) -> bool:
    """Whether ``text`` has the form of a session id."""
    return is_base32(text, SESSION_ID_LENGTH)


def _derive(shared: bytes, ephemeral: bytes, recipient: bytes, purpose: str) -> tuple[bytes, bytes]:
    hkdf = HKDF(algorithm=SHA256(), length=44, salt=ephemeral + recipient, info=label("seal", purpose))
    okm = hkdf.derive(shared)
    return okm[:32], okm[32:]
