"""The history of one document: which revision was made from which.

Theory of operation. A document's edits form a graph. Everybody who edits a revision adds a child to it, and when
replicas meet, their graphs are united. A revision without a child is a *leaf*; more than one leaf that is not a
deletion is a *conflict*. All replicas must agree on the *winner* without talking: it is the leaf that is not
deleted, then has the highest generation, then the highest hash as text (CouchDB's rule).

The graph is kept as a set of edges, child to parent, and merging is the union of such sets. Union is commutative,
associative and idempotent, so any order of merging any unstemmed paths gives the same tree. CouchDB keeps a forest
instead, where a revision that was reached by two different histories is two nodes. Honest programs never make such
(the hash covers the parent); of a dishonest one peerpouch keeps both edges of the one node, and shows the history
through the greater parent.

*Stemming* forgets what is ``limit`` or more edits behind every leaf. What two replicas forgot at different places still
unites where their remaining paths overlap; where they do not, the document has two roots and a conflict, as in CouchDB.

Compact form. Nearly all documents have a single line of history. A tree is stored as three values, of which the
storage already has two: the winner's revision, whether it is deleted, and the *ancestry*:

* ``None``: the winner has no known ancestor: a new document, so that writing one touches nothing of this module.
* ``"hash,hash,..."``: a single line, the winner's ancestors, newest first. :func:`extend_line` edits it as text.
* ``"[...]"``: anything else, as JSON: ``[[generation, deleted, "hash,hash,..."], ...]``, one entry per leaf, winner
  first, each path newest first and ending at a root or at a revision that an earlier entry has. Paths that do not
  start at a leaf (the other parents of a revision) have ``null`` for ``deleted``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import orjson

from peerpouch.core.revisions import Rev
from peerpouch.errors import CorruptDatabase

DEFAULT_REVS_LIMIT = 1000
"""CouchDB's and PouchDB's default."""


class Leaf(NamedTuple):
    """A leaf; ordered so that the greatest is the winner."""

    alive: bool
    rev: Rev

    @property
    def deleted(self) -> bool:
        return not self.alive


class RevTree:
    """A document's revisions.

    Attributes:
        leaves: The leaves, winner first.
    """

    __slots__ = ("_deleted", "_parents", "leaves")

    def __init__(self) -> None:
        # Every known revision with its known parents: none at a root, one nearly always.
        self._parents: dict[Rev, tuple[Rev, ...]] = {}
        # The leaves; also kept for revisions that were leaves once, until the tree is stored.
        self._deleted: dict[Rev, bool] = {}
        self.leaves: list[Leaf] = []

    @classmethod
    def load(cls, rev: Rev, deleted: bool, ancestry: str | None) -> RevTree:
        """The tree of its compact form; see the module's docstring.

        Raises:
            CorruptDatabase: if ``ancestry`` is malformed.
        """
        tree = cls()
        if ancestry is None or not ancestry.startswith("["):
            hashes = ancestry.split(",") if ancestry else []
            tree._add([rev, *((rev[0] - n, item) for n, item in enumerate(hashes, 1))], deleted)
            tree.leaves = [Leaf(not deleted, rev)]
            return tree
        try:
            for start, is_deleted, hashes in orjson.loads(ancestry):
                path = [(start - n, item) for n, item in enumerate(hashes.split(","))]
                tree._add(path, is_deleted)
            tree._find_leaves()
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            raise CorruptDatabase(f"A revision tree is malformed: {error}.") from None
        if not tree.leaves or tree.leaves[0] != Leaf(not deleted, rev):
            raise CorruptDatabase("A revision tree and its winner contradict each other.")
        return tree

    def dump(self) -> tuple[Rev, bool, str | None]:
        """The compact form: winner, whether it is deleted, ancestry."""
        winner = self.leaves[0]
        if len(self.leaves) == 1 and all(len(parents) < 2 for parents in self._parents.values()):
            line = [item for _, item in self.path(winner.rev)[1:]]
            if len(line) + 1 == len(self._parents):
                return winner.rev, winner.deleted, ",".join(line) or None
        entries: list[tuple[int, bool | None, str]] = []
        seen: set[Rev] = set()
        pending: list[tuple[Rev, Rev]] = []

        def emit(path: list[Rev], deleted: bool | None) -> None:
            while (rev := path[-1]) not in seen:
                seen.add(rev)
                parents = self._parents[rev]
                pending.extend((rev, parent) for parent in parents[1:])
                if not parents:
                    break
                path.append(parents[0])
            entries.append((path[0][0], deleted, ",".join(item for _, item in path)))

        for leaf in self.leaves:
            emit([leaf.rev], leaf.deleted)
        while pending:
            emit(list(pending.pop()), None)
        return winner.rev, winner.deleted, orjson.dumps(entries).decode()

    @property
    def winner(self) -> Leaf:
        return self.leaves[0]

    @property
    def conflicts(self) -> list[Rev]:
        """The leaves that are neither the winner nor deleted, greatest first."""
        return [leaf.rev for leaf in self.leaves[1:] if leaf.alive]

    @property
    def deleted_conflicts(self) -> list[Rev]:
        """The deleted leaves besides the winner, greatest first."""
        return [leaf.rev for leaf in self.leaves[1:] if not leaf.alive]

    def __contains__(self, rev: Rev) -> bool:
        return rev in self._parents

    def __len__(self) -> int:
        return len(self._parents)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RevTree):
            return NotImplemented
        return self._parents == other._parents and self.leaves == other.leaves

    __hash__ = None  # type: ignore[assignment]

    def leaf(self, rev: Rev) -> Leaf | None:
        """The leaf of this revision, if it is one."""
        return next((leaf for leaf in self.leaves if leaf.rev == rev), None)

    def path(self, rev: Rev) -> list[Rev]:
        """``rev`` and its known ancestors, newest first."""
        path = [rev]
        while parents := self._parents[path[-1]]:
            path.append(parents[0])
        return path

    def leaves_above(self, rev: Rev) -> list[Leaf]:
        """The leaves that descend from ``rev`` (or are it), winner first: what ``latest`` asks for."""
        return [leaf for leaf in self.leaves if leaf.rev[0] >= rev[0] and rev in self._ancestors(leaf.rev)]

    def merge(self, path: Sequence[Rev], deleted: bool) -> bool:
        """Unite with a path, newest first. Gives whether its first revision was not known before.

        Args:
            deleted: Whether the path's first revision is a deletion. Ignored when that revision is known.
        """
        new = path[0] not in self._parents
        self._add(path, deleted if new else None)
        self._find_leaves()
        return new

    def stem(self, limit: int) -> None:
        """Forget every revision that is ``limit`` or more edits behind each leaf that descends from it."""
        if limit >= len(self._parents):
            return
        budget = {leaf.rev: limit for leaf in self.leaves}
        for rev in sorted(self._parents, reverse=True):
            left = budget.get(rev, 0) - 1
            for parent in self._parents[rev]:
                if left > budget.get(parent, 0):
                    budget[parent] = left
        self._parents = {
            rev: tuple(parent for parent in parents if parent in budget)
            for rev, parents in self._parents.items()
            if rev in budget
        }

    def remove_leaves(self, revs: Collection[Rev]) -> list[Rev]:
        """Forget these leaves, and the ancestors that no other leaf has. Gives those that were leaves."""
        removed = [leaf.rev for leaf in self.leaves if leaf.rev in revs]
        self.leaves = [leaf for leaf in self.leaves if leaf.rev not in revs]
        kept: set[Rev] = set()
        for leaf in self.leaves:
            kept |= self._ancestors(leaf.rev)
        self._parents = {rev: parents for rev, parents in self._parents.items() if rev in kept}
        return removed

    def possible_ancestors(self, missing: Iterable[Rev]) -> list[Rev]:
        """The leaves that may be ancestors of a revision that is missing: those of a lower generation."""
        highest = max(rev[0] for rev in missing)
        return [leaf.rev for leaf in self.leaves if leaf.rev[0] < highest]

    def _ancestors(self, rev: Rev) -> set[Rev]:
        found = {rev}
        stack = [rev]
        while stack:
            for parent in self._parents[stack.pop()]:
                if parent not in found:
                    found.add(parent)
                    stack.append(parent)
        return found

    def _add(self, path: Sequence[Rev], deleted: bool | None) -> None:
        parents = self._parents
        for child, parent in pairwise(path):
            known = parents.get(child)
            if not known:
                parents[child] = (parent,)
            elif parent not in known:
                parents[child] = tuple(sorted((*known, parent), reverse=True))
        parents.setdefault(path[-1], ())
        if deleted is not None:
            self._deleted[path[0]] = deleted

    def _find_leaves(self) -> None:
        inner = {parent for parents in self._parents.values() for parent in parents}
        self.leaves = sorted(
            (Leaf(not self._deleted[rev], rev) for rev in self._parents if rev not in inner), reverse=True
        )


def extend_line(rev: Rev, ancestry: str | None, limit: int) -> str | None:
    """The ancestry of a new child of ``rev``, where ``rev`` is the end of a single line of history.

    It costs a copy of a short text, no tree.
    """
    if limit <= 1:
        return None
    if ancestry is None:
        return rev[1]
    line = f"{rev[1]},{ancestry}"
    if line.count(",") + 2 > limit:
        line = ",".join(line.split(",", limit - 1)[: limit - 1])
    return line


def is_line(ancestry: str | None) -> bool:
    """Whether the compact form is a single line of history."""
    return ancestry is None or not ancestry.startswith("[")


def line_has(winner: Rev, ancestry: str | None, rev: Rev) -> bool:
    """Whether a single line of history that ends in ``winner`` has this revision."""
    behind = winner[0] - rev[0]
    if behind <= 0 or ancestry is None:
        return rev == winner
    hashes = ancestry.split(",", behind)
    return behind <= len(hashes) and hashes[behind - 1] == rev[1]
