"""The port Replicator, its options and its progress."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from peerpouch.errors import PeerPouchError
from peerpouch.ports.documents import ChangesFilter
from peerpouch.ports.queries import Database
from peerpouch.ports.values import Seq


@dataclass(frozen=True, slots=True)
class ReplicationOptions:
    """How to replicate.

    Attributes:
        live: Go on with what changes later.
        retry: Reconnect with back-off instead of failing when the other side is lost. Implied by ``live``.
        doc_ids, selector, filter, query: Which documents; at most one of the first three.
        design_docs: Whether design documents travel; ``None`` means yes, unless the other side is a share.
        since: Start here rather than at the checkpoint.
        checkpoint: Whether to read and write checkpoints.
        batch_size: Documents in a batch.
    """

    live: bool = False
    retry: bool = False
    doc_ids: tuple[str, ...] | None = None
    selector: Mapping[str, Any] | None = None
    filter: ChangesFilter | None = None
    query: Mapping[str, str] | None = None
    design_docs: bool | None = None
    since: Seq | None = None
    checkpoint: bool = True
    batch_size: int = 500


@dataclass(frozen=True, slots=True)
class DocumentRefused:
    """A document that the target refused for good; the replication went on without it."""

    id: str
    rev: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReplicationProgress:
    """The state of a replication at one moment.

    Attributes:
        state: ``"starting"``, ``"active"``, ``"idle"`` (live, and up to date), ``"waiting"`` (backing off after
            ``error``), ``"complete"``, ``"failed"``, ``"cancelled"``.
        docs_read, docs_written, docs_failed: Revisions so far.
        docs_skipped: Revisions that the source no longer had when they were fetched: replaced or purged meanwhile.
        changes_read: Rows of the changes feed so far.
        missing_checked, missing_found: Revisions compared, and those of them that the target lacked.
        attachments_written: Attachments whose bytes were sent.
        bytes: Bytes of documents and attachments that were sent to the target.
        pending: Changes still to be read, where the source can tell.
        last_seq: The source's sequence up to which everything is written.
        refused: The first 100 documents refused.
        history: At the end, what the checkpoint tells of this and earlier runs, newest first, in CouchDB's form.
    """

    state: str = "starting"
    docs_read: int = 0
    docs_written: int = 0
    docs_failed: int = 0
    docs_skipped: int = 0
    changes_read: int = 0
    missing_checked: int = 0
    missing_found: int = 0
    attachments_written: int = 0
    bytes: int = 0
    pending: int | None = None
    last_seq: Seq = "0"
    started: float = 0.0
    ended: float | None = None
    error: PeerPouchError | None = None
    refused: tuple[DocumentRefused, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether it ended well: complete or cancelled, and nothing refused."""
        return self.state in ("complete", "cancelled") and not self.docs_failed


class Replication(ABC):
    """A running replication: await it for the final :class:`ReplicationProgress`, iterate it for progress.

    Awaiting raises the error that ended it, if one did. Cancelling the awaiting task cancels the replication.
    """

    @property
    @abstractmethod
    def progress(self) -> ReplicationProgress: ...

    @abstractmethod
    def __await__(self) -> Generator[Any, None, ReplicationProgress]: ...

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[ReplicationProgress]:
        """Progress as it comes; a slow consumer sees fewer steps, never stale ones. Ends with the replication."""

    @abstractmethod
    async def cancel(self) -> None:
        """Stop after the batch in hand, and write the checkpoint."""


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """The state of a replication in both directions: ``push`` from the first database to the second, ``pull`` back."""

    push: ReplicationProgress
    pull: ReplicationProgress

    @property
    def state(self) -> str:
        """One word for both, of :class:`ReplicationProgress`'s: the one that asks for most attention."""
        states = (self.push.state, self.pull.state)
        return next(state for state in _BY_ATTENTION if state in states)

    @property
    def ok(self) -> bool:
        """Whether both ended well."""
        return self.push.ok and self.pull.ok

    @property
    def error(self) -> PeerPouchError | None:
        """What is wrong, if something is, in either direction."""
        return self.push.error or self.pull.error

    @property
    def docs_written(self) -> int:
        """Revisions that were written, in both directions."""
        return self.push.docs_written + self.pull.docs_written

    @property
    def docs_failed(self) -> int:
        """Revisions that were refused, in both directions."""
        return self.push.docs_failed + self.pull.docs_failed

    @property
    def bytes(self) -> int:
        """Bytes of documents and attachments that were sent, in both directions."""
        return self.push.bytes + self.pull.bytes


_BY_ATTENTION = ("failed", "waiting", "active", "starting", "idle", "cancelled", "complete")


class Sync(ABC):
    """Two replications in opposite directions, held as one.

    Await it for the final :class:`SyncProgress`, iterate it for progress. When one direction fails the other is
    cancelled, and awaiting raises the error. Cancelling the awaiting task cancels both.
    """

    @property
    @abstractmethod
    def push(self) -> Replication: ...

    @property
    @abstractmethod
    def pull(self) -> Replication: ...

    @property
    @abstractmethod
    def progress(self) -> SyncProgress: ...

    @abstractmethod
    def __await__(self) -> Generator[Any, None, SyncProgress]: ...

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[SyncProgress]:
        """Progress as it comes, of either direction; conflated as a replication's is. Ends when both have ended."""

    @abstractmethod
    async def cancel(self) -> None:
        """Cancel both."""


class Replicator(ABC):
    """Starts replications; each runs at once, as a task of the running event loop."""

    @abstractmethod
    def replicate(self, source: Database, target: Database, options: ReplicationOptions) -> Replication: ...

    @abstractmethod
    def sync(
        self, here: Database, there: Database, push: ReplicationOptions, pull: ReplicationOptions | None = None
    ) -> Sync:
        """Replicate both ways at once; without options of its own, ``pull`` has those of ``push``."""
