"""The plugin's own tests, which run under Node, and its types."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = Path(__file__).parents[2] / "browser"

pytestmark = pytest.mark.skipif(
    shutil.which("npm") is None or not (BROWSER / "node_modules").is_dir(),
    reason="Node and the plugin's packages are not installed: make setup-browser",
)


def _run(*command: str) -> None:
    done = subprocess.run(command, cwd=BROWSER, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(330)
def test_its_own_tests_pass() -> None:
    _run("npm", "test", "--silent")


def test_its_types_are_right() -> None:
    _run("npm", "run", "--silent", "check")
