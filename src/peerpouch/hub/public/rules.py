"""Who sees what in a public hub, and which writes are allowed. Pure.

A write is judged twice: before the transaction by what it brings (:func:`check_new`: shape, signature, proof), and
inside it by what it would replace (:func:`guard_for`), so nobody slips between the check and the write.
"""

from __future__ import annotations

from typing import Any, Final

from peerpouch.errors import BadRequest, Forbidden, InvalidSignal, Unauthorized
from peerpouch.hub import shares, signals
from peerpouch.hub.public.limits import PublicLimits
from peerpouch.hub.shares import Share
from peerpouch.identity.encoding import from_text, is_base32
from peerpouch.identity.proofs import TAG_LENGTH
from peerpouch.identity.sealing import OVERHEAD, is_session_id
from peerpouch.ports import Document, Guard, Proposal, Visitor

_SIGNAL_FIELDS: Final = frozenset(("_id", "_rev", "type", "version", "reply_to", "created"))
_DELETION_FIELDS: Final = frozenset(("_id", "_rev", "_deleted"))
_KEPT: Final = ("type", "version", "reply_to", "created")
_MAX_BOX: Final = 131_072
"""Characters of a sealed box: twice the largest content, as every reader takes it."""

NO_SESSION: Final = "No share of this hub is served by this session."


def session_of(doc_id: str) -> str | None:
    """The session that a signal's id is for; ``None`` for what is no signal's id."""
    prefix, _, rest = doc_id.partition(":")
    session, _, nonce = rest.partition(":")
    if prefix + ":" == signals.PREFIX and is_session_id(session) and is_base32(nonce, signals.NONCE_LENGTH):
        return session
    return None


def is_share(doc_id: str) -> bool:
    """Whether this is the id of a share's document."""
    return doc_id.startswith(shares.PREFIX) and shares.is_share_id(doc_id.removeprefix(shares.PREFIX))


def may_see(visitor: Visitor, doc_id: str, doc: Document | None) -> bool:
    """Whether a document is for this visitor: every share, and signals to or from it.

    Args:
        doc: Its content; ``None`` where it is deleted or unknown.
    """
    if is_share(doc_id):
        return True
    session = session_of(doc_id)
    if session is None:
        return False
    mine = visitor.session is not None and session == visitor.session
    return mine or (doc is not None and visitor.reply_to is not None and doc.get("reply_to") == visitor.reply_to)


def feed_selector(visitor: Visitor) -> Document:
    """The same as a selector, for feeds."""
    seen: list[Document] = [{"_id": {"$gte": shares.FIRST, "$lte": shares.LAST}}]
    if visitor.session is not None:
        first, last = signals.id_range(visitor.session)
        seen.append({"_id": {"$gte": first, "$lte": last}})
    if visitor.reply_to is not None:
        first, last = signals.PREFIX, signals.PREFIX + "\ufff0"
        seen.append({"_id": {"$gte": first, "$lte": last}, "reply_to": {"$eq": visitor.reply_to}})
    return {"$or": seen}


def check_new(visitor: Visitor, doc: Document, limits: PublicLimits) -> Share | None:
    """Judge a document by itself.

    Returns:
        The share that it announces; ``None`` for signals and deletions.

    Raises:
        Unauthorized: a proof is missing.
        Forbidden: it is nothing that a visitor may write.
    """
    doc_id = doc.get("_id")
    if type(doc_id) is not str or not (is_share(doc_id) or session_of(doc_id) is not None):
        raise Forbidden("A public hub takes shares and signals only.")
    if doc.get("_deleted"):
        if doc.get("_deleted") is not True or not doc.keys() <= _DELETION_FIELDS:
            raise Forbidden("A deletion has no content.")
        _require(visitor.session if is_share(doc_id) else visitor.reply_to)
        return None
    if is_share(doc_id):
        return _check_share(visitor, doc, limits)
    _check_signal(visitor, doc_id, doc)
    return None


def _require(proof: str | None) -> None:
    if proof is None:
        raise Unauthorized("A public hub wants a proof with this request: see the header Peerpouch-Hub.")


def _check_share(visitor: Visitor, doc: Document, limits: PublicLimits) -> Share:
    _require(visitor.session)
    if any(name[:1] == "_" and name not in ("_id", "_rev") for name in doc):
        raise Forbidden("A share has no attachments and no other special fields.")
    try:
        share = shares.from_document(doc)
    except InvalidSignal as error:
        raise Forbidden(error.reason) from None
    if share.session != visitor.session:
        # Signed documents are public: whoever read one could else announce it anew after its owner has withdrawn it.
        raise Forbidden("The share is of another session than the one that was proved.")
    if share.lease > limits.longest_lease:
        raise Forbidden(f"A lease lasts {limits.longest_lease} seconds at most at this hub.")
    return share


def _check_signal(visitor: Visitor, doc_id: str, doc: Document) -> None:
    kind = "offer" if "offer" in doc else "answer"
    if not doc.keys() <= _SIGNAL_FIELDS | {kind}:
        raise Forbidden("A signal has either an offer or an answer, and no other fields than the protocol's.")
    created = doc.get("created")
    if (
        doc.get("type") != signals.TYPE
        or doc.get("version") is True
        or doc.get("version") != signals.VERSION
        or not is_base32(doc.get("reply_to"), TAG_LENGTH)
        or type(created) is not int
        or abs(created) >= 2**53
    ):
        raise Forbidden("The signal is malformed.")
    try:
        box = from_text(doc.get(kind), limit=_MAX_BOX)
    except BadRequest:
        raise Forbidden(f"The signal's {kind} is missing, malformed or too large.") from None
    if len(box) < OVERHEAD:
        raise Forbidden(f"The signal's {kind} is too short to be one.")
    if kind == "offer":
        _require(visitor.reply_to)
        if doc["reply_to"] != visitor.reply_to:
            raise Forbidden("The signal's reply tag is not the one that was proved.")
    else:
        _require(visitor.session)
        if session_of(doc_id) != visitor.session:
            raise Forbidden("The signal is for another session than the one that was proved.")


def guard_for(visitor: Visitor) -> Guard:
    """Judges writes by what they would replace. The documents passed :func:`check_new`."""

    def judge(proposal: Proposal) -> None:
        new = proposal.new
        stored = [leaf for leaf in proposal.leaves() if not leaf.get("_deleted")]
        if is_share(new["_id"]):
            _judge_share(visitor, new, stored)
        else:
            _judge_signal(visitor, new, stored)

    return judge


def _judge_share(visitor: Visitor, new: Document, stored: list[Document]) -> None:
    for there in stored:
        same = there.get("session") == visitor.session
        if new.get("_deleted"):
            if not same:
                raise Forbidden("Only the session that serves a share withdraws it.")
        elif same and _number(there) >= new["renewal"]:
            raise Forbidden("The hub has this renewal of the share, or a later one.")


def _judge_signal(visitor: Visitor, new: Document, stored: list[Document]) -> None:
    if new.get("_deleted"):
        if any(there.get("reply_to") != visitor.reply_to for there in stored):
            raise Forbidden("Only who made a signal deletes it.")
    elif "offer" in new:
        if stored:
            raise Forbidden("There is a signal of this id.")
    elif not stored:
        raise Forbidden("There is no offer that could be answered.")
    elif any(there.get(name) != new.get(name) for there in stored for name in _KEPT):
        raise Forbidden("An answer leaves the rest of the signal as it is.")


def _number(doc: Document) -> Any:
    renewal = doc.get("renewal")
    return renewal if type(renewal) is int else -1
