"""What makes a comparison of revisions needless: knowing, or guessing well, what the target has.

A live change that is one document costs a round trip to be compared and another to be written. The first can be saved

* when the target has told of the revision itself: in a sync, what came from there need not be offered back;
* when it is hardly ever there, and small: it is then sent unasked. A target that had it loses nothing, since a revision
  that is there already is taken and changes nothing; sending it cost about as many bytes as asking would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from peerpouch.ports import RevsDiff

REMEMBERED = 10_000
"""Revisions that are remembered of one side: a few batches, by which one direction of a sync may be behind the other.
They take about 3 MB. One that is forgotten is compared, as all are without this."""

UNASKED = 8 * 1024
"""Bytes of documents that are sent unasked: a slow link (10 Mbit/s) carries them in 7 ms, less than its round trip."""

UNASKED_REVISIONS = 8
"""Revisions that are sent unasked together: more are a burst, in which a round trip is shared by many."""

UNASKED_IN_A_ROW = 32
"""Batches sent unasked until one is compared again, to see whether the guess still holds."""


class Known:
    """The revisions that a database is known to have: those that its feed has told of last."""

    def __init__(self) -> None:
        # Two generations, so that the older half is forgotten at once.
        self._newer: set[tuple[str, str]] = set()
        self._older: set[tuple[str, str]] = set()

    def add(self, doc_id: str, revs: Iterable[str]) -> None:
        """Note what it has of a document."""
        for rev in revs:
            self._newer.add((doc_id, rev))
        if len(self._newer) >= REMEMBERED // 2:
            self._older, self._newer = self._newer, set()

    def lacking(self, revs: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """Those of the revisions that it is not known to have."""
        if not self._newer and not self._older:
            return dict(revs)
        rest = {doc_id: [rev for rev in each if not self._has(doc_id, rev)] for doc_id, each in revs.items()}
        return {doc_id: each for doc_id, each in rest.items() if each}

    def _has(self, doc_id: str, rev: str) -> bool:
        key = (doc_id, rev)
        return key in self._newer or key in self._older

    def forget(self) -> None:
        """Start over: it may be another state of the database that will be met next."""
        self._newer.clear()
        self._older.clear()


class Guess:
    """Whether a target is likely to lack what it is not asked about. Begins without a guess."""

    def __init__(self) -> None:
        self._left = 0

    def compared(self, asked: Mapping[str, list[str]], missing: Mapping[str, RevsDiff]) -> None:
        """Learn from a comparison."""
        if asked:
            lacked = sum(len(diff["missing"]) for diff in missing.values())
            self._left = UNASKED_IN_A_ROW if lacked == sum(map(len, asked.values())) else 0

    def take(self, revs: Mapping[str, list[str]]) -> bool:
        """Whether to send these unasked, if they are small."""
        if not self._left or sum(map(len, revs.values())) > UNASKED_REVISIONS:
            return False
        self._left -= 1
        return True
