from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.couchapi.support import Api, served


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with served() as api:
        yield api
