"""Queries over a real store: answers with and without indexes are the same, and the right index is used."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerpouch.core.collation import encode_key
from peerpouch.core.fields import Absent, get_field, parse_path
from peerpouch.errors import BadRequest, InvalidBookmark, InvalidSelector, NotFound, NoUsableIndex
from peerpouch.query.planner import NO_INDEX
from tests.core.naive_selector import matches
from tests.core.selector_strategies import names, selectors, values
from tests.query.databases import database, ids

DOCS: list[dict[str, Any]] = [
    {"_id": "mario", "name": "Mario", "series": "Mario", "debut": 1981},
    {"_id": "puff", "name": "Jigglypuff", "series": "Pokemon", "debut": 1996},
    {"_id": "link", "name": "Link", "series": "Zelda", "debut": 1986},
    {"_id": "dk", "name": "Donkey Kong", "series": "Mario", "debut": 1981},
    {"_id": "pika", "name": "Pikachu", "series": "Pokemon", "debut": 1996},
    {"_id": "luigi", "name": "Luigi", "series": "Mario", "debut": 1983},
    {"_id": "kirby", "name": "Kirby", "series": "Kirby", "debut": 1992},
    {"_id": "samus", "name": "Samus", "series": "Metroid"},
]

doc_ids = st.sampled_from(["a", "ab", "b", "é", "\uffff", "😀", "z", "A", "a\x00"])
collections = st.dictionaries(doc_ids, st.dictionaries(names, values, max_size=3), max_size=8)
index_fields = st.lists(st.sampled_from(["a", "b", "c", "a.b", "_id"]), min_size=1, max_size=2, unique=True)
partials = st.none() | st.dictionaries(names, st.sampled_from([{"$gt": None}, {"$exists": True}, 1, "a"]), max_size=1)


def answers(selector: dict[str, Any], doc: dict[str, Any]) -> bool:
    """Whether a query gives this document: an empty list of selectors, alone, asks for nothing."""
    return selector not in ({"$and": []}, {"$or": []}) and matches(selector, doc)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(collections, selectors, st.lists(st.tuples(index_fields, partials), max_size=3))
def test_answers_do_not_depend_on_indexes(
    collection: dict[str, Any], selector: dict[str, Any], indexes: list[tuple[list[str], Any]]
) -> None:
    docs = [{"_id": doc_id, **fields} for doc_id, fields in collection.items()]
    # A `_rev` condition never occurs in these selectors, so the plain documents stand for the stored ones.
    expected = sorted(doc["_id"] for doc in docs if answers(selector, doc))

    async def run() -> None:
        async with database(docs) as db:
            assert sorted(ids((await db.find(selector))["docs"])) == expected
            for fields, partial in indexes:
                await db.create_index(fields, partial_filter_selector=partial)
            assert sorted(ids((await db.find(selector))["docs"])) == expected

    asyncio.run(run())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(collections, selectors, index_fields, st.booleans(), st.integers(0, 3), st.integers(1, 3))
def test_sorted_pages_are_the_sorted_whole(
    collection: dict[str, Any], selector: dict[str, Any], fields: list[str], descending: bool, skip: int, limit: int
) -> None:
    docs = [{"_id": doc_id, **fields} for doc_id, fields in collection.items()]
    paths = [parse_path(field) for field in fields]

    def key(doc: dict[str, Any]) -> tuple[list[bytes], bytes]:
        values = [get_field(doc, path) for path in paths]
        columns = [
            value.encode() if path == ("_id",) else encode_key(value) for path, value in zip(paths, values, strict=True)
        ]
        return columns, doc["_id"].encode()

    there = [doc for doc in docs if not any(isinstance(get_field(doc, path), Absent) for path in paths)]
    expected = ids(sorted((doc for doc in there if answers(selector, doc)), key=key, reverse=descending))
    sort = [{field: "desc" if descending else "asc"} for field in fields]

    async def run() -> None:
        async with database(docs) as db:
            await db.create_index(fields)
            assert ids((await db.find(selector, sort=sort))["docs"]) == expected
            assert ids((await db.find(selector, sort=sort, skip=skip, limit=limit))["docs"]) == expected[skip:][:limit]
            paged: list[str] = []
            bookmark: str | None = None
            while True:
                page = await db.find(selector, sort=sort, limit=limit, bookmark=bookmark)
                paged += ids(page["docs"])
                bookmark = page["bookmark"]
                if not page["docs"]:
                    break
            assert paged == expected

    asyncio.run(run())


async def test_an_index_follows_what_is_written_changed_and_deleted() -> None:
    async with database(DOCS) as db:
        await db.create_index(["debut"])
        selector = {"debut": {"$gt": 1990}}
        assert ids((await db.find(selector))["docs"]) == ["kirby", "pika", "puff"]
        mario = await db.get("mario")
        await db.put({**mario, "debut": 2001})
        pika = await db.get("pika")
        await db.remove("pika", pika["_rev"])
        await db.put({"_id": "olimar", "debut": 2001})
        assert ids((await db.find(selector))["docs"]) == ["kirby", "puff", "mario", "olimar"]
        kirby = await db.get("kirby")
        del kirby["debut"]
        await db.put(kirby)
        assert ids((await db.find(selector))["docs"]) == ["puff", "mario", "olimar"]


async def test_only_the_matching_range_of_an_index_is_read() -> None:
    async with database({"_id": f"{n:04}", "n": n} for n in range(1000)) as db:
        await db.create_index(["n"])
        result = await db.find({"n": {"$gte": 10, "$lt": 20}}, execution_stats=True)
        assert len(result["docs"]) == 10
        assert result["execution_stats"]["total_keys_examined"] == 10
        assert "warning" not in result
        result = await db.find({"_id": {"$gte": "0990"}}, execution_stats=True)
        assert result["execution_stats"]["total_docs_examined"] == 10
        assert "warning" not in result


async def test_documents_named_by_their_ids_are_read_alone() -> None:
    async with database(DOCS) as db:
        selector = {"_id": {"$in": ["pika", "mario", "gone", 5, "dk"]}, "debut": {"$lt": 1990}}
        found = await db.find(selector, execution_stats=True)
        assert ids(found["docs"]) == ["dk", "mario"]
        assert found["execution_stats"]["total_docs_examined"] == 3
        assert "warning" not in found
        first = await db.find(selector, limit=1, sort=[{"_id": "desc"}])
        assert ids(first["docs"]) == ["mario"]
        rest = await db.find(selector, sort=[{"_id": "desc"}], bookmark=first["bookmark"])
        assert ids(rest["docs"]) == ["dk"]
        assert (await db.find({"_id": {"$in": []}}))["docs"] == []


async def test_a_query_without_an_index_is_warned_of() -> None:
    async with database(DOCS) as db:
        assert (await db.find({"name": "Link"}))["warning"] == NO_INDEX
        assert (await db.find({}))["warning"] == NO_INDEX


async def test_the_most_selective_index_is_used() -> None:
    async with database(DOCS) as db:
        await db.create_index(["debut"], name="by-debut")
        await db.create_index(["series", "debut"], name="by-series-debut")
        await db.create_index(["series"], name="by-series")

        async def used(selector: dict[str, Any], **options: Any) -> str:
            name: str = (await db.explain(selector, **options))["index"]["name"]
            return name

        assert await used({"series": "Mario", "debut": {"$gt": 1}}) == "by-series-debut"
        assert await used({"series": "Mario"}) == "by-series"
        assert await used({"debut": 1981}) == "by-debut"
        assert await used({"debut": 1981, "_id": "dk"}) == "_all_docs"
        assert await used({"name": "x"}) == "_all_docs"
        assert await used({"$or": [{"series": "a"}, {"series": "b"}]}) == "by-series"
        assert await used({"series": "Mario"}, sort=["debut"]) == "by-series-debut"


async def test_a_named_index_is_used_or_the_warning_says_why_not() -> None:
    async with database(DOCS) as db:
        await db.create_index(["debut"], ddoc="d", name="debut")
        await db.create_index(["series"], ddoc="d", name="series")
        both = {"series": "Mario", "debut": 1981}
        for name in ("debut", "series"):
            explained = await db.explain(both, use_index=["d", name])
            assert (explained["index"]["name"], explained["index"]["ddoc"]) == (name, "_design/d")
        result = await db.find({"name": "Link"}, use_index="d")
        assert ids(result["docs"]) == ["link"]
        assert "d was not used" in result["warning"]
        for bad in (["a", "b", "c"], [1], 5, {"a": 1}):
            with pytest.raises(BadRequest):
                await db.find({}, use_index=bad)  # type: ignore[arg-type]


async def test_sorting_needs_an_index_in_that_order() -> None:
    async with database(DOCS) as db:
        with pytest.raises(NoUsableIndex):
            await db.find({"series": "Mario"}, sort=["debut"])
        await db.create_index(["series", "debut"])
        found = await db.find({"series": "Mario"}, sort=[{"debut": "desc"}])
        assert ids(found["docs"]) == ["luigi", "mario", "dk"]
        found = await db.find({"series": "Mario"}, sort=["series", "debut"], fields=["_id", "debut"])
        assert [doc["debut"] for doc in found["docs"]] == [1981, 1981, 1983]
        with pytest.raises(NoUsableIndex):
            await db.find({"series": {"$gt": "M"}}, sort=["debut"])
        assert ids((await db.find({"series": "Zelda"}, sort=[{"_id": "desc"}]))["docs"]) == ["link"]


async def test_a_partial_index_serves_who_names_it_or_implies_it() -> None:
    async with database(DOCS) as db:
        await db.create_index(["debut"], ddoc="p", partial_filter_selector={"series": "Mario"})
        implied = {"series": "Mario", "debut": {"$gt": 1982}}
        assert (await db.explain(implied))["index"]["ddoc"] == "_design/p"
        assert ids((await db.find(implied))["docs"]) == ["luigi"]
        assert (await db.explain({"debut": {"$gt": 1982}}))["index"]["name"] == "_all_docs"
        named = await db.find({"debut": {"$gt": 0}}, use_index="p")
        assert ids(named["docs"]) == ["dk", "mario", "luigi"]


async def test_design_documents_are_never_found() -> None:
    async with database([{"_id": "_design/x", "a": 1}, {"_id": "y", "a": 1}]) as db:
        assert ids((await db.find({"a": 1}))["docs"]) == ["y"]
        await db.create_index(["a"])
        assert ids((await db.find({"a": 1}))["docs"]) == ["y"]


async def test_indexes_are_design_documents_as_couchdb_writes_them() -> None:
    async with database() as db:
        made = await db.create_index(["a", {"b.c": "asc"}], ddoc="x", name="y", partial_filter_selector={"a": 1})
        assert made == {"result": "created", "id": "_design/x", "name": "y"}
        doc = await db.get("_design/x")
        assert doc["language"] == "query"
        assert doc["views"]["y"] == {
            "map": {"fields": {"a": "asc", "b.c": "asc"}, "partial_filter_selector": {"a": 1}},
            "reduce": "_count",
            "options": {"def": {"fields": ["a", "b.c"], "partial_filter_selector": {"a": 1}}},
        }
        again = await db.create_index(["a", "b.c"], ddoc="_design/x", name="y", partial_filter_selector={"a": 1})
        assert again["result"] == "exists"
        assert (await db.create_index(["a"], ddoc="x", name="y"))["result"] == "created"
        assert (await db.create_index(["a"]))["id"] == (await db.create_index(["a"]))["id"]
        listed = await db.get_indexes()
        assert listed["total_rows"] == 3
        assert listed["indexes"][0]["name"] == "_all_docs"
        assert {index["ddoc"] for index in listed["indexes"]} >= {None, "_design/x"}


async def test_an_index_made_by_couchdb_is_used() -> None:
    view = {"map": {"fields": {"n": "asc"}, "partial_filter_selector": {}}, "reduce": "_count", "options": {"def": {}}}
    ddoc = {"_id": "_design/made-elsewhere", "language": "query", "views": {"by-n": view, "odd": {"map": 3}}}
    async with database([ddoc, {"_id": "a", "n": 1}, {"_id": "b", "n": 2}]) as db:
        assert (await db.explain({"n": 2}))["index"]["name"] == "by-n"
        assert ids((await db.find({"n": 2}))["docs"]) == ["b"]


async def test_an_index_is_never_put_into_another_languages_design_document() -> None:
    ddoc = {"_id": "_design/js", "language": "javascript", "views": {}}
    async with database([ddoc]) as db:
        with pytest.raises(BadRequest, match="javascript"):
            await db.create_index(["a"], ddoc="js")


async def test_a_deleted_index_is_gone() -> None:
    async with database(DOCS) as db:
        await db.create_index(["debut"], ddoc="d", name="one")
        await db.create_index(["series"], ddoc="d", name="two")
        await db.find({"debut": 1})
        await db.delete_index("d", "one")
        assert list((await db.get("_design/d"))["views"]) == ["two"]
        await db.delete_index("_design/d", "two")
        with pytest.raises(NotFound):
            await db.get("_design/d")
        with pytest.raises(NotFound):
            await db.delete_index("d", "two")
        assert await db.index_names() == []
        assert (await db.create_index(["debut"], ddoc="d", name="one"))["result"] == "created"


async def test_bookmarks_are_refused_when_malformed_or_of_another_index() -> None:
    async with database(DOCS) as db:
        bookmark = (await db.find({"debut": {"$gt": 0}}, limit=2))["bookmark"]
        rest = await db.find({"debut": {"$gt": 0}}, bookmark=bookmark)
        assert ids(rest["docs"]) == ["link", "luigi", "mario", "pika", "puff"]
        await db.create_index(["debut"])
        with pytest.raises(InvalidBookmark):
            await db.find({"debut": {"$gt": 0}}, bookmark=bookmark)
        for bad in ["x", "é", "bnVsbA==", "WzFd", "WyJhIiwiYiJd", "WyIiLCJhIiwiYiJd", 5]:
            with pytest.raises(InvalidBookmark):
                await db.find({"debut": {"$gt": 0}}, bookmark=bad)  # type: ignore[arg-type]
        assert (await db.find({"debut": 1}, bookmark="nil"))["bookmark"] == "nil"
        end = (await db.find({"debut": {"$gt": 0}}))["bookmark"]
        behind = await db.find({"debut": {"$gt": 0}}, bookmark=end)
        assert (behind["docs"], behind["bookmark"]) == ([], end)


@pytest.mark.parametrize("options", [{"limit": -1}, {"skip": -1}, {"limit": "x"}, {"fields": "a"}, {"sort": "a"}])
async def test_malformed_options_are_refused(options: dict[str, Any]) -> None:
    async with database() as db:
        with pytest.raises(BadRequest):
            await db.find({}, **options)


async def test_malformed_selectors_and_indexes_are_refused() -> None:
    async with database() as db:
        with pytest.raises(InvalidSelector):
            await db.find({"a": {"$bad": 1}})
        for bad in ({"a": {"$bad": 1}}, ["a"], "a"):
            with pytest.raises(InvalidSelector):
                await db.create_index(["a"], partial_filter_selector=bad)  # type: ignore[arg-type]
        for fields in ([], ["a", "a"], "a", [1]):
            with pytest.raises(BadRequest):
                await db.create_index(fields)  # type: ignore[arg-type]


async def test_explain_tells_what_would_be_read() -> None:
    async with database() as db:
        await db.create_index(["a", "b"], ddoc="d", name="ab")
        plan = await db.explain({"a": 1, "b": {"$gt": 2}}, fields=["b"], limit=3, skip=1, sort=["a", "b"])
        assert plan["index"]["def"] == {"fields": [{"a": "asc"}, {"b": "asc"}]}
        assert plan["selector"] == {"$and": [{"a": {"$eq": 1}}, {"b": {"$gt": 2}}]}
        assert plan["mrargs"]["start_key"] == [1, 2]
        assert plan["mrargs"]["end_key"] == [1, "<MAX>"]
        assert plan["selector_hints"] == [{"type": "json", "indexable_fields": ["a", "b"], "unindexable_fields": []}]
        assert (plan["limit"], plan["skip"], plan["fields"]) == (3, 1, ["b"])


async def test_many_documents_are_found_over_many_batches() -> None:
    async with database({"_id": f"{n:05}", "n": n % 7} for n in range(5000)) as db:
        assert len((await db.find({"n": 3}))["docs"]) == 714
        await db.create_index(["n"])
        assert len((await db.find({"n": {"$gte": 0}}))["docs"]) == 5000
        assert len((await db.find({"n": 3, "_id": {"$regex": "9$"}}, limit=20))["docs"]) == 20


async def test_explain_tells_why_the_other_indexes_are_not_used() -> None:
    async with database(DOCS) as db:
        for fields in (["series"], ["series", "debut"], ["debut"], ["other"]):
            await db.create_index(fields, ddoc="-".join(fields), name="i")
        await db.create_index(["series"], ddoc="part", name="i", partial_filter_selector={"debut": {"$gt": 1}})

        async def why(selector: dict[str, Any], **options: Any) -> tuple[Any, dict[str | None, str]]:
            plan = await db.explain(selector, **options)
            reasons = {one["index"]["ddoc"]: one["analysis"]["reasons"][0]["name"] for one in plan["index_candidates"]}
            return plan["index"] and plan["index"]["ddoc"], reasons

        used, reasons = await why({"series": "Mario", "debut": {"$gte": 1983}})
        assert used == "_design/series-debut"
        assert reasons == {
            "_design/series": "less_overlap",
            "_design/part": "is_partial",
            "_design/other": "field_mismatch",
            "_design/debut": "less_overlap",
            None: "unfavored_type",
        }
        used, reasons = await why({"series": "Mario", "debut": 1}, use_index="debut")
        assert (used, reasons["_design/series"]) == ("_design/debut", "excluded_by_user")
        used, reasons = await why({"series": {"$gt": "M"}, "debut": {"$gt": 1}}, sort=["debut", "other"])
        assert (used, reasons["_design/series"], reasons[None]) == (None, "sort_order_mismatch", "sort_order_mismatch")


async def test_bounds_are_shown_as_couchdb_shows_them() -> None:
    async with database() as db:
        await db.create_index(["a"])

        async def bounds(selector: dict[str, Any], **options: Any) -> tuple[Any, Any]:
            mrargs = (await db.explain(selector, **options))["mrargs"]
            return mrargs["start_key"], mrargs["end_key"]

        assert await bounds({"a": {"$gt": 0}}) == ([0], ["<MAX>"])
        assert await bounds({"a": 5}) == ([5], [5, "<MAX>"])
        assert await bounds({"a": {"$beginsWith": "A"}}) == (["A"], ["A\ufffd", "<MAX>"])
        assert await bounds({"a": {"$beginsWith": "A"}}, sort=[{"a": "desc"}]) == (["A\ufffd", "<MAX>"], ["A"])
        assert await bounds({"_id": "x"}) == ("x", "x")
        assert await bounds({"b": 1}) == (None, "<MAX>")
        assert await bounds({"a": {"$gt": 5, "$lt": 0}}) == (None, None)


async def test_an_empty_list_of_selectors_asks_for_nothing_but_restricts_nothing() -> None:
    async with database(DOCS) as db:
        for name in ("$and", "$or"):
            assert (await db.find({name: []}))["docs"] == []
            assert ids((await db.find({"series": "Zelda", name: []}))["docs"]) == ["link"]
        assert len((await db.find({}))["docs"]) == len(DOCS)


async def test_conflicts_are_found_when_they_are_asked_for() -> None:
    async with database([{"_id": "plain", "n": 1}, {"_id": "two", "n": 1}]) as db:
        await db.bulk_docs([{"_id": "two", "_rev": "1-00", "n": 2}], new_edits=False)
        selector = {"_conflicts": {"$exists": True}}
        assert (await db.find(selector))["docs"] == []
        (found,) = (await db.find(selector, conflicts=True))["docs"]
        assert (found["_id"], found["_conflicts"]) == ("two", ["1-00"])
        await db.create_index(["n"])
        docs = (await db.find({"n": 1}, conflicts=True))["docs"]
        assert [doc.get("_conflicts") for doc in docs] == [None, ["1-00"]]
        assert (await db.find({"_id": {"$in": ["two"]}}, conflicts=True))["docs"][0]["_conflicts"] == ["1-00"]


async def test_a_text_may_name_a_design_document_and_an_index() -> None:
    async with database(DOCS) as db:
        await db.create_index(["debut"], ddoc="d", name="one")
        await db.create_index(["series", "debut"], ddoc="d", name="two")
        both = {"series": "Mario", "debut": {"$gt": 1}}
        for name in ("one", "two"):
            assert (await db.explain(both, use_index=f"d/{name}"))["index"]["name"] == name
        warning = (await db.find({"name": "Link"}, use_index="d/one"))["warning"]
        assert warning.startswith("_design/d, one was not used because it is not a valid index for this query.\n")
