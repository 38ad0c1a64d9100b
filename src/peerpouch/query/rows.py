"""The rows of views: those of an index, and those of a function that is computed for one query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.core.collation import encode_key
from peerpouch.errors import InvalidDocument, NotFound
from peerpouch.ports import Document, IndexGroup, IndexPosition, IndexRow, IndexStore, MapFunction, ViewRow
from peerpouch.query.indexer import Rows
from peerpouch.query.reducers import BuiltIn, Emitted
from peerpouch.query.viewoptions import Range, ViewOptions

PAGE: Final = 1000
"""Rows read at once."""

GROUPED_PAGE: Final = 5000
"""Rows read at once where only their values are wanted, by keys: a millisecond of parsing."""


EncodedRow = tuple[bytes, bytes | None]


def encode_rows(pairs: Sequence[tuple[Any, Any]]) -> list[EncodedRow]:
    """Emitted keys and values as an index keeps them. The key is kept as JSON too: ``1.0`` comes back as ``1.0``."""
    return in_order([(encode_key(key), jsonio.dumps([key, value])) for key, value in pairs])


def in_order(rows: list[EncodedRow]) -> list[EncodedRow]:
    """A document's rows, those of one key by their values, as in CouchDB and PouchDB, whatever was emitted first."""
    if len(rows) < 2 or len({key for key, _ in rows}) == len(rows):
        return rows
    try:
        return sorted(rows, key=lambda row: (row[0], encode_key(jsonio.loads(row[1] or b"")[1])))
    except InvalidDocument:
        return rows  # a value that nests deeper than what can be compared


def map_rows(function: MapFunction, doc: Document) -> list[EncodedRow]:
    """What a Python map function emits for a document."""
    rows: list[EncodedRow] = []

    def emit(key: Any = None, value: Any = None) -> None:
        # Encoded at once: the function may go on to change what it emitted.
        rows.append((encode_key(key), jsonio.dumps([key, value])))

    function(doc, emit)
    return in_order(rows)


def decode_row(row: IndexRow) -> Emitted:
    """A row's key and value."""
    key, value = jsonio.loads(row.value or b"[null,null]")
    return Emitted(key, row.doc_id, value)


class RowSource(ABC):
    """The sorted rows of a view."""

    @abstractmethod
    def pages(self, part: Range, descending: bool, skip: int = 0) -> AsyncIterator[list[IndexRow]]: ...

    async def groups(self, part: Range, descending: bool) -> AsyncIterator[list[IndexGroup]]:
        """The same rows by keys, without their documents. A key's rows may come in several parts."""
        async for page in self.pages(part, descending):
            yield [IndexGroup(row.key, [jsonio.loads(row.value or b"[null,null]")]) for row in page]

    @abstractmethod
    async def total(self) -> int: ...

    @abstractmethod
    async def before(self, part: Range, descending: bool) -> int:
        """How many rows come before this range."""


class StoredRows(RowSource):
    """Rows of an index. One that does not exist (asked for without an update) is empty."""

    def __init__(self, store: IndexStore, index: str) -> None:
        self._store = store
        self._index = index

    async def pages(self, part: Range, descending: bool, skip: int = 0) -> AsyncIterator[list[IndexRow]]:
        start, end = part
        while True:
            try:
                rows = await self._store.read_index(
                    self._index, start=start, end=end, descending=descending, skip=skip, limit=PAGE
                )
            except NotFound:
                return
            if rows:
                yield rows
            if len(rows) < PAGE:
                return
            skip = 0
            start, end = _behind(rows[-1].position, Range(start, end), descending)

    async def groups(self, part: Range, descending: bool) -> AsyncIterator[list[IndexGroup]]:
        while True:
            try:
                found = await self._store.read_index_groups(
                    self._index, start=part.start, end=part.end, descending=descending, limit=GROUPED_PAGE
                )
            except NotFound:
                return
            if found is None:
                async for page in super().groups(part, descending):
                    yield page
                return
            groups, last = found
            yield groups
            if last is None:
                return
            part = _behind(last, part, descending)

    async def total(self) -> int:
        state = await self._store.index_state(self._index)
        return 0 if state is None else state.rows

    async def before(self, part: Range, descending: bool) -> int:
        try:
            if descending:
                return 0 if part.end is None else await self._store.count_index(self._index, start=part.end)
            return 0 if part.start is None else await self._store.count_index(self._index, end=part.start)
        except NotFound:
            return 0


def _behind(last: IndexPosition, part: Range, descending: bool) -> Range:
    """What is left of a range behind this row."""
    if descending:
        return Range(part.start, last)
    return Range(last._replace(ordinal=last.ordinal + 1), part.end)


class TemporaryRows(RowSource):
    """Rows in memory: those of the ranges asked for, and of these no more than the limit needs."""

    def __init__(self, ranges: list[Range], descending: bool, most: int | None) -> None:
        self._ranges = ranges
        self._descending = descending
        self._most = most
        self._rows: list[IndexRow] = []
        self._total = 0
        self._before = 0

    def add(self, doc_id: str, rows: Rows) -> None:
        first = self._ranges[0] if self._ranges else Range(None, None)
        self._total += len(rows)
        for ordinal, (key, value) in enumerate(rows):
            position = IndexPosition(key, doc_id, ordinal)
            if any(part.holds(position) for part in self._ranges):
                # A copy: the encoder's buffers are larger than what is in them, and these stay for a while.
                self._rows.append(IndexRow(key, doc_id, ordinal, None if value is None else bytes(memoryview(value))))
            elif self._descending:
                self._before += first.end is not None and position >= first.end
            else:
                self._before += first.start is not None and position < first.start
        if self._most is not None and len(self._rows) > 2 * self._most + PAGE:
            self.sort()
            del self._rows[self._most :]

    def sort(self) -> None:
        self._rows.sort(key=lambda row: row.position, reverse=self._descending)

    async def pages(self, part: Range, descending: bool, skip: int = 0) -> AsyncIterator[list[IndexRow]]:
        # Sorted in the direction that was announced.
        rows = self._rows[::-1] if self._descending else self._rows
        low = 0 if part.start is None else bisect_left(rows, part.start, key=lambda row: row.position)
        high = len(rows) if part.end is None else bisect_left(rows, part.end, key=lambda row: row.position)
        found = rows[low:high]
        if descending:
            found.reverse()
        for at in range(skip, len(found), PAGE):
            yield found[at : at + PAGE]

    async def total(self) -> int:
        return self._total

    async def before(self, part: Range, descending: bool) -> int:
        return self._before


class TemporaryGroups:
    """Reductions of a function's rows, made while they are emitted: memory grows with the groups, not with the rows.

    Only for built-in reductions, which give the same in any order.
    """

    def __init__(self, options: ViewOptions, make: Callable[[], BuiltIn]) -> None:
        self._options = options
        self._ranges = options.ranges()
        self._make = make
        self._groups: dict[bytes, tuple[Any, BuiltIn]] = {}

    def add(self, function: MapFunction, doc: Document) -> None:
        """Run the function on a document."""
        doc_id = doc["_id"]

        def emit(key: Any = None, value: Any = None) -> None:
            encoded = encode_key(key)
            if any(part.holds(IndexPosition(encoded, doc_id)) for part in self._ranges):
                group, shown = group_of(self._options, encoded, key)
                if group not in self._groups:
                    self._groups[group] = (jsonio.loads(jsonio.dumps(shown)), self._make())
                self._groups[group][1].take([(key, value)])

        function(doc, emit)

    def rows(self) -> list[ViewRow]:
        """The reductions, in the order asked for."""
        options = self._options
        if options.keys is None:
            order = sorted(self._groups, reverse=options.descending)
        else:
            order = [key for key in map(encode_key, options.keys) if key in self._groups]
        end = None if options.limit is None else options.skip + options.limit
        found = [self._groups[group] for group in order[options.skip : end]]
        return [{"key": key, "value": reducer.total()} for key, reducer in found]


def group_of(options: ViewOptions, encoded: bytes, key: Any) -> tuple[bytes, Any]:
    """The group that a key belongs to, encoded and as it is shown."""
    if not options.grouped:
        return b"", None
    level = options.group_level
    if level is None or type(key) not in (list, tuple) or len(key) <= level:
        return encoded, key
    return encode_key(key[:level]), key[:level]
