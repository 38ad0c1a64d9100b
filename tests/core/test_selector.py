"""Selectors: agreement with a naive evaluator, CouchDB's particular cases, and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings

from peerpouch.core import mango, patterns
from peerpouch.core.fields import compile_fields, format_path, get_field, parse_path, parse_sort
from peerpouch.core.mango import format_selector, parse_selector
from peerpouch.core.selector import compile_selector, conjunction
from peerpouch.errors import BadRequest, InvalidSelector
from tests.core import selector_vectors
from tests.core.naive_selector import matches
from tests.core.selector_strategies import documents, selectors


@settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
@given(selectors, documents())
@example({"$not": {"a": 1}}, {"_id": "x"})
@example({"a": {"$elemMatch": {"$not": {"b": 1}}}}, {"_id": "x", "a": [{}]})
def test_the_compiled_selector_agrees_with_a_naive_evaluation(selector: dict[str, Any], doc: dict[str, Any]) -> None:
    assert compile_selector(selector)(doc) == matches(selector, doc)


@settings(max_examples=500, suppress_health_check=[HealthCheck.too_slow])
@given(selectors, documents())
def test_the_normal_form_means_the_same(selector: dict[str, Any], doc: dict[str, Any]) -> None:
    again = format_selector(parse_selector(selector))
    assert compile_selector(again)(doc) == compile_selector(selector)(doc)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(selectors, selectors, documents())
def test_a_conjunction_matches_what_both_match(a: dict[str, Any], b: dict[str, Any], doc: dict[str, Any]) -> None:
    both = compile_selector(conjunction(a, b))(doc)
    assert both == (compile_selector(a)(doc) and compile_selector(b)(doc))


def test_a_conjunction_with_nothing_is_the_other() -> None:
    assert conjunction(None, {}) == {}
    assert conjunction({"a": 1}, None, {}) == {"a": 1}
    assert conjunction({"a": 1}, {"a": 2}) == {"$and": [{"a": 1}, {"a": 2}]}


DOC = {
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


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"n": 5}, True),
        ({"n": 5.0}, True),
        ({"n": True}, False),
        ({"yes": 1}, False),
        ({"n": {"$gt": 4, "$lt": 6}}, True),
        ({"n": {"$gt": None}}, True),
        ({"null": {"$gt": None}}, False),
        ({"s": {"$gt": 10**30}}, True),
        ({"list": {"$gt": "zzz"}}, True),
        ({"object": {"$gt": []}}, True),
        ({"object.inner.deep": 3}, True),
        ({"object": {"inner": {"deep": {"$gte": 3}}}}, True),
        ({"object": {"inner": {"deep": 3}, "k1": 0}}, True),
        ({"list.1": 2}, True),
        ({"list.2.x": 1}, True),
        ({"list.7": {"$exists": False}}, False),
        ({"dotted\\.name": 1}, True),
        ({"\\$price": 2}, True),
        ({"dotted.name": 1}, False),
        ({"gone": {"$ne": 1}}, False),
        ({"gone": {"$nin": [1]}}, False),
        ({"gone": {"$exists": False}}, True),
        ({"null": {"$exists": True}}, True),
        ({"n.x": {"$exists": False}}, False),
        ({"$not": {"gone": 1}}, False),
        ({"$nor": [{"n": 1}, {"n": 2}]}, True),
        ({"list": {"$in": [2, 9]}}, True),
        ({"list": {"$nin": [2, 9]}}, False),
        ({"list": {"$all": [1, 2]}}, True),
        ({"list": {"$all": []}}, False),
        ({"list": {"$all": [[1, 2, {"x": 1}]]}}, True),
        ({"list": {"$elemMatch": {"x": 1}}}, True),
        ({"list": {"$elemMatch": {"$gt": 1, "$lt": 3}}}, True),
        ({"list": {"$allMatch": {"$gt": 0}}}, True),
        ({"object": {"$keyMapMatch": {"$eq": "k1"}}}, True),
        ({"object": {"$keyMapMatch": {"$beginsWith": "z"}}}, False),
        ({"n": {"$mod": [2, 1]}}, True),
        ({"s": {"$regex": "^te.t$"}}, True),
        ({"n": {"$regex": "5"}}, False),
        ({"$or": []}, True),
        ({"$and": [{}, {"n": 5}]}, True),
        ({"$not": {}}, False),
        ({"_id": {"$gte": "doc"}}, True),
    ],
)
def test_particular_cases_are_as_in_couchdb(selector: dict[str, Any], expected: bool) -> None:
    assert compile_selector(selector)(DOC) is expected


@pytest.mark.parametrize(
    ("selector", "named"),
    [
        ({"a": {"$foo": 1}}, "$foo"),
        ({"$foo": 1}, "$foo"),
        ({"$where": "x"}, "$where"),
        ({"$and": {}}, "$and"),
        ({"$or": 1}, "$or"),
        ({"$nor": "x"}, "$nor"),
        ({"$not": []}, "$not"),
        ({"a": {"$in": 1}}, "$in"),
        ({"a": {"$nin": {}}}, "$nin"),
        ({"a": {"$all": 3}}, "$all"),
        ({"a": {"$exists": 1}}, "$exists"),
        ({"a": {"$type": "thing"}}, "$type"),
        ({"a": {"$type": []}}, "$type"),
        ({"a": {"$size": -1}}, "$size"),
        ({"a": {"$size": True}}, "$size"),
        ({"a": {"$mod": [0, 1]}}, "$mod"),
        ({"a": {"$mod": [1]}}, "$mod"),
        ({"a": {"$mod": [1.5, 1]}}, "$mod"),
        ({"a": {"$regex": 1}}, "$regex"),
        ({"a": {"$regex": "("}}, "$regex"),
        ({"a": {"$regex": "a(?=b)"}}, "$regex"),
        ({"a": {"$beginsWith": None}}, "$beginsWith"),
        ({"a": {"$elemMatch": 1}}, "$elemMatch"),
        ({"a": {"$allMatch": []}}, "$allMatch"),
        ({"a": {"$keyMapMatch": "x"}}, "$keyMapMatch"),
        ({"a": {"$elemMatch": {"$bad": 1}}}, "$bad"),
        ({"$gt": 1}, "$gt"),
        ({"$and": [{"$gt": 1}]}, "$gt"),
        ({"$and": [5]}, "$eq"),
        ({"": 1}, "field name"),
        ({"a..b": 1}, "a..b"),
        ({"a": float("nan")}, "JSON"),
        ({"a": "\ud800"}, "Unicode"),
        ({"a": b"x"}, "bytes"),
        ([], "JSON object"),
    ],
)
def test_malformed_selectors_are_refused_by_name(selector: Any, named: str) -> None:
    with pytest.raises(InvalidSelector) as caught:
        compile_selector(selector)
    assert named in caught.value.reason


def test_depth_and_size_are_bounded() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(mango.MAX_DEPTH + 1):
        deep = {"$not": deep}
    with pytest.raises(InvalidSelector, match="nests deeper"):
        compile_selector(deep)
    path = ".".join("a" * 501)
    with pytest.raises(InvalidSelector, match="parts"):
        compile_selector({path: 1})
    with pytest.raises(InvalidSelector, match="conditions"):
        compile_selector({"$or": [{"a": n} for n in range(mango.MAX_CONDITIONS + 1)]})
    with pytest.raises(InvalidSelector, match="regular expressions"):
        compile_selector({"$or": [{"a": {"$elemMatch": {"$regex": "x"}}}] * (mango.MAX_PATTERNS + 1)})


def test_the_deepest_selector_allowed_matches_without_exhausting_the_stack() -> None:
    selector: dict[str, Any] = {"$gt": 0}
    doc: Any = 1
    for _ in range(mango.MAX_DEPTH // 2 - 1):
        selector = {"$elemMatch": {"$or": [selector, {"x": 1}]}}
        doc = [doc]
    assert compile_selector({"a": selector})({"_id": "x", "a": doc})


def test_a_catastrophic_expression_ends_at_once() -> None:
    doc = {"_id": "x", "a": "a" * 100_000 + "!"}
    assert not compile_selector({"a": {"$regex": "^(a|a)*$"}})(doc)
    assert not compile_selector({"a": {"$regex": "(a+)+b"}})(doc)


def test_an_expression_too_costly_for_a_text_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "MAX_STEPS", 10_000)
    match = compile_selector({"a": {"$regex": "(x+x+)+y"}})
    assert not match({"_id": "x", "a": "x" * 10})
    with pytest.raises(InvalidSelector, match="too costly"):
        match({"_id": "x", "a": "x" * 20_000})


def test_expressions_have_bounds() -> None:
    with pytest.raises(patterns.PatternError, match="characters"):
        patterns.compile_pattern("a" * (patterns.MAX_LENGTH + 1))
    with pytest.raises(patterns.PatternError):
        patterns.compile_pattern("((((a{1,100}){1,100}){1,100}){1,100})")
    with pytest.raises(patterns.PatternError, match="surrogate"):
        patterns.compile_pattern("\ud800")


def test_paths_are_parsed_and_written_back() -> None:
    assert parse_path("a.b.c") == ("a", "b", "c")
    assert parse_path("a\\.b.c") == ("a.b", "c")
    assert parse_path("a\\\\.b") == ("a\\", "b")
    assert parse_path("a\\nb") == ("a\\nb",)
    for path in [("a.b", "c"), ("$x",), ("a\\", "b"), ("a", "$b")]:
        assert parse_path(format_path(path)) == path


def test_indexes_into_arrays_are_plain_digits() -> None:
    assert get_field({"a": [7]}, ("a", "0")) == 7
    for bad in ["-1", "+0", "1", "٠", "9" * 5000]:
        assert not isinstance(get_field({"a": [7]}, ("a", bad)), int)


def test_fields_keep_the_nesting() -> None:
    doc = {"_id": "x", "a": {"b": 1, "c": 2}, "d": [1, {"e": 2}], "n": None}
    project = compile_fields(["a.b", "d", "n", "gone", "gone.x"])
    assert project is not None
    assert project(doc) == {"a": {"b": 1}, "d": [1, {"e": 2}], "n": None}
    plain = compile_fields(["_id", "n", "gone"])
    assert plain is not None
    assert plain(doc) == {"_id": "x", "n": None}
    assert compile_fields(None) is None
    assert compile_fields([]) is None


@pytest.mark.parametrize("fields", [["a", "a.b"], ["a.b", "a"]])
def test_fields_never_change_the_document(fields: list[str]) -> None:
    doc = {"_id": "x", "a": {"b": 1, "c": 2}}
    project = compile_fields(fields)
    assert project is not None
    assert project(doc) == {"a": {"b": 1, "c": 2}}
    assert doc == {"_id": "x", "a": {"b": 1, "c": 2}}


@pytest.mark.parametrize("fields", ["a", [1], {"a": 1}, b"a"])
def test_bad_fields_are_refused(fields: Any) -> None:
    with pytest.raises(BadRequest, match="array of strings"):
        compile_fields(fields)


def test_sorts_are_parsed() -> None:
    assert parse_sort(None).fields == ()
    sort = parse_sort([{"a.b": "desc"}, {"c": "desc"}])
    assert [part.path for part in sort.fields] == [("a", "b"), ("c",)]
    assert sort.descending
    assert sort.as_json() == [{"a.b": "desc"}, {"c": "desc"}]
    assert not parse_sort(["a", {"b": "asc"}]).descending


@pytest.mark.parametrize("spec", ["a", [{"a": "up"}], [{"a": "asc"}, {"b": "desc"}], ["a", {"b": "desc"}], [1], [{}]])
def test_bad_sorts_are_refused(spec: Any) -> None:
    with pytest.raises(BadRequest):
        parse_sort(spec)


def test_the_vectors_are_what_this_matcher_answers() -> None:
    assert json.loads(selector_vectors.PATH.read_text()) == json.loads(json.dumps(selector_vectors.build()))
