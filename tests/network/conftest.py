"""Where these tests can run, and the seed of what they leave to chance."""

from __future__ import annotations

import os
import secrets

import pytest

from tests.network.namespaces import missing

SEED = int(os.environ.get("PEERPOUCH_NETWORK_SEED") or secrets.randbelow(1_000_000))

EVERYTHING = os.environ.get("PEERPOUCH_NETWORK") == "all"
"""Whether to run all that there is, which takes an hour or two, and not a selection."""


def pytest_report_header() -> str:
    return f"networks: {'all' if EVERYTHING else 'a selection'}, PEERPOUCH_NETWORK_SEED={SEED}"


@pytest.fixture(scope="session")
def bed() -> None:
    """Skips, with the reason, where there can be no namespaces."""
    lacking = missing("turnserver")
    if lacking is not None:
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of this run; ``PEERPOUCH_NETWORK_SEED`` repeats it."""
    return SEED


@pytest.fixture(scope="session")
def everything() -> bool:
    return EVERYTHING
