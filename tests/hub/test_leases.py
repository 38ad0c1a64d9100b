from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.hub import leases as module
from peerpouch.hub.leases import TOLERANCE, Leases, Verdict
from peerpouch.hub.shares import Share
from peerpouch.identity.keys import Identity

NOW = 1_700_000_000.0
SHARE = Share(
    id="0" * 26,
    name="notes",
    info=None,
    key=Identity.ephemeral(bytes(32)).key,
    database=bytes(32),
    session="s" * 26,
    session_key=bytes(32),
    renewed=round(1000 * NOW),
    lease=90,
    renewal=1,
)


def share(**changes: Any) -> Share:
    return replace(SHARE, **changes)


def judge(leases: Leases, monotonic: float, now: float = NOW) -> Verdict | None:
    return leases.judge(SHARE.id, monotonic=monotonic, now=now)


def test_an_unknown_share_is_not_judged() -> None:
    assert judge(Leases(), 0) is None


def test_a_share_lives_for_one_lease_after_it_was_seen() -> None:
    leases = Leases()
    leases.observe(SHARE, 100)
    assert judge(leases, 190) is Verdict.ALIVE
    assert judge(leases, 191) is Verdict.EXPIRED


def test_seeing_the_same_renewal_again_does_not_prolong_it() -> None:
    leases = Leases()
    leases.observe(SHARE, 100)
    assert leases.observe(SHARE, 180)
    assert judge(leases, 191) is Verdict.EXPIRED


def test_an_older_renewal_played_back_changes_nothing() -> None:
    leases = Leases()
    leases.observe(share(renewal=5, name="new"), 100)
    assert not leases.observe(share(renewal=4, name="old"), 180)
    known = leases.get(SHARE.id)
    assert known is not None
    assert known.name == "new"
    assert judge(leases, 191) is Verdict.EXPIRED


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (0, Verdict.ALIVE),
        (90 + TOLERANCE, Verdict.ALIVE),
        (91 + TOLERANCE, Verdict.EXPIRED),
        (-TOLERANCE, Verdict.ALIVE),
        (-TOLERANCE - 1, Verdict.FROM_THE_FUTURE),
    ],
)
def test_what_was_seen_once_is_judged_by_the_wall_clocks(age: float, verdict: Verdict) -> None:
    leases = Leases()
    leases.observe(SHARE, 0)
    assert judge(leases, 0, NOW + age) is verdict


def test_a_witnessed_renewal_beats_every_wall_clock() -> None:
    leases = Leases()
    leases.observe(SHARE, 0)
    leases.observe(share(renewal=2), 30)
    assert judge(leases, 30, now=0) is Verdict.ALIVE
    assert judge(leases, 30, now=NOW * 2) is Verdict.ALIVE
    assert judge(leases, 121, now=NOW) is Verdict.EXPIRED


def test_another_session_is_not_a_renewal() -> None:
    leases = Leases()
    leases.observe(SHARE, 0)
    leases.observe(share(renewal=2, session="t" * 26), 30)
    assert judge(leases, 30, now=0) is Verdict.FROM_THE_FUTURE


def test_offers_carry_a_time_that_the_owner_takes_for_right() -> None:
    leases = Leases()
    leases.observe(SHARE, 100)
    assert leases.owners_time(SHARE.id, monotonic=110, now=NOW + 60) == round(1000 * (NOW + 60))
    assert leases.owners_time(SHARE.id, monotonic=110, now=5.0) == round(1000 * (NOW + 10))


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 2)
    leases = Leases()
    assert [leases.observe(share(id=id * 26), 0) for id in "abc"] == [True, True, False]
    leases.drop_expired(monotonic=90 + TOLERANCE + 1)
    assert len(leases) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), max_size=30))
def test_nothing_lives_longer_than_a_lease_after_its_newest_renewal(steps: list[tuple[int, int]]) -> None:
    leases, monotonic, newest, seen = Leases(), 0.0, -1, 0.0
    for renewal, pause in steps:
        monotonic += pause
        leases.observe(share(renewal=renewal), monotonic)
        if renewal > newest:
            newest, seen = renewal, monotonic
        assert (judge(leases, monotonic) is Verdict.ALIVE) == (monotonic - seen <= 90)
