"""The opener's end of signals: one document with the offer, the answer in it, and the document deleted."""

from __future__ import annotations

import asyncio
import logging
import secrets
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from peerpouch.errors import (
    ClockSkew,
    Conflict,
    DeadlineExceeded,
    HubUnreachable,
    InvalidSignal,
    NotFound,
    PeerPouchError,
    PeerUnreachable,
    ShareNotFound,
)
from peerpouch.hub import shares, signals
from peerpouch.hub.admission import MAX_CALLS
from peerpouch.hub.directory import Directory
from peerpouch.hub.feed import Feed
from peerpouch.hub.leases import TOLERANCE, Verdict
from peerpouch.hub.shares import Share
from peerpouch.hub.signals import Answer, SentOffer
from peerpouch.hub.timing import end, hub_errors, within
from peerpouch.identity.keys import Identity
from peerpouch.ports import Change, Clock, Document, Documents

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 4


@dataclass
class _Call:
    sent: SentOffer
    answer: asyncio.Future[Answer]
    refused: InvalidSignal | None = None


class _Moved(Exception):
    """The share that was asked is served by another session now."""

    def __init__(self, share: Share) -> None:
        self.share = share


class Caller:
    """Sends the offers of one session.

    Args:
        database: The hub.
        clock: For time limits.
        feed: The hub's feed, which brings the answers.
        directory: The hub's shares.
        identity: The opener.
        session: The id of the opener's session.
        reply_to: The tag by which the feed finds this session's answers.
    """

    def __init__(
        self,
        database: Documents,
        clock: Clock,
        feed: Feed,
        directory: Directory,
        identity: Identity,
        session: str,
        reply_to: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._feed = feed
        self._directory = directory
        self._identity = identity
        self._session = session
        self._reply_to = reply_to
        self._calls: dict[str, _Call] = {}
        self._turns: WeakValueDictionary[bytes, asyncio.Semaphore] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()

    async def find(self, share_id: str) -> Share:
        """A share that can be opened.

        Raises:
            ShareNotFound: there is no such share, or its lease has run out.
            ClockSkew: its lease can't be judged, because the clocks differ too much.
            HubUnreachable: the hub can't be read.
        """
        found = await self._directory.find(share_id)
        if found is None:
            raise ShareNotFound(f"The hub has no share {share_id}, or it was withdrawn.")
        share, verdict = found
        minutes = (self._clock.now() - share.renewed / 1000) / 60
        if verdict is Verdict.FROM_THE_FUTURE:
            raise ClockSkew(
                f"The share {share.name!r} was renewed {-minutes:.0f} minutes in the future by our clock; "
                f"{TOLERANCE // 60} minutes are tolerated. Set both clocks, or watch until it is renewed again."
            )
        if verdict is Verdict.EXPIRED:
            raise ShareNotFound(
                f"The share {share.name!r} was last renewed {max(minutes, 0):.0f} minutes ago by our clock: its owner "
                "is gone, or one of both clocks is wrong."
            )
        return share

    async def call(self, share_id: str, body: Document, *, timeout: float) -> Document:
        """Send an offer and wait for its answer; errors as in the port SignalChannel."""
        call: _Call | None = None

        async def run() -> Document:
            nonlocal call
            _, share = await asyncio.gather(self._feed.start(), self.find(share_id))  # one round trip less
            async with self._turns.setdefault(share.key.raw, asyncio.Semaphore(MAX_CALLS)):
                while True:
                    call = self._make(share, body)
                    try:
                        return await self._answer_to(call)
                    except _Moved as moved:
                        share = moved.share

        try:
            return await within(self._clock, timeout, run())
        except DeadlineExceeded:
            raise self._no_answer(call, timeout) from None

    def changed(self, change: Change) -> None:
        """Note a change of the hub, after the directory did."""
        if change["id"].startswith(shares.PREFIX):
            self._share_changed(change["id"].removeprefix(shares.PREFIX))
            return
        call = self._calls.get(change["id"])
        document = change.get("doc")
        if call is None or document is None or call.answer.done() or "answer" not in document:
            return
        try:
            call.answer.set_result(signals.open_answer(document, call.sent))
        except InvalidSignal as error:
            # Whoever can write to the hub can put this there; the owner's own answer may still come on top of it.
            call.refused = error
            logger.warning("An answer to %.80r was refused: %s", change["id"], error.reason)

    def _share_changed(self, share_id: str) -> None:
        """An owner that restarted can't open what was sealed to its last session: offer again to the new one."""
        for call in self._calls.values():
            asked = call.sent.share
            if asked.id == share_id and not call.answer.done():
                share = self._directory.get(share_id)
                if share is not None and share.session != asked.session:
                    call.answer.set_exception(_Moved(share))

    async def _answer_to(self, call: _Call) -> Document:
        document_id = str(call.sent.document["_id"])
        self._calls[document_id] = call
        try:
            await self._send(call)
            if self._feed.error is not None:  # the hub is there again, and the answer comes by the feed
                self._feed.doubt()
            answer = await call.answer
        finally:
            del self._calls[document_id]
            self._clean_up(document_id)
        if answer.error is not None:
            raise answer.error
        return answer.body or {}

    async def _send(self, call: _Call) -> None:
        with hub_errors("send a signal"):
            try:
                await self._database.put(call.sent.document)
                return
            except NotFound:  # a public hub takes no signals for a session that serves nothing there any more
                pass
        share = await self.find(call.sent.share.id)
        if share.session != call.sent.share.session:
            raise _Moved(share)
        raise HubUnreachable("The hub takes no signals for a share that it lists.")

    async def close(self) -> None:
        """End what is waiting, and delete what is left in the hub, as far as that works at once."""
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(HubUnreachable("The hub was closed while an answer was awaited."))
        for _ in range(3):  # the callers wake, and begin to delete their signals
            await asyncio.sleep(0)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        await end(*self._tasks)

    def _make(self, share: Share, body: Document) -> _Call:
        sent = signals.make_offer(
            self._identity,
            share,
            body,
            session=self._session,
            reply_to=self._reply_to,
            nonce=signals.new_nonce(secrets.token_bytes(signals.NONCE_BYTES)),
            time=self._directory.offer_time(share.id),
        )
        return _Call(sent, asyncio.get_running_loop().create_future())

    def _no_answer(self, call: _Call | None, timeout: float) -> PeerPouchError:
        if call is not None and call.refused is not None:
            return InvalidSignal(
                f"The only answers that came within {timeout:g} seconds were not the owner's: {call.refused.reason} "
                "Somebody interferes at the hub."
            )
        if self._feed.error is not None:
            return HubUnreachable(f"The hub was lost while waiting for an answer: {self._feed.error.reason}")
        if call is None:
            return HubUnreachable(
                f"No offer could be sent within {timeout:g} seconds: the hub is slow, or earlier offers still wait."
            )
        return PeerUnreachable(
            f"The owner of {call.sent.share.name!r} did not answer within {timeout:g} seconds; it may be gone."
        )

    def _clean_up(self, document_id: str) -> None:
        """Delete the signal, in the background: the answer must not wait for that."""
        task = asyncio.create_task(self._delete(document_id), name="peerpouch signal cleanup")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _delete(self, document_id: str) -> None:
        for _ in range(_ATTEMPTS):
            try:
                document = await self._database.get(document_id)
                await self._database.remove(document_id, document["_rev"])
                return
            except Conflict:
                continue  # answered just now
            except NotFound:
                return
            except PeerPouchError as error:  # it expires
                logger.info("A signal could not be deleted from the hub: %s", error.reason)
                return
