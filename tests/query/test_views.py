"""Map/reduce over a real store, compared with a naive evaluation of the same options."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerpouch.core.collation import compare, encode_key
from peerpouch.errors import BadRequest, InvalidQuery, NotFound, NotSupported, PeerPouchError
from peerpouch.ports import Document, FunctionRunner
from tests.core.selector_strategies import values
from tests.query.databases import LocalDatabase, database


class PythonRunner(FunctionRunner):
    """Runs functions under names, so that stored views can be tested without JavaScript."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        self.functions = functions
        self.mapped = 0

    async def map(
        self, source: str, docs: Sequence[Document], *, modules: str = ""
    ) -> list[list[tuple[Any, Any]] | PeerPouchError]:
        results: list[list[tuple[Any, Any]] | PeerPouchError] = []
        for doc in docs:
            self.mapped += 1
            rows: list[tuple[Any, Any]] = []
            try:
                self.functions[source](doc, lambda key, value, rows=rows: rows.append((key, value)))
                results.append(rows)
            except KeyError as error:
                results.append(PeerPouchError(str(error)))
        return results

    async def call(self, source: str, *arguments: Any, modules: str = "") -> Any:
        return self.functions[source](*arguments)

    async def call_each(
        self, source: str, calls: Sequence[Sequence[Any]], *, modules: str = ""
    ) -> list[Any | PeerPouchError]:
        return [self.functions[source](*arguments) for arguments in calls]

    async def close(self) -> None:
        return None


def emit_all(doc: Document, emit: Any) -> None:
    for key, value in doc.get("rows", []):
        emit(key, value)


def by_kind(doc: Document, emit: Any) -> None:
    emit([doc["kind"], doc["n"]], doc["n"])


def ddoc(**view: Any) -> Document:
    return {"_id": "_design/d", "views": {"v": view}}


async def with_view(db: LocalDatabase, runner: PythonRunner, **view: Any) -> None:
    db.function_runner = runner
    await db.put(ddoc(**view))


# -- against a naive evaluation

few_keys = st.sampled_from([None, False, True, 0, 1, 1.5, "a", "b", ["a"], ["a", 1], ["b", 2], {"a": 1}])
rows = st.lists(st.tuples(few_keys | values, st.integers(0, 9)).map(list), max_size=4)
collections = st.dictionaries(st.sampled_from("abcdef"), rows, max_size=6)


def naive_rows(collection: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for doc_id, emitted in collection.items():
        for ordinal, (key, value) in enumerate(emitted):
            found.append((encode_key(key), doc_id, (value, ordinal), {"id": doc_id, "key": key, "value": value}))
    return [item[3] for item in sorted(found, key=lambda item: item[:3])]


def naive(collection: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
    everything = naive_rows(collection)
    if options.get("descending"):
        everything.reverse()
    sign = -1 if options.get("descending") else 1

    def inside(key: Any) -> bool:
        if "startkey" in options and compare(key, options["startkey"]) * sign < 0:
            return False
        if "endkey" in options:
            order = compare(key, options["endkey"]) * sign
            return order < 0 or (order == 0 and options.get("inclusive_end", True))
        return True

    if "keys" in options:
        found = [row for key in options["keys"] for row in everything if compare(row["key"], key) == 0]
    elif "key" in options:
        found = [row for row in everything if compare(row["key"], options["key"]) == 0]
    else:
        found = [row for row in everything if inside(row["key"])]
    if options.get("group") or options.get("group_level"):
        found = naive_groups(found, options)
    elif options.get("reduce"):
        found = [{"key": None, "value": sum(row["value"] for row in found)}] if found else []
    found = found[options.get("skip", 0) :]
    return found if options.get("limit") is None else found[: options["limit"]]


def naive_groups(found: list[dict[str, Any]], options: dict[str, Any]) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = []
    level = options.get("group_level")
    for row in found:
        key = row["key"][:level] if level and isinstance(row["key"], list) else row["key"]
        if groups and compare(groups[-1]["key"], key) == 0:
            groups[-1]["value"] += row["value"]
        else:
            groups.append({"key": key, "value": row["value"]})
    return groups


ranges = st.fixed_dictionaries(
    {},
    optional={"startkey": few_keys, "endkey": few_keys, "inclusive_end": st.booleans(), "descending": st.booleans()},
)
single = st.fixed_dictionaries({"key": few_keys})
many = st.fixed_dictionaries({"keys": st.lists(few_keys, max_size=3, unique_by=encode_key)})
paging = st.fixed_dictionaries({}, optional={"skip": st.integers(0, 3), "limit": st.integers(0, 5)})
grouping = st.sampled_from(
    [{}, {"reduce": "_sum"}, {"reduce": "_sum", "group": True}, {"reduce": "_sum", "group_level": 1}]
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(collections, ranges | single | many, paging, grouping)
def test_views_give_what_a_naive_evaluation_gives(
    collection: dict[str, Any], part: dict[str, Any], page: dict[str, Any], reduction: dict[str, Any]
) -> None:
    if "keys" in part and reduction:
        reduction = {"reduce": "_sum", "group": True}
    options = {**part, **page, **reduction}
    docs = [{"_id": doc_id, "rows": emitted} for doc_id, emitted in collection.items()]

    async def run() -> None:
        async with database(docs) as db:
            await with_view(db, PythonRunner(f=emit_all), map="f")
            try:
                temporary = await db.query(emit_all, **options)
            except InvalidQuery:
                sign = -1 if options.get("descending") else 1
                assert compare(options["startkey"], options["endkey"]) * sign > 0
                return
            expected = naive(collection, options)
            assert list(map(json_row, temporary["rows"])) == list(map(json_row, expected))
            stored = await db.query("d/v", **options)
            assert list(map(json_row, stored["rows"])) == list(map(json_row, expected))
            if not reduction:
                assert stored["total_rows"] == temporary["total_rows"] == len(naive_rows(collection))
            if not reduction and "keys" not in part and "key" not in part:
                assert stored["offset"] == temporary["offset"]

    asyncio.run(run())


def json_row(row: Any) -> Any:
    return {**row, "key": encode_key(row["key"])}


# -- stored views

DOCS: list[dict[str, Any]] = [{"_id": f"{n:03}", "kind": "even" if n % 2 == 0 else "odd", "n": n} for n in range(10)]


async def test_a_stored_view_is_updated_by_what_changed_only() -> None:
    async with database(DOCS) as db:
        runner = PythonRunner(f=by_kind)
        await with_view(db, runner, map="f", reduce="_sum")
        assert (await db.query("d/v"))["rows"] == [{"key": None, "value": 45}]
        mapped = runner.mapped
        await db.put({"_id": "new", "kind": "odd", "n": 100})
        doc = await db.get("000")
        await db.remove("000", doc["_rev"])
        result = await db.query("d/v", group_level=1)
        assert result["rows"] == [{"key": ["even"], "value": 20}, {"key": ["odd"], "value": 125}]
        assert runner.mapped == mapped + 1


async def test_a_changed_function_is_a_new_view() -> None:
    async with database(DOCS) as db:
        runner = PythonRunner(f=by_kind, g=lambda doc, emit: emit(doc["n"], None))
        await with_view(db, runner, map="f")
        await db.query("d/v")
        stored = await db.get("_design/d")
        stored["views"]["v"]["map"] = "g"
        await db.put(stored)
        assert [row["key"] for row in (await db.query("d/v"))["rows"]] == list(range(10))
        assert len(await db.index_names()) == 2
        await db.view_cleanup()
        assert len(await db.index_names()) == 1
        assert len((await db.query("d/v", update="false"))["rows"]) == 10


async def test_an_update_can_be_left_out_or_left_for_later() -> None:
    async with database(DOCS) as db:
        await with_view(db, PythonRunner(f=by_kind), map="f")
        assert (await db.query("d/v", update="false"))["rows"] == []
        assert (await db.query("d/v", update="lazy"))["rows"] == []
        async with asyncio.timeout(30):
            while not (await db.query("d/v", update="false"))["rows"]:
                await asyncio.sleep(0)
        assert len((await db.query("d/v", update="false"))["rows"]) == 10


async def test_a_document_that_the_function_fails_on_has_no_rows() -> None:
    async with database([*DOCS, {"_id": "x"}]) as db:
        await with_view(db, PythonRunner(f=by_kind), map="f")
        assert len((await db.query("d/v"))["rows"]) == 10


async def test_a_python_function_that_fails_tells_the_caller() -> None:
    async with database([*DOCS, {"_id": "x"}]) as db:
        with pytest.raises(KeyError):
            await db.query(by_kind)


async def test_what_is_emitted_may_be_changed_afterwards() -> None:
    def reuse(doc: Document, emit: Any) -> None:
        value: dict[str, int] = {}
        for n in range(2):
            value["n"] = n
            emit(doc["_id"], value)

    async with database([{"_id": "a"}]) as db:
        assert [row["value"] for row in (await db.query(reuse))["rows"]] == [{"n": 0}, {"n": 1}]


async def test_documents_are_included_also_linked_ones() -> None:
    def links(doc: Document, emit: Any) -> None:
        emit(doc["_id"], None)
        if "friend" in doc:
            emit(doc["_id"], {"_id": doc["friend"]})

    async with database([{"_id": "a", "friend": "b"}, {"_id": "b", "friend": "gone"}]) as db:
        found = (await db.query(links, include_docs=True))["rows"]
        assert [(row["id"], doc and doc["_id"]) for row in found for doc in [row["doc"]]] == [
            ("a", "a"),
            ("a", "b"),
            ("b", "b"),
            ("b", None),
        ]
        old = (await db.get("a"))["_rev"]
        await db.put({"_id": "a", "_rev": old, "new": True})
        linked = await db.query(
            lambda doc, emit: emit(doc["_id"], {"_id": "a", "_rev": old}), include_docs=True, limit=1
        )
        doc = linked["rows"][0]["doc"]
        assert doc is not None
        assert doc["_rev"] == old


async def test_bounds_can_name_documents() -> None:
    async with database({"_id": f"{n}"} for n in range(10)) as db:

        async def found(**options: Any) -> list[str]:
            return [row["id"] for row in (await db.query(lambda doc, emit: emit("k", None), **options))["rows"]]

        assert await found(startkey="k", startkey_docid="7") == ["7", "8", "9"]
        assert await found(endkey="k", endkey_docid="1") == ["0", "1"]
        assert await found(endkey="k", endkey_docid="1", inclusive_end=False) == ["0"]
        assert await found(startkey="k", startkey_docid="1", descending=True) == ["1", "0"]
        assert await found(endkey="k", endkey_docid="8", descending=True) == ["9", "8"]


async def test_many_rows_of_one_key_are_paged_through() -> None:
    def burst(doc: Document, emit: Any) -> None:
        for n in range(1500):
            emit("k", n)

    async with database([{"_id": "a"}, {"_id": "b"}]) as db:
        await with_view(db, PythonRunner(f=burst), map="f", reduce="_count")
        for descending in (False, True):
            found = await db.query("d/v", reduce=False, descending=descending)
            numbers = [row["value"] for row in found["rows"]]
            assert numbers == sorted(range(1500), reverse=descending) * 2
        assert (await db.query("d/v"))["rows"][0]["value"] == 3000
        limited = await db.query(burst, limit=3, skip=1)
        assert [row["value"] for row in limited["rows"]] == [1, 2, 3]
        assert limited["total_rows"] == 3000


async def test_python_and_stored_reduce_functions_reduce_again() -> None:
    calls: list[bool] = []

    def total(keys: list[Any], values: list[Any], rereduce: bool) -> int:
        calls.append(rereduce)
        return sum(values)

    async with database({"_id": f"{n:05}", "n": n} for n in range(2500)) as db:
        result = await db.query(lambda doc, emit: emit(doc["_id"], doc["n"]), reduce=total)
        assert result["rows"] == [{"key": None, "value": sum(range(2500))}]
        assert calls == [False, False, False, True]
        await with_view(db, PythonRunner(f=lambda doc, emit: emit(doc["n"] % 2, 1), r=total), map="f", reduce="r")
        assert (await db.query("d/v", group=True))["rows"] == [{"key": 0, "value": 1250}, {"key": 1, "value": 1250}]


async def test_the_built_in_reductions() -> None:
    async def reduced(name: str, emitted: list[Any]) -> Any:
        async with database([{"_id": "a", "rows": [[n, value] for n, value in enumerate(emitted)]}]) as db:
            return (await db.query(emit_all, reduce=name))["rows"][0]["value"]

    assert await reduced("_count", [None, "x"]) == 2
    assert await reduced("_sum", [1, 2.5]) == 3.5
    assert await reduced("_sum", [[1, 2], [3], 4]) == [8, 2]
    assert await reduced("_sum", [{"a": 1, "b": {"c": [1]}}, {"a": 2, "b": {"c": [1, 1]}}]) == {
        "a": 3,
        "b": {"c": [2, 1]},
    }
    assert await reduced("_stats", [1, 2, 3]) == {"sum": 6, "count": 3, "min": 1, "max": 3, "sumsqr": 14}
    pairs = await reduced("_stats", [[1, 10], [2, 20]])
    assert [part["sum"] for part in pairs] == [3, 30]
    made = {"sum": 5, "count": 2, "min": 1, "max": 4, "sumsqr": 17}
    assert (await reduced("_stats", [made, made]))["count"] == 4
    # Beyond what JSON's numbers can be: null, as JavaScript writes it, and no error.
    for huge in ([1e308, 1e308], [10**400, 0.5], [-(10**400), 0.5, 1]):
        assert await reduced("_sum", huge) is None
        assert await reduced("_sum", [[1, n] for n in huge]) == [len(huge), None]
        assert (await reduced("_stats", huge))["sum"] is None
    assert await reduced("_sum", [10**400, 1]) == 10**400 + 1
    unfit: list[tuple[str, list[Any]]] = [
        ("_sum", ["x"]),
        ("_sum", [1, {"a": 1}]),
        ("_sum", [["x"]]),
        ("_stats", ["x"]),
        ("_stats", [1, [1]]),
    ]
    for name, bad in unfit:
        with pytest.raises(BadRequest, match=name):
            await reduced(name, bad)


async def test_what_a_built_in_reduction_refuses_costs_a_stored_view_one_group() -> None:
    emitted = [["a", 1], ["b", 2], ["b", {"x": 1}], ["b", 3], ["c", 4]]
    async with database([{"_id": "d", "rows": emitted}]) as db:
        for name in ("_sum", "_stats"):
            await with_view(db, PythonRunner(f=emit_all), map="f", reduce=name)
            values = {row["key"]: row["value"] for row in (await db.query("d/v", group=True))["rows"]}
            assert values["b"].pop("reason").startswith(f"The {name} function requires")
            assert values["b"] == {"error": "builtin_reduce_error", "caused_by": {"x": 1}}
            sums = [values["a"], values["c"]] if name == "_sum" else [values["a"]["sum"], values["c"]["sum"]]
            assert sums == [1, 4]
            # The twin: a function of the caller's own fails as a whole.
            with pytest.raises(BadRequest):
                await db.query(emit_all, reduce=name, group=True)
            await db.remove("_design/d", (await db.get("_design/d"))["_rev"])


async def test_distinct_keys_are_counted_within_a_few_percent() -> None:
    def several(doc: Document, emit: Any) -> None:
        for n in range(10):
            emit(doc["n"] * 10 + n, None)
            emit(float(doc["n"] * 10 + n), None)

    async with database({"_id": f"{n}", "n": n} for n in range(1000)) as db:
        count = (await db.query(several, reduce="_approx_count_distinct"))["rows"][0]["value"]
        assert 9000 < count < 11000
        few = (await db.query(lambda doc, emit: emit(doc["n"] % 7, 1), reduce="_approx_count_distinct"))["rows"]
        assert few[0]["value"] == 7


@pytest.mark.parametrize(
    "options",
    [
        {"keys": [1], "key": 1},
        {"key": 1, "startkey": 1},
        {"group": True},
        {"group_level": 1},
        {"reduce": True},
        {"reduce": "_sum", "include_docs": True},
        {"reduce": "_sum", "keys": [1]},
        {"skip": -1},
        {"limit": "x"},
        {"startkey": 2, "endkey": 1},
        {"startkey": 1, "endkey": 2, "descending": True},
        {"key": float("nan")},
        {"update": "maybe"},
        {"keys": "ab"},
        {"keys": {"a": 1}},
    ],
)
async def test_contradicting_options_are_refused(options: dict[str, Any]) -> None:
    async with database() as db:
        with pytest.raises(InvalidQuery):
            await db.query(by_kind, **options)


async def test_views_that_are_not_there_or_not_computable_are_refused() -> None:
    async with database(
        [ddoc(map="f"), {"_id": "_design/e", "language": "erlang", "views": {"v": {"map": "f"}}}]
    ) as db:
        with pytest.raises(NotSupported, match="js"):
            await db.query("d/v")
        db.function_runner = PythonRunner(f=by_kind)
        with pytest.raises(NotSupported, match="erlang"):
            await db.query("e/v")
        for name in ("gone/v", "d/gone"):
            with pytest.raises(NotFound):
                await db.query(name)
        with pytest.raises(BadRequest, match="_avg"):
            await db.query("d/v", reduce="_avg")
        made = await db.create_index(["a"], ddoc="m", name="i")
        with pytest.raises(BadRequest, match="find"):
            await db.query(f"{made['id']}/i")


async def test_the_sequence_of_a_view_is_told() -> None:
    async with database(DOCS) as db:
        await with_view(db, PythonRunner(f=by_kind), map="f")
        result = await db.query("d/v", update_seq=True)
        assert result["update_seq"] == (await db.info())["update_seq"]


async def test_design_documents_are_mapped_on_request_only() -> None:
    async with database() as db:
        runner = PythonRunner(f=lambda doc, emit: emit(doc["_id"], None))
        await with_view(db, runner, map="f")
        assert (await db.query("d/v"))["rows"] == []
        stored = await db.get("_design/d")
        await db.put({**stored, "options": {"include_design": True}})
        assert [row["id"] for row in (await db.query("d/v"))["rows"]] == ["_design/d"]


async def test_keys_keep_their_spelling() -> None:
    async with database([{"_id": "a", "rows": [[1.0, 2.0], [{"b": 1, "a": 2}, None]]}]) as db:
        found = (await db.query(emit_all))["rows"]
        assert repr(found[0]["key"]) == "1.0"
        assert list(found[1]["key"]) == ["b", "a"]


# -- what map functions are given, and what becomes of what they give


async def test_map_functions_are_told_of_conflicts() -> None:
    def conflicted(doc: Document, emit: Any) -> None:
        if "_conflicts" in doc:
            emit(doc["_id"], doc["_conflicts"])

    async with database([{"_id": "plain"}, {"_id": "two"}]) as db:
        await with_view(db, PythonRunner(conflicted=conflicted), map="conflicted")
        assert (await db.query("d/v"))["rows"] == []
        await db.bulk_docs([{"_id": "two", "_rev": "1-00"}], new_edits=False)
        expected = [{"id": "two", "key": "two", "value": ["1-00"]}]
        assert (await db.query("d/v"))["rows"] == expected
        assert (await db.query(conflicted))["rows"] == expected
        await db.remove("two", "1-00")
        assert (await db.query("d/v"))["rows"] == []


async def test_rows_of_one_document_under_one_key_are_sorted_by_value() -> None:
    docs = [{"_id": "a", "rows": [["k", "b"], ["k", None], ["j", 5], ["k", [1]], ["k", 2], ["k", "a"]]}]
    expected = [("j", 5), ("k", None), ("k", 2), ("k", "a"), ("k", "b"), ("k", [1])]
    async with database(docs) as db:
        await with_view(db, PythonRunner(emit_all=emit_all), map="emit_all")
        for view in ("d/v", emit_all):
            rows = (await db.query(view))["rows"]
            assert [(row["key"], row["value"]) for row in rows] == expected


async def test_what_follows_a_built_in_reductions_name_is_ignored() -> None:
    async with database([{"_id": "a", "rows": [["k", 1], ["k", 2]]}]) as db:
        await with_view(db, PythonRunner(emit_all=emit_all), map="emit_all", reduce="_sum\n and more")
        assert (await db.query("d/v"))["rows"] == [{"key": None, "value": 3}]
        with pytest.raises(BadRequest):
            await db.query("d/v", reduce="_sum2")


async def test_progress_is_told_while_an_index_is_made() -> None:
    seen: list[tuple[str, int, int]] = []

    async with database({"_id": f"{n:05}", "rows": [[n, n]]} for n in range(4500)) as db:

        def watching(doc: Document, emit: Any) -> None:
            (progress,) = db.indexing
            seen.append((progress.design, progress.done, progress.total))

        await with_view(db, PythonRunner(watching=watching), map="watching")
        await db.query("d/v")
        assert sorted(set(seen)) == [("_design/d", done, 4501) for done in (0, 2000, 4000)]
        assert db.indexing == []
