"""The demo's proof: both databases hold the same, compared one by one, and the hub holds nothing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from peerpouch.ports import Database, RevisionRequest

BATCH = 500
"""Documents that are fetched from both sides at a time."""

SHOWN = 20
"""The most differences that are kept in words; all are counted."""

Leaves = dict[str, frozenset[str]]


@dataclass
class Comparison:
    """What was compared, and what differs."""

    documents: int = 0
    leaves: int = 0
    conflicts: int = 0
    attachments: int = 0
    attachment_bytes: int = 0
    differing: int = 0
    differences: list[str] = field(default_factory=list)

    def differs(self, what: str) -> None:
        """Note a difference."""
        self.differing += 1
        if len(self.differences) < SHOWN:
            self.differences.append(what)


async def compare(
    ours: Database, theirs: Database, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> Comparison:
    """Compare two databases: every document's leaves and winner, every leaf's history, body and attachments' bytes.

    Args:
        on_progress: Called with documents compared, and documents in all.
    """
    result = Comparison()
    our_leaves, their_leaves = await _leaves(ours), await _leaves(theirs)
    for doc_id in our_leaves.keys() ^ their_leaves.keys():
        result.differs(f"{doc_id} is in one of them only")
    common = sorted(our_leaves.keys() & their_leaves.keys())
    for start in range(0, len(common), BATCH):
        batch = common[start : start + BATCH]
        await _compare_batch(ours, theirs, batch, our_leaves, their_leaves, result)
        on_progress(start + len(batch), len(common))
    await _compare_winners(ours, theirs, result)
    return result


async def _leaves(database: Database) -> Leaves:
    changes = database.changes(style="all_docs")
    return {change["id"]: frozenset(leaf["rev"] for leaf in change["changes"]) async for change in changes}


async def _compare_batch(
    ours: Database, theirs: Database, batch: Sequence[str], our_leaves: Leaves, their_leaves: Leaves, result: Comparison
) -> None:
    wanted: list[RevisionRequest] = []
    for doc_id in batch:
        result.documents += 1
        if our_leaves[doc_id] != their_leaves[doc_id]:
            result.differs(f"{doc_id} has the leaves {sorted(our_leaves[doc_id])} and {sorted(their_leaves[doc_id])}")
            continue
        result.leaves += len(our_leaves[doc_id])
        result.conflicts += len(our_leaves[doc_id]) > 1
        wanted.extend(RevisionRequest(doc_id, rev) for rev in sorted(our_leaves[doc_id]))
    mine = {(each.id, each.rev): each.doc async for each in ours.bulk_get(wanted, revs=True)}
    other = {(each.id, each.rev): each.doc async for each in theirs.bulk_get(wanted, revs=True)}
    for request in wanted:
        key = (request.id, request.rev)
        doc = mine.get(key)
        if doc is None or doc != other.get(key):
            result.differs(f"{request.id} {request.rev} has another body or history")
            continue
        for name in doc.get("_attachments", {}):
            await _compare_attachment(ours, theirs, request, name, result)


async def _compare_attachment(
    ours: Database, theirs: Database, request: RevisionRequest, name: str, result: Comparison
) -> None:
    result.attachments += 1
    (mine, size), (other, _) = [await _digest(each, request, name) for each in (ours, theirs)]
    result.attachment_bytes += size
    if mine != other:
        result.differs(f"the attachment {name} of {request.id} {request.rev} has other bytes")


async def _digest(database: Database, request: RevisionRequest, name: str) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    async for chunk in await database.get_attachment(request.id, name, rev=request.rev):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


async def _compare_winners(ours: Database, theirs: Database, result: Comparison) -> None:
    winners = [
        {row["id"]: row["value"]["rev"] async for row in each.all_docs()}  # deleted winners are in no listing
        for each in (ours, theirs)
    ]
    for doc_id in winners[0].keys() | winners[1].keys():
        if winners[0].get(doc_id) != winners[1].get(doc_id):
            result.differs(f"{doc_id} has another winner")


def files_of(database: Path) -> list[Path]:
    """A database's file, its write-ahead log and everything else that lies beside it under its name."""
    return sorted(database.parent.glob(f"{database.name}*"))


def find_in(paths: Iterable[Path], needles: Iterable[bytes]) -> list[str]:
    """Which byte strings occur in which files, raw: whatever the database may think of those bytes."""
    wanted = list(needles)
    found: list[str] = []
    for path in paths:
        content = path.read_bytes()
        found.extend(f"{needle.decode('utf-8', 'replace')} in {path.name}" for needle in wanted if needle in content)
    return found
