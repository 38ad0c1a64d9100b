"""The benchmarks' own machinery: subjects take turns, a failure fails alone, the tables say what they must."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from benchmarks import report
from benchmarks.__main__ import main, merged
from benchmarks.bounds import largest_table
from benchmarks.conditions import conditions
from benchmarks.directions import DIRECTIONS, MET, Direction, Figure, is_met, measured, rows, short
from benchmarks.documents import SETS, batches, record
from benchmarks.peering import latencies
from benchmarks.plots import plot
from benchmarks.registry import FULL, REGISTRY, SHORT, Benchmark, Measured, Run
from benchmarks.results import Report, Result, grouped, times_as_good
from benchmarks.runner import UP, Failure, Runner
from benchmarks.serving import read_wrk

ROOT = Path(__file__).parent.parent


def _benchmark(name: str = "thing") -> tuple[Benchmark, list[str]]:
    made = Benchmark(name, "A thing", "docs/s")
    order: list[str] = []

    @made.subject("peerpouch", "synced")
    async def _first(run: Run) -> Measured:
        order.append("peerpouch")
        assert not any(run.folder.iterdir())
        (run.folder / "left behind").touch()
        return Measured(100.0 * len(order), more={"p99": 7.0})

    @made.subject("the limit", role="limit")
    async def _second(run: Run) -> Measured:
        order.append("the limit")
        return Measured(400.0, "with | a bar")

    return made, order


def _result(benchmark: str, subject: str, *values: float, higher: bool = True, **more: float) -> Result:
    found = Result(benchmark, benchmark.title(), "docs/s", higher, subject, values=list(values))
    return replace(found, more={name: [value] for name, value in more.items()})


def _report(results: list[Result]) -> Report:
    return Report("short", {"commit": "abc", "machine": "a machine", "versions": "Python 3"}, results)


def test_subjects_take_turns_each_in_an_empty_folder() -> None:
    made, order = _benchmark()
    said: list[str] = []
    results = Runner(SHORT, say=said.append).run([made])
    assert order == ["peerpouch", "the limit"] * SHORT.rounds
    assert [result.median for result in results] == [200.0, 400.0]
    assert results[0].more == {"p99": [7.0] * SHORT.rounds}
    assert [len(result.seconds) for result in results] == [SHORT.rounds] * 2
    assert len(said) == 2 * SHORT.rounds
    assert f"1/{SHORT.rounds}  1/1  thing" in said[0]


def test_all_benchmarks_run_once_before_any_runs_again_and_what_there_is_is_told_each_time() -> None:
    (one, first), (other, _), (single, _) = _benchmark("one"), _benchmark("other"), _benchmark("single")
    single.once = True
    told: list[list[int]] = []
    Runner(SHORT, after=lambda results: told.append([len(result.values) for result in results[::2]])).run(
        [one, other, single]
    )
    assert told == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [2, 1, 1], [2, 2, 1]]
    assert len(first) == 4


def test_nothing_is_begun_that_would_not_be_done_in_time() -> None:
    now = 0.0

    def takes(seconds: float) -> Callable[..., Measured]:
        def hands(*_: object) -> Measured:
            nonlocal now
            now += seconds
            return Measured(1.0)

        return hands

    made = [_benchmark(name)[0] for name in ("one", "two", "three")]
    # Two subjects of 10 s each: in one minute three benchmarks, and nothing of the second pass.
    results = Runner(SHORT, takes(10), minutes=1, clock=lambda: now).run(made)
    assert [len(result.values) for result in results] == [1] * 6
    assert not any(result.error for result in results)
    # What is begun again has a limit of the scale's own, and what is not yet measured has not.
    now = 0.0
    results = Runner(replace(SHORT, again=1), takes(9), clock=lambda: now).run(made[:2])
    assert [len(result.values) for result in results] == [2, 2, 1, 1]
    now = 0.0
    assert not any(result.error for result in Runner(replace(SHORT, again=1), takes(99), clock=lambda: now).run(made))
    now = 0.0
    results = Runner(SHORT, takes(25), minutes=1, clock=lambda: now).run(made)
    assert [result.error for result in results] == ["", "", "", "", UP, UP]


def test_what_wrk_prints_is_read_or_refused() -> None:
    printed = "    50%  900.00us\n    99%    1.25ms\n  9 requests in 3.00s\nRequests/sec:   1234.50\n"
    expected = Measured(1234.5, "p50 0.9, p99 1.2 ms, client wrk", {"p50": 0.9, "p99": 1.25})
    assert read_wrk(printed) == expected
    for broken in ("", printed.replace("99%", "98%"), printed + "  Non-2xx or 3xx responses: 9\n"):
        with pytest.raises(ValueError, match="did not measure"):
            read_wrk(broken)


def test_a_failing_subject_is_named_and_the_others_go_on() -> None:
    made, _ = _benchmark()

    @made.subject("broken")
    async def _third(run: Run) -> Measured:
        raise ValueError("out of order")

    *others, broken = Runner(SHORT).run([made])
    assert all(not result.error and len(result.values) == SHORT.rounds for result in others)
    assert broken.error == "failed: ValueError: out of order"
    assert broken.median is None
    assert len(broken.seconds) == 1
    assert report.rows([*others, broken])[-1][2] == "failed"
    assert "* A thing, broken: failed: ValueError: out of order" in report.markdown(_report([*others, broken]))


def test_a_subject_that_takes_too_long_is_ended() -> None:
    made = Benchmark("slow", "Slow", "ms")
    ended: list[str] = []

    @made.subject("peerpouch")
    async def _sleeper(run: Run) -> Measured:
        import asyncio

        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleared up")
        return Measured(1.0)

    (result,) = Runner(replace(SHORT, limit=0.01)).run([made])
    assert result.error == "failed: TimeoutError: it took longer than 0.01 seconds"
    assert ended == ["cleared up"]


def test_what_failed_elsewhere_is_told_as_it_was_there() -> None:
    def hands(*_: object) -> Measured:
        raise Failure("it hung")

    results = Runner(SHORT, hands).run([_benchmark()[0]])
    assert {result.error for result in results} == {"failed: it hung"}


def test_the_table_has_the_conditions_and_each_subjects_ratio() -> None:
    made, _ = _benchmark()
    text = report.markdown(replace(_report(Runner(SHORT).run([made])), conditions=conditions(SHORT)))
    for name in ("commit", "machine", "versions", "form"):
        assert f"\n* {name}: " in text
    found = [line for line in text.splitlines() if line.startswith("| A thing") or "| the limit" in line]
    assert found[0].startswith("| A thing | peerpouch | 200 | docs/s |")
    assert "|  | 0.50 |" in found[1]
    assert "with \\| a bar" in found[1]


def test_a_ratio_of_times_is_turned_round() -> None:
    ours, other = _result("slow", "peerpouch", 2.0, higher=False), _result("slow", "another", 8.0, higher=False)
    other.role = "peer"
    assert times_as_good(ours, other) == 4.0
    assert report.rows([ours, other])[1][5:7] == ("4.00", "")
    assert times_as_good(ours, _result("slow", "none", higher=False)) is None


def test_a_plot_shows_every_subject_and_is_xml() -> None:
    made, _ = _benchmark()
    made.title = "Less < more & so on"
    drawn = ElementTree.fromstring(plot(Runner(SHORT).run([made])))
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Less < more & so on (docs/s, more is better)", "peerpouch", "200", "the limit", "400"]


def test_latencies_are_told_by_their_middle_and_their_slow_end() -> None:
    found = latencies([float(n) for n in range(100, 0, -1)])
    assert (found.value, found.more) == (50.5, {"p95": 96.0, "p99": 100.0})
    assert latencies([3.0]).more == {"p95": 3.0, "p99": 3.0}


def test_a_direction_is_held_against_the_data() -> None:
    results = [
        _result("write", "peerpouch", 40.0, 60.0, 50.0),
        _result("write", "PouchDB", 10.0),
        _result("write", "bare", 100.0),
        _result("live", "peerpouch", 3.0, higher=False, p99=20.0),
        _result("live", "syncs", 1.0, higher=False),
    ]
    found = {(each.benchmark, each.subject): each for each in results}
    ours, other = Figure("write"), Figure("write", "PouchDB")
    ratio = Direction("write", ours, (">=", 5), other, bound=Figure("write", "bare"))
    assert measured(ratio, found) == 5.0
    assert is_met(ratio, 5.0)
    assert not is_met(ratio, 4.99)
    assert measured(replace(ratio, over=Figure("write", "nobody")), found) is None
    p50 = Direction("live", Figure("live"), ("<=", 4), unit="ms", bound=Figure("live", "syncs"))
    assert measured(p50, found) == 3.0
    assert measured(replace(p50, over=Figure("live", "syncs")), found) == pytest.approx(1 / 3)
    p99 = replace(p50, figure=Figure("live", more="p99"))
    assert measured(p99, found) == 20.0
    assert not is_met(p99, 20.0)
    assert measured(replace(p50, figure=Figure("live", more="p50")), found) is None


def test_the_table_of_directions_says_what_bounds_them() -> None:
    ours = _result("bulk-write", "peerpouch", 300.0, busy=0.97)
    results = [ours, _result("bulk-write", "PouchDB", 50.0), _result("bulk-write", "bare SQLite", 1000.0)]
    results.append(_result("bulk-write", "bare SQLite with revisions", 600.0))
    first, second = rows(results)
    assert first[1:4] == ("at least 5 times PouchDB", "6 times", MET)
    assert second[1:4] == ("at least 0.4 times bare SQLite", "0.3 times", "**not met**")
    assert (
        second[4] == "bare SQLite with revisions: 600 docs/s, of which 50% are reached; a processor has 97% of the time"
    )
    assert "1 of 2 are met" in report.markdown(_report(results))
    assert rows([]) == []
    assert [short(value) for value in (1234.5, 100.0, 12.34, 2.0, 0.667)] == ["1,234", "100", "12.3", "2", "0.67"]


def test_every_direction_speaks_of_a_benchmark_that_there_is() -> None:
    subjects = {(name, subject.name) for name, each in REGISTRY.items() for subject in each.subjects}
    figures = [figure for each in DIRECTIONS for figure in (each.figure, each.over, each.bound) if figure]
    here = {name for name, _ in subjects}
    for figure in figures:
        # What this machine can't measure is not there.
        if figure.benchmark in here and "ouch" not in figure.subject:
            assert (figure.benchmark, figure.subject) in subjects
    assert len({each.what for each in DIRECTIONS}) == len(DIRECTIONS)


def test_results_are_kept_as_they_were(tmp_path: Path) -> None:
    assert Report.load(tmp_path) is None
    made = _report(Runner(SHORT, commit="abc").run([_benchmark()[0]]))
    report.write(made, tmp_path)
    assert Report.load(tmp_path) == made
    assert (tmp_path / "plots" / "thing.svg").exists()
    text = (tmp_path / "results.md").read_text("utf-8")
    assert "![A thing](plots/thing.svg)" in text
    assert "other commits" not in text
    report.write(_report([_result("another", "peerpouch", 1.0)]), tmp_path)
    assert [each.name for each in (tmp_path / "plots").iterdir()] == ["another.svg"]
    assert "* Measured at other commits: another ()." in (tmp_path / "results.md").read_text("utf-8")


def test_what_was_measured_anew_takes_the_place_of_the_old_and_what_was_not_begun_does_not() -> None:
    names = list(REGISTRY)[:3]
    old = [_result(name, "peerpouch", 1.0) for name in (*names, "no longer there")]
    new = _result(names[1], "peerpouch", 2.0)
    new.seconds = [0.5]
    found = merged(old, [new, _result(names[2], "peerpouch")])
    expected = zip(names, ([1.0], [2.0], [1.0]), strict=True)
    assert [(each.benchmark, each.values) for each in found] == list(expected)


def test_the_readmes_figures_are_those_of_the_results() -> None:
    ours, theirs = _result("bulk-write", "peerpouch", 300.0), _result("bulk-write", "PouchDB", 50.0)
    theirs.role = "peer"
    figures = report.for_readme(_report([ours, theirs, _result("connect", "a hub that is a file", 9.0)]))
    assert "| Bulk-Write | 300 docs/s | PouchDB | 50.00 docs/s | 6.0 |" in figures
    assert "| Connect | 9.00 docs/s |  |  |  |" in figures
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    assert report.with_figures(page, figures) == f"before\n{report.BEGIN}\n\n{figures}\n\n{report.END}\nafter\n"
    assert report.with_figures("no place", figures) == "no place"


def test_the_tables_that_are_kept_are_made_of_the_results_that_are_kept() -> None:
    kept = Report.load(report.HERE)
    readme = report.README.read_text("utf-8")
    assert readme.count(report.BEGIN) == readme.count(report.END) == 1
    if kept is None:
        assert not (report.HERE / "results.md").exists()
        assert readme == report.with_figures(readme, report.NONE_YET)
        return
    assert (report.HERE / "results.md").read_text("utf-8") == report.markdown(kept)
    assert readme == report.with_figures(readme, report.for_readme(kept))
    for name, group in grouped(kept.results).items():
        assert (report.PLOTS / f"{name}.svg").read_text("utf-8") == plot(group)


def test_benchmarks_are_listed_and_run_by_name() -> None:
    listed = CliRunner().invoke(main, ["--list", "--short"])
    assert listed.exit_code == 0
    names = re.findall(r"^([a-z][a-z0-9-]*)\s", listed.stdout, re.MULTILINE)
    assert names == list(REGISTRY)
    unknown = CliRunner().invoke(main, ["no-such"])
    assert unknown.exit_code == 2
    assert "no benchmark no-such; there are bulk-write" in unknown.stderr
    page = (ROOT / "docs" / "how-to" / "benchmarks.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z]+-[a-z0-9-]+)`", page))
    assert {name for name in named if name.split("-")[0] in {each.split("-")[0] for each in REGISTRY}} <= set(REGISTRY)


def test_the_short_form_leaves_some_subjects_out() -> None:
    made, _ = _benchmark()
    made.subject("another condition", short=False)(made.subjects[0].measure)
    alone = Benchmark("alone", "Alone", "ms")
    alone.subject("peerpouch", short=False)(made.subjects[0].measure)

    def hands(*_: object) -> Measured:
        return Measured(1.0)

    subjects = [result.subject for result in Runner(SHORT, hands).run([alone, made])]
    assert subjects == ["peerpouch", "the limit"]
    subjects = [result.subject for result in Runner(FULL, hands).run([alone, made])]
    assert subjects == ["peerpouch", "peerpouch", "the limit", "another condition"]


def test_names_are_told_apart() -> None:
    made, _ = _benchmark()
    with pytest.raises(ValueError, match="already"):
        made.subject("peerpouch")(made.subjects[0].measure)
    assert made.rounds(FULL) == FULL.rounds
    assert replace(made, costly=True).rounds(FULL) == FULL.costly
    assert replace(made, costly=True, once=True).rounds(FULL) == 1


@pytest.mark.parametrize(("name", "size"), [("nested", 2000), ("unicode", 500), ("attachments", 4300)])
def test_the_other_sets_are_the_same_in_every_run(name: str, size: int) -> None:
    make = SETS[name]
    assert make(7) == make(7)
    found = [len(json.dumps(make(n), separators=(",", ":"), ensure_ascii=False).encode()) for n in range(200)]
    assert size * 0.8 < sum(found) / len(found) < size * 1.2


def test_records_are_the_same_in_every_run_and_of_about_240_bytes() -> None:
    assert record(7) == record(7)
    sizes = [len(json.dumps(doc, separators=(",", ":"))) for batch in batches(2_500) for doc in batch]
    assert len(sizes) == 2_500
    assert 225 < sum(sizes) / len(sizes) < 255
    assert [len(batch) for batch in batches(2_500)] == [1000, 1000, 500]


async def test_the_rows_that_bare_sqlite_writes_again_are_those_of_the_documents(tmp_path: Path) -> None:
    import peerpouch

    async with peerpouch.open(tmp_path / "rows.db") as database:
        await database.bulk_docs([record(number) for number in range(50)])
    schema, _, found = largest_table(tmp_path / "rows.db")
    assert len(found) == 50
    assert any(statement.startswith("CREATE UNIQUE INDEX") for statement in schema)
