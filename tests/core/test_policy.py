"""The access policy, without a database."""

from __future__ import annotations

from itertools import product

import pytest

from peerpouch.core.policy import Access, Action
from peerpouch.errors import BadRequest, Forbidden

EVERY = [Access(*flags) for flags in product([False, True], repeat=3)]


def test_a_name_never_grants_administration() -> None:
    for name in ("read-write", "read-only"):
        assert not Access.parse(name).allows(Action.ADMIN)
        assert Access.parse(name).allows(Action.READ)
    assert Access.parse("read-write").allows(Action.WRITE)
    assert not Access.parse("read-only").allows(Action.WRITE)


@pytest.mark.parametrize("value", ["", "admin", "READ-ONLY", "none"])
def test_an_unknown_name_is_an_error_that_names_the_known_ones(value: str) -> None:
    with pytest.raises(BadRequest, match="read-only"):
        Access.parse(value)


@pytest.mark.parametrize("access", EVERY)
def test_require_raises_exactly_where_allows_says_no(access: Access) -> None:
    for action in Action:
        if access.allows(action):
            access.require(action)
        else:
            with pytest.raises(Forbidden):
                access.require(action)


@pytest.mark.parametrize("access", EVERY)
def test_nothing_but_admin_allows_administration_and_design_documents(access: Access) -> None:
    assert access.allows(Action.ADMIN) is access.admin
    assert (access.refusal("_design/x") is None) is access.admin


@pytest.mark.parametrize("access", EVERY)
def test_documents_are_refused_exactly_where_writing_is(access: Access) -> None:
    for doc_id in ("a", "", "_x", "_designx", None, 7):
        assert (access.refusal(doc_id) is None) is access.allows(Action.WRITE)


def test_who_may_neither_read_nor_write_may_do_nothing() -> None:
    assert not any(Access(read=False, write=False).allows(action) for action in Action)


def test_equal_policies_and_no_others_have_equal_fingerprints() -> None:
    assert len({access.fingerprint for access in EVERY}) == len(EVERY)
    assert Access().fingerprint == Access.parse("read-write").fingerprint
    assert len(Access().fingerprint) == 32
