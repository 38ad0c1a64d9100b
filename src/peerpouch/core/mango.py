"""Mango selectors, parsed and checked: what the planner reads, and what :mod:`peerpouch.core.selector` compiles.

The meaning is CouchDB's ("/db/_find", "Selector
Syntax"; ``mango_selector.erl``):

* Values compare across types in the order of :mod:`peerpouch.core.collation`; ``_id`` compares by its bytes.
* A condition on a field that is not there is false, whatever the condition, ``$ne``, ``$nin`` and ``$lt`` included.
  Only ``{"$exists": false}`` is true then, and only when the field's parent is an object.
* A negation moves inwards to the conditions before anything is matched, so ``{"$not": {"a": 1}}`` is
  ``{"a": {"$ne": 1}}`` and false without an ``a``. Inside ``$elemMatch``, ``$allMatch`` and ``$keyMapMatch`` it stays
  where it is.
* ``$in`` and ``$nin`` look at the elements of an array; ``$all: []`` never matches; empty lists of selectors restrict
  nothing.

It differs from CouchDB in that ``{}`` matches everything wherever a selector stands, in that an unknown type name and a
division by zero are errors at once, and in its regular expressions (:mod:`peerpouch.core.patterns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from peerpouch.core import jsonio
from peerpouch.core.fields import Path, format_path, parse_path
from peerpouch.core.patterns import PatternError, compile_pattern
from peerpouch.errors import InvalidDocument, InvalidOperand, InvalidOperator, InvalidSelector

MAX_DEPTH: Final = 64
"""How deep selectors may nest in selectors; each level costs a few interpreter frames at matching."""

MAX_CONDITIONS: Final = 10_000
"""Conditions in one selector: each is tried on every document."""

MAX_PATTERNS: Final = 32
"""Regular expressions in one selector; each may take a megabyte."""

TYPES: Final = frozenset(("null", "boolean", "number", "string", "array", "object"))


@dataclass(frozen=True, slots=True)
class All:
    """Matches what all its parts match."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches what one of its parts matches."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Matches what its part does not match."""

    part: Node


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on the field at a path; with an empty path, on the value itself.

    Attributes:
        operator: Without negation where it has an opposite: never ``$not``, ``$nor``.
        operand: The operand, as JSON.
        negated: Whether the value, which still must be there, must not satisfy the operator.
        part: The operand of ``$elemMatch``, ``$allMatch`` and ``$keyMapMatch``, parsed.
    """

    path: Path
    operator: str
    operand: Any
    negated: bool = False
    part: Node | None = None


Node = All | AnyOf | Not | Condition

EVERYTHING: Final = All(())

_OPPOSITES = {
    "$lt": "$gte",
    "$lte": "$gt",
    "$gte": "$lt",
    "$gt": "$lte",
    "$eq": "$ne",
    "$ne": "$eq",
    "$in": "$nin",
    "$nin": "$in",
}
_COMBINATIONS = frozenset(("$and", "$or", "$nor"))
_SUBSELECTORS = frozenset(("$elemMatch", "$allMatch", "$keyMapMatch"))
_UNSUPPORTED = frozenset(("$text", "$where", "$geoWithin", "$geoIntersects", "$near", "$nearSphere"))


def _is_integer(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer())


def _is_mod(operand: Any) -> bool:
    return type(operand) in (list, tuple) and len(operand) == 2 and all(map(_is_integer, operand)) and operand[0] != 0


_ANY: tuple[Callable[[Any], bool], str] = (lambda _: True, "")
_ARRAY: tuple[Callable[[Any], bool], str] = (lambda operand: type(operand) in (list, tuple), "an array")
_OPERANDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "$lt": _ANY,
    "$lte": _ANY,
    "$eq": _ANY,
    "$ne": _ANY,
    "$gte": _ANY,
    "$gt": _ANY,
    "$exists": (lambda operand: type(operand) is bool, "true or false"),
    "$type": (lambda operand: type(operand) is str and operand in TYPES, f"one of {', '.join(sorted(TYPES))}"),
    "$in": _ARRAY,
    "$nin": _ARRAY,
    "$all": _ARRAY,
    "$size": (lambda operand: _is_integer(operand) and operand >= 0, "an integer, zero or more"),
    "$mod": (_is_mod, "an array of a divisor, not zero, and a remainder, both integers"),
    "$regex": (lambda operand: type(operand) is str, "a string"),
    "$beginsWith": (lambda operand: type(operand) is str, "a string"),
    "$elemMatch": (lambda operand: type(operand) is dict, "an object"),
    "$allMatch": (lambda operand: type(operand) is dict, "an object"),
    "$keyMapMatch": (lambda operand: type(operand) is dict, "an object"),
}

OPERATORS: Final = frozenset(_OPERANDS) | _COMBINATIONS | {"$not"}


def parse_selector(selector: Mapping[str, Any]) -> Node:
    """Check a selector and bring it into normal form: conditions on whole paths, negations moved inwards.

    Raises:
        InvalidSelector: naming the operator or field that is wrong, or the limit that was passed.
    """
    if not isinstance(selector, Mapping):
        raise InvalidSelector(f"Selector must be a JSON object, not: {_show(selector)}")
    value = dict(selector)
    try:
        jsonio.check(value)
    except InvalidDocument as error:
        raise InvalidSelector(f"The selector is not JSON: {error.reason}") from None
    return _Parser().selector(value, (), False, 0)


class _Parser:
    """Counts what a selector may have a limited number of.

    ``inside`` says that this selector is an operand of ``$elemMatch`` or its like: there a condition may stand without
    a field, and negations stay.
    """

    def __init__(self, inside: bool = False, outer: _Parser | None = None) -> None:
        self.inside = inside
        self.outer = outer
        self.conditions = 0
        self.patterns = 0

    def selector(self, value: Any, path: Path, negated: bool, depth: int) -> Node:
        """What may stand after a field name or in a list of selectors."""
        if depth > MAX_DEPTH:
            raise InvalidSelector(f"The selector nests deeper than {MAX_DEPTH} levels.")
        if type(value) is not dict:
            return self.condition("$eq", value, path, negated, depth)
        if not value:
            if path:
                return self.condition("$eq", value, path, negated, depth)
            return AnyOf(()) if negated else EVERYTHING
        parts = [
            self.operator(name, operand, path, negated, depth)
            if name.startswith("$")
            else self.field(name, operand, path, negated, depth)
            for name, operand in value.items()
        ]
        return _join(parts, negated)

    def field(self, name: str, operand: Any, path: Path, negated: bool, depth: int) -> Node:
        if not name:
            raise InvalidSelector("One or more conditions is missing a field name.")
        return self.selector(operand, path + parse_path(name), negated, depth + 1)

    def operator(self, name: str, operand: Any, path: Path, negated: bool, depth: int) -> Node:
        if name in _COMBINATIONS:
            return self.combination(name, operand, path, negated, depth)
        if name == "$not":
            if type(operand) is not dict:
                raise _bad_operand(name, operand, "an object")
            if self.inside:
                return Not(self.selector(operand, path, False, depth + 1))
            return self.selector(operand, path, not negated, depth + 1)
        return self.condition(name, operand, path, negated, depth)

    def combination(self, name: str, operand: Any, path: Path, negated: bool, depth: int) -> Node:
        if type(operand) not in (list, tuple):
            raise _bad_operand(name, operand, "an array of selectors")
        if not operand:
            return EVERYTHING
        if self.inside and name == "$nor":
            return Not(AnyOf(tuple(self.selector(part, path, False, depth + 1) for part in operand)))
        if name == "$nor":
            negated = not negated
        parts = tuple(self.selector(part, path, negated, depth + 1) for part in operand)
        return All(parts) if (name == "$and") != negated else AnyOf(parts)

    def condition(self, name: str, operand: Any, path: Path, negated: bool, depth: int) -> Node:
        if name in _UNSUPPORTED:
            raise InvalidOperator(f"Unsupported operator: {name}")
        if name not in _OPERANDS:
            raise InvalidOperator(f"Invalid operator: {name}")
        if not path and not self.inside:
            raise InvalidSelector(f"One or more conditions is missing a field name ({name}).")
        accepts, expected = _OPERANDS[name]
        if not accepts(operand):
            raise _bad_operand(name, operand, expected)
        self.count(name)
        part: Node | None = None
        if name in _SUBSELECTORS:
            part = _Parser(True, self).selector(operand, (), False, depth + 1)
        elif name == "$regex":
            try:
                compile_pattern(operand)
            except PatternError as error:
                raise InvalidOperand(f"Bad argument for operator $regex: {_show(operand)}: {error}") from None
        elif negated and name in _OPPOSITES:
            return Condition(path, _OPPOSITES[name], operand)
        elif negated and name == "$exists":
            return Condition(path, name, not operand)
        return Condition(path, name, operand, negated, part)

    def count(self, name: str) -> None:
        parser: _Parser = self
        while parser.outer is not None:
            parser = parser.outer
        parser.conditions += 1
        parser.patterns += name == "$regex"
        if parser.conditions > MAX_CONDITIONS:
            raise InvalidSelector(f"The selector has more than {MAX_CONDITIONS} conditions.")
        if parser.patterns > MAX_PATTERNS:
            raise InvalidSelector(f"The selector has more than {MAX_PATTERNS} regular expressions ($regex).")


def _join(parts: Sequence[Node], negated: bool) -> Node:
    if len(parts) == 1:
        return parts[0]
    return AnyOf(tuple(parts)) if negated else All(tuple(parts))


def _bad_operand(name: str, operand: Any, expected: str) -> InvalidSelector:
    # CouchDB calls this one by the other name.
    kind = InvalidOperator if name == "$beginsWith" else InvalidOperand
    return kind(f"Bad argument for operator {name}: {_show(operand)}; it takes {expected}.")


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


def format_selector(node: Node) -> dict[str, Any]:
    """The normal form as a selector again, as ``explain`` shows it."""
    if isinstance(node, All):
        return {"$and": [format_selector(part) for part in node.parts]} if node.parts else {}
    if isinstance(node, AnyOf):
        if not node.parts:
            return {"$not": {}}
        return {"$or": [format_selector(part) for part in node.parts]}
    if isinstance(node, Not):
        return {"$not": format_selector(node.part)}
    operand = node.operand if node.part is None else format_selector(node.part)
    condition = {node.operator: operand}
    if node.negated:
        condition = {"$not": condition}
    return {format_path(node.path): condition} if node.path else condition


def finds_nothing(selector: Mapping[str, Any]) -> bool:
    """Whether a query answers this selector with nothing although it would match: an empty list of selectors alone.

    (``mango_cursor.erl``, ``maybe_noop_range``: whoever puts a list together from nothing means no documents.)
    """
    return len(selector) == 1 and any(name in ("$and", "$or") and parts in ([], ()) for name, parts in selector.items())


def compared_fields(node: Node) -> tuple[set[str], set[str]]:
    """The fields that an index may find by, and the others that the selector looks at."""
    found: set[str] = set()
    others: set[str] = set()
    _collect_fields(node, found, others, True)
    return found, others - found


_INDEXABLE = frozenset(("$lt", "$lte", "$eq", "$gte", "$gt", "$beginsWith"))


def _collect_fields(node: Node, found: set[str], others: set[str], required: bool) -> None:
    if isinstance(node, Condition):
        indexable = required and node.operator in _INDEXABLE and not node.negated
        (found if indexable else others).add(format_path(node.path))
    elif isinstance(node, Not):
        _collect_fields(node.part, found, others, False)
    else:
        for part in node.parts:
            _collect_fields(part, found, others, required and isinstance(node, All))


def conditions(node: Node) -> int:
    """How many conditions are in it, which is about what matching costs."""
    if isinstance(node, Condition):
        return 1 + (0 if node.part is None else conditions(node.part))
    if isinstance(node, Not):
        return conditions(node.part)
    return sum(map(conditions, node.parts))


def has_patterns(node: Node) -> bool:
    """Whether there is a regular expression in it: then matching may take long, and belongs in a thread."""
    if isinstance(node, Condition):
        return node.operator == "$regex" or (node.part is not None and has_patterns(node.part))
    if isinstance(node, Not):
        return has_patterns(node.part)
    return any(map(has_patterns, node.parts))
