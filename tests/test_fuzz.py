"""The fuzzer's targets exist and run."""

from __future__ import annotations

import pytest

from tests.fuzz import TARGETS, by_chance, target


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_takes_bytes(name: str) -> None:
    assert by_chance(target(name), 0.2, seed=1) > 0
