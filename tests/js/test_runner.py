"""JavaScript functions of design documents: what they give, and what they can't do."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.errors import (
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    NotSupported,
    PeerPouchError,
    TooLarge,
    Unauthorized,
)
from tests.query.databases import database

pytest.importorskip("quickjs")

from peerpouch.js.runner import QuickJSRunner
from peerpouch.js.worker import CompiledFunction, Worker


@pytest.fixture
async def runner() -> AsyncIterator[QuickJSRunner]:
    runner = QuickJSRunner(seconds=0.5, memory=16 * 1024 * 1024, deadline=30)
    yield runner
    await runner.close()


async def rows(runner: QuickJSRunner, source: str, doc: dict[str, Any]) -> Any:
    (result,) = await runner.map(source, [doc])
    return result


async def test_map_functions_emit_rows(runner: QuickJSRunner) -> None:
    source = "function (doc) { emit(doc.kind, doc.n * 2); if (doc.n > 1) emit([doc.n, {a: null}]); }"
    results = await runner.map(source, [{"kind": "x", "n": 1}, {"kind": "é😀", "n": 2}])
    assert results == [[("x", 2)], [("é😀", 4), ([2, {"a": None}], None)]]


@pytest.mark.parametrize(
    "source",
    ["function (doc) { emit(1, 2); };", "doc => emit(1, 2)", "function f(doc) { emit(1, 2); } // the end"],
)
async def test_functions_are_written_in_several_ways(runner: QuickJSRunner, source: str) -> None:
    assert await rows(runner, source, {}) == [(1, 2)]


async def test_what_is_emitted_may_be_changed_afterwards(runner: QuickJSRunner) -> None:
    source = "function (doc) { var v = {n: 1}; emit(null, v); v.n = 2; emit(undefined, v); emit(NaN, undefined); }"
    assert await rows(runner, source, {}) == [(None, {"n": 1}), (None, {"n": 2}), (None, None)]


async def test_many_documents_go_in_batches(runner: QuickJSRunner) -> None:
    results = await runner.map("function (doc) { emit(doc.n, null); }", [{"n": n} for n in range(1001)])
    assert results == [[(n, None)] for n in range(1001)]


async def test_an_exception_costs_its_document_alone(runner: QuickJSRunner) -> None:
    source = "function (doc) { emit(doc.a.b, 1); }"
    good, bad, also_good = await runner.map(source, [{"a": {"b": 1}}, {}, {"a": {"b": 2}}])
    assert (good, also_good) == ([(1, 1)], [(2, 1)])
    assert isinstance(bad, PeerPouchError)


async def test_functions_are_called_with_arguments(runner: QuickJSRunner) -> None:
    assert await runner.call("function (keys, values, again) { return sum(values); }", [], [1, 2, 3], False) == 6
    filtering = "function (doc, req) { return doc.type === req.query.type; }"
    assert await runner.call(filtering, {"type": "a"}, {"query": {"type": "a"}}) is True
    assert await runner.call(filtering, {"type": "a"}, {"query": {}}) is False
    assert await runner.call("function () {}") is None


async def test_large_results_come_whole(runner: QuickJSRunner) -> None:
    assert await runner.call("function (n) { return 'x'.repeat(n); }", 1_000_000) == "x" * 1_000_000
    source = "function (doc) { for (var i = 0; i < 5000; i++) emit(i, doc.text); }"
    assert len(await rows(runner, source, {"text": "y" * 200})) == 5000


async def test_results_that_would_fill_the_worker_come_in_parts(
    runner: QuickJSRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 40 MiB of results, for which the worker has less than 200 MiB: its own code and libraries take some of them.
    monkeypatch.setattr("peerpouch.js.process._PROCESS_MEMORY", 200 << 20)
    source = "function (doc) { emit(doc.n, 'x'.repeat(2 << 20)); }"
    assert await runner.map(source, []) == [] and await rows(runner, source, {"n": 0})
    process = runner._process
    results = await runner.map(source, [{"n": n} for n in range(20)])
    large = "x" * (2 << 20)
    assert results == [[(n, large)] for n in range(20)]
    assert runner._process is process


@pytest.mark.skipif(sys.platform == "win32", reason="address space has no limit there")
def test_twin_orjson_writes_on_where_its_buffer_could_not_grow() -> None:
    code = """if True:
        import resource, sys
        import orjson
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))
        orjson.dumps({"results": ["x" * (2 << 20)] * 40})
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGSEGV


def test_the_worker_has_no_orjson() -> None:
    code = "import sys, peerpouch.js.worker; sys.exit('orjson' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_memory_that_the_worker_does_not_get_is_a_reply_and_the_next_function_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker(1, 16 << 20)
    request = [b"call", b"function () { return 1; }", b"", b"[]"]
    with monkeypatch.context() as refused:
        refused.setattr(CompiledFunction, "call", lambda self, arguments: bytes(1 << 60))
        assert worker.answer(request)[:2] == [b"fatal", b"memory"]
    assert worker.answer(request) == [b"results", b'{"result":1}']


async def test_all_results_together_are_bounded(runner: QuickJSRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerpouch.js.runner.MOST_RESULTS", 1 << 20)
    source = "function (doc) { emit(null, 'x'.repeat(1 << 18)); }"
    assert len(await runner.map(source, [{}] * 3)) == 3
    with pytest.raises(TooLarge, match="more than 1,048,576 bytes"):
        await runner.map(source, [{}] * 4)
    assert await runner.call("function () { return 1; }") == 1


async def test_a_function_that_is_no_unicode_text_is_refused(runner: QuickJSRunner) -> None:
    with pytest.raises(BadRequest, match="lone surrogate"):
        await runner.call("function () { return '\ud800'; }")


async def test_refusals_of_a_validation_are_errors_of_the_tree(runner: QuickJSRunner) -> None:
    with pytest.raises(Forbidden, match="no title"):
        await runner.call("function (doc) { throw {forbidden: 'no title'}; }", {})
    with pytest.raises(Unauthorized, match="who"):
        await runner.call("function (doc) { throw({unauthorized: 'who are you'}); }", {})
    with pytest.raises(PeerPouchError, match="boom"):
        await runner.call("function (doc) { throw new Error('boom'); }", {})


@pytest.mark.parametrize("source", ["function (", "1 + 1", "", "nothing", "throw 1"])
async def test_what_is_no_function_does_not_compile(runner: QuickJSRunner, source: str) -> None:
    with pytest.raises(BadRequest, match="compiled"):
        await runner.call(source)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("function () { while (true) {} }", DeadlineExceeded),
        ("function () { try { while (true) {} } finally { while (true) {} } }", DeadlineExceeded),
        ("(function () { while (true) {} })()", DeadlineExceeded),
        ("function () { var a = []; while (true) a.push(new Array(1000).fill(1)); }", TooLarge),
        ("function () { return 'x'.repeat(1e9); }", (TooLarge, PeerPouchError)),
    ],
)
async def test_limits_stop_a_function_and_the_next_one_runs(runner: QuickJSRunner, source: str, error: Any) -> None:
    with pytest.raises(error):
        await runner.call(source)
    assert await runner.call("function () { return 1; }") == 1


async def test_endless_recursion_is_an_error(runner: QuickJSRunner) -> None:
    with pytest.raises(PeerPouchError):
        await runner.call("function f() { return f() + 1; }")
    assert await runner.call("function () { return 1; }") == 1


async def test_functions_see_nothing_of_each_other_nor_of_the_machine(runner: QuickJSRunner) -> None:
    await runner.call("function () { globalThis.secret = 1; Array.prototype.push = null; JSON.parse = null; }")
    assert await runner.call("function () { return typeof secret; }") == "undefined"
    names = await runner.call("function () { return Object.getOwnPropertyNames(globalThis); }")
    assert not {"require", "process", "std", "os", "fetch", "import", "__functions", "__harness"} & set(names)


async def test_a_function_can_not_break_its_own_harness(runner: QuickJSRunner) -> None:
    source = "function (doc) { JSON.stringify = JSON.parse = Array.isArray = String = null; emit(doc.n, 1); }"
    assert await runner.map(source, [{"n": 1}, {"n": 2}]) == [[(1, 1)], [(2, 1)]]


async def test_a_worker_that_was_killed_is_replaced(runner: QuickJSRunner) -> None:
    assert await runner.call("function () { return 1; }") == 1
    process = runner._process
    assert process is not None
    process.kill()
    await process.wait()
    assert await runner.call("function () { return 2; }") == 2


async def test_a_cancelled_call_never_answers_the_next(runner: QuickJSRunner) -> None:
    assert await runner.call("function () { return 'warm'; }") == "warm"
    task = asyncio.create_task(runner.call("function () { for (var i = 0; i < 3e6; i++) {} return 'slow'; }"))
    while not runner._lock.locked():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await runner.call("function () { return 'next'; }") == "next"


async def test_the_wall_clock_is_a_limit_too(runner: QuickJSRunner) -> None:
    slow = QuickJSRunner(seconds=60, deadline=0.5)
    with pytest.raises(DeadlineExceeded):
        await slow.call("function () { while (true) {} }")
    await slow.close()


async def test_without_the_extra_functions_are_not_supported(
    runner: QuickJSRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peerpouch.js.process.find_spec", lambda name: None)
    with pytest.raises(NotSupported, match="extra `js`"):
        await runner.call("function () {}")


async def test_a_closed_runner_refuses() -> None:
    runner = QuickJSRunner()
    await runner.close()
    with pytest.raises(NotSupported):
        await runner.call("function () {}")


async def test_stored_views_in_javascript(runner: QuickJSRunner) -> None:
    view = {
        "map": "function (doc) { if (doc.n !== undefined) emit([doc.n % 2, doc.n], doc.n); }",
        "reduce": "function (keys, values, rereduce) { return sum(values); }",
    }
    docs: list[dict[str, Any]] = [
        {"_id": "_design/d", "views": {"v": view}},
        *({"_id": f"{n:03}", "n": n} for n in range(100)),
        {"_id": "x"},
    ]
    async with database(docs) as db:
        db.function_runner = runner
        result = await db.query("d/v", group_level=1)
        assert result["rows"] == [{"key": [0], "value": 2450}, {"key": [1], "value": 2500}]
        found = await db.query("d/v", reduce=False, startkey=[1, 97])
        assert [row["id"] for row in found["rows"]] == ["097", "099"]


async def test_a_key_that_is_no_key_costs_its_document_alone(runner: QuickJSRunner) -> None:
    source = "function (doc) { var key = []; for (var i = 0; i < doc.depth; i++) key = [key]; emit(key, 1); }"
    docs: list[dict[str, Any]] = [{"_id": "_design/d", "views": {"v": {"map": source}}}, {"_id": "a", "depth": 5}]
    async with database([*docs, {"_id": "b", "depth": 900}, {"_id": "c", "depth": 100_000}]) as db:
        db.function_runner = runner
        assert [row["id"] for row in (await db.query("d/v"))["rows"]] == ["a"]


async def test_a_misbehaving_view_costs_itself_an_error_alone(runner: QuickJSRunner) -> None:
    views = {
        "bad": {"map": "function (doc) { while (true) {} }"},
        "good": {"map": "function (doc) { emit(doc._id, null); }"},
    }
    async with database([{"_id": "_design/d", "views": views}, {"_id": "a"}]) as db:
        db.function_runner = runner
        with pytest.raises(DeadlineExceeded):
            await db.query("d/bad")
        assert len((await db.query("d/good"))["rows"]) == 1
        assert (await db.get("a"))["_id"] == "a"
