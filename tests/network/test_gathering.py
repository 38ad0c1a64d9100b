"""Servers that are dead, and servers that are far away."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.contract.test_engines import ENGINES
from tests.network.internet import internet
from tests.network.namespaces import SCALE
from tests.network.shaper import Shape

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bed")]

DEAD = ["stun:198.18.9.9:3478", "turn:198.18.9.9:3478"]


@pytest.mark.timeout(300 * SCALE)
async def test_a_relay_far_away_is_waited_for_and_a_dead_server_is_not() -> None:
    async with internet("symmetric") as net:
        process = await net.a.machine.process("gatherer", "tests.network.gatherer", env={})
        async with process:

            async def gather(engine: str, servers: list[Any], **more: Any) -> list[str]:
                result = await process.call("gather", timeout=60 * SCALE, engine=engine, servers=servers, **more)
                print(f"{engine}: {result}")
                # An engine by itself waits for a dead server for 40 seconds.
                assert result["seconds"] < 20 * SCALE
                return list(result["kinds"])

            await net.shape(Shape(round_trip=0.6, seed=1))
            servers = net.ice["ice_servers"]
            credentials = {"username": "peer", "credential": "wrong"}
            dead = [DEAD[0], {"urls": DEAD[1], **credentials}]
            for engine in ENGINES:
                everything, twin, with_dead, only_dead = await asyncio.gather(
                    gather(engine, servers),
                    gather(engine, servers, patience=0.0),
                    gather(engine, [*dead, *servers]),
                    gather(engine, dead),
                )
                assert everything == ["host", "relay", "srflx"]
                # Two round trips are more than one second.
                assert "relay" not in twin
                assert "relay" in with_dead and "srflx" in with_dead
                assert only_dead == ["host"]
