"""The benchmarks' own machinery: subjects take turns, a failure fails alone, the table says what it must."""

from __future__ import annotations

import json

import pytest

from benchmarks import report
from benchmarks.documents import batches, record
from benchmarks.registry import SHORT, Benchmark, Measured, Run
from benchmarks.runner import run_all


def _benchmark() -> tuple[Benchmark, list[str]]:
    made = Benchmark("thing", "A thing", "docs/s")
    order: list[str] = []

    @made.subject("peerpouch", "synced")
    async def _first(run: Run) -> Measured:
        order.append("peerpouch")
        assert not any(run.folder.iterdir())
        (run.folder / "left behind").touch()
        return Measured(100.0 * len(order))

    @made.subject("the limit")
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
    assert "| 0.50 |" in rows[2]
    assert "with \\| a bar" in rows[2]


def test_records_are_the_same_in_every_run_and_of_about_240_bytes() -> None:
    assert record(7) == record(7)
    sizes = [len(json.dumps(doc, separators=(",", ":"))) for batch in batches(2_500) for doc in batch]
    assert len(sizes) == 2_500
    assert 225 < sum(sizes) / len(sizes) < 255
    assert [len(batch) for batch in batches(2_500)] == [1000, 1000, 500]
