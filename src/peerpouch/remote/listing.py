"""Listings: fetched page by page, each page beginning at the last id of the one before.

A page begins *at* that id, and not one row after it: when its document was deleted meanwhile, skipping a row would lose
the next one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from peerpouch.ports import AllDocsHead, AllDocsRow, AttachmentMode
from peerpouch.remote.client import AnswerTooLarge, Client
from peerpouch.remote.pacing import Pacer
from peerpouch.remote.values import attachment_params, json_param, received


@dataclass(slots=True)
class Listing:
    """One listing of ``_all_docs``.

    Attributes:
        options: Parameters that every page has.
        first_only: Parameters that only the first page has.
    """

    client: Client
    pacer: Pacer
    options: dict[str, Any]
    first_only: dict[str, Any]
    limit: int | None
    attachments: AttachmentMode
    path: str = "/_all_docs"
    _first: tuple[AllDocsHead, list[AllDocsRow], int] | None = field(default=None, init=False)

    async def head(self) -> AllDocsHead:
        if self._first is None:
            self._first = await self._page(self.first_only, self.limit)
        return self._first[0]

    async def pages(self) -> AsyncGenerator[list[AllDocsRow], None]:
        await self.head()
        assert self._first is not None
        _, rows, asked = self._first
        self._first = None
        left = self.limit
        while True:
            whole = len(rows) < asked
            last = rows[-1]["key"] if rows else ""
            if left is not None:
                left -= len(rows)
            if rows:
                yield rows
            if whole or left == 0 or not rows:
                return
            more = None if left is None else left + 1
            _, rows, asked = await self._page({"startkey": json_param(last)}, more, after=last)
            if left is not None:
                rows = rows[:left]

    async def _page(
        self, extra: dict[str, Any], limit: int | None, after: str | None = None
    ) -> tuple[AllDocsHead, list[AllDocsRow], int]:
        while True:
            # One more than wanted, for the row that is there already.
            most = self.pacer.size + (after is not None)
            asked = most if limit is None else min(most, limit)
            params = {**self.options, **extra, "limit": asked, **attachment_params(self.attachments)}
            try:
                answer, size = await self.client.sized_json("GET", self.path, params=params, limit=self.pacer.limit)
            except AnswerTooLarge:
                if self.pacer.size == 1:
                    raise
                self.pacer.shrink()
                continue
            with self.client.shape():
                rows = read_rows(answer["rows"], self.attachments)
                self.pacer.seen(len(rows), size)
                head = read_head(answer)
                if after is not None and rows and rows[0]["key"] == after:
                    return head, rows[1:], asked - 1
                return head, rows, asked


@dataclass(slots=True)
class KeyListing:
    """A listing of certain ids, in their order, some of them at a time."""

    client: Client
    pacer: Pacer
    options: dict[str, Any]
    keys: Sequence[str]
    attachments: AttachmentMode
    _first: tuple[AllDocsHead, list[AllDocsRow]] | None = field(default=None, init=False)
    _at: int = field(default=0, init=False)

    async def head(self) -> AllDocsHead:
        if self._first is None:
            self._first = await self._page()
        return self._first[0]

    async def pages(self) -> AsyncGenerator[list[AllDocsRow], None]:
        await self.head()
        assert self._first is not None
        rows = self._first[1]
        self._first = None
        while True:
            if rows:
                yield rows
            if self._at >= len(self.keys):
                return
            _, rows = await self._page()

    async def _page(self) -> tuple[AllDocsHead, list[AllDocsRow]]:
        while True:
            keys = self.keys[self._at : self._at + self.pacer.size]
            params = {**self.options, **attachment_params(self.attachments)}
            try:
                answer, size = await self.client.sized_json(
                    "POST", "/_all_docs", params=params, body={"keys": list(keys)}, limit=self.pacer.limit
                )
            except AnswerTooLarge:
                if self.pacer.size == 1:
                    raise
                self.pacer.shrink()
                continue
            with self.client.shape():
                rows = read_rows(answer["rows"], self.attachments)
                if len(rows) != len(keys):
                    raise ValueError("a row is missing")
                self._at += len(keys)
                self.pacer.seen(len(keys), size)
                return read_head(answer), rows


def read_head(answer: Any) -> AllDocsHead:
    """What stands before the rows. A server that keeps no count (of local documents) says null."""
    return AllDocsHead(answer.get("total_rows") or 0, answer.get("offset"), answer.get("update_seq"))


def read_rows(rows: Any, attachments: AttachmentMode) -> list[AllDocsRow]:
    """The rows of an answer."""
    result: list[AllDocsRow] = rows
    for row in result:
        if not isinstance(row["key"], str):
            raise TypeError("the key of a row is not a string")
        doc = row.get("doc")
        if doc is not None and attachments:
            row["doc"] = received(doc, attachments)
    return result
