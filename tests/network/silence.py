"""A process that waits for a server's answer, called by the tests: ``python -m tests.network.silence URL``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from peerpouch.cli.processes import Served, serve
from peerpouch.errors import ConnectionFailed
from peerpouch.exchange import Request
from peerpouch.transports import network
from peerpouch.transports.network import NetworkExchange


class Waiter(Served):
    """Has a live feed open that brings nothing."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def open(self, limits: bool) -> None:
        """Open the feed, with limits of seconds, or without any."""
        network._UNACKNOWLEDGED = network._IDLE = network._INTERVAL = network._PROBES = 1
        if not limits:
            network._socket_options = list
        self._exchange = NetworkExchange(self._url)
        feed = Request("GET", self._url + "_changes?feed=continuous&heartbeat=60000&since=now")
        self._response: Any = await self._exchange.handle_async_request(feed)

    async def wait(self, seconds: float) -> str:
        """What it heard in this time: "nothing", or that the connection is "lost"."""
        try:
            async with asyncio.timeout(seconds):
                async for _ in self._response.aiter_raw():
                    pass
            return "the end"
        except TimeoutError:
            return "nothing"
        except ConnectionFailed:
            return "lost"


if __name__ == "__main__":
    serve(Waiter(sys.argv[1]))
