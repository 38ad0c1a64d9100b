"""A process that gathers candidates, called by the tests: ``python -m tests.network.gatherer``."""

from __future__ import annotations

import time
from typing import Any

from peerpouch.cli.processes import Served, serve
from peerpouch.node import ice
from peerpouch.ports import Peer
from peerpouch.transports.webrtc import RTCOptions, WebRTC
from peerpouch.transports.webrtc.sdp import candidates


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    """Serves nothing: no connection comes of it."""


class Gatherer(Served):
    """Makes offers that go nowhere."""

    async def gather(self, engine: str, servers: list[Any], patience: float = 5.0) -> dict[str, Any]:
        """Gather once; gives the kinds of candidates, and the seconds that it took."""
        transport = WebRTC(RTCOptions(ice.parse(servers), patience=patience), engine=engine)
        await transport.prepare()
        began = time.monotonic()
        offer = await transport.offer(_nothing, Peer(b"k" * 32, "s"))
        seconds = time.monotonic() - began
        await offer.abandon()
        return {"seconds": seconds, "kinds": sorted({text.partition(" ")[0] for text in candidates(offer.sdp)})}


if __name__ == "__main__":
    serve(Gatherer())
