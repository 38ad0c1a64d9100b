"""A skipped test says why, and where ``PEERPOUCH_ALLOWED_SKIPS`` names a file, only for the reasons in it.

Continuous integration installs all that the tests need. A test that is skipped there for want of something has not run,
and nobody would notice; so a skip whose reason is not in the file fails the run. The file has one pattern a line, as
:mod:`fnmatch` has them; lines that begin with ``#`` say why.

``tests/conftest.py`` takes these hooks over.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "PEERPOUCH_ALLOWED_SKIPS"

_unexpected = pytest.StashKey[list[str]]()


def allowed(text: str) -> list[str]:
    """The patterns of a file."""
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def reason_of(report: Any) -> str | None:
    """Why a test or a module was skipped; nothing if it was not, or was expected to fail and did."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    said = report.longrepr
    return str(said[2] if isinstance(said, tuple) else said).removeprefix("Skipped: ")


class Watch:
    """Collects the skips that are not allowed."""

    def __init__(self, config: pytest.Config, patterns: list[str]) -> None:
        self._found = config.stash.setdefault(_unexpected, [])
        self._patterns = patterns

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look_at(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look_at(report)

    def _look_at(self, report: Any) -> None:
        reason = reason_of(report)
        if reason is not None and not any(fnmatchcase(reason, pattern) for pattern in self._patterns):
            self._found.append(f"{report.nodeid}: {reason}")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._found and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._found:
            terminalreporter.section("skipped, and must not be here", red=True, bold=True)
            for line in self._found:
                terminalreporter.line(line)


def pytest_configure(config: pytest.Config) -> None:
    file = os.environ.get(VARIABLE)
    if file:
        config.pluginmanager.register(Watch(config, allowed(Path(file).read_text())), "peerpouch-skips")
