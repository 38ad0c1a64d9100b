"""Leaving out, inside SQLite, documents that can't match a selector: a look into a body there costs a fifth of what it
costs to parse the body and to try the selector on it.

A filter may let through what does not match: every document is matched afterwards. It must never leave out what does.
So it knows the common conditions and lets the others pass, compares numbers with a margin (SQLite reads their text a
little differently), and text with ASCII only, where the order of bytes is that of selectors.
"""

from __future__ import annotations

import re
from typing import Any, Final

from peerpouch.core.mango import All, AnyOf, Condition, Node
from peerpouch.storage.schema import EXACT

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_MARGIN: Final = 1e-12
_SMALLEST: Final = 1e-300
"""Numbers below it are as good as nought for a filter, and those above its inverse are left alone."""

_MEMBERS: Final = 200
"""Members of an ``$in`` that are given to SQLite."""

_NUMBER: Final = "IN ('integer', 'real')"
_BELOW_NUMBERS: Final = "IN ('null', 'true', 'false')"
_ABOVE_NUMBERS: Final = "IN ('text', 'array', 'object')"
_BELOW_TEXT: Final = "IN ('null', 'true', 'false', 'integer', 'real')"
_ABOVE_TEXT: Final = "IN ('array', 'object')"

_TYPES: Final = {
    "null": "= 'null'",
    "boolean": "IN ('true', 'false')",
    "number": _NUMBER,
    "string": "= 'text'",
    "array": "= 'array'",
    "object": "= 'object'",
}


class Prefilter:
    """A condition on ``flags`` and ``body`` of ``docs``.

    Attributes:
        sql: The condition; ``"1"`` where it lets everything through.
        bindings: The values of its marks.
    """

    def __init__(self, node: Node) -> None:
        self.bindings: list[Any] = []
        inner = self._of(node)
        # Numbers that are not SQLite's are matched afterwards.
        self.sql = "1" if inner is None else f"(flags & {EXACT} OR {inner})"
        if inner is None:
            self.bindings = []

    def _of(self, node: Node) -> str | None:
        """The condition, or ``None`` for one that lets everything through."""
        if isinstance(node, All):
            parts = [found for part in node.parts if (found := self._of(part)) is not None]
            return f"({' AND '.join(parts)})" if parts else None
        if isinstance(node, AnyOf):
            return self._any(node)
        if not isinstance(node, Condition) or node.negated or not node.path:
            return None
        return self._condition(node) if all(map(_NAME.fullmatch, node.path)) else None

    def _any(self, node: AnyOf) -> str | None:
        known = len(self.bindings)
        parts: list[str] = []
        for part in node.parts:
            found = self._of(part)
            if found is None:
                del self.bindings[known:]
                return None
            parts.append(found)
        return f"({' OR '.join(parts)})" if parts else "0"

    def _condition(self, condition: Condition) -> str | None:
        path = "'$." + ".".join(condition.path) + "'"
        kind = f"json_type(CAST(body AS TEXT), {path})"
        value = f"json_extract(CAST(body AS TEXT), {path})"
        operator, operand = condition.operator, condition.operand
        if operator == "$exists":
            return f"{kind} IS NOT NULL" if operand else None
        if operator == "$type":
            return f"{kind} {_TYPES[operand]}"
        if operator == "$in":
            return self._members(kind, value, operand)
        if type(operand) in (int, float):
            return self._number(operator, kind, value, operand)
        if type(operand) is str and operand.isascii() and "\0" not in operand:
            return self._text(operator, kind, value, operand)
        if operator == "$eq" and (operand is None or type(operand) is bool):
            return f"{kind} = '{'null' if operand is None else str(operand).lower()}'"
        return f"{kind} IS NOT NULL"

    def _number(self, operator: str, kind: str, value: str, operand: float) -> str:
        if abs(operand) > 1 / _SMALLEST:
            return f"{kind} IS NOT NULL"
        number = float(operand)
        margin = max(abs(number) * _MARGIN, _SMALLEST)
        if operator == "$eq":
            self.bindings += [number - margin, number + margin]
            return f"({kind} {_NUMBER} AND {value} BETWEEN ? AND ?)"
        if operator in ("$gt", "$gte"):
            self.bindings.append(number - margin)
            return f"({kind} {_ABOVE_NUMBERS} OR ({kind} {_NUMBER} AND {value} >= ?))"
        if operator in ("$lt", "$lte"):
            self.bindings.append(number + margin)
            return f"({kind} {_BELOW_NUMBERS} OR ({kind} {_NUMBER} AND {value} <= ?))"
        return f"{kind} IS NOT NULL"

    def _text(self, operator: str, kind: str, value: str, operand: str) -> str:
        if operator == "$eq":
            self.bindings.append(operand)
            return f"({kind} = 'text' AND {value} = ?)"
        if operator in ("$gt", "$gte"):
            self.bindings.append(operand)
            return f"({kind} {_ABOVE_TEXT} OR ({kind} = 'text' AND {value} >= ?))"
        if operator in ("$lt", "$lte"):
            self.bindings.append(operand)
            return f"({kind} {_BELOW_TEXT} OR ({kind} = 'text' AND {value} <= ?))"
        return f"{kind} = 'text'" if operator in ("$beginsWith", "$regex") else f"{kind} IS NOT NULL"

    def _members(self, kind: str, value: str, operands: list[Any]) -> str:
        if len(operands) > _MEMBERS or not all(_is_plain(each) for each in operands):
            return f"{kind} IS NOT NULL"
        self.bindings += operands
        # In an array, $in looks at the elements.
        return f"({kind} = 'array' OR {value} IN ({', '.join('?' * len(operands))}))"


def _is_plain(value: Any) -> bool:
    if type(value) is str:
        return value.isascii() and "\0" not in value
    return type(value) is int and abs(value) < 2**53
