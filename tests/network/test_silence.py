"""Connections over TCP that do not end when their machine, or the way to it, is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.network.internet import hub_server, internet
from tests.network.namespaces import SCALE
from tests.network.shaper import Shape

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bed")]


@pytest.mark.timeout(300 * SCALE)
async def test_a_server_that_fell_silent_is_given_up_by_the_limits_of_tcp_and_not_without_them(tmp_path: Path) -> None:
    async with internet("direct") as net, hub_server(net, tmp_path) as hub:
        url = hub.target.replace("/hub", "/_replicator/")
        one, two = [await net.a.machine.process(name, "tests.network.silence", url, env={}) for name in ("a", "b")]
        async with one, two:
            await asyncio.gather(
                one.call("open", timeout=60 * SCALE, limits=True), two.call("open", timeout=60 * SCALE, limits=False)
            )
            await net.shape(Shape(down=True))
            # The kernel's own limits are hours. What is lost is found by the first; the second would not end before.
            twin = asyncio.ensure_future(two.call("wait", timeout=120 * SCALE, seconds=12 * SCALE))
            assert await one.call("wait", timeout=120 * SCALE, seconds=60 * SCALE) == "lost"
            assert await twin == "nothing"
