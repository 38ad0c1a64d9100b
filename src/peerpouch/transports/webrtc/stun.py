"""Just enough of STUN (RFC 8489) to ask a server for one's own address, without an engine.

An engine keeps quiet about a server that gives the address which it knows already, so it can't tell a machine without a
router from a server that is dead. Diagnosis wants to know, and so does who waits for candidates.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from struct import Struct
from typing import Final

from peerpouch.errors import PeerUnreachable

_HEADER: Final = Struct(">HHI12s")
_ATTRIBUTE: Final = Struct(">HH")
_COOKIE: Final = 0x2112A442
_REQUEST, _SUCCESS, _ERROR = 0x0001, 0x0101, 0x0111
_XOR_MAPPED_ADDRESS: Final = 0x0020
_FAMILIES: Final = {1: 4, 2: 16}
DEFAULT_PORT: Final = 3478

_AGAIN: Final = 0.5
"""Seconds after which the request is repeated: datagrams get lost."""

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a server said.

    Attributes:
        server: Its address.
        mapped: This machine's address and port, as the server sees them.
        local: The same, as this machine sees them.
        seconds: How long the answer took.
    """

    server: Address
    mapped: Address
    local: Address
    seconds: float


class Refused(str):
    """What went wrong, where the server itself said so: it is there."""

    __slots__ = ()


def binding_request(transaction: bytes) -> bytes:
    """A request; ``transaction`` has 12 random bytes."""
    return _HEADER.pack(_REQUEST, 0, _COOKIE, transaction)


def is_error(message: bytes, transaction: bytes) -> bool:
    """Whether a server refused the request."""
    if len(message) < _HEADER.size:
        return False
    kind, _, cookie, echoed = _HEADER.unpack_from(message)
    return (kind, cookie, echoed) == (_ERROR, _COOKIE, transaction)


def mapped_address(message: bytes, transaction: bytes) -> Address | None:
    """The address in a successful response to the request, or nothing if this is not one."""
    if len(message) < _HEADER.size:
        return None
    kind, length, cookie, echoed = _HEADER.unpack_from(message)
    if (kind, cookie, echoed) != (_SUCCESS, _COOKIE, transaction) or len(message) < _HEADER.size + length:
        return None
    at, end = _HEADER.size, _HEADER.size + length
    while at + _ATTRIBUTE.size <= end:
        attribute, size = _ATTRIBUTE.unpack_from(message, at)
        value = message[at + _ATTRIBUTE.size : at + _ATTRIBUTE.size + size]
        if attribute == _XOR_MAPPED_ADDRESS and len(value) == size and size >= 4:
            return _unmasked(value, transaction)
        at += _ATTRIBUTE.size + (size + 3) // 4 * 4
    return None


def _unmasked(value: bytes, transaction: bytes) -> Address | None:
    size = _FAMILIES.get(value[1])
    if size is None or len(value) != 4 + size:
        return None
    mask = _COOKIE.to_bytes(4) + transaction
    port = int.from_bytes(value[2:4]) ^ (_COOKIE >> 16)
    packed = bytes(a ^ b for a, b in zip(value[4:], mask, strict=False))
    return str(ipaddress.ip_address(packed)), port


class _Asking(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.waiting: dict[bytes, asyncio.Future[Address | None]] = {}

    def datagram_received(self, data: bytes, addr: object) -> None:
        for transaction, answer in self.waiting.items():
            found = mapped_address(data, transaction)
            if (found is not None or is_error(data, transaction)) and not answer.done():
                answer.set_result(found)


async def ask(servers: list[tuple[str, int]], *, limit: float) -> list[Mapped | str]:
    """Ask servers, all from one port: a router that shows each another address is a hard one (a symmetric NAT).

    Args:
        servers: Hosts and ports.
        limit: Seconds.

    Returns:
        For each, in order, what it said, or in words what went wrong.
    """
    addresses = [await _resolve(host, port) for host, port in servers]
    answers: dict[int, Mapped | str] = {n: where for n, where in enumerate(addresses) if isinstance(where, str)}
    for family in (socket.AF_INET, socket.AF_INET6):
        asked = {n: where[1] for n, where in enumerate(addresses) if not isinstance(where, str) and where[0] == family}
        if asked:
            answers |= await _ask(family, asked, limit)
    return [answers[n] for n in range(len(servers))]


async def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Address] | str:
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except OSError as error:
        return f"the name {host} could not be resolved ({error.strerror or error})"
    family, _, _, _, where = infos[0]
    return family, (str(where[0]), int(where[1]))


async def _ask(family: socket.AddressFamily, asked: dict[int, Address], limit: float) -> dict[int, Mapped | str]:
    loop = asyncio.get_running_loop()
    try:
        transport, asking = await loop.create_datagram_endpoint(_Asking, family=family, local_addr=(_any(family), 0))
    except OSError as error:
        return dict.fromkeys(asked, f"this machine has no such network ({error.strerror or error})")
    try:
        done = await asyncio.gather(*(_ask_one(transport, asking, where, limit) for where in asked.values()))
        return dict(zip(asked, done, strict=True))
    finally:
        transport.close()


async def _ask_one(
    transport: asyncio.DatagramTransport, asking: _Asking, server: Address, limit: float
) -> Mapped | str:
    loop = asyncio.get_running_loop()
    transaction, began = secrets.token_bytes(12), loop.time()
    answer = asking.waiting[transaction] = loop.create_future()
    while (left := began + limit - loop.time()) > 0:
        try:
            transport.sendto(binding_request(transaction), server)
        except OSError as error:
            return f"nothing can be sent to it ({error.strerror or error})"
        await asyncio.wait({answer}, timeout=min(_AGAIN, left))
        if answer.done():
            mapped = answer.result()
            if mapped is None:
                return Refused("it answered with an error")
            port = transport.get_extra_info("sockname")[1]
            return Mapped(server, mapped, (_source(server), port), loop.time() - began)
    return f"it did not answer within {limit:g} seconds"


def _any(family: socket.AddressFamily) -> str:
    return "0.0.0.0" if family == socket.AF_INET else "::"  # noqa: S104  to ask, not to serve


def _source(server: Address) -> str:
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(server)
        return str(probe.getsockname()[0])


def endpoint(url: str) -> tuple[str, int]:
    """Host and port of a ``stun:`` or ``turn:`` URL (RFC 7064, 7065).

    Raises:
        PeerUnreachable: there is none in it.
    """
    rest = url.partition(":")[2].partition("?")[0]
    if rest.startswith("["):
        host, _, after = rest[1:].partition("]")
        port = after.removeprefix(":")
    else:
        host, _, port = rest.partition(":")
    if not host or (port and not port.isdigit()):
        raise PeerUnreachable(f"{url} names no host.")
    return host, int(port or DEFAULT_PORT)
