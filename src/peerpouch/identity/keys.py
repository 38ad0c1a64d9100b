"""Identities: an Ed25519 key that stands for a person or a machine, and what others know of it.

Signatures are domain-separated: what is signed is ``peerpouch-v1:sign:<purpose>``, a zero byte and the payload, so a
signature made for one purpose is none for any other.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, InvalidIdentity, InvalidJSON, PeerPouchError, StorageError
from peerpouch.identity import files
from peerpouch.identity.encoding import digest, from_text, label, read_base32, to_base32, to_text

SIGNATURE_SIZE: Final = 64

FINGERPRINT_LENGTH: Final = 20
"""Characters of a fingerprint: 100 bits. Making another key with somebody's fingerprint takes 2^100 tries, and 2^80 to
meet any one of a million people's; 80 bits would leave 2^60, which can be bought. Two keys of one's own with the same
fingerprint (2^50) help nobody: a fingerprint is compared with one that its owner gave."""

_FORMAT: Final = "peerpouch identity"


@dataclass(frozen=True, slots=False)
class PublicKey:
    """What others know of an identity. Equal keys are equal objects; ``str()`` gives the fingerprint.

    Attributes:
        raw: The Ed25519 public key, 32 bytes.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if type(self.raw) is not bytes or len(self.raw) != 32:
            raise BadRequest("A public key has 32 bytes.")

    @classmethod
    def parse(cls, text: object) -> PublicKey:
        """The key that :attr:`text` gave. Raises BadRequest if it is none."""
        return cls(from_text(text, size=32))

    @cached_property
    def text(self) -> str:
        """The whole key: 43 characters of base64url."""
        return to_text(self.raw)

    @cached_property
    def fingerprint(self) -> str:
        """What people compare: five groups of four characters, for example ``8f3k-0qx2-m7ta-zz1e-5w9c``.

        100 bits of the key's SHA-256, in an alphabet without i, l, o and u.
        """
        plain = to_base32(digest("fingerprint", self.raw), FINGERPRINT_LENGTH)
        return "-".join(plain[place : place + 4] for place in range(0, FINGERPRINT_LENGTH, 4))

    def verify(self, signature: bytes, payload: bytes, *, purpose: str) -> bool:
        """Whether the holder of this key signed ``payload`` for ``purpose``."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, label("sign", purpose) + payload)
        except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no point of the curve
            return False
        return True

    def __str__(self) -> str:
        return self.fingerprint

    def __repr__(self) -> str:
        return f"<PublicKey {self.fingerprint}>"


def read_fingerprint(text: str) -> str:
    """A fingerprint that somebody typed, in the form of :attr:`PublicKey.fingerprint`.

    Raises:
        BadRequest: if it is not 20 characters of the alphabet.
    """
    plain = read_base32(text, FINGERPRINT_LENGTH)
    return "-".join(plain[place : place + 4] for place in range(0, FINGERPRINT_LENGTH, 4))


class Identity:
    """A key pair. :meth:`load` gives the user's own, :meth:`ephemeral` one that ends with the process.

    Neither ``repr`` nor any error shows the private key; only :meth:`export` gives it away.
    """

    __slots__ = ("_private", "key")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.key = PublicKey(private.public_key().public_bytes_raw())

    @classmethod
    def ephemeral(cls, seed: bytes | None = None) -> Identity:
        """An identity in memory.

        Args:
            seed: The 32 bytes of an Ed25519 private key, for test vectors. Without it, a fresh key.
        """
        return cls(Ed25519PrivateKey.generate() if seed is None else Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Identity:
        """The identity in a file, which is made, readable by this user alone, if there is none.

        Processes that start at once get the same identity. Blocks for the time of a small file's reading; of its
        writing at first use.

        Args:
            path: The file; by default ``identity.json`` in the user's data folder (``$PEERPOUCH_HOME``, if set).

        Raises:
            InvalidIdentity: if the file is not an identity, can't be read or made, or can be read by other users.
        """
        where = default_path() if path is None else Path(path)
        try:
            found = _read(where)
            if found is None:
                with files.locked(where):
                    found = _read(where)  # another process may have been first
                    if found is None:
                        found = cls.ephemeral()
                        files.replace(where, found.export().encode())
            return found
        except StorageError as error:
            raise InvalidIdentity(error.reason) from None

    @classmethod
    def parse(cls, text: str | bytes) -> Identity:
        """The identity that :meth:`export` gave.

        Raises:
            InvalidIdentity: if it is none; the error does not show the text.
        """
        try:
            value: Any = jsonio.loads(text)
        except InvalidJSON:
            raise InvalidIdentity("The identity is not JSON.") from None
        if not isinstance(value, dict) or value.get("type") != _FORMAT:
            raise InvalidIdentity("This is not a peerpouch identity.")
        if value.get("version") != 1:
            raise InvalidIdentity("The identity has a version that this peerpouch does not know.")
        try:
            identity = cls.ephemeral(from_text(value.get("private"), size=32))
        except PeerPouchError:
            raise InvalidIdentity("The identity's private key is damaged.") from None
        if value.get("public") != identity.key.text:
            raise InvalidIdentity("The identity's public key does not belong to its private key.")
        return identity

    def export(self) -> str:
        """The identity as text, private key included: whoever has it can act in its name."""
        value = {
            "type": _FORMAT,
            "version": 1,
            "public": self.key.text,
            "private": to_text(self._private.private_bytes_raw()),
        }
        return jsonio.dumps(value).decode() + "\n"

    def save(self, path: str | os.PathLike[str] | None = None, *, replace: bool = False) -> None:
        """Write the identity to a file, readable by this user alone.

        Args:
            path: The file; by default the one that :meth:`load` reads.
            replace: Whether another identity there may be overwritten. It is then gone for good.

        Raises:
            InvalidIdentity: if there is another one already, or the file can't be written.
        """
        where = default_path() if path is None else Path(path)
        try:
            with files.locked(where):
                there = files.read(where)
                if there is not None and not replace and there[0] != self.export().encode():
                    raise InvalidIdentity(f"{where} holds another identity already.")
                files.replace(where, self.export().encode())
        except StorageError as error:
            raise InvalidIdentity(error.reason) from None

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the public key."""
        return self.key.fingerprint

    def sign(self, payload: bytes, *, purpose: str) -> bytes:
        """64 bytes that prove, to who has :attr:`key`, that this identity signed ``payload`` for ``purpose``."""
        return self._private.sign(label("sign", purpose) + payload)

    def __repr__(self) -> str:
        return f"<Identity {self.key.fingerprint}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An identity is not to be pickled or copied; use export() if its key is really to leave.")


def default_path() -> Path:
    """The file of the user's own identity."""
    return files.data_folder() / "identity.json"


def _read(path: Path) -> Identity | None:
    there = files.read(path)
    if there is None:
        return None
    content, status = there
    if sys.platform != "win32":
        if status.st_mode & 0o077:
            raise InvalidIdentity(f"{path} can be read by other users of this machine; run: chmod 600 {path}")
        if status.st_uid != os.geteuid() and os.geteuid() != 0:
            raise InvalidIdentity(f"{path} belongs to another user of this machine.")
    try:
        return Identity.parse(content)
    except InvalidIdentity as error:
        raise InvalidIdentity(f"{path}: {error.reason}") from None
