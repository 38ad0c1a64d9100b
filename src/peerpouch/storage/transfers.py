"""The part of a storage by which plain revisions go in and out as columns, and what its writes have in common."""

from __future__ import annotations

import asyncio
from abc import ABC
from collections.abc import Mapping
from functools import partial
from itertools import islice

from peerpouch.ports import Documents, Guard, PlainRevisions, StandingGuard, WriteFailure
from peerpouch.storage import batches, judging, reading, writing
from peerpouch.storage.engine import Engine

ENCODE_HERE = 100
"""Up to so many documents are checked and encoded where the caller runs (a millisecond); more, in a thread."""


class PlainTransfers(Documents, ABC):
    """Reads and writes revisions that have nothing special."""

    _engine: Engine
    _keep_bodies: bool
    _max_document_size: int

    def __init__(self) -> None:
        self._design = judging.DesignDocuments()
        self._options: dict[tuple[bool, bool], writing.WriteOptions] = {}

    def _standing_guard(self) -> StandingGuard | None:
        """What judges a write besides its own guard."""
        return None

    def _write_options(self, new_edits: bool, guard: Guard | None, *, told: bool = True) -> writing.WriteOptions:
        guarding = self._standing_guard()
        if guard is None and guarding is None:
            # The same object each time, by which writes are seen to be alike.
            plain = self._options.get((new_edits, told))
            if plain is None:
                plain = writing.WriteOptions(new_edits, keep_bodies=self._keep_bodies, told=told)
                self._options[new_edits, told] = plain
            return plain
        judged = None if guarding is None else judging.standing(guarding, self._design)
        return writing.WriteOptions(new_edits, guard, self._keep_bodies, judged, told)

    async def read_plain(self, revs: Mapping[str, str]) -> PlainRevisions:
        if len(revs) <= reading.FEW:
            few = {doc_id: rev for doc_id, rev in revs.items() if doc_id[:1] != "_"}
            done, now = self._engine.read_now(partial(reading.read_plain, wanted=few))
            if done and now is not None:
                return now
        pages: list[PlainRevisions] = []
        # Design documents are for whoever looks at each.
        rest = (item for item in revs.items() if item[0][:1] != "_")
        while part := dict(islice(rest, reading.LOOKUP)):
            pages.append(await self._engine.read(partial(reading.read_plain, wanted=part)))
        if len(pages) == 1:
            return pages[0]  # nearly always
        return PlainRevisions(
            [doc_id for page in pages for doc_id in page.ids],
            [rev for page in pages for rev in page.revs],
            [ancestors for page in pages for ancestors in page.ancestors],
            [body for page in pages for body in page.bodies],
        )

    async def write_plain(self, revisions: PlainRevisions) -> list[WriteFailure]:
        self._engine.check_open()
        options = self._write_options(False, None, told=False)
        take_in = partial(batches.taken_in, revisions, self._max_document_size)
        if len(revisions.ids) <= ENCODE_HERE:
            batch = take_in()
        else:
            batch = await asyncio.get_running_loop().run_in_executor(None, take_in)
        if batch is None:
            return await super().write_plain(revisions)
        results = await self._engine.write(writing.WriteJob(batch, options))
        return [result for result in results if isinstance(result, WriteFailure)]
