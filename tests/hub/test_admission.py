from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import TooManyRequests
from peerpouch.hub import admission
from peerpouch.hub.admission import Openings, Replays
from peerpouch.hub.leases import TOLERANCE

NOW = 1_700_000_000.0
MS = round(1000 * NOW)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-TOLERANCE, TOLERANCE), st.integers(0, 600)), max_size=60))
def test_no_offer_passes_twice_however_many_there_are(offers: list[tuple[int, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "MAX_REMEMBERED", 5)
        replays, now, passed = Replays(), NOW, set()
        for number, skew, pause in offers:
            now += pause
            # An offer's time is a part of it: the same nonce always comes with the same time.
            nonce, time = str(number), MS + 1000 * (number * 60 + skew % 2)
            if abs(time / 1000 - now) > TOLERANCE:
                continue
            try:
                new = replays.admit(nonce, time, now)
            except TooManyRequests:
                continue
            if new:
                assert (nonce, time) not in passed
                passed.add((nonce, time))
            assert len(replays) <= 5


def test_twin_without_the_floor_a_flood_makes_room_for_a_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_REMEMBERED", 5)

    def replay_after_flood() -> bool:
        replays = Replays()
        assert replays.admit("mine", MS, NOW)
        for number in range(10):
            replays.admit(str(number), MS + 1 + number, NOW)
            if without_floor:
                replays._floor = -1
        return replays.admit("mine", MS, NOW)

    without_floor = False
    assert not replay_after_flood()
    without_floor = True
    assert replay_after_flood()


def test_what_was_forgotten_does_not_pass_when_the_clock_is_set_back() -> None:
    replays = Replays()
    assert replays.admit("a", MS, NOW)
    assert replays.admit("b", MS + 3_600_000, NOW + 3600)
    assert len(replays) == 1
    assert not replays.admit("a", MS, NOW)


def _honest_offers_in_a_flood() -> list[bool]:
    """Somebody floods with times from the future; others come with the right time."""
    replays = Replays()
    for number in range(20):
        try:
            replays.admit(f"flood {number}", MS + 900_000, NOW)
        except TooManyRequests:
            continue
    return [replays.admit(f"honest {number}", MS + number, NOW) for number in range(1, 20)]


def test_honest_offers_pass_while_somebody_floods_with_times_from_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_REMEMBERED", 6)
    assert all(_honest_offers_in_a_flood())


def test_twin_when_the_future_may_take_all_places_they_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_REMEMBERED", 6)
    monkeypatch.setattr(admission, "AHEAD", float(TOLERANCE))
    assert not any(_honest_offers_in_a_flood())


def test_openings_are_counted_down_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_PENDING", 3)
    monkeypatch.setattr(admission, "MAX_PENDING_PER_KEY", 2)
    openings = Openings()
    for _ in range(5):
        with pytest.raises(RuntimeError), openings.enter(b"a"):
            raise RuntimeError
    with openings.enter(b"a"), openings.enter(b"a"):
        with pytest.raises(TooManyRequests), openings.enter(b"a"):
            pass
        with openings.enter(b"b"), pytest.raises(TooManyRequests), openings.enter(b"c"):
            pass
    assert len(openings) == 0
    assert not openings._by_key
