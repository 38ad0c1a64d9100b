from __future__ import annotations

import asyncio
import random

import pytest

from peerpouch.replication.lanes import Lane


async def test_tickets_enter_in_order_whatever_the_order_in_which_they_come() -> None:
    lane, entered = Lane(3), list[int]()

    async def pass_through(ticket: int) -> None:
        await lane.enter(ticket)
        entered.append(ticket)
        assert lane.inside <= 3
        await asyncio.sleep(0)
        lane.leave()

    tickets = list(range(50))
    random.Random(7).shuffle(tickets)
    await asyncio.wait_for(asyncio.gather(*map(pass_through, tickets)), 10)
    assert entered == sorted(tickets)
    assert lane.inside == 0


async def test_no_more_than_its_width_are_inside() -> None:
    lane = Lane(2)
    await lane.enter(0)
    await lane.enter(1)
    third = asyncio.ensure_future(lane.enter(2))
    await asyncio.sleep(0)
    assert not third.done()
    lane.leave()
    await asyncio.wait_for(third, 10)


async def test_a_ticket_that_will_not_come_holds_up_nobody() -> None:
    lane = Lane(1)
    second = asyncio.ensure_future(lane.enter(2))
    lane.skip(1)
    await asyncio.sleep(0)
    assert not second.done()
    lane.skip(0)
    await asyncio.wait_for(second, 10)


async def test_a_ticket_that_was_cancelled_while_it_waited_holds_up_nobody() -> None:
    lane = Lane(1)
    await lane.enter(0)
    waiting = [asyncio.ensure_future(lane.enter(ticket)) for ticket in (1, 2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    lane.leave()
    await asyncio.wait_for(waiting[1], 10)
    assert lane.inside == 1


@pytest.mark.parametrize("widths", [(1, 1, 1), (4, 4, 4), (4, 1, 2)])
async def test_a_chain_of_lanes_whose_holders_wait_for_the_next_never_locks_up(widths: tuple[int, ...]) -> None:
    lanes = [Lane(width) for width in widths]
    chance = random.Random(1)

    async def travel(ticket: int) -> None:
        if chance.random() < 0.3:
            for lane in lanes:
                lane.skip(ticket)
            return
        for lane in lanes:
            for _ in range(chance.randrange(5)):
                await asyncio.sleep(0)
            await lane.enter(ticket)  # while all the earlier ones are still held
        for lane in lanes:
            lane.leave()

    await asyncio.wait_for(asyncio.gather(*map(travel, range(200))), 10)
