"""The seed of what the tests in networks leave to chance, and how many of them run."""

from __future__ import annotations

import os
import secrets

SEED = int(os.environ.get("PEERPOUCH_NETWORK_SEED") or secrets.randbelow(1_000_000))

EVERYTHING = os.environ.get("PEERPOUCH_NETWORK") == "all"
"""Whether to run all that there is, which takes hours, and not a selection."""


def pytest_report_header() -> str:
    """For ``tests/conftest.py``: pytest asks only those that it loads first."""
    return f"networks: {'all' if EVERYTHING else 'a selection'}, PEERPOUCH_NETWORK_SEED={SEED}"
