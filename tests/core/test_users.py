"""What may be written about a user, and by whom."""

from __future__ import annotations

from typing import Any

import pytest

from peerpouch.core.users import check, record_of, roles_of
from peerpouch.errors import Forbidden

BEN: dict[str, Any] = {"_id": "org.couchdb.user:ben", "name": "ben", "type": "user", "roles": ["staff"]}


def test_an_administrator_makes_changes_and_deletes_users() -> None:
    check(BEN, [], name="root", admin=True)
    check({**BEN, "roles": ["other"]}, [BEN], name="root", admin=True)
    check({"_id": BEN["_id"], "_deleted": True}, [BEN], name="root", admin=True)


def test_users_change_their_own_document_but_not_their_roles() -> None:
    check({**BEN, "colour": "red"}, [BEN], name="ben", admin=False)
    check({"_id": BEN["_id"], "_deleted": True}, [BEN], name="ben", admin=False)
    with pytest.raises(Forbidden, match="Only _admin may set roles"):
        check({**BEN, "roles": ["staff", "boss"]}, [BEN], name="ben", admin=False)
    with pytest.raises(Forbidden, match="Only _admin may set roles"):
        check(BEN, [], name="ben", admin=False)


@pytest.mark.parametrize("name", [None, "eve"])
def test_nobody_changes_or_deletes_somebody_else(name: str | None) -> None:
    with pytest.raises(Forbidden):
        check({**BEN, "colour": "red"}, [BEN], name=name, admin=False)
    with pytest.raises(Forbidden):
        check({"_id": BEN["_id"], "_deleted": True}, [BEN], name=name, admin=False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "person"},
        {"name": None},
        {"name": "eve"},
        {"roles": None},
        {"roles": "staff"},
        {"roles": [1]},
        {"roles": ["_admin"]},
        {"_id": "ben"},
        {"_id": "org.couchdb.user:_ben", "name": "_ben"},
        {"_id": "org.couchdb.user:a:b", "name": "a:b"},
        {"password_scheme": "pbkdf2", "salt": 3},
    ],
)
def test_a_malformed_user_is_refused_whoever_writes_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(Forbidden):
        check({**BEN, **wrong}, [], name="root", admin=True)


def test_a_user_document_gives_no_role_of_the_system() -> None:
    assert roles_of({"roles": ["a", "_admin", 3]}) == {"a"}
    assert record_of({"salt": "s", "name": "ben"}) == {"salt": "s"}
