"""What is in a public hub, who brought it, and when its time is up. Pure: the time is an argument.

Kept in memory beside the documents, so that a limit costs no query. It is built from the documents when the hub starts;
by whom they came is then not known any more, so they count to nobody in particular until they are written again.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from peerpouch.errors import NotFound, TooManyRequests
from peerpouch.hub.public.limits import PublicLimits
from peerpouch.hub.public.rules import NO_SESSION, is_share, session_of

_K = TypeVar("_K")

_RETRY_AFTER: Final = 30.0
"""Seconds after which there may be room again: some share or signal has then run out."""


@dataclass(slots=True)
class _Held:
    address: str
    session: str
    expires: float
    written: bool
    """Whether it is in the hub; otherwise room is kept for it while it is being written."""


class Occupancy:
    """Shares, signals and tombstones of a hub."""

    def __init__(self, limits: PublicLimits) -> None:
        self._limits = limits
        self._held: dict[str, _Held] = {}
        self._shares = 0
        self._of_address: Counter[tuple[bool, str]] = Counter()
        self._serving: Counter[str] = Counter()
        self._called: Counter[str] = Counter()
        self._tombs: OrderedDict[str, tuple[str, float]] = OrderedDict()

    @property
    def shares(self) -> int:
        """Living shares."""
        return self._shares

    @property
    def signals(self) -> int:
        """Signals that are waiting, answered or not."""
        return len(self._held) - self._shares

    def serves(self, session: str) -> bool:
        """Whether a share names this session."""
        return self._serving[session] > 0

    def knows(self, doc_id: str) -> bool:
        """Whether it is in the hub, as far as is known."""
        return doc_id in self._held

    def reserve(self, doc_id: str, session: str, address: str, now: float) -> bool:
        """Keep room for a document that is about to be written; whether it is a new one.

        Args:
            session: The session that serves the share, or for which the signal is.

        Raises:
            TooManyRequests: there is none.
            NotFound: the signal is for a session that serves nothing here.
        """
        if doc_id in self._held:
            return False
        limits, sharing = self._limits, is_share(doc_id)
        if sharing:
            full = self._shares >= limits.shares or self._of_address[True, address] >= limits.shares_of_one
        else:
            if not self.serves(session):
                raise NotFound(NO_SESSION)
            full = (
                self.signals >= limits.signals
                or self._of_address[False, address] >= limits.signals_of_one
                or self._called[session] >= limits.signals_to_one
            )
        if full:
            what = "shares" if sharing else "signals"
            raise TooManyRequests(f"The hub has no room for more {what} just now.", retry_after=_RETRY_AFTER)
        self._add(doc_id, _Held(address, session, now + self._lifetime(doc_id, limits.longest_lease), False))
        return True

    def release(self, doc_id: str) -> None:
        """The write failed, for which room was kept."""
        held = self._held.get(doc_id)
        if held is not None and not held.written:
            self._remove(doc_id)

    def wrote(self, doc_id: str, session: str, address: str | None, lease: int, now: float) -> None:
        """A document was written.

        Args:
            address: ``None`` for whoever brought it before.
            lease: Of a share; of no meaning for a signal.
        """
        held = self._held.get(doc_id)
        if held is not None:
            if address is None or not is_share(doc_id):
                address = held.address  # an answer is no signal of the answerer's
            self._remove(doc_id)
        self._tombs.pop(doc_id, None)
        self._add(doc_id, _Held(address or "", session, now + self._lifetime(doc_id, lease), True))

    def deleted(self, doc_id: str, rev: str, now: float) -> None:
        """A document was deleted, and this revision of it is to be purged some time."""
        if doc_id in self._held:
            self._remove(doc_id)
        self._tombs.pop(doc_id, None)
        self._tombs[doc_id] = (rev, now)

    def purged(self, doc_id: str) -> None:
        """A document was forgotten for good."""
        if doc_id in self._held:
            self._remove(doc_id)
        self._tombs.pop(doc_id, None)

    def purged_tombstone(self, doc_id: str, rev: str) -> None:
        """A tombstone was purged; a document that was written again meanwhile stays."""
        if self._tombs.get(doc_id, ("", 0.0))[0] == rev:
            del self._tombs[doc_id]

    def expired(self, now: float) -> list[str]:
        """What is to be deleted now."""
        return [doc_id for doc_id, held in self._held.items() if held.written and held.expires <= now]

    def forgettable(self, now: float) -> dict[str, str]:
        """The revisions of deleted documents that are to be purged now."""
        excess = len(self._tombs) - self._limits.tombstones
        old: dict[str, str] = {}
        for doc_id, (rev, since) in self._tombs.items():
            if len(old) >= excess and session_of(doc_id) is None and now - since < self._limits.tombstone_lifetime:
                continue
            old[doc_id] = rev
        return old

    def _lifetime(self, doc_id: str, lease: int) -> float:
        return lease + self._limits.lease_grace if is_share(doc_id) else self._limits.signal_lifetime

    def _add(self, doc_id: str, held: _Held) -> None:
        self._held[doc_id] = held
        sharing = is_share(doc_id)
        self._shares += sharing
        self._of_address[sharing, held.address] += 1
        (self._serving if sharing else self._called)[held.session] += 1

    def _remove(self, doc_id: str) -> None:
        held = self._held.pop(doc_id)
        sharing = is_share(doc_id)
        self._shares -= sharing
        _less(self._of_address, (sharing, held.address))
        _less(self._serving if sharing else self._called, held.session)


def _less(counter: Counter[_K], key: _K) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]  # so that counters hold no more keys than there are documents
