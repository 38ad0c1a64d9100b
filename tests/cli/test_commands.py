"""Every way that a command can end has its exit code, and its words go where they belong."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from peerpouch.cli import commands
from peerpouch.cli.commands import COMMANDS, invoke
from peerpouch.cli.running import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE


def test_help_lists_every_command_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["--help"]) == EXIT_OK
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert invoke([name, "--help"]) == EXIT_OK
        assert "Usage: peerpouch " + name in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonesuch"],
        ["info"],
        ["share", "a.db", "--name", "N"],
        ["serve", "folder", "--hub", "https://hub.example/db"],
        ["serve", "folder", "--share", "notes"],
        ["share", "a.db", "--hub", "h", "--name", "N", "--info", "{"],
    ],
)
def test_wrong_usage_is_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(arguments) == EXIT_USAGE
    assert "Usage:" in capsys.readouterr().err


def test_an_error_is_one_line_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "missing.db"
    assert invoke(["info", str(missing)]) == EXIT_FAILURE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("peerpouch: ")
    assert captured.err.count("\n") == 1
    assert str(missing) in captured.err
    assert not missing.exists()


def test_an_error_is_an_object_with_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["info", str(tmp_path / "missing.db"), "--json"]) == EXIT_FAILURE
    captured = capsys.readouterr()
    assert captured.out == ""
    error = json.loads(captured.err)
    assert error["error"] == "no_db_file"
    assert "missing.db" in error["reason"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_ctrl_c_is_130(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(commands.cli, "main", interrupted)
    assert invoke([]) == EXIT_INTERRUPTED


def test_a_hubs_password_is_warned_of_as_an_argument_and_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = "http://ann:secret@127.0.0.1:1/hub"
    assert invoke(["shares", "--hub", hub]) == EXIT_FAILURE
    shown = capsys.readouterr().err
    assert "every user of this machine" in shown and "secret" not in shown
    monkeypatch.setenv("PEERPOUCH_HUB", hub)
    for command in (["shares"], ["sync", "never.db", "Notes"], ["share", ":memory:", "--name", "N"]):
        assert invoke(command) == EXIT_FAILURE
        shown = capsys.readouterr().err
        assert "127.0.0.1:1" in shown or "can't" in shown
        assert "every user" not in shown and "secret" not in shown
