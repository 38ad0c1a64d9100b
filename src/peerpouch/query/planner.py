"""Which index serves a query, and which part of it has to be read.

An index holds the documents that have all of its columns (and match its partial filter). So it serves a selector only
if whatever matches has these fields: each must be required by a condition, or be sorted by. A sort needs an index in
its order; leading columns that an ``$eq`` fixes don't disturb it. (CouchDB documentation, "/db/_find", "Sort Syntax";
``mango_idx_view.erl``, ``is_usable`` and ``can_use_sort``.)

The range of an index that is read is a superset of what matches; every document is matched against the selector
afterwards. So the planner may be careless about what it can't express, never about what it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from peerpouch.core.collation import HIGHEST, LOWEST, encode_key, encode_prefix
from peerpouch.core.fields import MISSING, Path, Sort, is_array
from peerpouch.core.mango import EVERYTHING, All, AnyOf, Condition, Node, format_selector
from peerpouch.errors import BadRequest, NoUsableIndex
from peerpouch.query.definitions import DESIGN, ID_PATH, PRIMARY, MangoIndex, design_id, encode_column

NO_INDEX: Final = "No matching index found, create an index to optimize query time."

# The bytes between which all strings lie, among encoded keys.
_STRINGS = (b"\x40", b"\x41")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The part of one column that can match, as encoded bytes: ``start <= column``, and ``column < end``.

    ``low`` and ``high`` are the operands that the bounds come from, to be shown, ``fixed`` the key of an ``$eq``.
    """

    start: bytes = LOWEST
    end: bytes = HIGHEST
    fixed: bytes | None = None
    low: Any = MISSING
    high: Any = MISSING

    @property
    def empty(self) -> bool:
        return self.start >= self.end

    def sides(self, path: Path) -> int:
        """How many ends are bounded, of what a column can hold."""
        lowest, highest = _STRINGS if path == ID_PATH else (b"\x10", HIGHEST)
        return (self.start > lowest) + (self.end < highest)


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be read.

    Attributes:
        index: The primary one, by ``_id``, when no other serves.
        start, end: Encoded bounds of the index's keys; for the primary index, of ``_id`` alone.
        ids: For the primary index the lowest and the highest id, inclusive.
        points: For the primary index the only ids that can match, where an ``$in`` says which.
        low, high: The same bounds as JSON, to be shown: the values of the leading columns that are bounded.
        descending: The direction.
        condition: What documents have to match besides the selector, because the index was asked for by name.
        warning: What the user should know.
        score: How it compares with others; smaller is better.
    """

    index: MangoIndex
    start: bytes
    end: bytes
    ids: tuple[str | None, str | None]
    points: frozenset[str] | None
    low: list[Any]
    high: list[Any]
    descending: bool
    condition: Node
    warning: str | None
    score: tuple[Any, ...]

    @property
    def empty(self) -> bool:
        return self.start >= self.end

    @property
    def selectivity(self) -> tuple[Any, ...]:
        """How much of the index is left; smaller is better."""
        return self.score[:2]


def conjuncts(node: Node) -> Iterator[Node]:
    """The parts that all have to match."""
    if isinstance(node, All):
        for part in node.parts:
            yield from conjuncts(part)
    else:
        yield node


def requires(node: Node, path: Path) -> bool:
    """Whether whatever matches has a value at this path."""
    if isinstance(node, Condition):
        exists_not = node.operator == "$exists" and not node.operand
        return not exists_not and node.path[: len(path)] == path
    if isinstance(node, All):
        return any(requires(part, path) for part in node.parts)
    if isinstance(node, AnyOf):
        return all(requires(part, path) for part in node.parts)
    return False


def bounds_of(node: Node, path: Path) -> Bounds:
    """What the conditions on a column leave of it."""
    bounds = Bounds()
    for part in conjuncts(node):
        if isinstance(part, Condition) and part.path == path and not part.negated:
            bounds = _narrow(bounds, part)
    return bounds


def _narrow(bounds: Bounds, condition: Condition) -> Bounds:
    operator, operand = condition.operator, condition.operand
    if operator not in _RANGES:
        return bounds
    key = encode_column(condition.path, operand)
    start, end = _RANGES[operator](key)
    narrowed = bounds
    if start > bounds.start:
        narrowed = replace(narrowed, start=start, low=operand)
    if end < bounds.end:
        narrowed = replace(narrowed, end=end, high=operand + "\ufffd" if operator == "$beginsWith" else operand)
    return replace(narrowed, fixed=key) if operator == "$eq" else narrowed


# A value's bytes are followed by the end or by a tag, both below HIGHEST; only a larger number goes on with more.
# A string's beginning is its bytes without the terminator, and FF is above all that can follow.
_RANGES: Final[dict[str, Callable[[bytes], tuple[bytes, bytes]]]] = {
    "$eq": lambda key: (key, key + HIGHEST),
    "$gte": lambda key: (key, HIGHEST),
    "$gt": lambda key: (key + HIGHEST, HIGHEST),
    "$lte": lambda key: (LOWEST, key + HIGHEST),
    "$lt": lambda key: (LOWEST, key),
    "$beginsWith": lambda key: (key[:-1], key[:-1] + b"\xff"),
}


def id_range(node: Node) -> tuple[str | None, str | None]:
    """The lowest and the highest document id that can match, both inclusive, by their bytes."""
    low, high = None, None
    for part in conjuncts(node):
        if not isinstance(part, Condition) or part.path != ID_PATH or part.negated or type(part.operand) is not str:
            continue
        if part.operator in ("$eq", "$gt", "$gte", "$beginsWith"):
            low = part.operand if low is None else max(low, part.operand)
        top = part.operand if part.operator in ("$eq", "$lt", "$lte") else None
        if part.operator == "$beginsWith":
            top = _after_prefix(part.operand)
        if top is not None:
            high = top if high is None else min(high, top)
    return low, high


def id_points(node: Node) -> frozenset[str] | None:
    """The document ids of which one must match, or ``None``. (In other fields ``$in`` may mean an array's element.)"""
    found: frozenset[str] | None = None
    for part in conjuncts(node):
        if isinstance(part, Condition) and part.path == ID_PATH and part.operator == "$in" and not part.negated:
            points = frozenset(value for value in part.operand if type(value) is str)
            found = points if found is None else found & points
    return found


def _after_prefix(prefix: str) -> str | None:
    """The first text, by code points, behind all that begin with this; ``None`` when there is none."""
    trimmed = prefix.rstrip("\U0010ffff")
    if not trimmed:
        return None
    following = ord(trimmed[-1]) + 1
    # Surrogates are no characters of a text.
    return trimmed[:-1] + chr(0xE000 if following == 0xD800 else following)


@dataclass(frozen=True, slots=True)
class Ranking:
    """All indexes, and how they would serve a query.

    Attributes:
        plans: Of those that serve, the best first.
        excluded: Those that serve, but are not the ones asked for by name.
        unordered: Those that don't have the order that is asked for.
        mismatched: Those that lack documents which may match.
        partial: Those whose filter the selector does not contain.
        warning: What the user should know.
    """

    plans: Sequence[Plan]
    excluded: Sequence[MangoIndex]
    unordered: Sequence[MangoIndex]
    mismatched: Sequence[MangoIndex]
    partial: Sequence[MangoIndex]
    warning: str | None

    @property
    def best(self) -> Plan:
        """The plan to be carried out, with the warning.

        Raises:
            NoUsableIndex: no index has the order that is asked for.
        """
        if not self.plans:
            raise NoUsableIndex
        return replace(self.plans[0], warning=self.warning)


class _Unfit(Enum):
    """Why an index does not serve."""

    ORDER = 1
    FIELDS = 2
    PARTIAL = 3


def rank(
    node: Node, sort: Sort, indexes: Sequence[MangoIndex], use_index: str | Sequence[str] | None = None
) -> Ranking:
    """How each index would serve.

    Raises:
        BadRequest: ``use_index`` is malformed.
    """
    named = [] if use_index is None else _named(use_index, indexes)
    found = [(index, _plan_for(index, node, sort, named=index in named)) for index in (PRIMARY, *indexes)]
    plans = [plan for _, plan in found if isinstance(plan, Plan)]
    chosen = [plan for plan in plans if plan.index in named]
    excluded: list[MangoIndex] = []
    warnings: list[str] = []
    if chosen:
        excluded = [plan.index for plan in plans if plan.index not in named]
        plans = chosen
    elif use_index is not None:
        warnings.append(_unused(use_index))
    plans.sort(key=lambda plan: plan.score)
    if plans and plans[0].warning and not chosen:
        warnings.append(plans[0].warning)

    def unfit(why: _Unfit) -> list[MangoIndex]:
        return [index for index, plan in found if plan is why]

    return Ranking(
        plans,
        excluded,
        unfit(_Unfit.ORDER),
        unfit(_Unfit.FIELDS),
        unfit(_Unfit.PARTIAL),
        "\n".join(warnings) or None,
    )


def _plan_for(index: MangoIndex, node: Node, sort: Sort, *, named: bool) -> Plan | _Unfit:
    """How this index would serve. A partial index that is not asked for by name must be implied."""
    wanted = {part.path for part in sort.fields}
    for path in index.columns:
        if path not in wanted and path not in (ID_PATH, ("_rev",)) and not requires(node, path):
            return _Unfit.FIELDS
    bounds = [bounds_of(node, path) for path in index.columns]
    if not _in_order(index, bounds, sort):
        return _Unfit.ORDER
    condition: Node = EVERYTHING
    if index.partial is not None and not _implies(node, index.condition):
        if not named:
            return _Unfit.PARTIAL
        condition = index.condition
    return _ranged(index, bounds, node, condition, sort.descending and bool(sort.fields))


def _ranged(index: MangoIndex, bounds: Sequence[Bounds], node: Node, condition: Node, descending: bool) -> Plan:
    fixed: list[bytes] = []
    for part in bounds:
        if part.fixed is None or part.empty:
            break
        fixed.append(part.fixed)
    after = bounds[len(fixed)] if len(fixed) < len(bounds) else Bounds()
    sides = after.sides(index.columns[len(fixed)]) if len(fixed) < len(bounds) else 0
    shown = [*(part.low for part in bounds[: len(fixed)])]
    low = shown if after.low is MISSING else [*shown, after.low]
    high = shown if after.high is MISSING else [*shown, after.high]
    if index.primary:
        start, end = max(bounds[0].start, _STRINGS[0]), min(bounds[0].end, _STRINGS[1])
        points = id_points(node)
        bounded = bool(fixed or sides or points is not None)
        # Some documents at most are better than any number of fixed columns; all documents are worse than any index.
        rank = -100 if fixed else -50 if points is not None else 0
        score: tuple[Any, ...] = (rank, -sides, 0 if bounded else 1, 1, "", "")
        warning = None if bounded else NO_INDEX
        return Plan(index, start, end, id_range(node), points, low, high, descending, condition, warning, score)
    prefix = encode_prefix(fixed)
    start, end = prefix + after.start, prefix + after.end
    if any(part.empty for part in bounds):
        end = start
    score = (-len(fixed), -sides, 0, len(bounds), index.ddoc, index.name)
    return Plan(index, start, end, (None, None), None, low, high, descending, condition, None, score)


def _in_order(index: MangoIndex, bounds: Sequence[Bounds], sort: Sort) -> bool:
    wanted = [part.path for part in sort.fields]
    columns = list(index.columns)
    if not wanted:
        return True
    at = 0
    while at < len(columns) and columns[at] != wanted[0] and bounds[at].fixed is not None:
        at += 1
    return columns[at : at + len(wanted)] == wanted


def _implies(node: Node, condition: Node) -> bool:
    """Whether every part of the condition stands in the selector, word for word."""
    have = {encode_key(format_selector(part)) for part in conjuncts(node)}
    return all(encode_key(format_selector(part)) in have for part in conjuncts(condition))


def _parts(use_index: str | Sequence[str]) -> Sequence[str]:
    """A design document's id, and perhaps an index's name. A text may be both, with a slash between them."""
    if isinstance(use_index, str):
        parts: Sequence[str] = [use_index] if use_index.startswith(DESIGN) else use_index.split("/", 1)
    else:
        parts = use_index
    if not is_array(parts) or not 1 <= len(parts) <= 2 or not all(type(part) is str for part in parts):
        raise BadRequest("use_index must be a design document's name, or an array of that and an index's name.")
    return [design_id(parts[0]), *parts[1:]]


def _named(use_index: str | Sequence[str], indexes: Sequence[MangoIndex]) -> list[MangoIndex]:
    ddoc, *name = _parts(use_index)
    return [index for index in indexes if index.ddoc == ddoc and name in ([], [index.name])]


def _unused(use_index: str | Sequence[str]) -> str:
    parts = _parts(use_index)
    why = "does not contain a valid index" if len(parts) == 1 else "is not a valid index"
    return f"{', '.join(parts)} was not used because it {why} for this query."
