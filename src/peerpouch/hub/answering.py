"""The owner's end of signals: offers come in by the feed, are verified and decided on, and answered in their document.

Nothing is kept of an opener that was not let in, and nobody makes us work without bound: offers that are forged or
seen before cost one decryption, pending decisions are bounded, and so are refusals on their way to the hub.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from peerpouch.errors import (
    BadRequest,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidSignal,
    NotFound,
    PeerPouchError,
    ShareNotFound,
    StorageError,
    TooManyRequests,
)
from peerpouch.hub import signals
from peerpouch.hub.admission import MAX_PENDING, Openings, Replays
from peerpouch.hub.events import Handler, Opening, RemotePeer
from peerpouch.hub.signals import Offer
from peerpouch.hub.timing import end, within
from peerpouch.identity.contacts import Contacts
from peerpouch.identity.keys import Identity, PublicKey
from peerpouch.identity.sealing import SessionKey
from peerpouch.ports import Change, Clock, Document, Documents

logger = logging.getLogger(__name__)

DECIDE_WITHIN: Final = 30.0
"""Seconds for a decision and the answer's making: time to ask a person, and less than openers wait."""
MAX_TASKS: Final = 2 * MAX_PENDING
"""Offers in hand, refusals included. What comes beyond is not even refused; its opener's time limit tells it."""
_ATTEMPTS: Final = 4
_RETRY_AFTER: Final = 1.0


class Answerer:
    """Answers the offers to one session.

    Args:
        database: The hub.
        clock: For time limits and the offers' times.
        identity: The owner.
        session: The owner's session.
        contacts: To name openers, or None.
        decide_within: Seconds that a handler has.
    """

    def __init__(
        self,
        database: Documents,
        clock: Clock,
        identity: Identity,
        session: SessionKey,
        contacts: Contacts | None,
        decide_within: float = DECIDE_WITHIN,
    ) -> None:
        self._database = database
        self._clock = clock
        self._identity = identity
        self._session = session
        self._contacts = contacts
        self._decide_within = decide_within
        self._handlers: dict[str, Handler] = {}
        self._replays = Replays()
        self._openings = Openings()
        self._tasks: set[asyncio.Task[None]] = set()
        self._prefix = signals.id_range(session.id)[0]
        self.refused_signals = 0
        """Signals that were forged, altered, replayed or malformed, since the start."""

    def serve(self, share_id: str, handler: Handler) -> None:
        """Have ``handler`` decide on the offers to a share."""
        self._handlers[share_id] = handler

    def forget(self, share_id: str) -> None:
        """Answer offers to this share with ShareNotFound."""
        self._handlers.pop(share_id, None)

    def changed(self, change: Change) -> None:
        """Note a change of the hub."""
        document = change.get("doc")
        if not change["id"].startswith(self._prefix) or change.get("deleted") or document is None:
            return
        if "offer" not in document:  # our own answer
            return
        if len(self._tasks) >= MAX_TASKS:
            logger.warning("Too many offers at once; one was dropped.")
            return
        try:
            offer = signals.open_offer(document, key=self._identity.key, session=self._session)
        except InvalidSignal as error:
            self._refuse_signal(document, error)
            return
        self._take(document, offer)

    async def close(self) -> None:
        """Drop what is being decided."""
        await end(*self._tasks)

    def _take(self, document: Document, offer: Offer) -> None:
        now = self._clock.now()
        try:
            signals.check_time(offer.time, now)
        except InvalidSignal as error:
            self._refuse_signal(document, error)
            self._spawn(document, offer, None, error)
            return
        try:
            new = self._replays.admit(offer.nonce, offer.time, now)
        except TooManyRequests as error:
            self._spawn(document, offer, None, error)
            return
        if not new:
            self._refuse_signal(document, InvalidSignal("The offer was seen before."))
            return
        self._spawn(document, offer, self._handlers.get(offer.share_id), ShareNotFound())

    def _refuse_signal(self, document: Document, error: InvalidSignal) -> None:
        self.refused_signals += 1
        logger.info("The signal %.80r was refused: %s", document.get("_id"), error.reason)

    def _spawn(self, document: Document, offer: Offer, handler: Handler | None, otherwise: PeerPouchError) -> None:
        task = asyncio.create_task(self._answer(document, offer, handler, otherwise), name="peerpouch answer")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, document: Document, offer: Offer, handler: Handler | None, otherwise: PeerPouchError
    ) -> None:
        outcome = otherwise if handler is None else await self._decide(offer, handler)
        try:
            answer = signals.make_answer(self._identity, self._session, offer, outcome)
        except BadRequest as error:
            logger.error("The answer could not be made: %s", error.reason)
            refusal = Forbidden("The other side could not let you in.")
            answer = signals.make_answer(self._identity, self._session, offer, refusal)
        await self._write(signals.with_answer(document, answer))

    async def _decide(self, offer: Offer, handler: Handler) -> Document | PeerPouchError:
        try:
            with self._openings.enter(offer.sender.key):
                opening = Opening(offer.share_id, self._remote(offer), offer.body)
                return await within(self._clock, self._decide_within, _call(handler, opening))
        except DeadlineExceeded:
            return Forbidden("The other side did not decide in time.")
        except PeerPouchError as error:
            if not isinstance(error, signals.REFUSALS):
                logger.error("The share's handler failed: %s", error.reason)
            return error
        except Exception:  # its text is the owner's, and stays here
            logger.exception("The share's handler failed")
            return Forbidden("The other side could not let you in.")

    def _remote(self, offer: Offer) -> RemotePeer:
        key = PublicKey(offer.sender.key)
        contact = None
        if self._contacts is not None:
            try:
                contact = self._contacts.name_of(key)
            except StorageError as error:  # a damaged file of names is no reason to close the door
                logger.error("%s", error.reason)
        return RemotePeer(key, offer.sender.session, contact)

    async def _write(self, document: Document) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                await self._database.put(document)
                return
            except Conflict:
                # Somebody else wrote into it. The opener takes our answer only, so ours goes on top; unless the opener
                # gave up and deleted it.
                try:
                    current = await self._database.get(str(document["_id"]))
                except PeerPouchError:
                    return
                document = {**document, "_rev": current["_rev"]}
            except NotFound:
                return
            except PeerPouchError as error:
                logger.warning("An answer could not be written to the hub: %s", error.reason)
                if attempt + 1 < _ATTEMPTS:
                    await self._clock.sleep(_RETRY_AFTER)


async def _call(handler: Handler, opening: Opening) -> Document:
    return await handler(opening)
