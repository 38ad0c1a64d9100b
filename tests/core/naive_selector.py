"""A selector evaluator that is slow and obvious: CouchDB's two steps, negations inwards and then matching."""

from __future__ import annotations

import re
from typing import Any

from peerpouch.core.collation import compare

OPPOSITE = {"$lt": "$gte", "$gte": "$lt", "$lte": "$gt", "$gt": "$lte", "$eq": "$ne", "$ne": "$eq", "$in": "$nin"}
OPPOSITE["$nin"] = "$in"


class Missing:
    pass


class BadPath:
    pass


def lookup(value: Any, names: list[str]) -> Any:
    for name in names:
        if isinstance(value, dict):
            if name not in value:
                return Missing
            value = value[name]
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return BadPath
    return value


def matches(
    selector: Any, value: Any, names: list[str] | None = None, negated: bool = False, inside: bool = False
) -> bool:
    """``names`` is the path so far; every condition looks its field up from the top."""
    names = names or []
    if not isinstance(selector, dict) or (not selector and names):
        selector = {"$eq": selector}
    results = []
    for key, operand in selector.items():
        if key in ("$and", "$or", "$nor"):
            results.append(combined(key, operand, value, names, negated, inside))
        elif key == "$not":
            if inside:
                results.append(not matches(operand, value, names, False, True))
            else:
                results.append(matches(operand, value, names, not negated))
        elif key.startswith("$"):
            results.append(holds(key, operand, value, names, negated))
        else:
            results.append(matches(operand, value, names + key.split("."), negated, inside))
    return any(results) if negated else all(results)


def combined(key: str, operands: list[Any], value: Any, names: list[str], negated: bool, inside: bool) -> bool:
    if not operands:
        return True
    if inside and key == "$nor":
        return not any(matches(operand, value, names, False, True) for operand in operands)
    if key == "$nor":
        negated = not negated
    results = [matches(operand, value, names, negated, inside) for operand in operands]
    wants_all = (key == "$and") != negated
    return all(results) if wants_all else any(results)


def holds(op: str, operand: Any, value: Any, names: list[str], negated: bool) -> bool:
    found = lookup(value, names)
    if op == "$exists":
        wanted = operand != negated
        return found not in (Missing, BadPath) if wanted else found is Missing
    if found is Missing or found is BadPath:
        return False
    if negated and op in OPPOSITE:
        return satisfied(OPPOSITE[op], operand, found, names == ["_id"])
    return satisfied(op, operand, found, names == ["_id"]) != negated


def order(a: Any, b: Any, raw: bool) -> int:
    if raw and isinstance(a, str) and isinstance(b, str):
        return (a.encode() > b.encode()) - (a.encode() < b.encode())
    return compare(a, b)


def satisfied(op: str, operand: Any, found: Any, raw: bool) -> bool:
    if op in ("$lt", "$lte", "$eq", "$ne", "$gte", "$gt"):
        n = order(found, operand, raw)
        return {"$lt": n < 0, "$lte": n <= 0, "$eq": n == 0, "$ne": n != 0, "$gte": n >= 0, "$gt": n > 0}[op]
    if op in ("$in", "$nin"):
        candidates = found if isinstance(found, list) else [found]
        return any(compare(x, y) == 0 for x in candidates for y in operand) == (op == "$in")
    if op == "$all":
        if not operand or not isinstance(found, list):
            return False
        if len(operand) == 1 and isinstance(operand[0], list) and compare(operand[0], found) == 0:
            return True
        return all(any(compare(x, y) == 0 for x in found) for y in operand)
    if op == "$type":
        names = {"NoneType": "null", "bool": "boolean", "int": "number", "float": "number", "str": "string"}
        return bool({**names, "list": "array", "dict": "object"}[type(found).__name__] == operand)
    if op == "$size":
        return isinstance(found, list) and len(found) == operand
    if op == "$mod":
        if isinstance(found, bool) or not isinstance(found, (int, float)) or int(found) != found:
            return False
        size = abs(int(found)) % abs(operand[0])
        return bool((size if found >= 0 else -size) == operand[1])
    if op == "$regex":
        return isinstance(found, str) and re.search(operand, found) is not None
    if op == "$beginsWith":
        return isinstance(found, str) and found[: len(operand)] == str(operand)
    if op == "$elemMatch":
        return isinstance(found, list) and any(matches(operand, x, inside=True) for x in found)
    if op == "$allMatch":
        return isinstance(found, list) and bool(found) and all(matches(operand, x, inside=True) for x in found)
    if op == "$keyMapMatch":
        return isinstance(found, dict) and any(matches(operand, x, inside=True) for x in found)
    raise AssertionError(op)
