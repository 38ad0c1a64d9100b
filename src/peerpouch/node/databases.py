"""Databases in files and behind URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from peerpouch.errors import NotSupported
from peerpouch.ports import AttachmentMode, Database, Document, FindResult, MapFunction, ReduceFunction, ViewResult
from peerpouch.remote import RemoteDatabase
from peerpouch.storage import Durability, Storage
from peerpouch.transports.network import NetworkExchange

REQUEST_TIMEOUT: Final = 120.0
"""Seconds for each step of a request: a CouchDB that compacts, or builds a view, is silent for long."""


class LocalDatabase(Storage, Database):
    """A database in a file, or in memory."""

    async def find(
        self,
        selector: Mapping[str, Any],
        *,
        fields: Sequence[str] | None = None,
        sort: Sequence[str | Mapping[str, str]] | None = None,
        limit: int | None = None,
        skip: int = 0,
        use_index: str | Sequence[str] | None = None,
        bookmark: str | None = None,
        execution_stats: bool = False,
    ) -> FindResult:
        raise NotSupported

    async def explain(
        self,
        selector: Mapping[str, Any],
        *,
        fields: Sequence[str] | None = None,
        sort: Sequence[str | Mapping[str, str]] | None = None,
        limit: int | None = None,
        skip: int = 0,
        use_index: str | Sequence[str] | None = None,
    ) -> Document:
        raise NotSupported

    async def create_index(
        self,
        fields: Sequence[str | Mapping[str, str]],
        *,
        name: str | None = None,
        ddoc: str | None = None,
        partial_filter_selector: Mapping[str, Any] | None = None,
    ) -> Document:
        raise NotSupported

    async def get_indexes(self) -> Document:
        raise NotSupported

    async def delete_index(self, ddoc: str, name: str) -> None:
        raise NotSupported

    async def query(
        self,
        view: str | MapFunction,
        *,
        reduce: bool | str | ReduceFunction | None = None,
        key: Any = ...,
        keys: Sequence[Any] | None = None,
        startkey: Any = ...,
        endkey: Any = ...,
        startkey_docid: str | None = None,
        endkey_docid: str | None = None,
        inclusive_end: bool = True,
        group: bool = False,
        group_level: int | None = None,
        descending: bool = False,
        skip: int = 0,
        limit: int | None = None,
        include_docs: bool = False,
        conflicts: bool = False,
        attachments: AttachmentMode = False,
        update: Literal["true", "false", "lazy"] = "true",
        update_seq: bool = False,
    ) -> ViewResult:
        raise NotSupported

    async def view_cleanup(self) -> None:
        raise NotSupported


async def open_file(path: str, *, create: bool = True, durability: Durability = "full") -> LocalDatabase:
    """Open a database file, ``":memory:"`` for one in memory; errors as :meth:`peerpouch.storage.Storage.open`."""
    return await LocalDatabase.open(path, create=create, durability=durability)


async def open_url(url: str, *, timeout: float | None = None) -> RemoteDatabase:
    """A database behind an ``http(s)`` URL; a user name and password in it are sent as basic authentication.

    Nothing is sent before the first request.
    """
    exchange = NetworkExchange(url)
    limit = REQUEST_TIMEOUT if timeout is None else timeout
    return RemoteDatabase(exchange, url, timeout=limit, on_close=exchange.aclose)
