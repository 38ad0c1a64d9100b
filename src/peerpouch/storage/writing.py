"""The write transaction of ``bulk_docs``.

A batch of documents that are all plain and new goes into the file as the columns that it is. Any other is written in
rounds of documents with different ids (nearly always one), so that a round can look up all rows at once, and insert
all new documents with few statements. The number of statements matters twice: each costs
time of its own, and each gives up and takes back the interpreter's lock, for which a busy event loop makes it wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import apsw

from peerpouch.core import jsonio, revisions
from peerpouch.core.revtree import Leaf, RevTree, extend_line, is_line
from peerpouch.errors import Conflict, CorruptDatabase, PeerPouchError
from peerpouch.ports import Guard, WriteFailure, WriteResult, Written, both_guards
from peerpouch.storage import batches, judging, linking
from peerpouch.storage.batches import Plain, Prepared, Single
from peerpouch.storage.connections import any_between, fetch, fetch_one, gather, placeholders
from peerpouch.storage.edits import Edit, LocalEdit
from peerpouch.storage.engine import Mergeable
from peerpouch.storage.rows import Head, read_json
from peerpouch.storage.schema import BRANCHED, DELETED, EXACT, LEAF, SEQ_SPAN_BITS

# Rows in one statement. The binding keeps no statement longer than 16 KiB prepared.
_PORTIONS = (500, 50, 8, 1)


def _sized(statement: str, marks: str) -> dict[int, str]:
    """A statement for each size of a portion, the largest first."""
    return {size: statement.replace("$ROWS", ",".join([marks] * size)) for size in _PORTIONS}


_WIDTH = 7
_INSERT = _sized("INSERT INTO docs (seq, id, key, rev, flags, body, ancestry) VALUES $ROWS", "(?,?,?,?,?,?,?)")
_LINK = _sized("INSERT OR REPLACE INTO attachments VALUES $ROWS", "(?,?,?,?,?,?,?,?,?,?)")
_UPDATE = _sized(
    "WITH new (seq, rev, flags, body, ancestry, old) AS (VALUES $ROWS) UPDATE docs SET seq = new.seq, rev = new.rev, "
    "flags = new.flags, body = new.body, ancestry = new.ancestry FROM new WHERE docs.seq = new.old",
    "(?,?,?,?,?,?)",
)
_DEMOTE = {
    flag: _sized(
        "INSERT OR REPLACE INTO revs (key, rev, flags, body) "
        f"SELECT key, rev, flags & ~{BRANCHED} | {flag}, body FROM docs WHERE seq IN ($ROWS)",
        "?",
    )
    for flag in (0, LEAF)
}
# Sizes of the list in "id IN (…)".
_LOOKUP_SIZES = (1, 8, 64, 512)


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a batch is written.

    Attributes:
        new_edits: See :meth:`peerpouch.ports.Documents.bulk_docs`.
        guard: Judges each document.
        keep_bodies: Keep the body of a revision that is not a leaf any more, until compaction.
        standing: Gives what judges each document besides ``guard``, in each transaction anew.
        told: Whether what was written is told of; else there is ``None`` in its place, where that saves making it.
    """

    new_edits: bool = True
    guard: Guard | None = None
    keep_bodies: bool = True
    standing: judging.MakeGuard | None = None
    told: bool = True


def write_batch(connection: apsw.Connection, batch: Prepared, options: WriteOptions) -> list[WriteResult]:
    """Write documents inside the transaction that is open; one result each, in order."""
    return _BatchWriter(connection, options).run(batch)


class WriteJob(Mergeable):
    """Documents to be written; as a job of the engine, together with those of other callers that wait, too.

    Two batches together are what one after the other would be: of an id that is in both, the second sees what the first
    wrote, since a writer takes the documents of one id in their order.
    """

    def __init__(self, batch: Prepared, options: WriteOptions) -> None:
        self._batch = batch
        self._options = options

    def __call__(self, connection: apsw.Connection) -> list[WriteResult]:
        return write_batch(connection, self._batch, self._options)

    def merges_with(self, other: Mergeable) -> bool:
        # A guard may look at the database, so it judges its own documents when those before are written.
        return (
            isinstance(other, WriteJob)
            and self._options.guard is None
            and self._options.standing is None
            and (self._options is other._options or self._options == other._options)
        )

    def together(self, connection: apsw.Connection, jobs: Sequence[WriteJob]) -> list[list[WriteResult]]:
        results = write_batch(connection, batches.joined([job._batch for job in jobs]), self._options)
        found: list[list[WriteResult]] = []
        at = 0
        for job in jobs:
            found.append(results[at : at + len(job._batch)])
            at += len(job._batch)
        return found


class _BatchWriter:
    def __init__(self, connection: apsw.Connection, options: WriteOptions) -> None:
        self.connection = connection
        self.options = options
        self.guard = both_guards(options.guard, None if options.standing is None else options.standing(connection))
        state = fetch_one(
            connection, "SELECT update_seq, (SELECT value FROM meta WHERE name = 'revs_limit') FROM state"
        )
        if state is None or type(state[0]) is not int or type(state[1]) is not int:
            raise CorruptDatabase("The database's counters are damaged, so nothing can be written to it.")
        self.seq: int = state[0]
        self.revs_limit: int = state[1]
        self.first_seq = self.seq
        self.docs = 0
        self.deletions = 0
        self.spans: dict[int, int] = {}
        self.inserts: list[tuple[Any, ...]] = []
        self.updates: list[tuple[Any, ...]] = []
        self.links: list[tuple[Any, ...]] = []
        self.demoted: list[tuple[int, int]] = []
        self.dropped: list[tuple[int, str]] = []

    def run(self, batch: Prepared) -> list[WriteResult]:
        if isinstance(batch, Plain) and self.guard is None and self._are_new(batch):
            self._append(batch)
            results: list[Any] = batch.written() if self.options.told else [None] * len(batch)
        else:
            results = self._singly(batches.singles(batch))
        self._write_state()
        return results

    def _are_new(self, batch: Plain) -> bool:
        ids = set(batch.ids)
        return batch.parents is None and len(ids) == len(batch) and not self._heads(ids)

    def _append(self, batch: Plain) -> None:
        """Write documents that are all new."""
        seqs = range(self.seq + 1, self.seq + 1 + len(batch))
        ancestries: list[str | None] | None = None
        if batch.histories is not None:
            ancestries = [
                ",".join(hashes[1 : self.revs_limit]) or None if len(hashes) > 1 else None for hashes in batch.histories
            ]
        width, zeros, none = _WIDTH, [0] * len(batch), [None] * len(batch)
        values: list[Any] = [None] * (width * len(batch))
        for n, column in enumerate((seqs, batch.ids, seqs, batch.revs, zeros, batch.bodies, ancestries or none)):
            values[n::width] = column
        self._portions(_INSERT, width, values)
        self.seq += len(batch)
        self.docs += len(batch)

    def _singly(self, edits: Sequence[Single]) -> list[Any]:
        results: list[Any] = [None] * len(edits)
        waiting: list[tuple[int, Edit]] = []
        for index, edit in enumerate(edits):
            if type(edit) is Edit:
                waiting.append((index, edit))
            elif isinstance(edit, LocalEdit):
                results[index] = self._local(edit)
            else:
                results[index] = edit
        while waiting:
            waiting = self._round(waiting, results)
        return results

    def _round(self, waiting: list[tuple[int, Edit]], results: list[Any]) -> list[tuple[int, Edit]]:
        """Write the first document of each id; gives the rest."""
        later: list[tuple[int, Edit]] = []
        ids = {edit.id for _, edit in waiting}
        if len(ids) < len(waiting):
            seen: set[str] = set()
            now: list[tuple[int, Edit]] = []
            for item in waiting:
                (later if item[1].id in seen else now).append(item)
                seen.add(item[1].id)
            waiting = now
        known = self._heads(ids)
        plain = self.guard is None
        for index, edit in waiting:
            head = known.get(edit.id)
            if head is None and plain and edit.attachments is None and (edit.parent is None or edit.hashes is not None):
                self._insert(edit)
                results[index] = Written(edit.id, edit.rev or "")
                continue
            try:
                results[index] = Written(edit.id, self._write(edit, head))
            except PeerPouchError as error:
                results[index] = WriteFailure(edit.id, error, None if self.options.new_edits else edit.rev)
        self._flush()
        return later

    def _heads(self, ids: Iterable[str]) -> dict[str, Head]:
        found: dict[str, Head] = {}
        wanted = list(ids)
        if len(wanted) > 1 and not any_between(self.connection, wanted):
            return found
        for offset in range(0, len(wanted), _LOOKUP_SIZES[-1]):
            marks, bindings = placeholders(wanted[offset : offset + _LOOKUP_SIZES[-1]], _LOOKUP_SIZES)
            for row in gather(
                self.connection,
                ["seq", "json_quote(id)", "key", "json_quote(rev)", "flags", "json_quote(ancestry)"],
                f"SELECT seq, id, key, rev, flags, ancestry FROM docs WHERE id IN ({marks}) LIMIT -1",
                bindings,
            ):
                found[row[1]] = (row[0], row[1], row[2], row[3], row[4], row[5])
        return found

    # -- one document

    def _insert(self, edit: Edit) -> None:
        self.seq = seq = self.seq + 1
        ancestry = None
        if edit.hashes is not None and len(edit.hashes) > 1:
            ancestry = ",".join(edit.hashes[1 : self.revs_limit]) or None
        self.inserts.append((seq, edit.id, seq, edit.rev, edit.flags, edit.body, ancestry))
        if edit.flags & DELETED:
            self.deletions += 1
        else:
            self.docs += 1

    def _write(self, edit: Edit, head: Head | None) -> str:
        if edit.attachments is not None or (edit.parent is None and head is not None):
            # What follows may change it, and the job may be run again, so what it was given stays as it is.
            edit = replace(edit, attachments=None if edit.attachments is None else dict(edit.attachments))
        extends = edit.parent is not None or not self.options.new_edits
        if self.options.new_edits:
            self._judge_parent(edit, head)
        elif head is not None and self._is_known(edit, head):
            return edit.rev or ""
        linking.settle(self.connection, edit, head)
        assert edit.rev is not None
        if self.guard is not None:
            self.guard(judging.proposal(self.connection, edit, head, extends))
        if edit.attachments:
            # First, since it may fail, and then the document must not be there.
            self.links += linking.rows(self.connection, edit, self.seq + 1 if head is None else head[2])
        if head is None:
            self._insert(edit)
        elif self.options.new_edits and not head[4] & BRANCHED:
            self._extend(edit, head)
        else:
            self._branch(edit, head)
        return edit.rev

    def _judge_parent(self, edit: Edit, head: Head | None) -> None:
        """Raise Conflict unless the edit extends a leaf; an edit that revives a deleted document extends that."""
        if head is None:
            if edit.parent is not None:
                raise Conflict
            return
        _, _, _, rev, flags, ancestry = head
        if edit.parent is None:
            if not flags & DELETED or edit.deleted:
                raise Conflict
            edit.parent = rev
            if edit.rev is not None:
                canonical = jsonio.canonical(read_json(edit.body, edit.flags))
                edit.rev = revisions.new_revision(rev, edit.deleted, canonical)
        elif edit.parent != rev:
            if is_line(ancestry):
                raise Conflict
            tree = RevTree.load(revisions.split(rev), bool(flags & DELETED), ancestry)
            if tree.leaf(revisions.split(edit.parent)) is None:
                raise Conflict

    def _is_known(self, edit: Edit, head: Head) -> bool:
        """Whether a revision that is written with its history is here already. It may still tell of ancestors."""
        _, _, _, rev, flags, ancestry = head
        assert edit.hashes is not None
        line = is_line(ancestry)
        if edit.rev == rev and line:
            have = 1 if ancestry is None else ancestry.count(",") + 2
            if len(edit.hashes) <= have or have >= self.revs_limit:
                return True
        path = edit.path
        assert path is not None
        tree = RevTree.load(revisions.split(rev), bool(flags & DELETED), ancestry)
        if path[0] not in tree:
            return False
        before, leaves = len(tree), tree.leaves
        tree.merge(path, edit.deleted)
        if len(tree) > before:
            tree.stem(self.revs_limit)
            self._store_tree(head, tree, leaves)
        return True

    def _store_tree(self, head: Head, tree: RevTree, leaves: list[Leaf]) -> None:
        """Keep what was learned of a document's past; its leaves may become fewer, its sequence stays."""
        winner, _, ancestry = tree.dump()
        if revisions.format(winner) != head[3]:
            return  # the past can't change the winner: whoever sends such a history is not to be believed
        flags = head[4] & ~BRANCHED | (0 if is_line(ancestry) else BRANCHED)
        self.connection.execute("UPDATE docs SET flags = ?, ancestry = ? WHERE seq = ?", (flags, ancestry, head[0]))

    def _extend(self, edit: Edit, head: Head) -> None:
        """A child of the only leaf: no tree is built."""
        seq, _, key, rev, _, ancestry = head
        ancestry = extend_line(revisions.split(rev), ancestry, self.revs_limit)
        if self.options.keep_bodies:
            self.demoted.append((0, seq))
        else:
            self.dropped.append((key, rev))
        self._replace(head, edit.rev, edit.flags, edit.body, ancestry)

    def _replace(self, head: Head, rev: str | None, flags: int, body: bytes, ancestry: str | None) -> None:
        old_seq, old_flags = head[0], head[4]
        self.seq += 1
        self.updates.append((self.seq, rev, flags, body, ancestry, old_seq))
        span = old_seq >> SEQ_SPAN_BITS
        self.spans[span] = self.spans.get(span, 0) - 1
        if (old_flags ^ flags) & DELETED:
            change = 1 if flags & DELETED else -1
            self.deletions += change
            self.docs -= change

    def _branch(self, edit: Edit, head: Head) -> None:
        """An edit of a document that has, or now gets, more than one leaf."""
        seq, _, key, old_rev, old_flags, ancestry = head
        tree = RevTree.load(revisions.split(old_rev), bool(old_flags & DELETED), ancestry)
        assert edit.rev is not None
        leaves = tree.leaves
        path = edit.path or [revisions.split(edit.rev), revisions.split(edit.parent or "")]
        tree.merge(path, edit.deleted)
        tree.stem(self.revs_limit)
        winner, _, ancestry = tree.dump()
        win = revisions.format(winner)
        branched = 0 if is_line(ancestry) else BRANCHED
        if win == old_rev:
            self._put_leaf(key, edit)
            (body,) = fetch_one(self.connection, "SELECT body FROM docs WHERE seq = ?", (seq,))
            self._replace(head, old_rev, old_flags & ~BRANCHED | branched, body, ancestry)
        else:
            if tree.leaf(revisions.split(old_rev)) is not None:
                self.demoted.append((LEAF, seq))
            elif self.options.keep_bodies:
                self.demoted.append((0, seq))
            else:
                self.dropped.append((key, old_rev))
            if win == edit.rev:
                self._replace(head, win, edit.flags | branched, edit.body, ancestry)
            else:
                self._put_leaf(key, edit)
                flags, body = self._take_body(key, win)
                self._replace(head, win, flags & ~LEAF | branched, body, ancestry)
        self._leaves_gone(key, leaves, tree)

    def _leaves_gone(self, key: int, before: list[Leaf], tree: RevTree) -> None:
        """Mark the bodies of revisions that are no leaves any more, or drop them."""
        still = {leaf.rev for leaf in tree.leaves}
        for leaf in before[1:]:
            if leaf.rev not in still:
                rev = revisions.format(leaf.rev)
                if not self.options.keep_bodies:
                    self.dropped.append((key, rev))
                self.connection.execute(
                    f"UPDATE revs SET flags = flags & ~{LEAF} WHERE key = ? AND rev = ?", (key, rev)
                )

    def _put_leaf(self, key: int, edit: Edit) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO revs (key, rev, flags, body) VALUES (?, ?, ?, ?)",
            (key, edit.rev, edit.flags | LEAF, edit.body),
        )

    def _take_body(self, key: int, rev: str) -> tuple[int, bytes]:
        rows = fetch(self.connection, "DELETE FROM revs WHERE key = ? AND rev = ? RETURNING flags, body", (key, rev))
        if not rows:
            raise CorruptDatabase(f"The body of the leaf {rev} of a document is missing.")
        flags, body = rows[0]
        return flags, body

    # -- _local documents

    def _local(self, edit: LocalEdit) -> WriteResult:
        row = fetch_one(self.connection, "SELECT rev FROM local WHERE id = ?", (edit.id,))
        if self.options.new_edits and edit.parent != (None if row is None else f"0-{row[0]}"):
            return WriteFailure(edit.id, Conflict())
        if edit.flags & DELETED:
            self.connection.execute("DELETE FROM local WHERE id = ?", (edit.id,))
            return Written(edit.id, "0-0")
        number = 1 if row is None else row[0] + 1
        self.connection.execute(
            "INSERT OR REPLACE INTO local VALUES (?, ?, ?, ?)", (edit.id, number, edit.flags & EXACT, edit.body)
        )
        return Written(edit.id, f"0-{number}")

    # -- to the file

    def _flush(self) -> None:
        # Before anything is dropped, which looks whether others refer to a content.
        self._portions(_LINK, 10, list(chain.from_iterable(self.links)))
        for flag in (0, LEAF):
            # In the order of the table, so that neighbours are read and written together.
            seqs = sorted(seq for leaf, seq in self.demoted if leaf == flag)
            self._portions(_DEMOTE[flag], 1, seqs)
        for key, rev in self.dropped:
            self.connection.execute("DELETE FROM revs WHERE key = ? AND rev = ?", (key, rev))
            linking.drop(self.connection, key, rev)
        self.updates.sort(key=lambda row: row[-1])
        self._portions(_UPDATE, 6, list(chain.from_iterable(self.updates)))
        self._portions(_INSERT, _WIDTH, list(chain.from_iterable(self.inserts)))
        self.links, self.demoted, self.dropped, self.updates, self.inserts = [], [], [], [], []

    def _portions(self, statements: Mapping[int, str], width: int, values: Sequence[Any]) -> None:
        """Run a statement that takes many rows at once, in few sizes, so that few statements are prepared and kept."""
        position = 0
        for rows, sql in statements.items():
            size = rows * width
            while len(values) - position >= size:
                self.connection.execute(sql, values[position : position + size])
                position += size

    def _write_state(self) -> None:
        if self.seq == self.first_seq:
            return
        # A document that was written twice in this batch is counted once, in the span of its last sequence.
        superseded = self.spans
        for span in range((self.first_seq + 1) >> SEQ_SPAN_BITS, (self.seq >> SEQ_SPAN_BITS) + 1):
            start = max(span << SEQ_SPAN_BITS, self.first_seq + 1)
            end = min((span + 1) << SEQ_SPAN_BITS, self.seq + 1)
            superseded[span] = superseded.get(span, 0) + end - start
        self.connection.executemany(
            "INSERT INTO seq_counts VALUES (?1, ?2) ON CONFLICT DO UPDATE SET docs = docs + ?2",
            [item for item in superseded.items() if item[1]],
        )
        self.connection.execute(
            "UPDATE state SET update_seq = ?, doc_count = doc_count + ?, del_count = del_count + ?",
            (self.seq, self.docs, self.deletions),
        )
