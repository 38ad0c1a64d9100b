"""Fetching revisions: in portions of bounded size, with those attachments that the target lacks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from peerpouch.core import replication_plan as plan
from peerpouch.errors import NotFound, ProtocolError
from peerpouch.ports import (
    AttachmentMode,
    Clock,
    Database,
    Document,
    PlainRevisions,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
)
from peerpouch.replication.progress import Meter
from peerpouch.replication.streams import ResumingStream

PORTION = 1 << 20
"""Bytes of documents, as JSON, that are fetched before they are written. A batch holds at most two portions, one being
written and one fetched, and each may exceed this by one document. As Python objects they take several times as much, so
it is no larger than what makes a batch of usual documents (500 of 2 kB) one write."""

PLAIN = 500
"""Revisions that are read together where they need not be parsed: a batch. They are small (of larger ones a database
gives none in this way), 4 MB at most, which is what a portion takes as Python objects."""

INLINE = 64 << 10
"""The largest attachment, in bytes, that comes inside its document. A request of its own costs a round trip, during
which a slow link (10 Mbit/s at 50 ms) would have carried about as much."""

INLINE_DOCUMENT = 1 << 20
"""Bytes of all attachments of a document that comes with them inside: as a portion's, by which they are held."""

INLINE_REQUEST = 1 << 20
"""Bytes of attachments that are asked for in one request; as a portion's bytes."""

ANCESTORS = 3
"""How many ancestors of a document are looked at for attachments that need not travel."""

_STUB_KEYS = ("content_type", "digest", "length", "revpos", "encoding", "encoded_length")


@dataclass(slots=True)
class Portion:
    """Documents that are ready to be written together; with ``streams``, it is one document whose attachments flow;
    with ``plain``, it has no documents but these."""

    docs: list[Document] = field(default_factory=list)
    size: int = 0
    plain: PlainRevisions | None = None
    streams: list[ResumingStream] = field(default_factory=list)
    attachments: int = 0

    def add(self, doc: Document, size: int) -> None:
        """Put a document in."""
        self.docs.append(doc)
        self.size += size


class Fetcher:
    """Reads from the source what the target lacks.

    Args:
        patient: Whether attachments on their way wait for a lost source however long it takes.
    """

    def __init__(
        self,
        source: Database,
        target: Database,
        meter: Meter,
        clock: Clock,
        chance: Callable[[], float],
        *,
        patient: bool,
    ) -> None:
        self._source = source
        self._target = target
        self._meter = meter
        self._clock = clock
        self._chance = chance
        self._patient = patient
        self._reads_plain = True  # until the source says that it can't

    async def portions(self, wanted: dict[str, RevsDiff], *, use_stubs: bool = True) -> AsyncGenerator[Portion, None]:
        """The revisions wanted, ready to be written.

        Args:
            wanted: As ``revs_diff`` gave it, checked.
            use_stubs: Whether attachments that the target has already are left out.
        """
        left = wanted
        if self._reads_plain and use_stubs:
            taken: set[str] = set()
            async for found in self._plain(wanted):
                taken.update(found.ids)
                self._meter.docs_read += len(found.ids)
                yield Portion(size=sum(map(len, found.bodies)), plain=found)
            if taken:
                left = {doc_id: diff for doc_id, diff in wanted.items() if doc_id not in taken}
        requests = [RevisionRequest(doc_id, rev) for doc_id, diff in left.items() for rev in diff["missing"]]
        if not requests:
            return
        plain, with_attachments = Portion(), Portion()
        async for doc, size in self._revisions(requests, False):
            portion = with_attachments if doc.get("_attachments") else plain
            portion.docs.append(doc)
            portion.size += size or plan.document_size(doc)
            if plain.size + with_attachments.size >= PORTION:
                if plain.docs:
                    yield plain
                async for ready in self._complete(with_attachments, wanted if use_stubs else {}):
                    yield ready
                plain, with_attachments = Portion(), Portion()
        if plain.docs:
            yield plain
        async for ready in self._complete(with_attachments, wanted if use_stubs else {}):
            yield ready

    async def _plain(self, wanted: dict[str, RevsDiff]) -> AsyncGenerator[PlainRevisions, None]:
        """Those revisions that need not be parsed on their way, where the source has such a way."""
        alone = ((doc_id, missing[0]) for doc_id, diff in wanted.items() if len(missing := diff["missing"]) == 1)
        while self._reads_plain and (asked := dict(islice(alone, PLAIN))):
            found = await self._source.read_plain(asked)
            if found is None:
                self._reads_plain = False
            elif found.ids:
                if any(asked.get(doc_id) != rev for doc_id, rev in zip(found.ids, found.revs, strict=True)):
                    raise ProtocolError("The source gave revisions that nobody asked for.")
                yield found

    async def small(self, revs: dict[str, list[str]], most: int) -> Portion | None:
        """The revisions of a few documents, if all are there, without attachments, and small together."""
        requests = [RevisionRequest(doc_id, rev) for doc_id, each in revs.items() for rev in each]
        pending: set[tuple[str, str | None]] = {(request.id, request.rev) for request in requests}
        portion = Portion()
        async with _closing(self._source.bulk_get(requests, revs=True)) as results:
            async for result in results:
                doc, key = result.doc, (result.id, result.rev)
                if doc is None or result.rev is None or key not in pending or "_attachments" in doc:
                    return None
                pending.remove(key)
                plan.check_document(doc, result.id, result.rev)
                portion.add(doc, result.size or plan.document_size(doc))
                if portion.size > most:
                    return None
        if pending:
            return None
        self._meter.docs_read += len(portion.docs)
        return portion

    async def _revisions(
        self, requests: Sequence[RevisionRequest], mode: AttachmentMode
    ) -> AsyncIterator[tuple[Document, int]]:
        """Exactly the revisions asked for, each checked, with its size; those that are gone or refused are counted and
        left out."""
        pending: set[tuple[str, str | None]] = {(request.id, request.rev) for request in requests}
        async with _closing(self._source.bulk_get(requests, revs=True, attachments=mode)) as results:
            async for result in results:
                key = (result.id, result.rev)
                if result.doc is None and result.rev is None:
                    # Some servers do not say which revision of a document they lack: any that was asked for.
                    key = next((wanted for wanted in pending if wanted[0] == result.id), key)
                try:
                    pending.remove(key)
                except (KeyError, TypeError):
                    raise ProtocolError(f"The source sent a revision that nobody asked for: {result.id!r}.") from None
                if result.doc is None:
                    self._note_absence(result)
                    continue
                assert result.rev is not None  # it was in `pending`
                plan.check_document(result.doc, result.id, result.rev)
                if mode is False:
                    self._meter.docs_read += 1
                yield result.doc, result.size
        if pending:
            raise ProtocolError(f"The source left out {len(pending)} of the revisions that it was asked for.")

    def _note_absence(self, result: RevisionResult) -> None:
        error = result.error
        if error is None:
            raise ProtocolError(f"The source sent neither {result.id!r} nor an error.")
        if isinstance(error, NotFound):
            self._meter.docs_skipped += 1
        elif plan.is_refusal(error):
            self._meter.refuse(result.id, result.rev or "", error)
        else:
            raise error

    # Attachments.

    async def _complete(self, portion: Portion, wanted: dict[str, RevsDiff]) -> AsyncGenerator[Portion, None]:
        """Documents whose attachments are stubs yet, as they can be written."""
        if not portion.docs:
            return
        held = await self._held(portion.docs, wanted)
        plain = Portion()
        inline: dict[tuple[str, str], list[str]] = {}
        inline_size = 0
        for doc in portion.docs:
            doc_id, rev = doc["_id"], doc["_rev"]
            attachments = doc["_attachments"] = {name: _stub(entry) for name, entry in doc["_attachments"].items()}
            missing = plan.missing_attachments(doc, held.get((doc_id, rev), ()))
            lengths = [_length(entry) for entry in attachments.values()]
            if not missing:
                plain.add(doc, plan.document_size(doc))
            elif max(lengths) <= INLINE and sum(lengths) <= INLINE_DOCUMENT:
                inline[doc_id, rev] = missing
                inline_size += sum(lengths)
                if inline_size >= INLINE_REQUEST:
                    yield await self._inline(inline)
                    inline, inline_size = {}, 0
            else:
                yield self._streamed(doc, missing)
        if plain.docs:
            yield plain
        if inline:
            yield await self._inline(inline)

    async def _held(self, docs: list[Document], wanted: dict[str, RevsDiff]) -> dict[tuple[str, str], list[Document]]:
        """For each document the ancestors that the target has, with stubs."""
        lineage: dict[tuple[str, str], list[str]] = {}
        for doc in docs:
            diff = wanted.get(doc["_id"])
            candidates = diff.get("possible_ancestors", []) if diff is not None else []
            ancestors = plan.ancestors_of(doc, candidates)[:ANCESTORS]
            if ancestors:
                lineage[doc["_id"], doc["_rev"]] = ancestors
        if not lineage:
            return {}
        requests = {RevisionRequest(doc_id, rev): None for (doc_id, _), revs in lineage.items() for rev in revs}
        found: dict[tuple[str, str | None], Document] = {}
        async for result in self._target.bulk_get(list(requests)):
            if result.doc is not None:
                found[result.id, result.rev] = result.doc
        return {
            (doc_id, rev): [found[doc_id, ancestor] for ancestor in ancestors if (doc_id, ancestor) in found]
            for (doc_id, rev), ancestors in lineage.items()
        }

    async def _inline(self, inline: dict[tuple[str, str], list[str]]) -> Portion:
        portion = Portion()
        async for doc, _ in self._revisions([RevisionRequest(*key) for key in inline], "bytes"):
            missing = inline[doc["_id"], doc["_rev"]]
            attachments = doc.get("_attachments") or {}
            for name, entry in attachments.items():
                if name not in missing:
                    attachments[name] = _stub(entry)
                    continue
                data = entry.get("data")
                # CouchDB says no length beside the bytes themselves.
                lengths = {entry[key] for key in ("length", "encoded_length") if key in entry}
                if type(data) is not bytes or (lengths and len(data) not in lengths):
                    raise ProtocolError(f"The source sent attachment {name!r} of {doc['_id']!r} in another length.")
                portion.attachments += 1
            portion.add(doc, plan.document_size(doc))
        return portion

    def _streamed(self, doc: Document, missing: list[str]) -> Portion:
        portion = Portion([doc], plan.document_size(doc))
        for name in missing:
            entry = doc["_attachments"][name]
            del entry["stub"]
            stream = ResumingStream(
                self._source,
                doc["_id"],
                doc["_rev"],
                name,
                entry,
                self._meter,
                self._clock,
                self._chance,
                patient=self._patient,
            )
            entry["data"] = stream
            portion.streams.append(stream)
        return portion


@asynccontextmanager
async def _closing(results: AsyncIterator[RevisionResult]) -> AsyncGenerator[AsyncIterator[RevisionResult], None]:
    """Frees what they hold, however far they were read."""
    try:
        yield results
    finally:
        close = getattr(results, "aclose", None)
        if close is not None:
            await close()


def _stub(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry's metadata alone: a source may not smuggle content in beside what was asked for."""
    return {"stub": True, **{key: entry[key] for key in _STUB_KEYS if key in entry}}


def _length(entry: dict[str, Any]) -> int:
    length = entry.get("encoded_length", entry.get("length"))
    return length if type(length) is int and length >= 0 else INLINE + 1
