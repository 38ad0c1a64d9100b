"""Offers and answers: sealed, signed, opened and verified. Pure: keys, times and randomness are arguments.

A signal document carries one offer from an opener to a session, and then the answer to it. Both are sealed boxes whose
content is ``signature (64 bytes) || JSON``; the JSON ends in spaces that fill it to a multiple of 1 KiB, so that its
length tells little. The signature covers those very bytes, so nothing needs to be canonical.

What is checked, and against whom, stands beside each check. An offer covers its recipient's key and session key, the
share, the time and the nonce that is in the document's id; an answer covers the hash of the offer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from peerpouch.core import jsonio
from peerpouch.errors import (
    BadRequest,
    ClockSkew,
    Forbidden,
    InvalidDocument,
    InvalidJSON,
    InvalidSignal,
    PeerPouchError,
    ProtocolError,
    ShareNotFound,
    TooManyRequests,
    Unauthorized,
    from_response,
)
from peerpouch.hub.leases import TOLERANCE
from peerpouch.hub.shares import Share, is_share_id
from peerpouch.identity.encoding import digest, from_text, is_base32, to_base32, to_text
from peerpouch.identity.keys import SIGNATURE_SIZE, Identity, PublicKey
from peerpouch.identity.sealing import KEY_SIZE, SessionKey, is_session_id, seal
from peerpouch.ports import Document, Peer

PREFIX: Final = "signal:"
TYPE: Final = "peerpouch signal"
VERSION: Final = 1

NONCE_LENGTH: Final = 26
NONCE_BYTES: Final = 17
"""Random bytes for a nonce or a reply tag: 26 characters are 130 bits of them."""

MAX_CONTENT: Final = 64 << 10
"""Bytes of the JSON in an offer or answer: a description with some dozens of candidates is 8 KiB, the rest is info."""
_MAX_TEXT: Final = 2 * MAX_CONTENT
_PADDING: Final = 1024

MAX_REASON: Final = 1_000
"""Characters of a refusal's reason."""

MAX_INTEGER: Final = 2**53 - 1
"""The largest time: what every implementation can hold exactly."""

REFUSALS: Final = (
    Forbidden,
    Unauthorized,
    TooManyRequests,
    ShareNotFound,
    InvalidSignal,
    ProtocolError,
)
"""What a refusal may say: errors whose reason is meant for the peer. All others become a plain Forbidden."""


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer that was opened and verified.

    Attributes:
        document_id: The signal document that carried it.
        share_id: The share that is wanted.
        sender: The opener's address; the signature is its key's.
        reply_key: What to seal the answer to.
        nonce: 26 characters.
        time: Milliseconds since 1970.
        body: The opener's.
        digest: Of the signed content; the answer covers it.
    """

    document_id: str
    share_id: str
    sender: Peer
    reply_key: bytes
    nonce: str
    time: int
    body: Document = field(repr=False)  # there may be the token of an invite in it
    digest: bytes


@dataclass(frozen=True, slots=True)
class SentOffer:
    """What an opener keeps of its offer until the answer comes.

    Attributes:
        document: The signal document to write.
        share: To whom.
        sender: The opener's own address.
        reply: The key that only this answer is sealed to.
        digest: Of the signed content.
    """

    document: Document
    share: Share
    sender: Peer
    reply: SessionKey
    digest: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified answer: a body, or the error of a refusal."""

    body: Document | None
    error: PeerPouchError | None


def new_nonce(random: bytes) -> str:
    """26 characters from 17 random bytes."""
    return to_base32(random, NONCE_LENGTH)


def document_id(session: str, nonce: str) -> str:
    """The id of the signal document for a recipient's session."""
    return f"{PREFIX}{session}:{nonce}"


def id_range(session: str) -> tuple[str, str]:
    """The first and the last id of the signals for a session."""
    return f"{PREFIX}{session}:", f"{PREFIX}{session}:\ufff0"


def make_offer(
    identity: Identity,
    share: Share,
    body: Document,
    *,
    session: str,
    reply_to: str,
    nonce: str,
    time: int,
    reply: SessionKey | None = None,
    ephemeral: SessionKey | None = None,
) -> SentOffer:
    """An offer to a share's owner.

    Args:
        identity: The opener.
        share: What to open.
        body: JSON for the owner.
        session: The opener's session id.
        reply_to: The opener's tag, by which its feed finds the answer.
        nonce: From :func:`new_nonce`.
        time: Milliseconds since 1970, by the owner's clock as far as it is known.
        reply, ephemeral: For test vectors only.

    Raises:
        BadRequest: if the body is not JSON, or is too large.
    """
    reply = SessionKey() if reply is None else reply
    content = {
        "version": VERSION,
        "share": share.id,
        "to": {"key": share.key.text, "session": share.session, "session_key": to_text(share.session_key)},
        "from": {"key": identity.key.text, "session": session},
        "reply_key": to_text(reply.public),
        "time": time,
        "nonce": nonce,
        "body": body,
    }
    signed = _sign(identity, content, purpose="offer")
    id = document_id(share.session, nonce)
    box = seal(share.session_key, signed, purpose="offer", associated=id.encode(), ephemeral=ephemeral)
    document = {
        "_id": id,
        "type": TYPE,
        "version": VERSION,
        "reply_to": reply_to,
        "created": time,
        "offer": to_text(box),
    }
    return SentOffer(document, share, Peer(identity.key.raw, session), reply, digest("offer", signed))


def open_offer(document: Document, *, key: PublicKey, session: SessionKey) -> Offer:
    """The offer in a signal document, opened and verified, but not yet held against the clock and earlier ones.

    Args:
        document: From the hub.
        key: The recipient's own key.
        session: The recipient's own session.

    Raises:
        InvalidSignal: if it is for somebody else, altered, moved, forged or malformed.
    """
    id, nonce = _check_envelope(document, session.id)
    signed = session.open(_box(document, "offer"), purpose="offer", associated=id.encode())
    content = _read(signed)
    try:
        sender = PublicKey.parse(_part(content, "from").get("key"))
        reply_key = from_text(content.get("reply_key"), size=KEY_SIZE)
    except BadRequest as error:
        raise InvalidSignal(f"The offer is malformed: {error.reason}") from None
    _check_signature(sender, signed, purpose="offer")
    _check_recipient(content, key, session)
    _check_nonce(content, nonce)
    sender_session, share, time = _part(content, "from").get("session"), content.get("share"), content.get("time")
    if not is_session_id(sender_session) or not is_share_id(share) or not _is_time(time):
        raise InvalidSignal("The offer is malformed.")
    return Offer(
        document_id=id,
        share_id=str(share),
        sender=Peer(sender.raw, str(sender_session)),
        reply_key=reply_key,
        nonce=nonce,
        time=time,
        body=_part(content, "body"),
        digest=digest("offer", signed),
    )


def check_time(time: int, now: float) -> None:
    """Hold an offer's time (milliseconds) against the recipient's clock (seconds).

    Raises:
        ClockSkew: if they differ by more than 15 minutes.
    """
    difference = time / 1000 - now
    if abs(difference) > TOLERANCE:
        what = "ahead of" if difference > 0 else "behind"
        raise ClockSkew(
            f"The opener's clock is {abs(difference) / 60:.0f} minutes {what} the owner's, or the offer is "
            f"a stale one; {TOLERANCE // 60} minutes are tolerated. Set both clocks."
        )


def make_answer(
    identity: Identity,
    session: SessionKey,
    offer: Offer,
    outcome: Document | PeerPouchError,
    *,
    ephemeral: SessionKey | None = None,
) -> str:
    """The sealed answer, as text for the field ``answer`` of the signal document.

    Args:
        identity: The owner.
        session: The owner's session.
        offer: What is answered.
        outcome: A body, or the error that refuses.
        ephemeral: For test vectors only.

    Raises:
        BadRequest: if the body is not JSON, or is too large.
    """
    content: dict[str, Any] = {
        "version": VERSION,
        "offer": to_text(offer.digest),
        "from": {"key": identity.key.text, "session": session.id},
        "to": {"key": to_text(offer.sender.key), "session": offer.sender.session},
    }
    if isinstance(outcome, PeerPouchError):
        refusal = outcome if isinstance(outcome, REFUSALS) else Forbidden("The other side could not let you in.")
        content["refused"] = {"error": refusal.error, "reason": refusal.reason[:MAX_REASON]}
    else:
        content["body"] = outcome
    signed = _sign(identity, content, purpose="answer")
    box = seal(offer.reply_key, signed, purpose="answer", associated=offer.document_id.encode(), ephemeral=ephemeral)
    return to_text(box)


def with_answer(document: Document, answer: str) -> Document:
    """The signal document as the owner updates it: the answer in the offer's place."""
    kept = ("_id", "_rev", "type", "version", "reply_to", "created")
    return {**{name: document[name] for name in kept if name in document}, "answer": answer}


def open_answer(document: Document, sent: SentOffer) -> Answer:
    """The answer to an offer of ours.

    Raises:
        InvalidSignal: if it was not made by the share's owner, or not for this offer.
    """
    id = str(sent.document["_id"])
    signed = sent.reply.open(_box(document, "answer"), purpose="answer", associated=id.encode())
    content = _read(signed)
    _check_signature(sent.share.key, signed, purpose="answer")
    _check_answers(content, sent)
    refused = content.get("refused")
    if refused is None:
        return Answer(_part(content, "body"), None)
    if not isinstance(refused, dict):
        raise InvalidSignal("The answer is malformed.")
    reason = refused.get("reason")
    error = from_response(403, refused.get("error"), reason[:MAX_REASON] if isinstance(reason, str) else None)
    return Answer(None, error if isinstance(error, REFUSALS) else Forbidden(error.reason))


def _check_envelope(document: Document, session: str) -> tuple[str, str]:
    """The document is a signal for this session. Its id is what the boxes are tied to."""
    id = document.get("_id")
    prefix = document_id(session, "")
    if type(id) is not str or not id.startswith(prefix) or not is_base32(id.removeprefix(prefix), NONCE_LENGTH):
        raise InvalidSignal("The signal document's id is malformed.")
    if document.get("type") != TYPE or not _is_version(document.get("version")):
        raise InvalidSignal("The signal document is of a kind or version that is not known here.")
    return id, id.removeprefix(prefix)


def _check_signature(key: PublicKey, signed: bytes, *, purpose: str) -> None:
    """Nobody but the holder of ``key`` made it: a hub, or a peer in another's name, could seal one as well."""
    if not key.verify(signed[:SIGNATURE_SIZE], signed[SIGNATURE_SIZE:], purpose=purpose):
        raise InvalidSignal(f"The {purpose}'s signature is not its sender's.")


def _check_recipient(content: Document, key: PublicKey, session: SessionKey) -> None:
    """It was made for us: a recipient of it could open it, seal it anew and pass it on as the sender's."""
    wanted = {"key": key.text, "session": session.id, "session_key": to_text(session.public)}
    if content.get("to") != wanted:
        raise InvalidSignal("The offer was made for somebody else.")


def _check_nonce(content: Document, nonce: str) -> None:
    """It was made for this document: under another id it would pass as an offer that was not seen before."""
    if content.get("nonce") != nonce:
        raise InvalidSignal("The offer's nonce is not that of its document.")


def _check_answers(content: Document, sent: SentOffer) -> None:
    """It answers this very offer, from the session that was asked."""
    share, sender = sent.share, sent.sender
    if content.get("offer") != to_text(sent.digest):
        raise InvalidSignal("The answer is for another offer.")
    if content.get("from") != {"key": share.key.text, "session": share.session}:
        raise InvalidSignal("The answer does not come from the session that was asked.")
    if content.get("to") != {"key": to_text(sender.key), "session": sender.session}:
        raise InvalidSignal("The answer is for somebody else.")


def _sign(identity: Identity, content: Document, *, purpose: str) -> bytes:
    try:
        payload = jsonio.dumps(content)
    except InvalidDocument as error:
        raise BadRequest(f"The {purpose}'s body is not JSON: {error.reason}") from None
    payload += b" " * (-(SIGNATURE_SIZE + len(payload)) % _PADDING)
    if len(payload) > MAX_CONTENT:
        raise BadRequest(f"The {purpose}'s body is too large: {MAX_CONTENT} bytes are the limit, with info.")
    return identity.sign(payload, purpose=purpose) + payload


def _box(document: Document, field: str) -> bytes:
    try:
        return from_text(document.get(field), limit=_MAX_TEXT)
    except BadRequest:
        raise InvalidSignal(f"The signal document's {field} is missing or malformed.") from None


def _read(signed: bytes) -> dict[str, Any]:
    if not SIGNATURE_SIZE < len(signed) <= SIGNATURE_SIZE + MAX_CONTENT:
        raise InvalidSignal("The signal's content is of the wrong size.")
    try:
        content: Any = jsonio.loads(signed[SIGNATURE_SIZE:])
    except InvalidJSON:
        raise InvalidSignal("The signal's content is not JSON.") from None
    if not isinstance(content, dict) or not _is_version(content.get("version")):
        raise InvalidSignal("The signal's content is of a version that is not known here.")
    return content


def _is_time(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_version(value: object) -> bool:
    return type(value) is not bool and value == VERSION  # a hub may give 1.0 for 1


def _part(content: dict[str, Any], name: str) -> dict[str, Any]:
    part = content.get(name)
    if not isinstance(part, dict):
        raise InvalidSignal(f"The signal's {name} is missing.")
    return part
