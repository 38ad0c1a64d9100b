"""Every benchmark runs, with next to nothing to do; what hangs or dies while it is measured takes nothing with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.catalogue import left_out
from benchmarks.processes import output
from benchmarks.registry import REGISTRY, SHORT, Benchmark, Measured, Scale, Subject
from benchmarks.runner import Failure, Runner, here
from benchmarks.worker import Worker

TINY = replace(
    SHORT,
    name="tiny",
    whole=True,
    rounds=1,
    documents=100,
    indexed=100,
    slow=20,
    far=20,
    million=200,
    single=5,
    attachment=256 << 10,
    large=1 << 20,
    live=2,
    connects=1,
    gets=3,
    feeds=5,
    limit=100.0,
)
BENCHMARK = REGISTRY["bulk-write"]
SUBJECT = BENCHMARK.subjects[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(REGISTRY))
def test_a_benchmark_runs(name: str) -> None:
    made = REGISTRY[name]
    if made.costly:  # those between do the same under other conditions
        made = replace(made, subjects=[made.subjects[0], *made.subjects[1:][-1:]])
    for result in Runner(TINY, here).run([made]):
        assert not result.error
        assert all(value >= 0 for value in result.values)
        assert len(result.values) == 1


def test_nothing_is_left_out_here() -> None:
    if missing := left_out():
        pytest.skip(f"benchmarks are left out: {'; '.join(missing)}")


def _hang_with_a_child(benchmark: Benchmark, subject: Subject, scale: Scale) -> Measured:
    if scale.limit:
        return Measured(1.0)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["PEERPOUCH_TEST_CHILD"]).write_text(str(child.pid))
    while True:  # as a loop that hears of no cancellation
        time.sleep(600)


def _die(benchmark: Benchmark, subject: Subject, scale: Scale) -> Measured:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _raise(benchmark: Benchmark, subject: Subject, scale: Scale) -> Measured:
    raise ValueError(f"{subject.name} is out of order")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_what_hangs_is_killed_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "child"
    monkeypatch.setenv("PEERPOUCH_TEST_CHILD", str(told))
    with Worker(_hang_with_a_child, grace=5.0) as worker:
        assert worker(BENCHMARK, SUBJECT, TINY) == Measured(1.0)  # the process is there, however busy the machine is
        with pytest.raises(Failure, match="it hung, and was killed after"):
            worker(BENCHMARK, SUBJECT, replace(TINY, limit=0.0))
    child = int(told.read_text())
    deadline = time.monotonic() + 20
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def test_who_dies_is_told_of_and_the_next_round_has_a_new_process() -> None:
    with Worker(_die) as worker:
        for _ in range(2):
            with pytest.raises(Failure, match="ended with exit code -9"):
                worker(BENCHMARK, SUBJECT, TINY)


def test_what_is_raised_in_the_process_is_told_in_words() -> None:
    with Worker(_raise) as worker, pytest.raises(Failure, match="ValueError: peerpouch is out of order"):
        worker(BENCHMARK, SUBJECT, TINY)


def test_a_round_in_the_process_is_measured_and_leaves_no_files() -> None:
    with Worker() as worker:
        folder = Path(worker.folder)
        assert worker(BENCHMARK, SUBJECT, TINY).value > 0
        assert folder.exists()
    assert not folder.exists()


async def test_a_program_is_killed_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    code = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(600)"
    running = asyncio.create_task(output(sys.executable, "-c", code))
    async with asyncio.timeout(60):
        while not told.exists() or not told.read_text():
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not _alive(int(told.read_text()))
    with pytest.raises(RuntimeError, match="ended with 3: sorry"):
        await output(sys.executable, "-c", "import sys; print('sorry', file=sys.stderr); sys.exit(3)")


def test_a_run_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks", "import", "--short"],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("peerpouch" in line and "import" in line for line in lines)  # a round is done, and the next one begun
    process.terminate()
    process.stderr.close()
    assert process.wait(30) == 128 + signal.SIGTERM
    assert not list(tmp_path.glob("peerpouch-bench-*"))
