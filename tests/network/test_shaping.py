"""The bed itself: what the link does to packets, and that the networks are what they are called."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.network.internet import SERVICES, internet
from tests.network.namespaces import ROOT, Namespace, kill
from tests.network.shaper import LEAST_QUEUE, Direction, Shape

PACKET = bytes(1000)


def way(shape: Shape) -> Direction:
    return Direction(shape, random.Random(shape.seed))


def arrivals(direction: Direction) -> list[tuple[float, bytes]]:
    """All that is on its way, with the time at which it arrives."""
    found = []
    while (due := direction.due()) is not None:
        assert direction.arrived(due - 1e-6) is None
        packet = direction.arrived(due)
        assert packet is not None
        found.append((due, packet))
    return found


def test_a_packet_travels_for_half_of_the_round_trip() -> None:
    direction = way(Shape(round_trip=0.1))
    direction.take(PACKET, 5.0)
    assert arrivals(direction) == [(5.05, PACKET)]


def test_a_line_with_a_rate_sends_one_packet_after_the_other() -> None:
    direction = way(Shape(rate=10_000, round_trip=0.2))
    for _ in range(3):
        direction.take(PACKET, 1.0)
    assert [due for due, _ in arrivals(direction)] == pytest.approx([1.2, 1.3, 1.4])


def test_what_does_not_fit_before_a_slow_line_is_dropped() -> None:
    direction = way(Shape(rate=8_000))
    for _ in range(100):
        direction.take(PACKET, 1.0)
    assert len(arrivals(direction)) == LEAST_QUEUE // len(PACKET)
    assert direction.carried.lost == 100 - LEAST_QUEUE // len(PACKET)


def test_about_the_given_share_is_lost() -> None:
    direction = way(Shape(loss=0.05, seed=3))
    for _ in range(10_000):
        direction.take(PACKET, 0.0)
    assert 400 < direction.carried.lost < 600
    assert len(arrivals(direction)) == 10_000 - direction.carried.lost


def test_packets_that_are_held_back_are_overtaken() -> None:
    direction = way(Shape(reorder=0.1, late=0.01, seed=3))
    for number in range(100):
        direction.take(number.to_bytes(2, "big"), number / 1000)
    order = [packet for _, packet in arrivals(direction)]
    assert len(order) == 100 and order != sorted(order)


def test_packets_stay_in_order_otherwise() -> None:
    direction = way(Shape(round_trip=0.1, rate=1e6))
    for number in range(100):
        direction.take(number.to_bytes(2, "big"), 0.0)
    order = [packet for _, packet in arrivals(direction)]
    assert order == sorted(order)


def test_large_packets_vanish() -> None:
    direction = way(Shape(largest=1280))
    direction.take(bytes(1281), 0.0)
    direction.take(bytes(1280), 0.0)
    assert [len(packet) for _, packet in arrivals(direction)] == [1280]


def test_nothing_passes_a_line_that_is_down() -> None:
    direction = way(Shape(down=True))
    direction.take(PACKET, 0.0)
    assert arrivals(direction) == []


# In namespaces

_ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7))
print("ready", flush=True)
while True:
    data, sender = s.recvfrom(2000)
    s.sendto(data, sender)
"""

_ASK = """
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[3]))
began = time.monotonic()
try:
    s.sendto(bytes(int(sys.argv[2])), (sys.argv[1], 7))
    s.recv(2000)
    print(json.dumps(time.monotonic() - began))
except TimeoutError:
    print("null")
"""


@asynccontextmanager
async def _echo(at: Namespace, address: str) -> AsyncIterator[None]:
    process = await at.start(sys.executable, "-c", _ECHO, address, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        await kill(process)


async def _ask(place: Namespace, host: str, size: int = 100, limit: float = 20) -> float | None:
    """Seconds until an echo comes, or nothing when it does not."""
    process = await place.start(
        *(sys.executable, "-c", _ASK, host, str(size), str(limit)), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    seconds: float | None = json.loads(out)
    return seconds


@pytest.mark.usefixtures("bed")
async def test_the_line_delays_cuts_and_drops_large_packets() -> None:
    async with internet("direct") as net, _echo(net.core, SERVICES):
        assert await _ask(net.a.machine, SERVICES) is not None
        await net.shape(Shape(round_trip=0.3))
        seconds = await _ask(net.a.machine, SERVICES)
        assert seconds is not None and seconds >= 0.3
        await net.shape(Shape(largest=1280))
        assert await _ask(net.a.machine, SERVICES, 1280 - 28) is not None
        assert await _ask(net.a.machine, SERVICES, 1280 - 27, limit=0.3) is None
        await net.shape(Shape(down=True))
        assert await _ask(net.a.machine, SERVICES, limit=0.3) is None
        await net.shape(Shape())
        assert await _ask(net.a.machine, SERVICES) is not None
        # An interface that is down takes nothing, and the link lives on.
        await net.a.machine.ip("link set wan0 down")
        assert (await net.line.carried())[0].packets > 0
        await net.a.machine.ip("link set wan0 up")
        await net.a.machine.sh("ip route add default via 198.18.1.1")
        assert await _ask(net.a.machine, SERVICES) is not None


@pytest.mark.usefixtures("bed")
async def test_nobody_reaches_a_machine_behind_a_nat_that_did_not_ask() -> None:
    async with internet("nat") as net, _echo(net.core, SERVICES), _echo(net.b.machine, "192.168.2.2"):
        assert await _ask(net.a.machine, SERVICES) is not None
        for host in ("198.18.2.2", "192.168.2.2"):
            assert await _ask(net.a.machine, host, limit=0.3) is None
    async with internet("direct") as net, _echo(net.b.machine, "198.18.2.2"):
        assert await _ask(net.a.machine, "198.18.2.2") is not None


_PORTS = """
import json, socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.bind(("0.0.0.0", 40000))
for host in ("198.18.0.1", "198.18.2.1"):
    s.sendto(b"", (host, 8))
    print(s.recv(100).decode(), flush=True)
"""

_TELL = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: the answer comes from the address that was asked
s.bind(("0.0.0.0", 8))
print("ready", flush=True)
while True:
    data, control, flags, sender = s.recvmsg(100, 100)
    s.sendmsg([f"{sender[0]}:{sender[1]}".encode()], [(0, 8, bytes(4) + control[0][2][4:8] + bytes(4))], 0, sender)
"""


@pytest.mark.usefixtures("bed")
@pytest.mark.parametrize(("path", "seen"), [("nat", 1), ("symmetric", 2), ("relay", 2)])
async def test_a_nat_shows_one_port_or_another_to_each(path: str, seen: int) -> None:
    async with internet(path) as net:  # type: ignore[arg-type]
        teller = await net.core.start(sys.executable, "-c", _TELL, stdout=asyncio.subprocess.PIPE)
        assert teller.stdout is not None
        assert await teller.stdout.readline() == b"ready\n"
        asker = await net.a.machine.start(sys.executable, "-c", _PORTS, stdout=asyncio.subprocess.PIPE)
        out, _ = await asker.communicate()
        ports = out.split()
        assert len(ports) == 2
        assert len(set(ports)) == seen
        assert (b"198.18.1.2:40000" in ports) == (seen == 1)
        await kill(teller)


_BUILD = """
import asyncio, sys
from tests.network.internet import internet

async def main():
    async with internet("relay") as net:
        print(*(space.pid for space in (net.core, net.a.machine, net.b.gateway)), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.usefixtures("bed")
async def test_nothing_is_left_of_a_network_whose_builder_was_killed() -> None:
    builder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _BUILD, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert builder.stdout is not None
    pids = (await builder.stdout.readline()).decode().split()
    namespaces = {Path(f"/proc/{pid}/ns/net").stat().st_ino for pid in pids}
    assert len(namespaces) == 3
    await kill(builder)
    limit = time.monotonic() + 30
    while _inhabited() & namespaces:
        assert time.monotonic() < limit, "Something still lives in them."
        await asyncio.sleep(0.05)


def _inhabited() -> set[int]:
    """The network namespaces that a process is in."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            found.add(link.stat().st_ino)
        except OSError:  # it has ended
            continue
    return found
