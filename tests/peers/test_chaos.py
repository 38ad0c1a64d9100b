"""A seeded monkey: people open, use, close, refuse, revoke and lose connections, and nothing hangs or stays."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from peerpouch.errors import PeerPouchError, PeerUnreachable
from peerpouch.exchange import Request
from peerpouch.peers.lease import Lease
from tests.peers.conftest import Person, World

STEPS = 120


class Monkey:
    """Does random things to three people who share two databases each."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.chance = random.Random(seed)
        self.people = [world.person(bytes([65 + number])) for number in range(3)]
        self.shares: dict[str, Person] = {}
        for person in self.people:
            for number in range(2):
                self.shares[f"{person.peer.key[:1].decode()}{number}"] = person
        for share, person in self.shares.items():
            world.hub.shares[share] = person
        self.leases: list[Lease] = []
        self.tasks: list[asyncio.Task[Any]] = []

    def step(self) -> None:
        actions = [self.connect, self.connect, self.use, self.use, self.use, self.close, self.cut, self.cut_one_way]
        self.chance.choice([*actions, self.refuse, self.unshare])()

    def spawn(self, work: Any) -> None:
        self.tasks.append(asyncio.ensure_future(work))

    def connect(self) -> None:
        share = self.chance.choice(sorted(self.shares))
        others = [person for person in self.people if person is not self.shares[share]]
        self.spawn(self._connect(self.chance.choice(others), share))

    async def _connect(self, person: Person, share: str) -> None:
        self.leases.append(await person.pool.connect(share, self.chance.choice([None, 1]), timeout=20))

    def use(self) -> None:
        if self.leases:
            self.spawn(use(self.chance.choice(self.leases)))

    def close(self) -> None:
        if self.leases:
            lease = self.leases.pop(self.chance.randrange(len(self.leases)))
            self.spawn(lease.close())

    def cut(self) -> None:
        if self.world.network.links:
            link = self.chance.choice(self.world.network.links)
            for end in (link, link.other):
                assert end is not None
                end.end(PeerUnreachable("Cut."))

    def cut_one_way(self) -> None:
        """One end notices at once; the other is deaf until its own link notices, some time later."""
        if self.world.network.links:
            link = self.chance.choice(self.world.network.links)
            ends = [link, link.other]
            self.chance.shuffle(ends)
            noticing, deaf = ends
            assert noticing is not None and deaf is not None
            deaf.mute = True
            noticing.end(PeerUnreachable("Cut."))
            asyncio.get_running_loop().call_later(0.01, deaf.end, PeerUnreachable("Silent."))

    def refuse(self) -> None:
        share = self.chance.choice(sorted(self.shares))
        refuses = self.shares[share].refuses
        if refuses.pop(share, None) is None:
            refuses[share] = "No."

    def unshare(self) -> None:
        share = self.chance.choice(sorted(self.shares))
        if self.world.hub.shares.pop(share, None) is None:
            self.world.hub.shares[share] = self.shares[share]
        else:
            self.shares[share].pool.revoke(share)

    async def finish(self) -> list[Any]:
        """Let everything end that was begun, the clock running."""
        for _ in range(200):
            await self.world.clock.advance(1)
            await asyncio.sleep(0.0005)
            if all(task.done() for task in self.tasks):
                break
        assert all(task.done() for task in self.tasks), "something hangs"
        return [task.exception() for task in self.tasks]


async def use(lease: Lease) -> int:
    request = Request("GET", f"http://peer/{lease.share_id}/doc")
    response = await lease.exchange.handle_async_request(request)
    await response.aclose()
    return response.status_code


@pytest.mark.parametrize("seed", [*range(12), 100, 137, 155])  # the last ones once found something
async def test_whatever_happens_everything_ends_and_nothing_stays(world: World, seed: int) -> None:
    monkey = Monkey(world, seed)
    for _ in range(STEPS):
        monkey.step()
        for _ in range(monkey.chance.randrange(12)):
            await asyncio.sleep(0)
        if monkey.chance.random() < 0.1:
            await world.clock.advance(monkey.chance.choice([0.1, 2, 9]))
    errors = [error for error in await monkey.finish() if error is not None]
    assert [error for error in errors if not isinstance(error, PeerPouchError)] == []

    # All is well again: whoever asks gets an answer.
    for share, person in monkey.shares.items():
        world.hub.shares[share] = person
        person.refuses.clear()
    await asyncio.sleep(0.02)
    monkey.tasks = [asyncio.ensure_future(use(lease)) for lease in monkey.leases]
    assert {type(error) for error in await monkey.finish()} <= {type(None)}
    assert {task.result() for task in monkey.tasks} <= {200}

    for lease in monkey.leases:
        await lease.close()
    for _ in range(4):
        await world.clock.advance(40)
    assert [person.pool._connections for person in monkey.people] == [{}, {}, {}]
    assert all(link.closed for link in world.network.links)
