"""How much to ask for at a time, when nobody knows how large the documents are."""

from __future__ import annotations

from peerpouch.remote.client import MAX_ANSWER, MAX_SINGLE

TARGET = 4 * 1024 * 1024
"""Bytes of an answer to aim at: far above what a round trip costs, far below what hurts to hold."""


class Pacer:
    """Adapts the number of things in a request to the size of the answers.

    Args:
        first: How many to ask for before anything is known.
        most: Never more than this.
    """

    def __init__(self, first: int, most: int) -> None:
        self.size = first
        self._most = most

    @property
    def limit(self) -> int:
        """The bytes that an answer may have."""
        return MAX_ANSWER if self.size > 1 else MAX_SINGLE

    def seen(self, count: int, size: int) -> None:
        """An answer of ``count`` things had ``size`` bytes."""
        if count:
            fitting = TARGET * count // max(size, 1)
            # It grows slowly, since the next documents may be larger than these, and shrinks at once.
            self.size = max(1, min(fitting, max(self.size, count) * 2, self._most))

    def shrink(self) -> None:
        """An answer was too large to hold."""
        self.size = max(1, self.size // 8)
