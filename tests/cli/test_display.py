"""What commands show: figures for people, JSON for scripts, nothing in the way where nobody looks."""

from __future__ import annotations

import json

import pytest

from peerpouch.cli.display import ProgressView, Rate, States, amount, summary, write_table
from peerpouch.errors import PeerUnreachable
from peerpouch.ports import DocumentRefused, ReplicationProgress


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (12_345_678, "12.3 MB"), (7.5e9, "7.50 GB")]
)
def test_bytes_are_shown_in_the_unit_that_fits(size: float, text: str) -> None:
    assert amount(size) == text


def test_a_rate_is_of_the_last_seconds_only() -> None:
    rate = Rate()
    assert rate.at(0.0, 0) == 0.0
    assert rate.at(1.0, 1000) == 1000
    assert [rate.at(float(second), 1000) for second in range(2, 8)][-1] == 0.0


def test_a_summary_is_json_with_the_error_and_what_was_refused() -> None:
    progress = ReplicationProgress(
        state="failed",
        docs_written=3,
        started=10.0,
        ended=12.5,
        error=PeerUnreachable("gone"),
        refused=(DocumentRefused("a", "1-x", "no"),),
    )
    shown = json.loads(json.dumps(summary(progress)))
    assert shown["seconds"] == 2.5
    assert shown["error"] == {"error": "peer_unreachable", "reason": "gone"}
    assert shown["refused"] == [{"id": "a", "rev": "1-x", "reason": "no"}]


def test_live_json_has_a_line_for_each_change_of_state(capsys: pytest.CaptureFixture[str]) -> None:
    states = States()
    for progress in (
        ReplicationProgress(state="active", docs_written=1),
        ReplicationProgress(state="active", docs_written=2),
        ReplicationProgress(state="idle", docs_written=2),
        ReplicationProgress(state="idle", docs_written=2),
        ReplicationProgress(state="idle", docs_written=3),
    ):
        states.heard(replicated=progress)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["state"], line["docs_written"]) for line in lines] == [("active", 1), ("idle", 2), ("idle", 3)]


def test_a_table_shows_text_as_it_is_and_cuts_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(["name", "info"], [["[red]notes[/red]", "x" * 150]])
    out = capsys.readouterr().out
    assert "[red]notes[/red]" in out
    assert "x" * 150 in out


def test_progress_is_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressView() as view:
        view.line("replicating").update(ReplicationProgress(state="active", docs_written=5, pending=5))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress_shows_documents_bytes_rate_what_is_left_and_the_path_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    with ProgressView() as view:
        line = view.line("replicating", "direct")
        line.update(ReplicationProgress(state="active", docs_written=1234, bytes=5_000_000, pending=77), "relayed")
    shown = capsys.readouterr().err
    assert "1,234 docs" in shown
    assert "5.0 MB" in shown
    assert "77 to go" in shown
    assert "relayed" in shown
