"""Documents of ``_users``: who a user is, and what may be written about one.

The rules are those of CouchDB's ``_design/_auth`` (its documentation, "Users Documents"), judged here in one pure
function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from peerpouch.errors import Forbidden

PREFIX: Final = "org.couchdb.user:"

_RECORD: Final = ("password_scheme", "pbkdf2_prf", "salt", "iterations", "derived_key", "password_sha")


def user_id(name: str) -> str:
    """The id of a user's document."""
    return PREFIX + name


def check(new: Mapping[str, Any], old: Sequence[Mapping[str, Any]], *, name: str | None, admin: bool) -> None:
    """Raise Forbidden, in CouchDB's words, if this document may not be written.

    Args:
        new: As it would be stored: a password is hashed already.
        old: The document's leaves that are not deleted.
        name: Who writes; ``None`` for nobody.
        admin: Whether the writer is a server administrator.
    """
    if new.get("_deleted"):
        if not admin and new.get("_id") != user_id(name or ""):
            raise Forbidden("Only administrators may delete other users docs.")
        return
    _check_form(new)
    if admin:
        return
    if old and (name is None or new["name"] != name):
        raise Forbidden("You may only update your own user document.")
    before = [sorted(_roles(doc)) for doc in old]
    if sorted(new["roles"]) not in (before or [[]]):
        raise Forbidden("Only _admin may set roles")


def _check_form(new: Mapping[str, Any]) -> None:
    if new.get("type") != "user":
        raise Forbidden("doc.type must be user")
    name = new.get("name")
    if not isinstance(name, str) or not name:
        raise Forbidden("doc.name is required")
    roles = new.get("roles")
    if not isinstance(roles, list):
        raise Forbidden("doc.roles must exist" if roles is None else "doc.roles must be an array")
    if not all(isinstance(role, str) for role in roles):
        raise Forbidden("doc.roles can only contain strings")
    if new.get("_id") != user_id(name):
        raise Forbidden("Doc ID must be of the form org.couchdb.user:name")
    for role in roles:
        if role.startswith("_"):
            raise Forbidden("No system roles (starting with underscore) in users db.")
    if name.startswith("_"):
        raise Forbidden("Username may not start with underscore.")
    if ":" in name:
        raise Forbidden("Character `:` is not allowed in usernames.")
    if new.get("password_scheme") is not None and not isinstance(new.get("salt"), str):
        raise Forbidden("doc.salt must be a string.")


def record_of(doc: Mapping[str, Any]) -> dict[str, Any]:
    """The password's record of a user's document; empty when it has none, which no password matches."""
    return {field: doc[field] for field in _RECORD if field in doc}


def _roles(doc: Mapping[str, Any]) -> list[str]:
    roles = doc.get("roles")
    return [role for role in roles if isinstance(role, str)] if isinstance(roles, list) else []


def roles_of(doc: Mapping[str, Any]) -> frozenset[str]:
    """The roles of a user's document. None of the system's: those are not given there."""
    return frozenset(role for role in _roles(doc) if not role.startswith("_"))
