"""A database with one document of every kind that a visitor may or may not see, and how visitors reach it.

Everything that a visitor limited to team red must not see contains the word ``SECRET``, so that whatever it is given
can be searched for it.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from peerpouch.access.gate import GatedDatabase
from peerpouch.access.limited import select_from
from peerpouch.access.selection import Selection
from peerpouch.core.policy import Access
from peerpouch.errors import DatabaseNotFound, Forbidden
from peerpouch.node.databases import LocalDatabase, open_file
from peerpouch.ports import Database, Peer, Principal, Registry

SECRET = "SECRET"
PEER = Peer(b"k" * 32, "session")
RED = {"team": "red"}

HIDDEN = ("hidden", "deleted-hidden", "_design/app")
"""What was never visible: must look as if it were not there."""

ABSENT = "absent"
VISIBLE = ("visible", "edited", "conflicted", "deleted")
LEFT = "left"
"""It was visible once, and has left the selection."""

EVERY = (*VISIBLE, *HIDDEN, LEFT, ABSENT, "_local/owner")


@dataclass
class World:
    """The owner's database, and what is needed to attack it."""

    owner: LocalDatabase
    selection: Selection
    revs: dict[str, list[str]]
    digest: str
    """Of the attachment of the hidden document."""

    def visit(self, access: Access, peer: Peer = PEER) -> GatedDatabase:
        """The database as a visitor gets it."""
        selection = self.selection if access.select == RED else None
        return GatedDatabase(self.owner, peer, access, name="share", selection=selection)

    async def hidden_state(self) -> list[Any]:
        """All that a visitor must not change."""
        state: list[Any] = []
        for doc_id in (*HIDDEN, LEFT):
            found = await self.owner.open_revs(doc_id, "all", with_revisions=True, attachments=True)
            state.append([result.doc for result in found])
        state.append(await self.owner.get("_local/owner"))
        state.append(await self.owner.get_security())
        state.append(await self.owner.get_revs_limit())
        conflicted = await self.owner.open_revs("conflicted", "all")
        state.append([result.doc for result in conflicted if result.doc and result.doc.get("team") == "blue"])
        return state


def attached(text: str) -> dict[str, Any]:
    return {"note": {"content_type": "text/plain", "data": base64.b64encode(text.encode()).decode()}}


@asynccontextmanager
async def made(path: str = ":memory:") -> AsyncIterator[World]:
    """A world."""
    async with await open_file(path, durability="normal") as owner:
        selection = select_from(owner, RED)
        revs: dict[str, list[str]] = {}

        async def put(doc_id: str, **fields: Any) -> None:
            doc = {"_id": doc_id, **fields}
            if revs.get(doc_id):
                doc["_rev"] = revs[doc_id][-1]
            revs.setdefault(doc_id, []).append((await owner.put(doc)).rev)

        await put("visible", team="red", word="plain", _attachments=attached("plain text"))
        await put("edited", team="blue", word="SECRET of before", _attachments=attached("SECRET attachment of before"))
        await put("edited", team="red", word="plain")
        await put("hidden", team="blue", word="SECRET", _attachments=attached("SECRET attachment"))
        await put(LEFT, team="red", word="was plain")
        await put("deleted", team="red", word="plain")
        await put("deleted-hidden", team="blue", word="SECRET")
        await put("deleted-hidden", _deleted=True, word="SECRET of the end")
        await put(
            "_design/app",
            language="javascript",
            word="SECRET",
            views={
                "words": {"map": "function (doc) { emit(doc.word, doc.word); }"},
                "linked": {"map": "function (doc) { emit(doc.team, {_id: 'hidden'}); }"},
                "counted": {"map": "function (doc) { emit(doc.word, 1); }", "reduce": "_sum"},
            },
            updates={"echo": "function (doc, req) { return [doc, {json: [doc, req, 'SECRET']}]; }"},
            filters={"all": "function (doc, req) { return true; }"},
        )
        await put("_local/owner", word="SECRET")
        for fields in ({"team": "red", "word": "plain"}, {"team": "blue", "word": "SECRET, and the winner"}):
            # The longer branch wins.
            start = 1 if fields["team"] == "red" else 2
            ids = ["a1" * 16, "b2" * 16][2 - start :]
            doc = {
                "_id": "conflicted",
                "_rev": f"{start}-{ids[0]}",
                "_revisions": {"start": start, "ids": ids},
                **fields,
            }
            if start == 2:
                doc["_rev"], doc["_revisions"] = f"2-{'c3' * 16}", {"start": 2, "ids": ["c3" * 16, "d4" * 16]}
            await owner.bulk_docs([doc], new_edits=False)
        await selection.refresh()
        await put(LEFT, team="blue", word="SECRET of after")
        await put("deleted", _deleted=True, word="SECRET of the end")
        digest = (await owner.get("hidden"))["_attachments"]["note"]["digest"]
        yield World(owner, selection, revs, digest)


class WorldRegistry(Registry):
    """The world over the HTTP API, for one kind of access."""

    def __init__(self, world: World, access: Access) -> None:
        self._world = world
        self._access = access

    @property
    def uuid(self) -> str:
        return "0" * 32

    async def open(self, name: str, principal: Principal) -> Database:
        if name != "db":
            raise DatabaseNotFound
        assert isinstance(principal, Peer)
        return self._world.visit(self._access, principal)

    async def names(self, principal: Principal) -> list[str]:
        return ["db"]

    async def create(self, name: str, principal: Principal) -> None:
        raise Forbidden

    async def delete(self, name: str, principal: Principal) -> None:
        raise Forbidden
