"""Who may log in to a server: its administrators, and the users in ``_users``."""

from __future__ import annotations

from typing import Final

from peerpouch.core import users
from peerpouch.core.security import ADMIN_ROLE
from peerpouch.couchapi.authentication import Account
from peerpouch.errors import NotFound
from peerpouch.node.folder import USERS, FolderRegistry
from peerpouch.node.settings import Settings

_ADMIN_ROLES: Final = frozenset((ADMIN_ROLE,))


class FolderAccounts:
    """The accounts of a folder's server; an administrator's name hides a user of the same name."""

    def __init__(self, settings: Settings, registry: FolderRegistry) -> None:
        self._settings = settings
        self._registry = registry

    @property
    def has_admins(self) -> bool:
        return bool(self._settings.admins)

    async def lookup(self, name: str) -> Account | None:
        record = self._settings.admins.get(name)
        if record is not None:
            return Account(record, _ADMIN_ROLES)
        try:
            async with self._registry.hold(USERS) as database:
                doc = await database.get(users.user_id(name))
        except NotFound:
            return None
        return Account(users.record_of(doc), users.roles_of(doc))
