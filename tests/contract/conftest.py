"""The fixtures that the contract is written against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peerpouch.ports import Documents
from tests.contract.implementations import IMPLEMENTATIONS, Implementation

_PARAMS = [
    pytest.param(name, marks=pytest.mark.slow if each.slow else ()) for name, each in sorted(IMPLEMENTATIONS.items())
]


@pytest.fixture(params=_PARAMS)
def implementation(request: pytest.FixtureRequest) -> Implementation:
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
async def database(implementation: Implementation, tmp_path: Path) -> AsyncIterator[Documents]:
    """An open, empty database."""
    async with implementation.open(tmp_path) as opened:
        yield opened
