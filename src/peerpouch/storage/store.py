"""The port Documents over one SQLite file. (The port IndexStore is in :mod:`peerpouch.storage.indexes`.)"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from peerpouch.core.selector import compile_selector
from peerpouch.errors import BadRequest, DatabaseNotFound, InvalidDocument, PeerPouchError, StorageError
from peerpouch.ports import (
    AllDocs,
    AllDocsHead,
    AllDocsRow,
    Attachment,
    AttachmentMode,
    Changes,
    ChangesFilter,
    DatabaseInfo,
    Document,
    FunctionRunner,
    Guard,
    RevisionRequest,
    RevisionResult,
    RevsDiff,
    Seq,
    WriteResult,
    acting_principal,
)
from peerpouch.storage import (
    batches,
    checking,
    edits,
    feeding,
    listing,
    maintenance,
    reading,
    uploads,
    writing,
)
from peerpouch.storage.connections import Durability, Location, fetch_one, locate
from peerpouch.storage.engine import Engine
from peerpouch.storage.feed import FeedOptions, format_seq
from peerpouch.storage.indexes import StoredIndexes
from peerpouch.storage.listing import PAGE_ROWS, ListOptions
from peerpouch.storage.reading import GetOptions
from peerpouch.storage.transfers import ENCODE_HERE, PlainTransfers
from peerpouch.storage.watch import FileWatch, Signal


class Storage(PlainTransfers, StoredIndexes):
    """One open database file, or one in memory. Made by :meth:`open`.

    It belongs to the event loop in which it was opened.
    """

    def __init__(
        self, location: Location, *, auto_compaction: bool, max_document_size: int, runner: FunctionRunner | None
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._location = location
        self._keep_bodies = not auto_compaction
        self._max_document_size = max_document_size
        self._runner = runner
        self._make_id = edits.IdMaker()
        self._signal = Signal()
        self._seen_seq = 0
        self._uuid = ""
        self._incarnation = ""
        self._watch = None if location.path is None else FileWatch(location.path, self._look)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        create: bool = True,
        durability: Durability = "full",
        auto_compaction: bool = False,
        max_document_size: int = edits.MAX_DOCUMENT_SIZE,
        busy_timeout: float = 30.0,
        runner: FunctionRunner | None = None,
        vfs: str | None = None,
    ) -> Self:
        """Open a database file, or make it.

        Args:
            path: The file, or ``":memory:"`` for a database of its own in memory.
            create: Make the file when there is none.
            durability: ``"full"``: a write that was acknowledged survives a power cut. ``"normal"``: it survives a
                process that is killed; after a power cut the last writes may be gone, the file is consistent.
            auto_compaction: Drop the body of a revision as soon as it is no leaf any more.
            max_document_size: Bytes of a document's JSON without its attachments.
            busy_timeout: Seconds to wait while another process writes.
            runner: Runs the filter functions of design documents.
            vfs: The SQLite VFS, by name.

        Raises:
            DatabaseNotFound: when there is none, and ``create`` is false, or its folder does not exist.
            NotADatabase, SchemaTooNew: the file was not touched.
            ReadOnlyDatabase, CorruptDatabase, DatabaseBusy, StorageError
        """
        file = None if str(path) == ":memory:" else Path(path)

        def start() -> Location:
            try:
                location = locate(file, durability=durability, busy_timeout=busy_timeout, vfs=vfs)
                missing = file is not None and not create and not file.exists()
            except (OSError, ValueError) as error:  # a folder that is closed to us, or what can be no file's name
                raise StorageError(f"{str(file)!r} can't be opened: {error}.") from error
            if missing:
                raise DatabaseNotFound(f"There is no database {file}.")
            return location

        location = await asyncio.to_thread(start)
        storage = cls(location, auto_compaction=auto_compaction, max_document_size=max_document_size, runner=runner)
        opening = asyncio.ensure_future(asyncio.to_thread(storage._start))
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(Exception):
                await opening
                await storage.close()
            raise
        return storage

    def _start(self) -> None:
        """Open the connections; runs in a thread."""
        self._engine = Engine(self._location, self._committed)
        self._uuid, self._incarnation = self._engine.identify()

    # -- what it is

    known_as: str | None = None
    """What functions of design documents are told that it is called; by default its name."""

    @property
    def name(self) -> str:
        return self._location.label

    @property
    def path(self) -> Path | None:
        """The file; ``None`` in memory."""
        return self._location.path

    @property
    def closed(self) -> bool:
        return self._engine.closed

    async def id(self) -> str:
        self._engine.check_open()
        return self._uuid

    async def info(self) -> DatabaseInfo:
        return await self._engine.read(partial(reading.info, location=self._location, incarnation=self._incarnation))

    # -- reading

    async def get(
        self,
        doc_id: str,
        *,
        rev: str | None = None,
        revs: bool = False,
        revs_info: bool = False,
        conflicts: bool = False,
        deleted_conflicts: bool = False,
        latest: bool = False,
        local_seq: bool = False,
        attachments: AttachmentMode = False,
        atts_since: Sequence[str] | None = None,
    ) -> Document:
        edits.check_id(doc_id)
        engine = self._engine
        if doc_id.startswith("_local/"):
            done, local = engine.read_now(partial(reading.get_local, doc_id=doc_id))
            if done and local is not None:
                return local
            return await engine.read(partial(reading.get_local, doc_id=doc_id))
        if rev is None and not (
            revs or revs_info or conflicts or deleted_conflicts or latest or local_seq or attachments
        ):
            done, doc = engine.read_now(partial(reading.point_get, doc_id=doc_id))
            if doc is not None:
                return doc
        options = GetOptions(
            rev, revs, revs_info, conflicts, deleted_conflicts, latest, local_seq, attachments, atts_since
        )
        return await engine.read(partial(reading.get, doc_id=doc_id, options=options, incarnation=self._incarnation))

    async def open_revs(
        self,
        doc_id: str,
        revs: Sequence[str] | Literal["all"] = "all",
        *,
        latest: bool = False,
        with_revisions: bool = False,
        attachments: AttachmentMode = False,
        atts_since: Sequence[str] | None = None,
    ) -> list[RevisionResult]:
        edits.check_id(doc_id)
        return await self._engine.read(
            partial(
                reading.open_revs,
                doc_id=doc_id,
                revs=revs,
                latest=latest,
                with_revisions=with_revisions,
                attachments=attachments,
                atts_since=atts_since,
            )
        )

    async def bulk_get(
        self,
        requests: Sequence[RevisionRequest],
        *,
        revs: bool = False,
        latest: bool = False,
        attachments: AttachmentMode = False,
    ) -> AsyncIterator[RevisionResult]:
        position = 0
        if len(requests) <= reading.FEW and not attachments:
            _, few = self._engine.read_now(partial(reading.bulk_get_few, requests=requests, revs=revs))
            for result in few or ():
                position += 1
                yield result
        while position < len(requests):
            results, answered = await self._engine.read(
                partial(
                    reading.bulk_get_page,
                    requests=requests[position : position + PAGE_ROWS],
                    revs=revs,
                    latest=latest,
                    attachments=attachments,
                )
            )
            position += answered
            for result in results:
                yield result

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, RevsDiff]:
        diff = partial(reading.revs_diff, asked=revs)
        few = len(revs) <= reading.FEW and sum(map(len, revs.values())) <= reading.FEW
        return await (self._look_up(diff) if few else self._engine.read(diff))

    def all_docs(
        self,
        *,
        keys: Sequence[str] | None = None,
        startkey: str | None = None,
        endkey: str | None = None,
        inclusive_end: bool = True,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        update_seq: bool = False,
    ) -> AllDocs:
        options = ListOptions(
            None if keys is None else list(keys),
            startkey, endkey, inclusive_end, descending, skip, limit, include_docs, conflicts, attachments,
        )  # fmt: skip

        async def head() -> AllDocsHead:
            options.check()
            state = await self._engine.read(lambda c: fetch_one(c, "SELECT doc_count, update_seq FROM state"))
            offset = None if keys is not None or startkey is not None else min(skip, state[0])
            return AllDocsHead(state[0], offset, format_seq(state[1], self._incarnation) if update_seq else None)

        return AllDocs(head, lambda: self._listing(options))

    async def _listing(self, options: ListOptions) -> AsyncIterator[list[AllDocsRow]]:
        options.check()
        if options.keys is not None:
            keys = list(reversed(options.keys)) if options.descending else list(options.keys)
            keys = keys[options.skip :]
            if options.limit is not None:
                keys = keys[: options.limit]
            while keys:
                rows, answered = await self._engine.read(
                    partial(listing.keyed_page, options=options, keys=keys[:PAGE_ROWS])
                )
                del keys[:answered]
                yield rows
            return
        after: str | None = None
        skip, left = options.skip, options.limit
        while left is None or left > 0:
            limit = PAGE_ROWS if left is None else min(PAGE_ROWS, left)
            page = await self._engine.read(partial(listing.page, options=options, after=after, skip=skip, limit=limit))
            if page.rows:
                yield page.rows
            if page.after is None:
                return
            after, skip = page.after, 0
            left = None if left is None else left - len(page.rows)

    def local_docs(self, *, include_docs: bool = False) -> AllDocs:
        async def head() -> AllDocsHead:
            (count,) = await self._engine.read(lambda c: fetch_one(c, "SELECT count(*) FROM local"))
            return AllDocsHead(count, 0)

        async def pages() -> AsyncIterator[list[AllDocsRow]]:
            after: str | None = ""
            while after is not None:
                page = await self._engine.read(partial(listing.local_page, include_docs=include_docs, after=after))
                if page.rows:
                    yield page.rows
                after = page.after

        return AllDocs(head, pages)

    # -- the feed

    def changes(
        self,
        *,
        since: Seq | int = "0",
        limit: int | None = None,
        live: bool = False,
        descending: bool = False,
        style: Literal["main_only", "all_docs"] = "main_only",
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        doc_ids: Sequence[str] | None = None,
        selector: Mapping[str, Any] | None = None,
        filter: ChangesFilter | None = None,
        query: Mapping[str, str] | None = None,
        heartbeat: float | None = None,
        timeout: float | None = None,
        seq_interval: int | None = None,
        batch_size: int = 1000,
    ) -> Changes:
        if limit is not None and limit < 0:
            raise BadRequest("limit must not be negative.")
        if live and descending:
            raise BadRequest("A live feed can't be descending.")
        options = FeedOptions(
            incarnation=self._incarnation,
            descending=descending,
            style=style,
            include_docs=include_docs,
            conflicts=conflicts,
            attachments=attachments,
            doc_ids=None if doc_ids is None else frozenset(doc_ids),
            matches=None if selector is None else compile_selector(selector),
            needs_doc=include_docs or selector is not None or filter is not None,
        )
        request = feeding.FeedRequest(
            since=since,
            # As in CouchDB, a limit of 0 means 1.
            limit=None if limit is None else max(limit, 1),
            live=live,
            filter=filter,
            query=dict(query or {}),
            who=acting_principal(),
            heartbeat=heartbeat,
            timeout=timeout,
            batch_size=max(1, batch_size),
        )
        source = feeding.FeedSource(self._engine, self._signal, self._watch, self._runner, self.known_as or self.name)
        return Changes(lambda: feeding.follow(source, options, request))

    # -- writing

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        docs = list(docs)
        self._engine.check_open()
        options = self._write_options(new_edits, guard)
        prepare = partial(batches.prepare, docs, new_edits, self._make_id, self._max_document_size)
        if not any("_attachments" in doc for doc in docs if type(doc) is dict):
            if len(docs) <= ENCODE_HERE:
                prepared = prepare({})
            else:
                prepared = await self._loop.run_in_executor(None, prepare, {})
            return await self._engine.write(writing.WriteJob(prepared, options))
        intake = uploads.Intake(self._engine, kept_as_received=not new_edits)
        try:
            taken: dict[int, dict[str, edits.AttachmentEdit] | PeerPouchError] = {}
            for n, doc in enumerate(docs):
                if type(doc) is dict and "_attachments" in doc:
                    try:
                        taken[n] = await intake.take(doc.get("_id"), doc["_attachments"])
                    except (BadRequest, InvalidDocument) as error:
                        taken[n] = error
            return await self._engine.write(writing.WriteJob(prepare(taken), options))
        finally:
            await intake.discard()

    # -- attachments

    async def get_attachment(
        self,
        doc_id: str,
        name: str,
        *,
        rev: str | None = None,
        start: int = 0,
        end: int | None = None,
        encoded: bool = False,
    ) -> Attachment:
        edits.check_id(doc_id)
        row = await self._engine.read(partial(reading.find_attachment, doc_id=doc_id, name=name, rev=rev))
        return uploads.outgoing(self._engine, name, row, start, end, encoded)

    # -- administration

    async def get_security(self) -> Document:
        return await self._look_up(maintenance.get_security)

    async def put_security(self, security: Document) -> None:
        await self._engine.write(partial(maintenance.put_security, security=security))

    async def get_revs_limit(self) -> int:
        return await self._engine.read(maintenance.get_revs_limit)

    async def put_revs_limit(self, limit: int) -> None:
        await self._engine.write(partial(maintenance.put_revs_limit, limit=limit))

    async def purge(self, revs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return await self._engine.write(partial(maintenance.purge, asked=revs))

    async def compact(self) -> None:
        await maintenance.compact(self._engine, self._location.path)

    async def check(self) -> list[str]:
        """What is wrong with the file, as sentences; an empty list when trees, digests, sequences and references agree.

        It reads everything: seconds per million documents, and whatever the attachments take.
        """
        return await self._engine.read(checking.check)

    async def backup(self, path: str | Path, *, as_new: bool = False) -> None:
        """Write a consistent copy, with sequences of its own, to a new file; others go on reading and writing.

        Args:
            as_new: Make it another database, with a uuid of its own. Else the copy is to be put in this one's place.

        Raises:
            DatabaseExists: when there is a file already.
            DiskFull, StorageError
        """
        await maintenance.backup(self._engine, Path(path), as_new=as_new)

    async def close(self) -> None:
        if self._watch is not None:
            await self._watch.aclose()
        await self._engine.close()
        self._signal.raise_()

    async def destroy(self) -> None:
        self._engine.check_open()
        await self.close()
        if self._location.path is not None:
            await asyncio.to_thread(maintenance.delete_files, self._location.path)

    # -- waking feeds

    def _committed(self) -> None:
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        """Wake the feeds that wait if there is something new, whoever wrote it."""
        if self._signal.waited_for and not self._engine.closed:
            done, row = self._engine.read_now(lambda c: fetch_one(c, "SELECT update_seq FROM state"))
            if done and row is not None:
                if row[0] == self._seen_seq:
                    return
                self._seen_seq = row[0]
        self._signal.raise_()


open_storage = Storage.open
