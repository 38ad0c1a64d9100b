"""Share documents: made, signed and verified. Pure: the time and the keys are arguments.

A share's id is a hash of its owner's key and of a digest of key and database uuid, which the document carries: stable
over restarts, verifiable by everybody, so that nobody puts another key behind an id, and no one can tell the uuid from
it. The signature covers the canonical form of every field of the document except ``signature`` and those
that begin with an underscore; the field ``share`` repeats the document's id, so that it is covered too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from peerpouch.errors import BadRequest, InvalidDocument, InvalidSignal, PeerPouchError
from peerpouch.identity import canonical
from peerpouch.identity.encoding import digest, from_text, is_base32, to_base32, to_text
from peerpouch.identity.keys import SIGNATURE_SIZE, Identity, PublicKey
from peerpouch.identity.sealing import KEY_SIZE, SessionKey, session_id
from peerpouch.ports import Document, Peer

PREFIX: Final = "share:"
FIRST: Final = PREFIX
LAST: Final = PREFIX + "\ufff0"
"""The range of ids that holds every share. The end is a character that sorts after all that ids have, both by bytes
(listings) and by the Unicode collation that CouchDB's selectors compare strings with; ``share;`` would not."""

TYPE: Final = "peerpouch share"
VERSION: Final = 1
ID_LENGTH: Final = 26
"""130 bits: nobody makes a second key and uuid with somebody's share id."""

MAX_NAME: Final = 200
MAX_INFO: Final = 8 << 10
"""Bytes of the canonical form of ``info``: a description, not data; everybody who watches the hub holds all of them."""
MAX_DOCUMENT: Final = 16 << 10
"""Bytes of what is signed: name, info and fixed fields, with room for what later versions add."""

LEASE: Final = 90
"""Seconds that a share lives without renewal. Owners renew every 30: two renewals may be lost on the way, a share whose
owner crashed is gone after a minute and a half, and a thousand shares make 33 small writes a second."""
MIN_LEASE: Final = 10
MAX_LEASE: Final = 24 * 3600

_UNPRINTABLE: Final = frozenset(
    chr(code)
    for codes in (range(0x20), range(0x7F, 0xA0), range(0x2028, 0x202F), range(0x2066, 0x206A))
    for code in codes
)
"""Controls, line ends and changes of direction: a name must not garble the listing that it stands in."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share whose signature was verified.

    Attributes:
        id: 26 characters, the same as long as its owner and its database are.
        name: For people, at most 200 characters, no controls.
        info: Any JSON of the owner's.
        key: The owner's key.
        database: A digest of the owner's key and the database's uuid: 32 bytes.
        session: The id of the session that serves it; with the key, the owner's *address*.
        session_key: That session's X25519 key, to seal offers to.
        renewed: When it was last renewed, by its owner's clock, in milliseconds since 1970.
        lease: Seconds that it lives without another renewal.
        renewal: Grows with every renewal of a session.
        deleted: Whether this object tells that the share was withdrawn or ran out.
    """

    id: str
    name: str
    info: Any
    key: PublicKey
    database: bytes
    session: str
    session_key: bytes
    renewed: int
    lease: int
    renewal: int
    deleted: bool = False

    @property
    def peer(self) -> Peer:
        """The owner's address."""
        return Peer(self.key.raw, self.session)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the owner's key."""
        return self.key.fingerprint

    def withdrawn(self) -> Share:
        """The same share, marked deleted."""
        return replace(self, deleted=True)

    def says_the_same(self, other: Share) -> bool:
        """Whether nothing but the lease differs."""
        return replace(self, renewed=0, lease=0, renewal=0) == replace(other, renewed=0, lease=0, renewal=0)


def database_digest(key: PublicKey, uuid: str) -> bytes:
    """What stands for a database in its owner's share documents; the uuid itself does not leave the owner."""
    return digest("database", key.raw, uuid.encode())


def share_id(key: PublicKey, database: bytes) -> str:
    """The id of a share.

    Args:
        key: The owner's key.
        database: From :func:`database_digest`.
    """
    return to_base32(digest("share-id", key.raw, database), ID_LENGTH)


def is_share_id(text: object) -> bool:
    """Whether ``text`` has the form of a share id."""
    return is_base32(text, ID_LENGTH)


def check_description(name: str, info: Any) -> None:
    """Whether a share may be called so.

    Raises:
        BadRequest: if the name is empty, too long or has control characters, or ``info`` is not JSON or too large.
    """
    if not _is_name(name):
        raise BadRequest(f"A share's name has 1 to {MAX_NAME} characters, without controls and line ends.")
    try:
        size = len(canonical.encode(info))
    except InvalidDocument as error:
        raise BadRequest(f"A share's info must be JSON: {error.reason}") from None
    if size > MAX_INFO:
        raise BadRequest(f"A share's info has at most {MAX_INFO} bytes as JSON; this has {size}.")


def to_document(
    identity: Identity,
    session: SessionKey,
    *,
    database: bytes,
    name: str,
    info: Any,
    lease: int,
    renewal: int,
    now: int,
) -> Document:
    """The signed document, without ``_rev``.

    Args:
        identity: The owner.
        session: The session that serves the share.
        database: From :func:`database_digest`.
        name, info: What :func:`check_description` lets pass.
        lease: Seconds, 10 to 86,400.
        renewal: Larger than in every earlier document of this session.
        now: Milliseconds since 1970.
    """
    id = share_id(identity.key, database)
    fields = {
        "type": TYPE,
        "version": VERSION,
        "share": id,
        "database": to_text(database),
        "name": name,
        "info": info,
        "key": identity.key.text,
        "session": session.id,
        "session_key": to_text(session.public),
        "lease": lease,
        "renewal": renewal,
        "renewed": now,
    }
    signature = identity.sign(canonical.encode(fields), purpose="share")
    return {"_id": PREFIX + id, **fields, "signature": to_text(signature)}


def from_document(document: Document) -> Share:
    """The share that a document describes.

    Raises:
        InvalidSignal: if its shape or its signature is wrong.
    """
    try:
        signed = signed_bytes(document)
        fields = canonical.decode(signed)  # what was signed, never what merely looks like it
        key = PublicKey.parse(fields.get("key"))
        share = _read(document, fields, key)
        signature = from_text(document.get("signature"), size=SIGNATURE_SIZE)
    except InvalidSignal:
        raise
    except PeerPouchError as error:
        raise InvalidSignal(f"The share document is malformed: {error.reason}") from None
    if not key.verify(signature, signed, purpose="share"):
        raise InvalidSignal("The share document's signature is not its owner's.")
    return share


def signed_bytes(document: Document) -> bytes:
    """What a share document's signature covers. Raises InvalidDocument, and InvalidSignal if it is too large."""
    fields = {name: value for name, value in document.items() if name[:1] != "_" and name != "signature"}
    signed = canonical.encode(fields, exact=False)
    if len(signed) > MAX_DOCUMENT:
        raise InvalidSignal(f"The share document has more than {MAX_DOCUMENT} bytes.")
    return signed


def _read(document: Document, fields: dict[str, Any], key: PublicKey) -> Share:
    database = from_text(fields.get("database"), size=32)
    session_key = from_text(fields.get("session_key"), size=KEY_SIZE)
    id = share_id(key, database)
    if fields.get("type") != TYPE or fields.get("version") is True or fields.get("version") != VERSION:
        raise InvalidSignal("The share document is of a kind or version that is not known here.")
    _check_id(document, fields, id)
    if fields.get("session") != session_id(session_key):
        raise InvalidSignal("The share document's session is not that of its session key.")
    if not _is_name(fields.get("name")):
        raise InvalidSignal("The share document's name is not allowed.")
    if "info" not in fields or len(canonical.encode(fields["info"], exact=False)) > MAX_INFO:
        raise InvalidSignal("The share document's info is missing or too large.")
    return Share(
        id=id,
        name=fields["name"],
        info=fields["info"],
        key=key,
        database=database,
        session=fields["session"],
        session_key=session_key,
        renewed=_integer(fields, "renewed", 0, canonical.MAX_SAFE_INTEGER),
        lease=_integer(fields, "lease", MIN_LEASE, MAX_LEASE),
        renewal=_integer(fields, "renewal", 0, canonical.MAX_SAFE_INTEGER),
    )


def _check_id(document: Document, fields: dict[str, Any], id: str) -> None:
    """The id is that of this owner's key: another key could otherwise take the place of a share that people know."""
    if fields.get("share") != id or document.get("_id") != PREFIX + id:
        raise InvalidSignal("The share document's id does not belong to its owner's key.")


def _is_name(name: object) -> bool:
    return type(name) is str and 0 < len(name) <= MAX_NAME and _UNPRINTABLE.isdisjoint(name)


def _integer(fields: dict[str, Any], name: str, least: int, most: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not least <= value <= most:
        raise InvalidSignal(f"The share document's {name} is not an integer from {least} to {most}.")
    return value
