"""The benchmarks' own machinery: subjects take turns, a failure fails alone, the table says what it must."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks import report
from benchmarks.documents import SETS, batches, record
from benchmarks.plots import plot
from benchmarks.registry import SHORT, Benchmark, Measured, Run
from benchmarks.runner import run_all
from benchmarks.serving import read_wrk


def _benchmark() -> tuple[Benchmark, list[str]]:
    made = Benchmark("thing", "A thing", "docs/s")
    order: list[str] = []

    @made.subject("peerpouch", "synced")
    async def _first(run: Run) -> Measured:
        order.append("peerpouch")
        assert not any(run.folder.iterdir())
        (run.folder / "left behind").touch()
        return Measured(100.0 * len(order))

    @made.subject("the limit", role="limit")
    async def _second(run: Run) -> Measured:
        order.append("the limit")
        return Measured(400.0, "with | a bar")

    return made, order


def test_subjects_take_turns_each_in_an_empty_folder() -> None:
    made, order = _benchmark()
    said: list[str] = []
    results = run_all([made], SHORT, said.append)
    assert order == ["peerpouch", "the limit"] * SHORT.rounds
    assert [result.median for result in results] == [200.0, 400.0]
    assert len(said) == 2 * SHORT.rounds


def test_what_wrk_prints_is_read_or_refused() -> None:
    printed = "    99%    1.25ms\n  9 requests in 3.00s\nRequests/sec:   1234.50\n"
    assert read_wrk(printed) == Measured(1234.5, "p99 1.2 ms, client wrk")
    for broken in ("", printed.replace("99%", "98%"), printed + "  Non-2xx or 3xx responses: 9\n"):
        with pytest.raises(ValueError, match="did not measure"):
            read_wrk(broken)


def test_a_failing_subject_is_named_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = _benchmark()

    @made.subject("broken")
    async def _third(run: Run) -> Measured:
        raise ValueError("out of order")

    *others, broken = run_all([made], SHORT, lambda text: None)
    assert all(not result.error and len(result.values) == SHORT.rounds for result in others)
    assert broken.error == "failed: ValueError: out of order"
    assert broken.median is None
    assert "ValueError" in capsys.readouterr().err
    assert report.rows([*others, broken])[-1][2] == "failed"


def test_the_table_has_the_commit_and_each_subjects_ratio() -> None:
    made, _ = _benchmark()
    text = report.markdown(run_all([made], SHORT, lambda text: None), SHORT)
    assert report.commit() in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[1].startswith("| A thing | peerpouch | 200 | docs/s |")
    assert "|  | 0.50 |" in rows[2]
    assert "with \\| a bar" in rows[2]


def test_a_ratio_of_times_is_turned_round() -> None:
    made = Benchmark("slow", "Slow", "ms", higher_is_better=False)
    for name, value in (("peerpouch", 2.0), ("another", 8.0)):

        @made.subject(name, role="peer")
        async def _measure(run: Run, value: float = value) -> Measured:
            return Measured(value)

    assert report.rows(run_all([made], SHORT, lambda text: None))[1][5:7] == ("4.00", "")


def test_a_plot_shows_every_subject_and_is_xml() -> None:
    made, _ = _benchmark()
    made.title = "Less < more & so on"
    drawn = ElementTree.fromstring(plot(run_all([made], SHORT, lambda text: None)))
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Less < more & so on (docs/s, more is better)", "peerpouch", "200", "the limit", "400"]


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
