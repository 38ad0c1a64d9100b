"""Reading and writing the two checkpoint documents of a replication."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any

from peerpouch.core import replication_plan as plan
from peerpouch.errors import Conflict, NotFound, PeerPouchError
from peerpouch.ports import Clock, Database, Document

_ATTEMPTS = 4
"""How often a checkpoint is written when another process writes the same one at the same moment."""


class _Side:
    def __init__(self, name: str, db: Database, doc_id: str) -> None:
        self.name = name
        self.db = db
        self.doc_id = doc_id
        self.rev: str | None = None
        self.refuses = False
        self.written: str | None = None

    async def read(self) -> Document | None:
        try:
            document = await self.db.get(self.doc_id)
        except NotFound:
            self.rev = None
            return None
        except PeerPouchError as error:
            if not plan.keeps_no_checkpoint(error):
                raise
            self.refuses = True
            return None
        rev = document.get("_rev")
        self.rev = rev if isinstance(rev, str) else None
        return document

    async def write(self, checkpoint: plan.Checkpoint, refused_by: str | None) -> bool:
        """Store it; ``False`` when this side refuses to."""
        document = plan.checkpoint_document(self.doc_id, checkpoint, refused_by)
        for attempt in range(_ATTEMPTS):
            try:
                self.rev = (await self.db.put({**document, "_rev": self.rev} if self.rev else document)).rev
                self.written = document["session_id"]
                return True
            except Conflict:
                if attempt == _ATTEMPTS - 1:
                    return True  # another run of this very replication keeps it up; ours is not needed
                await self.read()
            except PeerPouchError as error:
                if not plan.keeps_no_checkpoint(error):
                    raise
                self.refuses = True
                return False
        return True


class Checkpointer:
    """The checkpoint of one replication, on both sides.

    A side that refuses to store it (a share that may only be read) leaves it to the other side alone, whose document
    says so: only then is it believed alone.

    Args:
        replication_id: What :func:`~peerpouch.core.replication_plan.replication_id` gives.
        new_id: Gives a fresh random id.
    """

    def __init__(
        self, source: Database, target: Database, replication_id: str, clock: Clock, new_id: Callable[[], str]
    ) -> None:
        doc_id = f"_local/{replication_id}"
        self._source, self._target = _Side("source", source, doc_id), _Side("target", target, doc_id)
        self._clock = clock
        self._new_id = new_id
        self._checkpoint = plan.Checkpoint()
        self._refused_by: str | None = None
        self._run = plan.Run(new_id(), self._now(), "0")

    @property
    def seq(self) -> str:
        """The sequence that is stored."""
        return self._checkpoint.seq

    @property
    def history(self) -> tuple[Mapping[str, Any], ...]:
        """What is stored of this run and earlier ones, newest first."""
        return self._checkpoint.history

    async def load(self) -> str:
        """The source's sequence to go on from."""
        source, target = await asyncio.gather(self._source.read(), self._target.read())
        for document in (source, target):
            if document is not None and document.get("refused_by") in ("source", "target"):
                self._refused_by = document["refused_by"]
        mine = self._target.written
        if mine is None or target is None or target.get("session_id") != mine:
            self._checkpoint = plan.compare(source, target)
        # Else the target still has the checkpoint that this run wrote, so it has lost nothing since: no need to fall
        # back to an older one because the source could not be told of it when the connection broke.
        if not self._run.counters:
            self._run.start_seq = self._checkpoint.seq
        return self._checkpoint.seq

    async def save(self, seq: str, counters: dict[str, int], *, changed: bool) -> None:
        """Record that the target durably has everything up to ``seq``. Writes nothing when that is known already.

        Args:
            counters: Of this run, as :func:`~peerpouch.core.replication_plan.extend` stores them.
            changed: Whether this run saw any change: if not, ``seq`` may be another way to write the same place.
        """
        if seq == self._checkpoint.seq or (not changed and plan.same_place(seq, self._checkpoint.seq)):
            return
        self._run.counters = counters
        checkpoint = plan.extend(self._checkpoint, self._run, self._new_id(), seq, self._now())
        sides = [side for side in (self._source, self._target) if not side.refuses]
        # Both at once, to pay one round trip; errors only after both have ended, so that no write goes on unseen.
        results = await asyncio.gather(
            *(side.write(checkpoint, self._refused_by) for side in sides), return_exceptions=True
        )
        stored = {side for side, result in zip(sides, results, strict=True) if result is True}
        if self._target in stored or stored == {self._source}:
            self._checkpoint = checkpoint
        for result in results:
            if isinstance(result, BaseException):
                raise result
        await self._note_refusal([side for side in (self._source, self._target) if side.refuses], checkpoint)

    async def _note_refusal(self, refusing: list[_Side], checkpoint: plan.Checkpoint) -> None:
        if not refusing:
            self._refused_by = None
        elif len(refusing) == 1 and self._refused_by != refusing[0].name:
            self._refused_by = refusing[0].name
            other = self._target if refusing[0] is self._source else self._source
            await other.write(checkpoint, self._refused_by)

    def _now(self) -> str:
        return formatdate(self._clock.now(), usegmt=True)
