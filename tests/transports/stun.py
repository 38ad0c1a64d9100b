"""A STUN server on loopback, with faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast


class _Server(asyncio.DatagramProtocol):
    def __init__(self, *, silent: bool, lose: int, shift: int) -> None:
        self._silent, self._lose, self._shift = silent, lose, shift

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._lose -= 1
        if self._silent or self._lose >= 0 or data[:2] != b"\x00\x01":
            return
        port = (addr[1] + self._shift) % 65536 ^ 0x2112
        host = bytes(a ^ b for a, b in zip(map(int, addr[0].split(".")), b"\x21\x12\xa4\x42", strict=True))
        value = b"\x00\x01" + port.to_bytes(2) + host
        self._transport.sendto(b"\x01\x01\x00\x0c" + data[4:20] + b"\x00\x20\x00\x08" + value, addr)


@asynccontextmanager
async def stun_server(*, silent: bool = False, lose: int = 0, shift: int = 0) -> AsyncIterator[int]:
    """A server's port. It loses the first ``lose`` requests, and sees ports ``shift`` higher, as behind a NAT."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Server(silent=silent, lose=lose, shift=shift), local_addr=("127.0.0.1", 0)
    )
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        transport.close()
