"""The documents of a database that a selector lets through, kept as an index beside them.

What may be seen is judged leaf by leaf:

* a leaf with content is visible if it matches the selector **and** its document is a *member*;
* a deleted leaf is visible if its document is a member;
* nothing else is, above all no revision that is not a leaf.

A document becomes a member when one of its leaves is found to match, and stays one for ever. The members are the
persisted set of ids that the selector ever matched: a visitor that got a document shall get its deletion too, although
a deleted leaf has nothing left that could match; and the deletion of a document that it could never get is none of
its business, since its id may tell something.

Membership is asked *before* anything is served, so nothing is ever served without being recorded. Between two looks at
the changes feed a document may have matched and stopped matching: it was not served to anybody then, and is no member.
Every read begins with a look at the feed (:meth:`Selection.refresh`), so a visitor reads what it wrote.

The index numbers what is visible by itself: 1, 2, 3 and so on, a new number whenever the visible leaves of a document
change. A visitor's sequences are these numbers, so neither they nor the gaps between them tell of hidden writes; nor
does an edit of a hidden leaf show at a document that has visible ones too. The rows are::

    key "m"            of every member of which nothing is visible
    key "s" + number   of every member with visible leaves: "0" or, if all of them are deleted, "1", and then the
                       visible leaves, the winner first, separated by commas
    key "l" or "t"     of the same: at least one has content, or all are deleted
    key "n"            of the document "", which can't exist: the last number (8 bytes), and the epoch (16 bytes)

The epoch is made with the index, and is part of the sequences: they end with the index that they are of.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from peerpouch.core import jsonio, revisions
from peerpouch.core.mango import All, AnyOf, Node, Not, parse_selector
from peerpouch.core.selector import compile_selector
from peerpouch.errors import BadRequest, DatabaseBusy, InvalidSelector, NotFound
from peerpouch.ports import Change, Database, Document, IndexPosition, IndexRow, IndexStore, RevisionRequest, Seq

_LOG = logging.getLogger("peerpouch.access")

MEMBER: Final = b"m"
NUMBERED: Final = b"s"
LIVE: Final = b"l"
DELETED: Final = b"t"
COUNTER: Final = b"n"
NOBODY: Final = ""
"""The id under which the counter is kept; no document has it."""

END: Final = IndexPosition(NUMBERED + b"\xff" * 9)
"""After the last change."""

_PAGE: Final = 500
"""Documents judged in one step: some milliseconds, in which the lock is held and the next visitor waits."""

_KNOWN: Final = 50_000
"""Members remembered in memory, about 5 MB; a set that is full starts over."""

_PLACES: Final = 256
"""Places of the feed of which is remembered what comes after them: some for each visitor who is reading it."""

_TRIES: Final = 8
"""Other processes that update the same index make an update start over; each of them brings it further."""

MOST_INDEXES: Final = 1000
"""Selectors of which a database keeps an index. A share has one, or one for each kind of visitor; a function that makes
one of each visitor's key would make as many as there are strangers who come by. What is used no more is dropped."""

_PREFIX: Final = "access/"

_ADDED: Final = frozenset({"_revisions", "_conflicts", "_deleted_conflicts", "_revs_info", "_local_seq"})
"""Fields that only some ways of reading add, so that a selector must not see them."""

T = TypeVar("T")
Rows = list[tuple[bytes, bytes | None]]


@dataclass(frozen=True, slots=True)
class _State:
    """How far the index is. ``upto`` is ``None`` when there is none yet."""

    upto: Seq | None
    counter: int
    epoch: bytes


class Selection:
    """What one selector lets through of one database. Several visitors share one object.

    Args:
        documents: The owner's database.
        store: The same database, as an index store.
        select: A Mango selector, which was checked.
    """

    def __init__(self, documents: Database, store: IndexStore, select: Mapping[str, Any]) -> None:
        self._documents = documents
        self._store = store
        self.select = dict(select)
        parsed = parse_selector(select)
        self._test = compile_selector(parsed)
        self._is_plain = not _looks_at_added(parsed)
        self.index = _PREFIX + hashlib.sha256(jsonio.canonical(self.select)).hexdigest()[:32]
        self._state: _State | None = None
        self._suffix = ""
        self._incarnation: str | None = None
        self._known: set[str] = set()
        self._pending: dict[int, int] = {}
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None

    def matches(self, doc: Document) -> bool:
        """Whether the selector matches a leaf's document. One that it fails on does not match."""
        try:
            if self._is_plain:
                return self._test(doc)
            return self._test({name: value for name, value in doc.items() if name not in _ADDED})
        except InvalidSelector as error:
            _LOG.warning("A document is not shared, because the selector of the share fails on it: %s", error.reason)
            return False

    def visible(self, leaves: Sequence[Document], *, member: bool) -> list[Document]:
        """The visible ones of a document's leaves, the winner first; deleted ones are stripped."""
        if len(leaves) == 1 and not leaves[0].get("_deleted"):  # as nearly all documents are
            return [leaves[0]] if self.matches(leaves[0]) else []
        live: list[Document] = []
        gone: list[Document] = []
        for leaf in leaves:
            if not leaf.get("_deleted"):
                if self.matches(leaf):
                    live.append(leaf)
            elif member:
                gone.append(strip(leaf))
        for part in (live, gone):
            if len(part) > 1:
                part.sort(key=lambda doc: revisions.split(doc["_rev"]), reverse=True)
        return live + gone

    # -- bringing it up to date

    async def refresh(self) -> None:
        """Take in everything that was written before this call."""
        # Who asks while an update waits for its turn is served by that one: it begins later than the question.
        if self._next is None:
            self._next = asyncio.ensure_future(self._refresh())
            self._next.add_done_callback(_seen)
        await asyncio.shield(self._next)

    async def _refresh(self) -> None:
        try:
            async with self._lock:
                self._next = None
                await self._advance()
        finally:
            if self._next is asyncio.current_task():
                self._next = None

    async def record(self, doc_ids: Sequence[str]) -> None:
        """Make members of documents that a visitor wrote; they may be deletions, which match nothing."""
        async with self._lock:
            for _ in range(_TRIES):
                await self._advance()
                state = await self._loaded()
                present = await self._store.index_rows_of(self.index, doc_ids)
                wanted = [doc_id for doc_id in doc_ids if doc_id not in present]
                if not wanted:
                    return
                rows, counter = await self._judge(await self._leaves_of(wanted), state, frozenset(wanted))
                if await self._write(rows, state, _State(state.upto, counter, state.epoch)):
                    return
                self._state = None
        raise DatabaseBusy("The share's index is being changed by others all the time.")

    async def _advance(self) -> None:
        for _ in range(_TRIES):
            state = await self._loaded()
            if await self._catch_up(state):
                return
            self._state = None
        raise DatabaseBusy("The share's index is being changed by others all the time.")

    async def _loaded(self) -> _State:
        if self._incarnation is None:
            info = await self._documents.info()
            self._incarnation = info.get("incarnation") or info["instance_start_time"]
        if self._state is None:
            self._known.clear()
            self._set_state(await self._load())
        assert self._state is not None
        return self._state

    def _set_state(self, state: _State) -> None:
        if self._state is None or self._state.counter != state.counter:
            self._pending.clear()
        if self._state is None or self._state.epoch != state.epoch:
            origin = state.epoch + (self._incarnation or "").encode()
            self._suffix = hashlib.sha256(b"peerpouch sequence 1\0" + origin).hexdigest()[:16]
        self._state = state

    async def _load(self) -> _State:
        try:
            stored = await self._store.index_state(self.index)
            if stored is not None:
                rows = await self._store.index_rows_of(self.index, [NOBODY])
                value = rows[NOBODY][0][1] or b""
                return _State(stored.seq, int.from_bytes(value[:8], "big"), value[8:])
        except (NotFound, KeyError):
            await self._store.drop_index(self.index)
        return _State(None, 0, secrets.token_bytes(16))

    async def _catch_up(self, state: _State) -> bool:
        """Judge what changed; ``False`` when somebody else did at the same time."""
        feed = self._documents.changes(since=state.upto or "0", style="all_docs", include_docs=True, batch_size=_PAGE)
        async with aclosing(feed.pages()) as pages:
            async for page in pages:
                if state.upto == page.last_seq:
                    continue
                leaves = await self._leaves(page.results)
                rows, counter = await self._judge(leaves, state, frozenset())
                new = _State(page.last_seq, counter, state.epoch)
                if not await self._write(rows, state, new):
                    return False
                state = new
        return True

    async def _write(self, rows: dict[str, Rows], old: _State, new: _State) -> bool:
        assert new.upto is not None
        if old.upto is None or new.counter != old.counter:
            rows[NOBODY] = [(COUNTER, new.counter.to_bytes(8, "big") + new.epoch)]
        if not await self._store.update_index(self.index, rows, since=old.upto, upto=new.upto):
            return False
        self._set_state(new)
        if rows:
            self._pending.clear()
            self._remember(rows)
        if old.upto is None:
            await self._make_room()
        return True

    async def _make_room(self) -> None:
        """Drop indexes where a new one is too many: those without a member, and then those that were not used longest.

        With an index it is forgotten who may be told of which deletions, so one that has members stays while there are
        others: whoever comes with ever new selectors that match nothing pushes out nobody. One that is in use after all
        is made anew.
        """
        names = [name for name in await self._store.index_names() if name.startswith(_PREFIX) and name != self.index]
        if len(names) < MOST_INDEXES:
            return
        states = [(name, await self._store.index_state(name)) for name in names]
        # Every use brings an index up to date, so how far it is tells when it was used last.
        order = sorted(((state.rows > 1, _place(state.seq), name) for name, state in states if state is not None))
        for _, _, name in order[: len(names) - MOST_INDEXES + 1]:
            await self._store.drop_index(name)

    async def _leaves(self, changes: Sequence[Change]) -> dict[str, list[Document]]:
        found: dict[str, list[Document]] = {}
        branched: list[str] = []
        for change in changes:
            doc = change.get("doc")
            if len(change["changes"]) == 1 and doc is not None:
                found[change["id"]] = [doc]
            else:
                branched.append(change["id"])
        if branched:
            found.update(await self._leaves_of(branched))
        return found

    async def _leaves_of(self, doc_ids: Sequence[str]) -> dict[str, list[Document]]:
        found: dict[str, list[Document]] = {doc_id: [] for doc_id in doc_ids}
        async for result in self._documents.bulk_get([RevisionRequest(doc_id) for doc_id in found]):
            if result.doc is not None:
                found[result.id].append(result.doc)
        return found

    async def _judge(
        self, found: Mapping[str, list[Document]], state: _State, also: frozenset[str]
    ) -> tuple[dict[str, Rows], int]:
        """The rows that change, and the last number then."""
        old: dict[str, Rows] = {}
        if state.upto is not None and found:
            with suppress(NotFound):  # it was dropped: writing will fail, and start over
                old = await self._store.index_rows_of(self.index, list(found))
        rows: dict[str, Rows] = {}
        counter = state.counter
        for doc_id, leaves in found.items():
            before = old.get(doc_id)
            visible = self.visible(leaves, member=True)
            if before is None and doc_id not in also and (not visible or visible[0].get("_deleted")):
                continue  # it is no member: no leaf matches
            value = _summary(visible)
            if before is not None and value == next((v for key, v in before if key[:1] == NUMBERED), None):
                continue
            if value is None:
                rows[doc_id] = [(MEMBER, None)]
            else:
                counter += 1
                rows[doc_id] = [
                    (numbered(counter), value),
                    (DELETED if value[:1] == b"1" else LIVE, None),
                ]
        return rows, counter

    # -- asking it; after a refresh

    @property
    def upto(self) -> Seq:
        """The owner's sequence up to which the index is."""
        return "0" if self._state is None or self._state.upto is None else self._state.upto

    @property
    def counter(self) -> int:
        """The number of the newest change that is visible."""
        return 0 if self._state is None else self._state.counter

    @property
    def origin(self) -> str:
        """What the sequences have in common: other ones are not of this index."""
        return self._suffix

    def format_seq(self, number: int) -> Seq:
        """A number as a visitor sees it."""
        return f"{number}-{self._suffix}"

    def parse_seq(self, since: Seq | int) -> int:
        """The number that a visitor's sequence stands for; one of another index, or of a lost future, starts over.

        Raises:
            BadRequest: if it is no sequence.
        """
        if type(since) is int:
            if since < 0:
                raise BadRequest("since must not be negative.")
            return since
        if since == "now":
            return self.counter
        if type(since) is str:
            number, dash, origin = since.partition("-")
            if number.isascii() and number.isdigit() and len(number) < 20:
                if not dash:
                    return int(number)
                return int(number) if origin == self._suffix and int(number) <= self.counter else 0
        raise BadRequest(f"since must be a sequence or 'now', not {since!r}.")

    async def members(self, doc_ids: Sequence[str]) -> set[str]:
        """Those of the ids that the selector ever matched."""
        unknown = [doc_id for doc_id in doc_ids if doc_id not in self._known]
        if unknown:
            rows = await self._read(lambda: self._store.index_rows_of(self.index, unknown))
            # Asked before it is remembered, which may make room by forgetting all.
            found = {doc_id for doc_id in doc_ids if doc_id in self._known or doc_id in rows} - {NOBODY}
            self._remember(rows)
            return found
        return set(doc_ids)

    def _remember(self, members: Mapping[str, object]) -> None:
        if len(self._known) + len(members) > _KNOWN:
            self._known.clear()
        if len(members) <= _KNOWN:
            self._known.update(members)
            self._known.discard(NOBODY)

    async def number_of(self, doc_id: str) -> int:
        """The number of a document's last visible change; 0 if nothing of it is visible."""
        rows = await self._read(lambda: self._store.index_rows_of(self.index, [doc_id]))
        keys = [key for key, _ in rows.get(doc_id, ()) if key[:1] == NUMBERED]
        return int.from_bytes(keys[0][1:], "big") if keys else 0

    async def rows(
        self, start: IndexPosition, end: IndexPosition, *, descending: bool = False, skip: int = 0, limit: int = _PAGE
    ) -> list[IndexRow]:
        """Rows from ``start`` up to (not including) ``end``."""
        return await self._read(
            lambda: self._store.read_index(
                self.index, start=start, end=end, descending=descending, skip=skip, limit=limit
            )
        )

    async def count(self, start: IndexPosition, end: IndexPosition) -> int:
        """How many rows there are from ``start`` up to (not including) ``end``."""
        return await self._read(lambda: self._store.count_index(self.index, start=start, end=end))

    async def pending(self, number: int) -> int:
        """How many visible changes come after this number."""
        left = self._pending.get(number)
        if left is None:
            left = await self.count(IndexPosition(numbered(number + 1)), END)
            self._note_pending(number, left)
        return left

    def read_on(self, start: int, end: int, changes: int) -> None:
        """Say that so many changes come after ``start`` up to and with ``end``, so that what comes after that need
        not be counted: a feed that is read page by page would count nearly all of it at every page."""
        left = self._pending.get(start)
        if left is not None:
            self._note_pending(end, max(0, left - changes))

    def _note_pending(self, number: int, left: int) -> None:
        if len(self._pending) >= _PLACES:
            self._pending.clear()
        self._pending[number] = left

    async def _read(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await ask()
        except NotFound:  # somebody dropped the index
            async with self._lock:
                self._state = None
                await self._advance()
            return await ask()


def numbered(number: int) -> bytes:
    """The key of a change's row; greater numbers than can be have the key after all."""
    return NUMBERED + min(number, 2**64 - 1).to_bytes(8, "big")


def _looks_at_added(node: Node) -> bool:
    """Whether a selector looks at :data:`_ADDED` fields, or at a document as a whole."""
    if isinstance(node, (All, AnyOf)):
        return any(map(_looks_at_added, node.parts))
    if isinstance(node, Not):
        return _looks_at_added(node.part)
    return not node.path or node.path[0] in _ADDED


def strip(leaf: Document) -> Document:
    """Of a deleted leaf nothing but id, revision, deletion and history."""
    stripped: Document = {"_id": leaf["_id"], "_rev": leaf["_rev"], "_deleted": True}
    if "_revisions" in leaf:
        stripped["_revisions"] = leaf["_revisions"]
    return stripped


def _place(seq: Seq) -> int:
    number = seq.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def read_summary(value: bytes) -> tuple[bool, list[str]]:
    """Whether all visible leaves are deleted, and their revisions, the winner first."""
    return value[:1] == b"1", value[1:].decode().split(",")


def _summary(visible: list[Document]) -> bytes | None:
    if not visible:
        return None
    flag = "1" if visible[0].get("_deleted") else "0"
    return (flag + ",".join([doc["_rev"] for doc in visible])).encode()


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # whoever awaits it gets it
