"""Who may do what with a database that HTTP users reach: CouchDB's ``_security``, as a policy of the gate.

The rules are CouchDB's (its documentation, "Database Security"). Server administrators may do everything. The admins
that a database names administer it, its members read and write documents that are not design documents. A database that
names no member at all is open to everybody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from peerpouch.core.policy import DESIGN_PREFIX, Access, Action
from peerpouch.errors import BadRequest, Forbidden, PeerPouchError, Unauthorized

ADMIN_ROLE: Final = "_admin"

NOT_ADMIN: Final = "You are not a db or server admin."
NOT_SERVER_ADMIN: Final = "You are not a server admin."

_NO_MEMBER: Final = {
    True: "You are not authorized to access this db.",
    False: "You are not allowed to access this db.",
}

_GROUPS: Final = ("admins", "members")
_LISTS: Final = ("names", "roles")


def admins_only() -> dict[str, Any]:
    """What a new database gets where there are administrators: CouchDB's default since version 3."""
    return {group: {"roles": [ADMIN_ROLE]} for group in _GROUPS}


@dataclass(frozen=True, slots=True)
class UserAccess(Access):
    """What an HTTP user may do, refused in CouchDB's words.

    Attributes:
        anonymous: Whether nobody is logged in: a refusal then asks for a login.
        member: Whether ``_security`` lets the user in. (To ``_users`` everybody comes, for the own account.)
    """

    anonymous: bool = False
    member: bool = True

    def require(self, action: Action) -> None:
        if not self.allows(action):
            raise _refuse(self.anonymous, NOT_ADMIN if action is Action.ADMIN else _NO_MEMBER[self.anonymous])

    def refusal(self, doc_id: object) -> Forbidden | None:
        if isinstance(doc_id, str) and doc_id.startswith(DESIGN_PREFIX) and not self.allows(Action.ADMIN):
            return Forbidden(NOT_ADMIN)
        if not self.allows(Action.WRITE):
            return Forbidden(_NO_MEMBER[self.anonymous])
        return None


def access_of(security: Mapping[str, Any], name: str | None, roles: Collection[str]) -> UserAccess:
    """What somebody may do with a database.

    Args:
        security: The database's ``_security`` object. What is malformed in it names nobody.
        name: The user's name; ``None`` for somebody who is not logged in.
        roles: The user's roles.

    Raises:
        Unauthorized: nothing, but a login may help.
        Forbidden: nothing.
    """
    anonymous = name is None and ADMIN_ROLE not in roles
    if ADMIN_ROLE in roles or _is_named(security, "admins", name, roles):
        return UserAccess(admin=True, anonymous=anonymous)
    if _is_open(security) or _is_named(security, "members", name, roles):
        return UserAccess(anonymous=anonymous)
    raise _refuse(anonymous, _NO_MEMBER[anonymous])


def check(security: Any) -> None:
    """Raise BadRequest unless this is a ``_security`` object: CouchDB's own checks, in its words."""
    if not isinstance(security, dict):
        raise BadRequest("Request body must be a JSON object")
    for group in _GROUPS:
        named = security.get(group, {})
        if not isinstance(named, dict):
            raise BadRequest(f"{group} must be a JSON object")
        for kind in _LISTS:
            listed = named.get(kind, [])
            if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
                raise BadRequest(f"{kind} must be a JSON list of strings")


def require_server_admin(roles: Collection[str]) -> None:
    """Raise Unauthorized unless the roles are a server administrator's."""
    if ADMIN_ROLE not in roles:
        raise Unauthorized(NOT_SERVER_ADMIN)


def _refuse(anonymous: bool, reason: str) -> PeerPouchError:
    return Unauthorized(reason) if anonymous else Forbidden(reason)


def _is_named(security: Mapping[str, Any], group: str, name: str | None, roles: Collection[str]) -> bool:
    if name is not None and name in _listed(security, group, "names"):
        return True
    return not _listed(security, group, "roles").isdisjoint(roles)


def _is_open(security: Mapping[str, Any]) -> bool:
    return not any(_listed(security, "members", kind) for kind in _LISTS)


def _listed(security: Mapping[str, Any], group: str, kind: str) -> frozenset[str]:
    named = security.get(group)
    listed = named.get(kind) if isinstance(named, dict) else None
    return frozenset(item for item in listed if isinstance(item, str)) if isinstance(listed, list) else frozenset()
