"""Reducing rows: CouchDB's built-in reductions, and functions in its two-step manner, with bounded memory.

(CouchDB documentation, "Reduce and Rereduce Functions", "Built-in Reduce Functions"; ``couch_query_servers.erl``.)
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple

from peerpouch.core.collation import encode_key
from peerpouch.errors import BadRequest
from peerpouch.ports import ReduceFunction

CHUNK: Final = 1000
"""Rows that a function reduces at once, and reductions that it reduces again at once."""

_PRECISION: Final = 11
_REGISTERS: Final = 1 << _PRECISION


class Emitted(NamedTuple):
    """A row's key, document and value."""

    key: Any
    doc_id: str
    value: Any


class Reducer(ABC):
    """Takes the rows of one group, some at a time, and gives their reduction."""

    @abstractmethod
    async def add(self, rows: Sequence[Emitted]) -> None: ...

    @abstractmethod
    async def result(self) -> Any: ...


MakeReducer = Callable[[], Reducer]


class BuiltIn(Reducer):
    """A reduction that gives the same whatever the order of the rows."""

    async def add(self, rows: Sequence[Emitted]) -> None:
        self.take([(row.key, row.value) for row in rows])

    async def result(self) -> Any:
        return self.total()

    @abstractmethod
    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        """Take rows, each of them a key and a value."""

    @abstractmethod
    def total(self) -> Any: ...


class _Count(BuiltIn):
    def __init__(self) -> None:
        self._count = 0

    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        self._count += len(rows)

    def total(self) -> int:
        return self._count


def _plus(a: Any, b: Any) -> Any:
    try:
        return a + b
    except OverflowError:  # an integer beyond what a float can be, and a float
        return math.inf if max(a, b, key=abs) > 0 else -math.inf


def _shown(total: Any) -> Any:
    """A result as JSON has it: a number beyond all that it knows is null, as JavaScript writes it."""
    if type(total) is float:
        return total if math.isfinite(total) else None
    if type(total) is list:
        return [_shown(item) for item in total]
    if type(total) is dict:
        return {name: _shown(item) for name, item in total.items()}
    return total


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


class _Sum(BuiltIn):
    """Of numbers; of arrays, element by element; of objects, field by field."""

    def __init__(self) -> None:
        self._sum: Any = 0

    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        total = self._sum
        values = [value for _, value in rows]
        if _is_number(total) and set(map(type, values)) <= {int, float}:
            # An integer beyond what a float can be has to be added by itself.
            with contextlib.suppress(OverflowError):
                self._sum = sum(values, total)
                return
        for value in values:
            total = _plus(total, value) if _is_number(value) and _is_number(total) else _add(total, value)
        self._sum = total

    def total(self) -> Any:
        return _shown(self._sum)


def _add(a: Any, b: Any) -> Any:
    if _is_number(a) and _is_number(b):
        return _plus(a, b)
    if type(b) is dict and (type(a) is dict or a == 0):
        return _add_objects(a or {}, b)
    if type(a) is dict and b == 0 and _is_number(b):
        return a
    left, right = ([value] if _is_number(value) else value for value in (a, b))
    if type(left) is list and type(right) is list and all(map(_is_number, (*left, *right))):
        shared = [_plus(x, y) for x, y in zip(left, right, strict=False)]
        return shared + left[len(right) :] + right[len(left) :]
    raise BadRequest(
        "The _sum function requires that map values be numbers, arrays of numbers, or objects of these, "
        f"not {_show(b)} beside {_show(a)}."
    )


def _add_objects(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    result = dict(a)
    for name, value in b.items():
        result[name] = _add(result.get(name, 0), value)
    return result


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


_FIELDS: Final = ("sum", "count", "min", "max", "sumsqr")


class _Stats(BuiltIn):
    """Of numbers, of arrays of numbers position by position, or of statistics made before."""

    def __init__(self) -> None:
        self._stats: Any = None

    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        for _, value in rows:
            self._stats = _merge(self._stats, _stats_of(value))

    def total(self) -> Any:
        return {"sum": 0, "count": 0, "min": 0, "max": 0, "sumsqr": 0} if self._stats is None else _shown(self._stats)


def _stats_of(value: Any) -> Any:
    if _is_number(value):
        return {"sum": value, "count": 1, "min": value, "max": value, "sumsqr": value * value}
    if type(value) is list:
        return [_stats_of(item) for item in value]
    if type(value) is dict and all(_is_number(value.get(name)) for name in _FIELDS):
        return {name: value[name] for name in _FIELDS}
    raise BadRequest(f"The _stats function requires numbers, arrays of numbers or statistics, not {_show(value)}.")


def _merge(a: Any, b: Any) -> Any:
    if a is None:
        return b
    if type(a) is list and type(b) is list and len(a) == len(b):
        return [_merge(x, y) for x, y in zip(a, b, strict=True)]
    if type(a) is dict and type(b) is dict:
        return {
            "sum": _plus(a["sum"], b["sum"]),
            "count": a["count"] + b["count"],
            "min": min(a["min"], b["min"]),
            "max": max(a["max"], b["max"]),
            "sumsqr": _plus(a["sumsqr"], b["sumsqr"]),
        }
    raise BadRequest("The _stats function requires that all values have the same shape.")


class _DistinctKeys(BuiltIn):
    """HyperLogLog over the keys: 2,048 registers as in CouchDB, for an error of about 2 %.

    (Flajolet et al., "HyperLogLog: the analysis of a near-optimal cardinality estimation algorithm", 2007.)
    """

    def __init__(self) -> None:
        self._registers = bytearray(_REGISTERS)

    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        registers = self._registers
        for key, _ in rows:
            digest = hashlib.blake2b(encode_key(key), digest_size=8).digest()
            number = int.from_bytes(digest, "big")
            index, rest = number >> (64 - _PRECISION), number & ((1 << (64 - _PRECISION)) - 1)
            # The position of the first one bit among the other 53.
            rank = 64 - _PRECISION - rest.bit_length() + 1
            registers[index] = max(registers[index], rank)

    def total(self) -> int:
        alpha = 0.7213 / (1 + 1.079 / _REGISTERS)
        estimate = alpha * _REGISTERS**2 / sum(2.0**-register for register in self._registers)
        empty = self._registers.count(0)
        if estimate <= 2.5 * _REGISTERS and empty:
            estimate = _REGISTERS * math.log(_REGISTERS / empty)
        return round(estimate)


BUILT_IN: Final[dict[str, Callable[[], BuiltIn]]] = {
    "_count": _Count,
    "_sum": _Sum,
    "_stats": _Stats,
    "_approx_count_distinct": _DistinctKeys,
}


def of_stored(make: Callable[[], BuiltIn]) -> Callable[[], BuiltIn]:
    """A built-in reduction for a stored view: what it can't reduce costs its group the value, and no other group."""
    return lambda: _ErrorAsValue(make())


class _ErrorAsValue(BuiltIn):
    def __init__(self, reduction: BuiltIn) -> None:
        self._reduction = reduction
        self._error: dict[str, Any] | None = None

    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        if self._error is None:
            try:
                self._reduction.take(rows)
            except BadRequest as error:
                self._error = {
                    "error": "builtin_reduce_error",
                    "reason": error.reason,
                    "caused_by": next((row[1] for row in rows if self._refuses(row)), None),
                }

    def _refuses(self, row: Sequence[Any]) -> bool:
        try:
            self._reduction.take([row])
        except BadRequest:
            return True
        return False

    def total(self) -> Any:
        return self._reduction.total() if self._error is None else self._error


AsyncReduce = Callable[[list[Any] | None, list[Any], bool], Awaitable[Any]]
"""``reduce(keys, values, rereduce)``; keys are pairs of key and document id, or ``None`` when reducing again."""


class FunctionReducer(Reducer):
    """Reduces by a function, a chunk at a time, and the reductions again."""

    def __init__(self, function: AsyncReduce) -> None:
        self._function = function
        self._rows: list[Emitted] = []
        self._reductions: list[Any] = []

    async def add(self, rows: Sequence[Emitted]) -> None:
        self._rows.extend(rows)
        while len(self._rows) >= CHUNK:
            chunk, self._rows = self._rows[:CHUNK], self._rows[CHUNK:]
            await self._reduce(chunk)

    async def result(self) -> Any:
        if self._rows:
            chunk, self._rows = self._rows, []
            await self._reduce(chunk)
        if len(self._reductions) > 1:
            await self._rereduce()
        return self._reductions[0] if self._reductions else None

    async def _reduce(self, rows: list[Emitted]) -> None:
        keys = [[row.key, row.doc_id] for row in rows]
        self._reductions.append(await self._function(keys, [row.value for row in rows], False))
        if len(self._reductions) >= CHUNK:
            await self._rereduce()

    async def _rereduce(self) -> None:
        self._reductions = [await self._function(None, self._reductions, True)]


def python_reducer(function: ReduceFunction) -> MakeReducer:
    """A reducer by a Python function, which runs in a thread."""

    async def call(keys: list[Any] | None, values: list[Any], rereduce: bool) -> Any:
        return await asyncio.to_thread(function, keys or [], values, rereduce)

    return lambda: FunctionReducer(call)
