"""Writing portions to the target, and what becomes of the documents that it does not take."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from peerpouch.core import replication_plan as plan
from peerpouch.errors import BadRequest, MissingStub, NotFound, PeerPouchError, ProtocolError, TooLarge
from peerpouch.ports import Database, Document, PlainRevisions, WriteFailure, WriteResult
from peerpouch.replication.fetch import Portion
from peerpouch.replication.progress import Meter
from peerpouch.replication.transfers import Transfers

Refetch = dict[str, list[str]]
"""Revisions, by document, that must be fetched again with all their attachments."""

_T = TypeVar("_T")


class Guarded(Protocol):
    """Awaits one write of bounded size; :meth:`Pipeline.stop` lets it finish."""

    async def __call__(self, write: Awaitable[_T], /) -> _T: ...


async def unguarded(work: Awaitable[_T], /) -> _T:
    """Just wait for it; the pipeline hands in a way that marks the write as one to be finished."""
    return await work


class Writer:
    """Writes to the target, and counts what it took and what it refused.

    Args:
        transfers: Where documents with large attachments are written; they may be under way already.
    """

    def __init__(self, target: Database, meter: Meter, transfers: Transfers[Refetch]) -> None:
        self._target = target
        self._meter = meter
        self._transfers = transfers

    async def write(self, portion: Portion, guarded: Guarded) -> Refetch:
        """Write it.

        Returns:
            What the target refused as a stub of content that it does not have.

        Raises:
            PeerPouchError: what is worth a retry of everything, or makes one pointless. Documents that the target
                refuses for good are counted instead.
        """
        if portion.plain is not None:
            await self._write_plain(portion.plain, portion.size, guarded)
            return {}
        if not portion.docs:
            return {}
        if not portion.streams:
            return await self._write(portion, guarded)
        (doc,) = portion.docs
        return await self._transfers.run((doc["_id"], doc["_rev"]), lambda: self._write(portion, unguarded))

    async def _write_plain(self, plain: PlainRevisions, size: int, guarded: Guarded) -> None:
        failures = await self._bulk_plain(plain, guarded)
        for failure in failures:
            if not plan.is_refusal(failure.error):
                raise failure.error
            self._meter.refuse(failure.id, failure.rev or "", failure.error)
        self._meter.docs_written += len(plain.ids) - len(failures)
        self._meter.bytes += size
        self._meter.bell.ring()

    async def _bulk_plain(self, plain: PlainRevisions, guarded: Guarded) -> list[WriteFailure]:
        """What was not written; as :meth:`_bulk_docs`."""
        try:
            return await guarded(self._target.write_plain(plain))
        except (TooLarge, BadRequest) as error:
            count = len(plain.ids)
            if count == 1:
                return [WriteFailure(plain.ids[0], error, plain.revs[0])]
            halves = plain.part(0, count // 2), plain.part(count // 2, count)
            return [failure for half in halves for failure in await self._bulk_plain(half, guarded)]

    async def _write(self, portion: Portion, guarded: Guarded) -> Refetch:
        try:
            results = await self._bulk_docs(portion.docs, guarded)
        except PeerPouchError:
            if self._is_gone(portion):
                return {}
            raise
        if self._is_gone(portion):
            return {}
        again: Refetch = {}
        written = 0
        for doc, result in zip(portion.docs, results, strict=True):
            if not isinstance(result, WriteFailure):
                written += 1
            elif isinstance(result.error, MissingStub):
                again.setdefault(doc["_id"], []).append(doc["_rev"])
            elif plan.is_refusal(result.error):
                self._meter.refuse(doc["_id"], doc["_rev"], result.error)
            else:
                raise result.error
        self._meter.docs_written += written
        self._meter.bytes += portion.size
        if written:
            self._meter.attachments_written += portion.attachments
        self._meter.bell.ring()
        return again

    def _is_gone(self, portion: Portion) -> bool:
        """Whether the source lost the document while its attachments were read, which is counted.

        Raises:
            PeerPouchError: what else a stream met: it says more than what the target made of it.
        """
        failure = next((stream.failure for stream in portion.streams if stream.failure is not None), None)
        if isinstance(failure, NotFound):
            self._meter.docs_skipped += len(portion.docs)
            return True
        if failure is not None:
            raise failure
        return False

    async def _bulk_docs(self, docs: list[Document], guarded: Guarded) -> list[WriteResult]:
        """One result for each; a request that is refused as a whole is halved until the culprit stands alone."""
        try:
            results = await guarded(self._target.bulk_docs(docs, new_edits=False))
        except (TooLarge, BadRequest, MissingStub) as error:
            if len(docs) == 1:
                return [WriteFailure(docs[0]["_id"], error, docs[0]["_rev"])]
            half = len(docs) // 2
            return [*await self._bulk_docs(docs[:half], guarded), *await self._bulk_docs(docs[half:], guarded)]
        if len(results) != len(docs):
            raise ProtocolError(f"The target gave {len(results)} results for {len(docs)} documents.")
        return results
