"""A peer's process that is killed: noticed, and every request ends."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from peerpouch.errors import PeerUnreachable
from peerpouch.exchange import Request
from peerpouch.transports.webrtc import RTCOptions, WebRTC
from tests.transports.harness import BOB, SCALE, FakeClock, TestApp

_CHILD = """
import asyncio, json, sys
from peerpouch.ports import Peer
from peerpouch.transports.webrtc import RTCOptions, WebRTC

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begin", "more_body": True})
    await asyncio.Event().wait()

async def main():
    transport = WebRTC(RTCOptions(loopback=True), engine=sys.argv[1])
    pending = await transport.answer(json.loads(sys.stdin.readline()), app, Peer(b"a" * 32, "one"))
    print(json.dumps(pending.sdp), flush=True)
    link = await pending.connect(timeout=60)
    await link.wait_closed()

asyncio.run(main())
"""


@pytest.mark.parametrize("engine", ["wrtc", "aiortc"])
async def test_a_killed_peer_is_noticed_within_ten_seconds_and_requests_end(engine: str) -> None:
    clock = FakeClock()
    transport = WebRTC(RTCOptions(loopback=True), engine=engine, clock=clock)
    offer = await transport.offer(TestApp(), BOB)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHILD, engine, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        child.stdin.write(json.dumps(offer.sdp).encode() + b"\n")
        async with asyncio.timeout(60 * SCALE):
            answer = json.loads(await child.stdout.readline())
            link = await offer.connect(answer, timeout=60 * SCALE)
            response = await link.exchange.handle_async_request(Request("GET", "http://peer/"))
            body = aiter(response.aiter_raw())
            assert await anext(body) == b"begin"
        # It answers pings for as long as it lives.
        assert not link.closed
        child.kill()
        await child.wait()
        await clock.advance(9.9)
        async with asyncio.timeout(20 * SCALE):
            with pytest.raises(PeerUnreachable):
                await anext(body)
            assert isinstance(await link.wait_closed(), PeerUnreachable)
            with pytest.raises(PeerUnreachable):
                await link.exchange.handle_async_request(Request("GET", "http://peer/"))
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
        await transport.close()
