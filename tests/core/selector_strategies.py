"""Random documents and selectors over a few names and values, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ["a", "b", "c"]
names = st.sampled_from(NAMES)
strings = st.sampled_from(["", "a", "ab", "b", "é", "\uffff", "😀", "x\x00", "A1"])
numbers = st.integers(-3, 3) | st.sampled_from([1.0, 0.5, -0.0, 2**53 + 1, float(2**53), 2**70])
scalars = st.none() | st.booleans() | numbers | strings
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
paths = st.lists(st.sampled_from([*NAMES, "0"]), min_size=1, max_size=2).map(".".join) | st.just("_id")


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    doc_id = draw(st.sampled_from(["a", "b", "é", "\uffff", "😀"]))
    return {"_id": doc_id, "_rev": "1-x", **draw(st.dictionaries(names, values, max_size=3))}


comparisons = st.one_of(
    st.tuples(st.sampled_from(["$lt", "$lte", "$eq", "$ne", "$gte", "$gt"]), values),
    st.tuples(st.sampled_from(["$in", "$nin", "$all"]), st.lists(values, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
    st.tuples(st.just("$type"), st.sampled_from(["null", "boolean", "number", "string", "array", "object"])),
    st.tuples(st.just("$size"), st.integers(0, 3)),
    st.tuples(st.just("$mod"), st.tuples(st.sampled_from([-3, -2, 1, 2, 3]), st.integers(-2, 2)).map(list)),
    st.tuples(st.just("$regex"), st.sampled_from(["a", "^a", "b$", "[a-z]+", "é", "^.$"])),
    st.tuples(st.just("$beginsWith"), strings),
)


def conditions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What stands after a field's name: a bare value, operators, or deeper fields."""
    nested = st.tuples(st.sampled_from(["$elemMatch", "$allMatch", "$keyMapMatch"]), inner)
    return values | st.lists(comparisons | nested, min_size=1, max_size=2).map(dict)


def extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Selectors that hold the given ones."""
    combined = st.dictionaries(st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, max_size=3), max_size=1)
    return st.one_of(
        st.dictionaries(paths, conditions(inner), max_size=2),
        combined,
        inner.map(lambda part: {"$not": part}),
        st.tuples(names, inner).map(lambda pair: {pair[0]: pair[1]}),
        st.tuples(names, inner).map(lambda pair: {pair[0]: {"$not": pair[1]}}),
    )


selectors: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(paths, comparisons.map(lambda c: dict([c])) | values, max_size=2), extend, max_leaves=5
)
