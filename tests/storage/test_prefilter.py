"""The filter inside SQLite never leaves out what matches, and does leave out what it can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerpouch.core import jsonio
from peerpouch.core.mango import parse_selector
from peerpouch.core.selector import compile_selector
from peerpouch.storage import Storage
from peerpouch.storage.prefilter import Prefilter
from peerpouch.storage.schema import EXACT
from tests.core.selector_strategies import names, selectors, values

numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70) | st.integers(-5, 5)
fields = st.dictionaries(names, values | numbers | st.text(max_size=4), max_size=4)
operators = st.sampled_from(["$eq", "$lt", "$lte", "$gt", "$gte", "$ne"])
comparisons = st.tuples(operators, values | numbers | st.text(max_size=4))
more = st.dictionaries(names, comparisons.map(lambda pair: {pair[0]: pair[1]}), min_size=1, max_size=3)


_SQLITE = apsw.Connection(":memory:")


def passes(selector: dict[str, Any], doc: dict[str, Any]) -> bool:
    prefilter = Prefilter(parse_selector(selector))
    body, exact = jsonio.encode(doc)
    sql = f"SELECT {prefilter.sql} FROM (SELECT ? AS flags, ? AS body)"
    # The marks of the condition come first.
    ((found,),) = _SQLITE.execute(sql, [*prefilter.bindings, EXACT if exact else 0, body])
    return bool(found)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fields, selectors | more)
def test_what_matches_passes(doc: dict[str, Any], selector: dict[str, Any]) -> None:
    if compile_selector(selector)(doc):
        assert passes(selector, doc)


@pytest.mark.parametrize(
    ("selector", "doc"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {}),
        ({"a": {"$gt": 1.5}}, {"a": 1.4}),
        ({"a": {"$gt": 1.5}}, {"a": None}),
        ({"a": {"$lt": 0}}, {"a": "text"}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": {"$gte": "m"}}, {"a": "a"}),
        ({"a": {"$beginsWith": "x"}}, {"a": 1}),
        ({"a": {"$regex": "x"}}, {"a": 1}),
        ({"a.b": True}, {"a": {"b": False}}),
        ({"a.b": True}, {"a": [True]}),
        ({"a": {"$type": "array"}}, {"a": {}}),
        ({"a": {"$in": ["x", 3]}}, {"a": "y"}),
        ({"a": {"$size": 1}}, {"b": [1]}),
        ({"$or": [{"a": 1}, {"b": 2}]}, {"a": 2, "b": 1}),
        ({"a": 1, "b": {"$regex": "x"}}, {"a": 2, "b": "x"}),
    ],
)
def test_what_can_not_match_is_left_out(selector: dict[str, Any], doc: dict[str, Any]) -> None:
    assert not compile_selector(selector)(doc)
    assert not passes(selector, doc)


async def test_a_scan_goes_on_behind_what_it_looked_at(path: Path) -> None:
    async with await Storage.open(path) as database:
        await database.bulk_docs([{"_id": f"{n:03}", "n": n % 50} for n in range(100)])
        await database.put({"_id": "big", "n": 2**70})
        for descending in (False, True):
            found: list[str] = []
            after: str | None = None
            while True:
                page = await database.scan_docs({"n": 7}, after=after, descending=descending, limit=30)
                assert page is not None
                found += [doc["_id"] for doc in page.docs]
                after = page.after
                if after is None:
                    break
            assert found == (["big", "057", "007"] if descending else ["007", "057", "big"])


async def test_a_damaged_document_is_named_by_the_way_that_reads_it(path: Path) -> None:
    async with await Storage.open(path) as database:
        await database.put({"_id": "a", "n": 1})
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE docs SET body = ?", (b"{nonsense",))
    connection.close()
    async with await Storage.open(path) as database:
        assert await database.scan_docs({"n": 1}, after=None) is None


async def test_documents_that_are_large_together_are_left_to_others(path: Path) -> None:
    async with await Storage.open(path) as database:
        await database.bulk_docs([{"_id": f"{n}", "text": "x" * 1_000_000} for n in range(5)])
        assert await database.scan_docs({"n": 1}, after=None) is None
        assert await database.scan_docs({"n": 1}, after=None, limit=3) == ([], "2", 3)
