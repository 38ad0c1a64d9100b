from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peerpouch.storage import Storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


@pytest.fixture(params=["file", "memory"])
async def database(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Storage]:
    """An open, empty database; when the test ends, nothing in it may be wrong."""
    where = path if request.param == "file" else ":memory:"
    async with await Storage.open(where, durability="normal") as opened:
        yield opened
        if not opened.closed:
            assert await opened.check() == []
