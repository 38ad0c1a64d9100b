"""Builds tests/vectors/selectors.json: what Python's matcher answers, which the browser's must answer too.

``python -m tests.core.selector_vectors`` writes the file anew; a test checks that it is what this builds.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from peerpouch.core.fields import compile_fields
from peerpouch.core.patterns import compile_pattern
from peerpouch.core.selector import compile_selector
from peerpouch.errors import InvalidSelector

PATH = Path(__file__).parent.parent / "vectors" / "selectors.json"

_NAMES = ["a", "b", "c"]
# Names of digits are left out of objects (JavaScript moves them to the front), and integers that are no doubles.
_SCALARS = [None, True, False, 0, 1, 2, -3, 1.5, -0.0, 2**53 - 1, 1e300, "", "a", "ab", "b", "é", "\uffff", "😀", "A1"]

_REFUSED: list[Any] = [
    {"a": {"$foo": 1}},
    {"a": {"constructor": {"$toString": 1}}},
    {"$where": "x"},
    {"$text": "x"},
    {"$and": {}},
    {"$or": 1},
    {"$nor": "x"},
    {"$not": []},
    {"a": {"$in": 1}},
    {"a": {"$nin": {}}},
    {"a": {"$all": 3}},
    {"a": {"$exists": 1}},
    {"a": {"$type": "thing"}},
    {"a": {"$type": []}},
    {"a": {"$size": -1}},
    {"a": {"$size": 1.5}},
    {"a": {"$size": True}},
    {"a": {"$mod": [0, 1]}},
    {"a": {"$mod": [1]}},
    {"a": {"$mod": [1.5, 1]}},
    {"a": {"$regex": 1}},
    {"a": {"$regex": "("}},
    {"a": {"$beginsWith": None}},
    {"a": {"$elemMatch": 1}},
    {"a": {"$allMatch": []}},
    {"a": {"$keyMapMatch": "x"}},
    {"a": {"$elemMatch": {"$bad": 1}}},
    {"$gt": 1},
    {"$and": [{"$gt": 1}]},
    {"$and": [5]},
    {"": 1},
    {"a..b": 1},
    {"a.": 1},
    {"$or": [{"a": {"$regex": "x"}}] * 33},
    {"a": {"$elemMatch": {"$regex": "(?=x)"}}},
    [],
    "text",
    None,
]

_DOC = {
    "_id": "doc",
    "n": 5,
    "s": "text",
    "null": None,
    "yes": True,
    "list": [1, 2, {"x": 1}],
    "object": {"inner": {"deep": 3}, "k1": 0},
    "dotted.name": 1,
    "$price": 2,
}

_PATTERNS = {
    "": ["", "x"],
    "a": ["", "a", "xax", "A"],
    "^a": ["ab", "ba", "b\na"],
    "(?m)^a$": ["b\na\nc", "ba", "a"],
    "a$": ["ba", "ab", "a\n"],
    "^.$": ["a", "😀", "é", "ab", "\n"],
    "(?s)^.$": ["\n"],
    "[a-c]+x": ["abcx", "x", "dx"],
    "[^a-c]": ["abc", "d", "\n"],
    "[]a]": ["]", "a", "b"],
    "[^]a]": ["]", "b"],
    "[a\\-z]": ["-", "m", "z"],
    "[a-]": ["-", "b"],
    "[\\d\\s]": ["5", " ", "\t", "\v", "x"],
    "[^\\W\\d]": ["5", "a", "-"],
    "[[:alpha:]]": ["x", "5", "é"],
    "[[:^digit:]]": ["5", "x"],
    "[[:space:][:punct:]]": ["!", "\v", "x"],
    "\\d\\D": ["1a", "11", "٣a"],
    "\\w+\\W": ["ab-", "ab", "é"],
    "\\s": ["\t", "\v", "\u00a0"],
    "\\bcat\\b": ["a cat!", "concat", "cat", "écat"],
    "\\Bat": ["cat", "at"],
    "\\Aab\\z": ["ab", "ab\n"],
    "(?i)straße": ["STRAßE", "straẞe", "strasse"],
    "(?i)k": ["\u212a", "K", "x"],
    "(?i)[^k]": ["\u212a", "K", "x"],
    "(?i:a)b": ["Ab", "AB"],
    "(?i)a(?-i)b": ["Ab", "AB"],
    "(?i)a|b": ["B"],
    "(a|(?i)b)c": ["Bc", "BC"],
    "\\p{L}": ["é", "5"],
    "\\pL\\PL": ["é5", "éé"],
    "\\p{Greek}": ["α", "a"],
    "\\p{^Greek}": ["α", "a"],
    "[^\\p{Lu}]": ["A", "a"],
    "\\x41\\x{1F600}": ["A😀", "A"],
    "\\101\\0": ["A\0", "A"],
    "\\Qa.b\\E+": ["a.bb", "axb"],
    "\\Qa.b": ["a.b"],
    "\\.\\-\\/": [".-/", "x-/"],
    "\\a\\f\\n\\r\\t\\v": ["\x07\f\n\r\t\v"],
    "a{2}": ["a", "aa"],
    "^a{2,3}$": ["a", "aa", "aaa", "aaaa"],
    "^a{2,}$": ["a", "aaaaa"],
    "^a{0}$": ["", "a"],
    "a{,2}": ["a{,2}", "aa"],
    "a{": ["a{"],
    "x{a}": ["x{a}"],
    "^(a|b)*c$": ["ababc", "abdc", "c"],
    "^(a*)*$": ["aaa", "b"],
    "^(|a)+$": ["", "aa", "b"],
    "^a+?b??$": ["aa", "aab", "c"],
    "(?P<name>a)(?:b)(?<other>c)": ["abc", "ab"],
    "^(?:a{3}){2}$": ["aaaaaa", "aaaaa"],
    "a|b|": ["x"],
    "()": [""],
    "^*a": ["a"],
    "(a+)+b": ["a" * 2000 + "!"],
    "^(a|a)*$": ["a" * 2000, "a" * 2000 + "!"],
    "(x+x+)+y": ["x" * 2000],
}

_REFUSED_PATTERNS = [
    "(",
    ")",
    "a)",
    "(?:a",
    "[a",
    "[",
    "[]",
    "[z-a]",
    "[[:nothing:]]",
    "\\",
    "*",
    "+a",
    "a**",
    "a{2}{3}",
    "a+*",
    "a|*",
    "(*a)",
    "a{1001}",
    "a{3,2}",
    "(a{100}){100}",
    "(?=a)",
    "(?!a)",
    "(?<=a)b",
    "(?<!a)b",
    "(a)\\1",
    "\\8",
    "\\Z",
    "\\y",
    "\\é",
    "(?x)a",
    "(?P=name)",
    "(?P<name)",
    "(?i",
    "\\p{Nothing}",
    "\\pX",
    "\\x{110000}",
    "\\xg",
]


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.75 or depth > 2:
        return rng.choice(_SCALARS)
    if kind < 0.88:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {name: _value(rng, depth + 1) for name in rng.sample(_NAMES, rng.randrange(3))}


def _condition(rng: random.Random, depth: int) -> tuple[str, Any]:
    kind = rng.randrange(12 if depth < 3 else 11)
    if kind < 5:
        return rng.choice(["$lt", "$lte", "$eq", "$ne", "$gte", "$gt"]), _value(rng)
    if kind < 7:
        return rng.choice(["$in", "$nin", "$all"]), [_value(rng) for _ in range(rng.randrange(4))]
    if kind == 7:
        return "$exists", rng.random() < 0.5
    if kind == 8:
        return "$type", rng.choice(["null", "boolean", "number", "string", "array", "object"])
    if kind == 9:
        return rng.choice([("$size", rng.randrange(3)), ("$mod", [rng.choice([-3, 1, 2]), rng.randrange(-1, 2)])])
    if kind == 10:
        return rng.choice([("$regex", rng.choice(["a", "^a", "b$", "é", "^.$"])), ("$beginsWith", "a")])
    return rng.choice(["$elemMatch", "$allMatch", "$keyMapMatch"]), _selector(rng, depth + 1, inside=True)


def _selector(rng: random.Random, depth: int = 0, *, inside: bool = False) -> dict[str, Any]:
    selector: dict[str, Any] = {}
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        kind = rng.random()
        if kind < 0.2 and depth < 3:
            selector[rng.choice(["$and", "$or", "$nor"])] = [_selector(rng, depth + 1) for _ in range(rng.randrange(3))]
        elif kind < 0.3 and depth < 3:
            selector["$not"] = _selector(rng, depth + 1)
        elif kind < 0.5 and inside:
            name, operand = _condition(rng, depth)
            selector[name] = operand
        else:
            path = rng.choice([*_NAMES, *_NAMES, "a.b", "a.0", "b.1.a", "_id"])
            how = rng.random()
            if how < 0.3:
                selector[path] = _value(rng)
            elif how < 0.4 and depth < 3:
                selector[path] = {"$not": _selector(rng, depth + 1)}
            else:
                selector[path] = dict(_condition(rng, depth) for _ in range(rng.choice([1, 1, 2])))
    return selector


def _random_cases(rng: random.Random) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = []
    while len(cases) < 300:
        selector = _selector(rng)
        docs = [
            {"_id": rng.choice(["a", "é", "\uffff", "😀"]), **{name: _value(rng) for name in rng.sample(_NAMES, 2)}}
            for _ in range(8)
        ]
        try:
            matches = compile_selector(selector)
        except InvalidSelector:
            continue
        answers = [matches(doc) for doc in docs]
        # Mostly those that tell documents apart.
        if len(set(answers)) == 2 or rng.random() < 0.1:
            cases.append({"selector": selector, "docs": docs, "matches": answers})
    return cases


_PARTICULAR: list[Any] = [
    {},
    {"n": 5},
    {"n": True},
    {"yes": 1},
    {"n": {"$gt": 4, "$lt": 6}},
    {"null": {"$gt": None}},
    {"list": {"$gt": "zzz"}},
    {"object": {"$gt": []}},
    {"object": {"inner": {"deep": {"$gte": 3}}}},
    {"list.2.x": 1},
    {"list.7": {"$exists": False}},
    {"dotted\\.name": 1},
    {"\\$price": 2},
    {"gone": {"$ne": 1}},
    {"gone": {"$exists": False}},
    {"n.x": {"$exists": False}},
    {"$not": {"gone": 1}},
    {"$not": {}},
    {"list": {"$all": [[1, 2, {"x": 1}]]}},
    {"list": {"$all": []}},
    {"$or": []},
    {"$not": {"$or": []}},
    {"hasOwnProperty": {"$exists": True}},
    {"__proto__": {"$exists": True}},
    {"list.length": {"$exists": True}},
]

_FIELDS = [
    ["a.b", "d", "n", "gone", "gone.x"],
    ["_id", "n", "gone"],
    ["a", "a.b"],
    ["a.b", "a"],
    ["d.1.e", "d.0"],
    ["d", "d.1.e"],
    [],
]


def build() -> dict[str, Any]:
    rng = random.Random(20131)
    doc = {"_id": "x", "a": {"b": 1, "c": 2}, "d": [1, {"e": 2}], "n": None}
    particular = [{"selector": s, "docs": [_DOC], "matches": [compile_selector(s)(_DOC)]} for s in _PARTICULAR]
    projections = []
    for fields in _FIELDS:
        project = compile_fields(fields)
        projections.append({"fields": fields, "result": doc if project is None else project(doc)})
    return {
        "matching": particular + _random_cases(rng),
        "refused": [selector for selector in _REFUSED if _refused(selector)],
        "patterns": [_pattern(source, texts) for source, texts in _PATTERNS.items()],
        "refused_patterns": [source for source in _REFUSED_PATTERNS if _refused({"a": {"$regex": source}})],
        "projections": {"doc": doc, "cases": projections},
    }


def _refused(selector: Any) -> bool:
    try:
        compile_selector(selector)
    except InvalidSelector:
        return True
    raise AssertionError(f"{selector!r} is not refused")


def _pattern(source: str, texts: list[str]) -> dict[str, Any]:
    return {"source": source, "texts": texts, "matches": list(map(compile_pattern(source), texts))}


if __name__ == "__main__":
    PATH.write_text(json.dumps(build(), ensure_ascii=True, indent=None, separators=(",", ":")) + "\n")
