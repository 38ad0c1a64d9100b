"""Where these tests can run, and how much of them."""

from __future__ import annotations

import pytest

from tests.network.chance import EVERYTHING, SEED
from tests.network.namespaces import missing


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
