"""``open()``: a database by its path, URL or ``dbname``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

from peerpouch.errors import BadRequest
from peerpouch.ports import Database

D = TypeVar("D", bound=Database)


class Opening(Generic[D]):
    """A database that is about to be opened: await it, or use it in ``async with``, which closes it too."""

    def __init__(self, opener: Callable[[], Coroutine[Any, Any, D]]) -> None:
        self._opener = opener
        self._database: D | None = None

    def __await__(self) -> Generator[Any, None, D]:
        return self._opener().__await__()

    async def __aenter__(self) -> D:
        if self._database is not None:
            raise BadRequest("This database was opened already; call open() again.")
        self._database = await self._opener()
        return self._database

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        database, self._database = self._database, None
        if database is not None:
            await database.close()
