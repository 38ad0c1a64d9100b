"""Mango selectors, compiled to closures: what a selector costs is paid once, what a document costs is a few calls.

One matcher serves queries, changes feeds, replication and access. :mod:`peerpouch.core.mango` says what selectors mean.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from peerpouch.core.collation import encode_key
from peerpouch.core.fields import BAD_PATH, MISSING, Path, get_field
from peerpouch.core.mango import All, AnyOf, Condition, Node, Not, parse_selector
from peerpouch.core.patterns import PatternError, compile_pattern
from peerpouch.errors import InvalidSelector

Test = Callable[[Any], bool]

Matcher = Callable[[dict[str, Any]], bool]
"""Whether a document matches. May raise InvalidSelector for a regular expression that is too costly for a text."""

_RANKS: Final[dict[type, int]] = {type(None): 0, int: 3, float: 3, str: 4, list: 5, tuple: 5, dict: 6}
_ORDERINGS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "$lt": operator.lt,
    "$lte": operator.le,
    "$gt": operator.gt,
    "$gte": operator.ge,
}
_TYPE_NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    tuple: "array",
    dict: "object",
}


def compile_selector(selector: Mapping[str, Any] | Node) -> Matcher:
    """A function from a document to whether it matches.

    Args:
        selector: A Mango selector, or one that :func:`~peerpouch.core.mango.parse_selector` gave.

    Raises:
        InvalidSelector: for a malformed one, naming the operator or field.
    """
    return _compile(selector if isinstance(selector, (All, AnyOf, Not, Condition)) else parse_selector(selector))


def conjunction(*selectors: Mapping[str, Any] | None) -> dict[str, Any]:
    """The selector that matches what all of these match; ``None`` and ``{}`` match everything.

    The parts are checked where the result is compiled, not here. None is changed.
    """
    parts = [dict(selector) for selector in selectors if selector]
    if not parts:
        return {}
    return parts[0] if len(parts) == 1 else {"$and": parts}


def _compile(node: Node) -> Test:
    if isinstance(node, All):
        return _all([_compile(part) for part in node.parts])
    if isinstance(node, AnyOf):
        return _any([_compile(part) for part in node.parts])
    if isinstance(node, Not):
        inner = _compile(node.part)
        return lambda value: not inner(value)
    return _condition(node)


def _all(tests: list[Test]) -> Test:
    if not tests:
        return lambda value: True
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda value: first(value) and second(value)

    def match(value: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a generator costs three times as much here
            if not test(value):
                return False
        return True

    return match


def _any(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]

    def match(value: Any) -> bool:
        for test in tests:  # noqa: SIM110
            if test(value):
                return True
        return False

    return match


def _condition(condition: Condition) -> Test:
    path = condition.path
    if condition.operator == "$exists":
        return _exists(path, condition.operand)
    test = _test(condition, raw=path == ("_id",))
    if condition.negated:
        plain = test
        test = lambda value: not plain(value)  # noqa: E731
    return _at(path, test) if path else test


def _exists(path: Path, wanted: bool) -> Test:
    if not path:
        return lambda value: wanted
    if wanted:
        return _at(path, lambda value: True)
    return lambda value: get_field(value, path) is MISSING


def _at(path: Path, test: Test) -> Test:
    """The test of what is at the path; false when nothing is."""
    if len(path) == 1:
        name = path[0]

        def match_field(value: Any) -> bool:
            if type(value) is dict:
                found = value.get(name, MISSING)
                return found is not MISSING and test(found)
            found = get_field(value, path)
            return found is not MISSING and found is not BAD_PATH and test(found)

        return match_field

    def match(value: Any) -> bool:
        found = get_field(value, path)
        return found is not MISSING and found is not BAD_PATH and test(found)

    return match


def _test(condition: Condition, *, raw: bool) -> Test:
    name, operand = condition.operator, condition.operand
    if name == "$eq":
        return _equal(operand)
    if name == "$ne":
        equal = _equal(operand)
        return lambda value: not equal(value)
    if name in _ORDERINGS:
        return _ordering(name, operand, raw=raw)
    if condition.part is not None:
        return _SUBSELECTORS[name](_compile(condition.part))
    return _TESTS[name](operand)


def _rank(value: Any) -> int:
    kind = type(value)
    return 1 + value if kind is bool else _RANKS.get(kind, 7)


def _equal(operand: Any) -> Test:
    kind = type(operand)
    if operand is None or kind is bool:
        return lambda value: value is operand
    if kind is str:
        return lambda value: type(value) is str and value == operand
    if kind is int or kind is float:
        return lambda value: (type(value) is int or type(value) is float) and value == operand
    rank, key, size = _RANKS[kind], encode_key(operand), len(operand)
    # Comparing sizes first keeps large values from being encoded.
    return lambda value: _RANKS.get(type(value)) == rank and len(value) == size and encode_key(value) == key


def _ordering(name: str, operand: Any, *, raw: bool) -> Test:
    holds, rank = _ORDERINGS[name], _rank(operand)
    if rank < 3:
        return lambda value: holds(_rank(value), rank)
    if rank == 3:
        return lambda value: (
            holds(value, operand) if type(value) is int or type(value) is float else holds(_rank(value), 3)
        )
    if rank == 4 and (raw or operand.isascii()):
        # Where one of two strings is ASCII, their code points are in the order of their UTF-16 units.
        return lambda value: holds(value, operand) if type(value) is str else holds(_rank(value), 4)
    key = encode_key(operand)

    def match(value: Any) -> bool:
        other = _rank(value)
        return holds(encode_key(value), key) if other == rank else holds(other, rank)

    return match


class _Members:
    """Whether a value equals one of many, at the cost of a hash."""

    def __init__(self, operands: list[Any]) -> None:
        self.texts = frozenset(o for o in operands if type(o) is str)
        self.numbers = frozenset(o for o in operands if type(o) is int or type(o) is float)
        self.keys = frozenset(encode_key(o) for o in operands if type(o) not in (str, int, float))

    def __contains__(self, value: Any) -> bool:
        kind = type(value)
        if kind is str:
            return value in self.texts
        if kind is int or kind is float:
            return value in self.numbers
        return bool(self.keys) and encode_key(value) in self.keys


def _in(operands: list[Any]) -> Test:
    members = _Members(operands)

    def match(value: Any) -> bool:
        if type(value) is list or type(value) is tuple:
            return any(item in members for item in value)
        return value in members

    return match


def _nin(operands: list[Any]) -> Test:
    inside = _in(operands)
    return lambda value: not inside(value)


def _all_members(operands: list[Any]) -> Test:
    tests = [_equal(operand) for operand in operands]
    whole = tests[0] if len(operands) == 1 and type(operands[0]) in (list, tuple) else None

    def match(value: Any) -> bool:
        if not tests or type(value) not in (list, tuple):
            return False
        return (whole is not None and whole(value)) or all(any(map(test, value)) for test in tests)

    return match


def _type(name: str) -> Test:
    return lambda value: _TYPE_NAMES.get(type(value)) == name


def _size(size: int) -> Test:
    return lambda value: (type(value) is list or type(value) is tuple) and len(value) == size


def _mod(operand: list[int]) -> Test:
    divisor, remainder = abs(int(operand[0])), int(operand[1])

    def match(value: Any) -> bool:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            return False
        # The remainder has the sign of the dividend, in Erlang and in JavaScript.
        rest = abs(value) % divisor
        return (-rest if value < 0 else rest) == remainder

    return match


def _regex(source: str) -> Test:
    search = compile_pattern(source)

    def match(value: Any) -> bool:
        if type(value) is not str:
            return False
        try:
            return search(value)
        except PatternError as error:
            raise InvalidSelector(f"$regex: {error}") from None

    return match


def _begins_with(prefix: str) -> Test:
    return lambda value: type(value) is str and value.startswith(prefix)


def _elem_match(test: Test) -> Test:
    return lambda value: (type(value) is list or type(value) is tuple) and any(map(test, value))


def _all_match(test: Test) -> Test:
    return lambda value: (type(value) is list or type(value) is tuple) and len(value) > 0 and all(map(test, value))


def _key_map_match(test: Test) -> Test:
    return lambda value: type(value) is dict and any(map(test, value))


_TESTS: Final[dict[str, Callable[[Any], Test]]] = {
    "$in": _in,
    "$nin": _nin,
    "$all": _all_members,
    "$type": _type,
    "$size": _size,
    "$mod": _mod,
    "$regex": _regex,
    "$beginsWith": _begins_with,
}
_SUBSELECTORS: Final[dict[str, Callable[[Test], Test]]] = {
    "$elemMatch": _elem_match,
    "$allMatch": _all_match,
    "$keyMapMatch": _key_map_match,
}
