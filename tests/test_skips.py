from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import VARIABLE, allowed

ROOT = Path(__file__).parents[1]

TESTS = """
import pytest

@pytest.mark.skip(reason="needs a unicorn, of any colour")
def test_with_a_unicorn(): ...

@pytest.mark.xfail(reason="known")
def test_that_is_known_to_fail(): assert False

def test_that_runs(): ...
"""

MODULE = """
import pytest

pytest.skip("needs a dragon", allow_module_level=True)
"""


def outcome(folder: Path, patterns: str | None) -> tuple[int, str]:
    """Run pytest on these tests; gives exit code and output."""
    (folder / "test_them.py").write_text(TESTS)
    (folder / "test_module.py").write_text(MODULE)
    (folder / "conftest.py").write_text("from tests.skips import pytest_configure\n")
    (folder / "allowed").write_text(patterns or "")
    env = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: "" if patterns is None else str(folder / "allowed")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("patterns", [None, "needs a unicorn*\nneeds a dragon\n"])
def test_a_skip_passes_where_it_is_allowed(tmp_path: Path, patterns: str | None) -> None:
    code, output = outcome(tmp_path, patterns)
    assert code == 0, output
    assert "must not be here" not in output


@pytest.mark.parametrize(
    ("patterns", "named"), [("needs a dragon", "unicorn"), ("needs a unicorn*", "dragon"), ("# needs*", "unicorn")]
)
def test_a_skip_that_is_not_allowed_fails_the_run_and_is_named(tmp_path: Path, patterns: str, named: str) -> None:
    code, output = outcome(tmp_path, patterns)
    assert code == 1, output
    _, _, told = output.partition("must not be here")
    assert f"needs a {named}" in told


def test_the_list_of_continuous_integration_can_be_read() -> None:
    assert allowed((ROOT / ".ci" / "allowed-skips").read_text())
