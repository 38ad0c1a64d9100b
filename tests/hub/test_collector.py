from __future__ import annotations

from typing import Any

import pytest

from peerpouch.hub import collector as module
from peerpouch.hub.collector import Collected, Collector, collect_garbage
from peerpouch.ports import Document, Documents
from tests.hub.conftest import Join, publish
from tests.hub.fakes import FakeClock, MemoryHub

MINUTE = 60


def signal(number: int) -> str:
    return f"signal:{'0' * 26}:{number:026}"


async def _look_for(collector: Collector, clock: FakeClock, minutes: int) -> None:
    for _ in range(minutes // 5):
        await collector.look()
        await clock.advance(5 * MINUTE)
    await collector.look()


async def test_what_others_left_is_collected_when_it_was_dead_for_long(
    join: Join, hub: MemoryHub, clock: FakeClock
) -> None:
    alice, crashed = join(), join()
    dead = await publish(crashed, uuid="dead")
    document = hub.raw(f"share:{dead}")
    assert document is not None
    await crashed.close()
    hub.force(document)
    hub.force({"_id": signal(1), "offer": "unread"})
    hub.force({"_id": "share:somebody else's", "type": "unknown"})
    hub.force({"_id": "other", "type": "no business of ours"})
    living = await publish(alice)
    await clock.advance(10 * MINUTE)
    assert len(hub.ids("signal:")) == 1
    await clock.advance(40 * MINUTE)
    assert hub.ids("") == sorted([f"share:{living}", "share:somebody else's", "other"])


async def test_no_clock_is_trusted(hub: MemoryHub, clock: FakeClock) -> None:
    collector = Collector(hub, clock)
    hub.force({"_id": signal(1), "created": 0})
    await collector.look()
    clock.drift(10.0 * 365 * 24 * 3600)
    await collector.look()
    assert hub.ids("signal:") == [signal(1)]


async def test_what_changes_is_alive(hub: MemoryHub, clock: FakeClock) -> None:
    collector = Collector(hub, clock)
    for _ in range(10):
        hub.force({"_id": signal(1)})
        await collector.look()
        await clock.advance(10 * MINUTE)
    assert collector.collected.deleted == 0


async def test_deleted_documents_are_purged_when_everybody_saw_the_deletion(hub: MemoryHub, clock: FakeClock) -> None:
    collector = Collector(hub, clock)
    hub.force({"_id": signal(1), "_deleted": True})
    hub.force({"_id": "other", "_deleted": True})
    await _look_for(collector, clock, 10)
    assert set(hub._docs) == {signal(1), "other"}
    await _look_for(collector, clock, 20)
    assert set(hub._docs) == {"other"}
    assert collector.collected == Collected(deleted=0, purged=1)


async def test_a_hub_that_does_not_let_us_purge_is_asked_once(hub: MemoryHub, clock: FakeClock) -> None:
    hub.purges = False
    collector = Collector(hub, clock)
    hub.force({"_id": signal(1), "_deleted": True})
    await _look_for(collector, clock, 60)
    assert hub.calls["purge"] == 1


async def test_a_crowd_is_dealt_with_in_turns(
    hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 5)
    monkeypatch.setattr(module, "BATCH", 2)
    collector = Collector(hub, clock)
    for number in range(12):
        hub.force({"_id": signal(number)})
    await _look_for(collector, clock, 20)
    assert len(hub.ids("signal:")) == 7
    await _look_for(collector, clock, 120)
    assert len(hub._docs) == 0
    assert collector.collected == Collected(deleted=12, purged=12)


async def test_an_operator_does_it_by_the_clock(join: Join, hub: MemoryHub, clock: FakeClock) -> None:
    alice = join()
    living = await publish(alice)
    await alice.withdraw(await publish(alice, uuid="gone"))
    hub.force({"_id": signal(1), "created": round(1000 * clock.now()) - 3_700_000})
    hub.force({"_id": signal(2), "created": round(1000 * clock.now())})
    hub.force({"_id": "share:unknown"})
    steps: list[int] = []
    done = await collect_garbage(hub, now=clock.now(), progress=lambda so_far: steps.append(so_far.deleted))
    assert done == Collected(deleted=1, purged=2)
    assert sorted(hub._docs) == sorted([f"share:{living}", "share:unknown", signal(2)])
    assert steps


async def test_an_operator_remembers_no_more_than_a_few_of_many_dead(
    hub: MemoryHub, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 5)
    remembered: list[int] = []
    delete = module._delete

    async def watched(database: Documents, dead: list[Document]) -> int:
        remembered.append(len(dead))
        return await delete(database, dead)

    monkeypatch.setattr(module, "_delete", watched)
    for number in range(12):
        hub.force({"_id": signal(number)})
    assert await collect_garbage(hub, now=clock.now()) == Collected(deleted=12, purged=12)
    assert max(remembered) == 5
    assert len(hub._docs) == 0


@pytest.mark.parametrize("created", [10**400, -(10**400), 2**60, None, "soon", 1.5, True])
async def test_no_time_that_somebody_made_up_keeps_a_signal_from_an_operator(
    hub: MemoryHub, clock: FakeClock, created: Any
) -> None:
    hub.force({"_id": signal(1), "created": created})
    hub.force({"_id": signal(2), "created": round(1000 * clock.now()) + 80_000_000})
    assert (await collect_garbage(hub, now=clock.now())).deleted == 1
    assert hub.ids("signal:") == [signal(2)]
