"""When a ping is due, and when a peer is dead."""

from __future__ import annotations

import pytest

from peerpouch.wire import Liveness, Verdict


def _run(liveness: Liveness, start: float, until: float) -> list[tuple[float, Verdict]]:
    """Check whenever it is due, as a timer does."""
    now = start
    verdicts = []
    while now < until:
        now += liveness.due(now)
        verdict = liveness.check(now)
        verdicts.append((now, verdict))
        if verdict is Verdict.DEAD:
            break
    return verdicts


def test_a_silent_peer_is_pinged_twice_and_dead_within_ten_seconds() -> None:
    verdicts = _run(Liveness(100.0), 100.0, 200.0)
    assert [verdict for _, verdict in verdicts] == [Verdict.PING, Verdict.PING, Verdict.DEAD]
    assert verdicts[-1][0] - 100.0 < 10


def test_a_peer_that_is_heard_is_neither_pinged_nor_dead() -> None:
    liveness = Liveness(0.0)
    for second in range(1, 100):
        liveness.heard(float(second))
        assert liveness.check(float(second)) is Verdict.WAIT
        assert liveness.due(float(second)) == 3.0


def test_an_answer_to_a_late_ping_keeps_the_peer_alive() -> None:
    liveness = Liveness(0.0)
    assert liveness.check(3.0) is Verdict.PING
    assert liveness.check(6.0) is Verdict.PING
    liveness.heard(8.9)
    assert liveness.check(9.0) is Verdict.WAIT


def test_a_pause_of_this_end_does_not_kill_the_peer() -> None:
    liveness = Liveness(0.0)
    assert liveness.check(600.0) is Verdict.PING
    liveness.heard(600.2)
    assert liveness.check(600.3) is Verdict.WAIT


def test_twin_without_the_grace_a_pause_kills_a_living_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    liveness = Liveness(0.0)
    monkeypatch.setattr(liveness, "_forgiven", True)
    assert liveness.check(600.0) is Verdict.DEAD


def test_a_peer_that_died_during_a_pause_is_noticed_within_ten_seconds_of_its_end() -> None:
    liveness = Liveness(0.0)
    assert liveness.check(600.0) is Verdict.PING
    verdicts = _run(liveness, 600.0, 700.0)
    assert verdicts[-1][1] is Verdict.DEAD
    assert verdicts[-1][0] < 610


def test_with_timers_throttled_to_one_a_minute_a_dead_peer_is_noticed_at_the_second() -> None:
    liveness = Liveness(0.0)
    assert liveness.check(60.0) is Verdict.PING
    assert liveness.check(120.0) is Verdict.DEAD


def test_the_patience_must_exceed_the_interval() -> None:
    with pytest.raises(ValueError, match="patience"):
        Liveness(0.0, interval=5, patience=5)
