"""What a view is asked for: checked, and turned into ranges of encoded keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from peerpouch.core.collation import encode_key
from peerpouch.core.fields import is_array
from peerpouch.errors import InvalidDocument, InvalidQuery
from peerpouch.ports import AttachmentMode, IndexPosition, MapFunction, ReduceFunction

# Above the ordinal of any row: no document emits so many rows under one key.
_LAST: Final = 1 << 62


class Range(NamedTuple):
    """Rows from ``start`` up to (not including) ``end``; ``None`` is the beginning, or the end."""

    start: IndexPosition | None
    end: IndexPosition | None

    def holds(self, position: IndexPosition) -> bool:
        return (self.start is None or self.start <= position) and (self.end is None or position < self.end)

    @property
    def empty(self) -> bool:
        return self.start is not None and self.end is not None and self.start >= self.end


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """The arguments of :meth:`peerpouch.ports.Queries.query`."""

    view: str | MapFunction
    reduce: bool | str | ReduceFunction | None = None
    key: Any = ...
    keys: Sequence[Any] | None = None
    startkey: Any = ...
    endkey: Any = ...
    startkey_docid: str | None = None
    endkey_docid: str | None = None
    inclusive_end: bool = True
    group: bool = False
    group_level: int | None = None
    descending: bool = False
    skip: int = 0
    limit: int | None = None
    include_docs: bool = False
    conflicts: bool = False
    attachments: AttachmentMode = False
    update: Literal["true", "false", "lazy"] = "true"
    update_seq: bool = False

    @property
    def grouped(self) -> bool:
        return self.group or bool(self.group_level)

    def check(self, reduces: bool) -> None:
        """Raise InvalidQuery where options are malformed or contradict each other.

        Args:
            reduces: Whether the rows will be reduced.
        """
        for name, number in (("skip", self.skip), ("limit", self.limit), ("group_level", self.group_level)):
            if number is not None and (type(number) is not int or number < 0):
                raise InvalidQuery(f"{name} is {number!r}; it must be an integer, zero or more.")
        if self.keys is not None and not is_array(self.keys):
            raise InvalidQuery("keys must be an array.")
        if self.update not in ("true", "false", "lazy"):
            raise InvalidQuery(f"update is {self.update!r}; it must be true, false or lazy.")
        if self.keys is not None and not (self.key is ... and self.startkey is ... and self.endkey is ...):
            raise InvalidQuery("keys can't be combined with key, startkey and endkey.")
        if self.key is not ... and not (self.startkey is ... and self.endkey is ...):
            raise InvalidQuery("key can't be combined with startkey and endkey.")
        if not reduces and (self.group or self.group_level is not None):
            raise InvalidQuery("Invalid use of grouping on a map view.")
        if reduces and (self.include_docs or self.conflicts or self.attachments):
            raise InvalidQuery("include_docs is invalid for reduce.")
        if reduces and self.keys is not None and not self.group:
            raise InvalidQuery("Multi-key fetches for reduce views must use group=true.")

    def ranges(self) -> list[Range]:
        """The parts of the index that are asked for, one after another.

        Raises:
            InvalidQuery: when start and end are the wrong way round, or a key is not JSON.
        """
        try:
            if self.keys is not None:
                return [_of_key(key) for key in self.keys]
            if self.key is not ...:
                return [_of_key(self.key)]
            return [self._range()]
        except InvalidDocument as error:
            raise InvalidQuery(error.reason) from None

    def _range(self) -> Range:
        first = None if self.startkey is ... else encode_key(self.startkey)
        last = None if self.endkey is ... else encode_key(self.endkey)
        before, after = _before, _after
        if self.descending:
            before, after = _after, _before
        start = None if first is None else before(first, self.startkey_docid)
        end = None
        if last is not None:
            end = (after if self.inclusive_end else before)(last, self.endkey_docid)
        found = Range(end, start) if self.descending else Range(start, end)
        if first is not None and last is not None and (first < last if self.descending else first > last):
            raise InvalidQuery(
                "No rows can match your key range, reverse your startkey and endkey or set descending to "
                f"{'false' if self.descending else 'true'}."
            )
        return found


def _of_key(key: Any) -> Range:
    encoded = encode_key(key)
    return Range(_before(encoded, None), _after(encoded, None))


def _before(key: bytes, doc_id: str | None) -> IndexPosition:
    return IndexPosition(key, doc_id or "")


def _after(key: bytes, doc_id: str | None) -> IndexPosition:
    # No key is another one and a zero byte, so that is behind all rows of the key, and before any other key.
    return IndexPosition(key + b"\x00") if doc_id is None else IndexPosition(key, doc_id, _LAST)
