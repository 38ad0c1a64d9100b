"""Invites: one string with all that is needed to open a share.

``peerpouch:1:<base64url of checksum and payload>``, where the payload is a JSON object

    {"h": hub, "s": share id, "f": owner's fingerprint, "t": token?, "n": name?}

and the checksum the first four bytes of the payload's labelled SHA-256: it finds a string that was cut or mistyped, and
protects nothing. What protects is the fingerprint. An invite with a token or with the hub's credentials is a secret,
so ``repr`` shows neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.errors import BadRequest, InvalidDocument, InvalidJSON
from peerpouch.identity.encoding import digest, from_text, is_base32, to_text
from peerpouch.identity.keys import PublicKey, read_fingerprint

PREFIX: Final = "peerpouch:1:"
SHARE_ID_LENGTH: Final = 26
TOKEN_SIZE: Final = 16
MAX_LENGTH: Final = 2_800
"""Characters of an invite: what a QR code holds (version 40, error correction L, 2,953 bytes)."""
_CHECKSUM: Final = 4
_LINK: Final = re.compile(rf"https?:[^#]*#(?={re.escape(PREFIX)})")
"""What stands before the invite in a link to a page that uses it."""


@dataclass(frozen=True)
class Invite:
    """What an invite says.

    Attributes:
        hub: The hub's URL or path, credentials included where the inviter wanted that.
        share_id: The share.
        fingerprint: The owner's; the share is refused if its key has another.
        token: 16 secret bytes that the owner knows, or None.
        name: The share's name, to show before the hub was asked.

    Raises:
        BadRequest: if a part is malformed, or the whole would not fit a QR code.
    """

    hub: str = field(repr=False)
    share_id: str
    fingerprint: str
    token: bytes | None = field(default=None, repr=False)
    name: str | None = None

    def __post_init__(self) -> None:
        if type(self.hub) is not str or not self.hub:
            raise BadRequest("An invite names a hub.")
        if not is_base32(self.share_id, SHARE_ID_LENGTH):
            raise BadRequest("An invite names a share by its id.")
        if type(self.fingerprint) is not str or read_fingerprint(self.fingerprint) != self.fingerprint:
            raise BadRequest("An invite has the owner's fingerprint.")
        if self.token is not None and (type(self.token) is not bytes or len(self.token) != TOKEN_SIZE):
            raise BadRequest(f"An invite's token has {TOKEN_SIZE} bytes.")
        if self.name is not None and type(self.name) is not str:
            raise BadRequest("An invite's name is text.")
        if len(self.format()) > MAX_LENGTH:
            raise BadRequest(f"The invite would be longer than {MAX_LENGTH} characters.")

    def format(self) -> str:
        """The invite as one string, which :meth:`parse` reads."""
        value = {"h": self.hub, "s": self.share_id, "f": self.fingerprint}
        if self.token is not None:
            value["t"] = to_text(self.token)
        if self.name is not None:
            value["n"] = self.name
        try:
            payload = jsonio.dumps(value)
        except InvalidDocument:
            raise BadRequest("An invite's texts are valid Unicode.") from None
        return PREFIX + to_text(_checksum(payload) + payload)

    def __str__(self) -> str:
        return self.format()

    @classmethod
    def parse(cls, text: str) -> Invite:
        """What :meth:`format` wrote; white space around it is ignored, a link before its ``#``, and what later versions
        may add.

        Raises:
            BadRequest: if it is not an invite, or was cut or mistyped. The error does not show it.
        """
        text = _LINK.sub("", text.strip())
        if not text.startswith(PREFIX):
            raise BadRequest(f"This is not an invite: invites begin with {PREFIX}")
        try:
            data = from_text(text.removeprefix(PREFIX), limit=MAX_LENGTH)
            payload = data[_CHECKSUM:]
            if data[:_CHECKSUM] != _checksum(payload):
                raise BadRequest
            value: Any = jsonio.loads(payload)
        except (BadRequest, InvalidJSON):
            raise BadRequest("The invite is damaged: was all of it copied?") from None
        if not isinstance(value, dict):
            raise BadRequest("The invite is damaged: was all of it copied?")
        token = value.get("t")
        return cls(
            hub=value.get("h", ""),
            share_id=value.get("s", ""),
            fingerprint=value.get("f", ""),
            token=None if token is None else from_text(token, size=TOKEN_SIZE),
            name=value.get("n"),
        )

    def is_for(self, key: PublicKey) -> bool:
        """Whether ``key`` is the owner's that the inviter meant."""
        return key.fingerprint == self.fingerprint


def _checksum(payload: bytes) -> bytes:
    return digest("invite", payload)[:_CHECKSUM]


def is_invite(text: str) -> bool:
    """Whether somebody means an invite by this, or a link with one; whether it is a good one is another question."""
    return _LINK.sub("", text.strip()).startswith(PREFIX)
