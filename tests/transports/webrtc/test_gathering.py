"""Which servers are worth waiting for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from peerpouch.transports.webrtc import IceServer
from peerpouch.transports.webrtc.gathering import living, outstanding
from tests.transports.stun import stun_server


@asynccontextmanager
async def _refusing() -> AsyncIterator[int]:
    """A server that wants a password."""

    class Server(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            transport.sendto(b"\x01\x11\x00\x00" + data[4:20], addr)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()


async def test_who_answers_is_alive_and_told_from_who_does_not() -> None:
    async with (
        stun_server() as plain,
        stun_server(lose=1) as lossy,
        stun_server(silent=True) as dead,
        _refusing() as no,
    ):
        listening = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        tcp = listening.sockets[0].getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as taken:
            closed = taken.getsockname()[1]
        here = "127.0.0.1"
        servers = [
            IceServer((f"stun:{here}:{plain}", f"stun:{here}:{dead}")),
            IceServer((f"turn:{here}:{plain}?transport=udp", f"turn:{here}:{lossy}", f"turn:{here}:{dead}")),
            IceServer((f"turn:{here}:{no}", f"stun:{here}:{no}")),
            IceServer((f"turn:{here}:{tcp}?transport=tcp", f"turns:{here}:{tcp}", f"turns:{here}:{closed}")),
            IceServer(("turn:", "stun:nobody.invalid")),
        ]
        async with asyncio.timeout(60):
            assert await living(servers, limit=2) == {
                f"stun:{here}:{plain}": None,  # it sees the address that is there
                f"turn:{here}:{plain}?transport=udp": "relay",
                f"turn:{here}:{lossy}": "relay",
                f"turn:{here}:{no}": "relay",
                f"turn:{here}:{tcp}?transport=tcp": "relay",
                f"turns:{here}:{tcp}": "relay",
            }
            assert await living([], limit=60) == {}
        listening.close()
        await listening.wait_closed()


TURN, OTHER, STUN = "turn:t.example", "turn:u.example:3479?transport=tcp", "stun:s.example"


@pytest.mark.parametrize(
    ("found", "complaints", "left"),
    [
        ([], [], {TURN, OTHER, STUN}),
        ([("host", None)], [], {TURN, OTHER, STUN}),
        ([("srflx", "stun:elsewhere")], [], {TURN, OTHER}),
        ([("srflx", None), ("relay", "turn:t.example:3478?transport=udp")], [], {OTHER}),
        ([("relay", None)], [STUN], set()),
        ([("srflx", STUN)], ["turn:t.example:3478?transport=udp", OTHER], set()),
    ],
)
def test_what_is_still_to_come(found: list[tuple[str, str | None]], complaints: list[str], left: set[str]) -> None:
    assert outstanding({TURN: "relay", OTHER: "relay", STUN: "srflx", "stun:quiet": None}, found, complaints) == left
