"""A database that does nothing: what a subclass does not implement is refused, whatever is added to the port later.

(The port's abstract methods must all be here, so one that is added is noticed by every test of a hub.)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn

from peerpouch.errors import Forbidden
from peerpouch.ports import (
    AllDocs,
    Attachment,
    Changes,
    Database,
    DatabaseInfo,
    Document,
    FindResult,
    RevisionResult,
    RevsDiff,
    Updated,
    ViewResult,
    WriteResult,
)

REFUSAL: Final = "This is a public hub: it is for shares and signals only."


def refuse() -> NoReturn:
    """Raise what everything is refused with that a hub is not for."""
    raise Forbidden(REFUSAL)


class RefusingDatabase(Database):
    """Every method raises :class:`~peerpouch.errors.Forbidden`, except ``close``, which does nothing."""

    async def id(self) -> str:
        refuse()

    async def info(self) -> DatabaseInfo:
        refuse()

    async def get(self, *_: Any, **__: Any) -> Document:
        refuse()

    async def open_revs(self, *_: Any, **__: Any) -> list[RevisionResult]:
        refuse()

    async def check_write(self, doc_id: str) -> None:
        refuse()

    async def bulk_docs(self, *_: Any, **__: Any) -> list[WriteResult]:
        refuse()

    def bulk_get(self, *_: Any, **__: Any) -> AsyncIterator[RevisionResult]:
        refuse()

    async def revs_diff(self, *_: Any, **__: Any) -> dict[str, RevsDiff]:
        refuse()

    def all_docs(self, *_: Any, **__: Any) -> AllDocs:
        refuse()

    def changes(self, *_: Any, **__: Any) -> Changes:
        refuse()

    async def get_attachment(self, *_: Any, **__: Any) -> Attachment:
        refuse()

    def local_docs(self, *_: Any, **__: Any) -> AllDocs:
        refuse()

    async def get_security(self) -> Document:
        refuse()

    async def put_security(self, *_: Any, **__: Any) -> None:
        refuse()

    async def get_revs_limit(self) -> int:
        refuse()

    async def put_revs_limit(self, *_: Any, **__: Any) -> None:
        refuse()

    async def purge(self, *_: Any, **__: Any) -> dict[str, list[str]]:
        refuse()

    async def compact(self) -> None:
        refuse()

    async def close(self) -> None:
        """The hub's database stays open."""

    async def destroy(self) -> None:
        refuse()

    async def find(self, *_: Any, **__: Any) -> FindResult:
        refuse()

    async def explain(self, *_: Any, **__: Any) -> Document:
        refuse()

    async def create_index(self, *_: Any, **__: Any) -> Document:
        refuse()

    async def get_indexes(self) -> Document:
        refuse()

    async def delete_index(self, *_: Any, **__: Any) -> None:
        refuse()

    async def query(self, *_: Any, **__: Any) -> ViewResult:
        refuse()

    async def run_update(self, *_: Any, **__: Any) -> Updated:
        refuse()

    async def view_cleanup(self) -> None:
        refuse()
