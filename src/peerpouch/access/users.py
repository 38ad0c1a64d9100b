"""Gates for HTTP users: of a database, and of ``_users``.

Unlike a peer's, the ``_local`` documents that an HTTP user writes are the database's own, as CouchDB has it: a
replicator finds its checkpoint whoever it runs as.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from peerpouch.access.gate import GatedDatabase
from peerpouch.access.guests import GuestDocs
from peerpouch.core import security as rules
from peerpouch.core import users
from peerpouch.core.policy import LOCAL_PREFIX, Access, Action
from peerpouch.core.security import UserAccess
from peerpouch.errors import Forbidden, NotFound, Unauthorized
from peerpouch.ports import (
    AllDocs,
    AttachmentMode,
    Database,
    Document,
    Guard,
    Principal,
    Proposal,
    User,
    WriteResult,
    Written,
    acting_for,
)

_PRIVATE: Final = "_local/peerpouch-"
"""What peers' checkpoints and the like are kept under; only administrators see it."""


class _OwnLocals(GuestDocs):
    """The database's own ``_local`` documents, in the place of a visitor's."""

    def __init__(self, database: Database, *, admin: bool) -> None:
        super().__init__(database, b"")
        self._own = database
        self._admin = admin

    async def get(self, doc_id: str, *, rev: str | None = None) -> Document:
        self._check(doc_id)
        return await self._own.get(doc_id, rev=rev)

    async def put(self, doc: Document) -> Written:
        self._check(doc["_id"])
        return await self._own.put(doc)

    def _check(self, doc_id: str) -> None:
        if doc_id.startswith(_PRIVATE) and not self._admin:
            raise NotFound


class UserGate(GatedDatabase):
    """A database as an HTTP user may see it.

    Args:
        database: The server's. Closing the gate never closes it.
        principal: The user.
        access: What ``_security`` allows.
        name: The database's name.
        on_security: Called when ``_security`` was changed through this gate.
    """

    def __init__(
        self,
        database: Database,
        principal: Principal,
        access: UserAccess,
        *,
        name: str,
        on_security: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(database, principal, access, name=name, guest=_OwnLocals(database, admin=access.admin))
        self._database = database
        self._on_security = on_security

    @property
    def access(self) -> Access:
        """What is allowed."""
        return self._access

    def end_feeds(self) -> None:
        """Let live feeds come to their end, as if their time were up."""
        for feed in list(self._feeds):
            feed.cancel()

    async def get_security(self) -> Document:
        self._require(Action.DESCRIBE)
        return await self._database.get_security()

    async def put_security(self, security: Document) -> None:
        self._require(Action.ADMIN)
        rules.check(security)
        await self._database.put_security(security)
        if self._on_security is not None:
            await self._on_security()

    def local_docs(self, *, include_docs: bool = False) -> AllDocs:
        if self._access.admin:
            return self._database.local_docs(include_docs=include_docs)
        listed = self._database.local_docs(include_docs=include_docs)

        async def pages() -> Any:
            self._require(Action.READ)
            async for page in listed.pages():
                yield [row for row in page if not row["key"].startswith(_PRIVATE)]

        return AllDocs(listed.head, pages)


HashPassword = Callable[[str], Awaitable[Mapping[str, Any]]]


class UsersGate(UserGate):
    """``_users``: administrators see and change all of it, users their own document only.

    Args:
        hash_password: Makes the record that takes a password's place.
        sign_up: Whether everybody may make an account, as an open ``_security`` of ``_users`` says.
    """

    def __init__(
        self,
        database: Database,
        principal: Principal,
        access: UserAccess,
        *,
        name: str,
        hash_password: HashPassword,
        sign_up: bool = False,
        on_security: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(database, principal, access, name=name, on_security=on_security)
        self._sign_up = sign_up
        self._who = principal.name if isinstance(principal, User) else None
        self._hash = hash_password

    def _require(self, action: Action) -> None:
        if not self._access.admin and action is not Action.OWN:
            if action is Action.QUERY:
                raise Forbidden("Only administrators can view design docs in the users database.")
            raise Unauthorized(rules.NOT_ADMIN)
        super()._require(action)

    async def get(
        self,
        doc_id: str,
        *,
        rev: str | None = None,
        revs: bool = False,
        revs_info: bool = False,
        conflicts: bool = False,
        deleted_conflicts: bool = False,
        latest: bool = False,
        local_seq: bool = False,
        attachments: AttachmentMode = False,
        atts_since: Sequence[str] | None = None,
    ) -> Document:
        own = self._who is not None and doc_id == users.user_id(self._who)
        if not own and not self._access.admin:
            raise NotFound  # whether there is such a user is not told
        if not own and doc_id.startswith(LOCAL_PREFIX):
            return await super().get(doc_id, rev=rev)
        self._require(Action.OWN)
        return await self._database.get(
            doc_id,
            rev=rev,
            revs=revs,
            revs_info=revs_info,
            conflicts=conflicts,
            deleted_conflicts=deleted_conflicts,
            latest=latest,
            local_seq=local_seq,
            attachments=attachments,
            atts_since=atts_since,
        )

    async def bulk_docs(
        self, docs: Sequence[Document], *, new_edits: bool = True, guard: Guard | None = None
    ) -> list[WriteResult]:
        self._require(Action.OWN)
        if not self._access.admin:
            if not new_edits:
                raise Forbidden(rules.NOT_SERVER_ADMIN)
            # Also because the guard is not asked about `_local` documents.
            own = None if self._who is None else users.user_id(self._who)
            for doc in docs:
                doc_id = doc.get("_id")
                account = isinstance(doc_id, str) and doc_id.startswith(users.PREFIX)
                if doc_id != own and not (self._sign_up and account):
                    raise Forbidden("You may only update your own user document.")
        hashed = [await self._hashed(doc) for doc in docs]
        if self._access.admin:
            return await super().bulk_docs(hashed, new_edits=new_edits, guard=self._judge_with(guard))
        with acting_for(self._principal):
            return await self._database.bulk_docs(hashed, guard=self._judge_with(guard))

    async def _hashed(self, doc: Document) -> Document:
        password = doc.get("password")
        if password is None:
            return doc
        if not isinstance(password, str):
            raise Forbidden("Password must be a string.")
        return {
            **{field: value for field, value in doc.items() if field != "password"},
            **await self._hash(password),
        }

    def _judge_with(self, guard: Guard | None) -> Guard:
        def judge(proposal: Proposal) -> None:
            new = proposal.new
            if guard is not None:
                guard(proposal)
            if str(new.get("_id")).startswith("_design/"):
                return
            before = [leaf for leaf in proposal.leaves() if not leaf.get("_deleted")]
            users.check(new, before, name=self._who, admin=self._access.admin)

        return judge
