"""``_security`` decides as CouchDB's does, in its words."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.core.policy import Action
from peerpouch.core.security import access_of, admins_only, check, require_server_admin
from peerpouch.errors import BadRequest, Forbidden, Unauthorized

MEMBERS: dict[str, Any] = {"members": {"names": ["ben"], "roles": ["staff"]}, "admins": {"names": ["amy"]}}


@pytest.mark.parametrize(("name", "roles"), [("ben", []), ("eve", ["staff"])])
def test_members_read_and_write_and_do_not_administer(name: str, roles: list[str]) -> None:
    access = access_of(MEMBERS, name, roles)
    access.require(Action.READ)
    access.require(Action.WRITE)
    with pytest.raises(Forbidden, match="You are not a db or server admin"):
        access.require(Action.ADMIN)
    assert access.refusal("a") is None
    assert access.refusal("_design/a") is not None


@pytest.mark.parametrize(("name", "roles"), [("amy", []), ("root", ["_admin"]), (None, ["_admin"])])
def test_admins_do_everything(name: str | None, roles: list[str]) -> None:
    access = access_of(MEMBERS, name, roles)
    access.require(Action.ADMIN)
    assert access.refusal("_design/a") is None


def test_others_are_refused_and_those_who_are_not_logged_in_are_asked_to() -> None:
    with pytest.raises(Forbidden, match=r"^You are not allowed to access this db\.$"):
        access_of(MEMBERS, "eve", ["visitors"])
    with pytest.raises(Unauthorized, match=r"^You are not authorized to access this db\.$"):
        access_of(MEMBERS, None, [])


def test_a_database_without_members_is_open_to_all() -> None:
    access = access_of({}, None, [])
    access.require(Action.WRITE)
    with pytest.raises(Unauthorized, match="You are not a db or server admin"):
        access.require(Action.ADMIN)
    assert access_of({"members": {"names": [], "roles": []}}, "eve", []).read


def test_a_new_database_is_the_administrators_alone() -> None:
    with pytest.raises(Unauthorized):
        access_of(admins_only(), None, [])
    with pytest.raises(Forbidden):
        access_of(admins_only(), "ben", ["staff"])
    assert access_of(admins_only(), "root", ["_admin"]).admin


@pytest.mark.parametrize("security", [{"members": 3}, {"members": {"names": "ben"}}, {"admins": {"names": [1]}}])
def test_malformed_security_is_refused_and_names_nobody(security: Any) -> None:
    with pytest.raises(BadRequest):
        check(security)
    assert not access_of(security, "ben", []).admin


def test_well_formed_security_may_have_more_fields() -> None:
    check({**MEMBERS, "cloudant": {}})


def test_server_administration_is_for_server_administrators() -> None:
    require_server_admin(["_admin"])
    with pytest.raises(Unauthorized, match=r"^You are not a server admin\.$"):
        require_server_admin(["staff"])
