"""Counting what a replication does, and telling who listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, TypeVar

from peerpouch.errors import PeerPouchError
from peerpouch.ports import DocumentRefused, ReplicationProgress

REFUSED_NAMED = 100
"""How many refused documents are named; all are counted."""

_T = TypeVar("_T")


class Bell:
    """Tells any number of listeners that something changed. Rings that nobody heard yet become one."""

    def __init__(self) -> None:
        self.rings = 0
        self.ended = False
        self._heard: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake whoever waits."""
        self.rings += 1
        heard, self._heard = self._heard, None
        if heard is not None and not heard.done():
            heard.set_result(None)

    def end(self) -> None:
        """Ring for the last time."""
        self.ended = True
        self.ring()

    async def follow(self, look: Callable[[], _T]) -> AsyncGenerator[_T, None]:
        """What ``look`` gives, now and after every ring, until the end; what came in between is left out."""
        heard = -1
        while True:
            if heard == self.rings:
                if self.ended:
                    return
                if self._heard is None:
                    self._heard = asyncio.get_running_loop().create_future()
                # Shielded: a listener that is cancelled must not cancel the future that the others wait for.
                await asyncio.shield(self._heard)
                continue
            heard = self.rings
            yield look()


class Meter:
    """The counters behind a :class:`ReplicationProgress`. The names are the same, and are explained there."""

    def __init__(self, started: float) -> None:
        self.state = "starting"
        self.docs_read = 0
        self.docs_written = 0
        self.docs_failed = 0
        self.docs_skipped = 0
        self.changes_read = 0
        self.missing_checked = 0
        self.missing_found = 0
        self.attachments_written = 0
        self.bytes = 0
        self.pending: int | None = None
        self.last_seq = "0"
        self.started = started
        self.ended: float | None = None
        self.error: PeerPouchError | None = None
        self.refused: list[DocumentRefused] = []
        self.history: tuple[Mapping[str, Any], ...] = ()
        self.bell = Bell()

    def snapshot(self) -> ReplicationProgress:
        """The state of this moment, which will not change."""
        return ReplicationProgress(
            state=self.state,
            docs_read=self.docs_read,
            docs_written=self.docs_written,
            docs_failed=self.docs_failed,
            docs_skipped=self.docs_skipped,
            changes_read=self.changes_read,
            missing_checked=self.missing_checked,
            missing_found=self.missing_found,
            attachments_written=self.attachments_written,
            bytes=self.bytes,
            pending=self.pending,
            last_seq=self.last_seq,
            started=self.started,
            ended=self.ended,
            error=self.error,
            refused=tuple(self.refused),
            history=self.history,
        )

    def refuse(self, doc_id: str, rev: str, error: PeerPouchError) -> None:
        """Count a document that did not get through, and name it if there is room."""
        self.docs_failed += 1
        if len(self.refused) < REFUSED_NAMED:
            self.refused.append(DocumentRefused(doc_id, rev, error.reason))

    def enter(self, state: str) -> None:
        """Change the state, and say so."""
        if state != self.state:
            self.state = state
            self.bell.ring()

    def counters(self) -> dict[str, int]:
        """What a checkpoint records, under CouchDB's names."""
        return {
            "missing_checked": self.missing_checked,
            "missing_found": self.missing_found,
            "docs_read": self.docs_read,
            "docs_written": self.docs_written,
            "doc_write_failures": self.docs_failed,
        }
