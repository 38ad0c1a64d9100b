from __future__ import annotations

import pytest

from peerpouch.replication import PipelinedReplicator, Tuning
from tests.replication.memory import ManualClock, MemoryDatabase


@pytest.fixture
def source() -> MemoryDatabase:
    return MemoryDatabase("source")


@pytest.fixture
def target() -> MemoryDatabase:
    return MemoryDatabase("target")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def replicator(clock: ManualClock) -> PipelinedReplicator:
    return PipelinedReplicator(clock, lambda: 0.5, Tuning(checkpoint_changes=100, checkpoint_seconds=5.0))
