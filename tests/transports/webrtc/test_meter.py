"""Rates of a link."""

from __future__ import annotations

import pytest

from peerpouch.transports.webrtc.meter import Meter


def test_a_rate_is_that_of_the_last_seconds() -> None:
    meter = Meter(100.0)
    for tenth in range(1, 101):
        meter.note(100 + tenth / 10, 1000 * tenth, 0)
    sending, receiving = meter.rates(110.0, 100_000, 0)
    assert 9_900 <= sending <= 10_100 and receiving == 0
    assert meter.rates(120.0, 100_000, 5_000) == pytest.approx((0, 500), abs=150)
    assert meter.rates(140.0, 100_000, 5_000) == (0.0, 0.0)


def test_the_first_moment_is_no_division_by_nought_and_samples_are_few() -> None:
    meter = Meter(0.0)
    assert meter.rates(0.0, 1000, 0)[0] == 4000
    for step in range(10_000):
        meter.note(step / 1000, step, step)
    assert len(meter._samples) < 20
