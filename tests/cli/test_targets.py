"""Which share an argument means."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from peerpouch.cli.targets import choose
from peerpouch.errors import BadRequest, ShareNotFound


@dataclass(frozen=True)
class Listed:
    id: str
    name: str
    fingerprint: str = "8f3k-0qx2-m7ta-zz1e-5w9c"

    @property
    def dbname(self) -> str:
        return f"webrtc://{self.id}"


NOTES, OTHER_NOTES, BIRDS = Listed("aaaa", "Notes"), Listed("bbbb", "Notes", "other-owner"), Listed("cccc", "Birds")


@pytest.mark.parametrize("wanted", ["Birds", "cccc", "webrtc://cccc"])
def test_a_share_is_chosen_by_name_id_or_dbname(wanted: str) -> None:
    assert choose([NOTES, BIRDS], wanted, "hub.db") is BIRDS


def test_an_id_wins_over_a_name_that_looks_like_it() -> None:
    assert choose([Listed("dddd", "cccc"), BIRDS], "cccc", "hub.db") is BIRDS


def test_an_ambiguous_name_lists_the_candidates() -> None:
    with pytest.raises(BadRequest) as caught:
        choose([NOTES, OTHER_NOTES], "Notes", "hub.db")
    assert "aaaa" in caught.value.reason
    assert "bbbb" in caught.value.reason
    assert "other-owner" in caught.value.reason


def test_a_share_that_is_not_there_lists_those_that_are() -> None:
    with pytest.raises(ShareNotFound, match=r"hub\.db has no share 'Cats'.*'Birds', 'Notes'"):
        choose([NOTES, BIRDS], "Cats", "hub.db")
    with pytest.raises(ShareNotFound, match="none"):
        choose([], "Cats", "hub.db")
