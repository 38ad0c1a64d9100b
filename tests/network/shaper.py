"""A link that behaves badly on purpose: ``python -m tests.network.shaper DEVICE PID PID``.

It makes a TUN device of one name in the network namespaces of two processes, and carries packets from one to the other
as the shape says: each is lost, or leaves when the line has sent what stands before it, travels for the delay, and
perhaps a while longer, so that others overtake it. The kernel's ``netem`` does the same, where the kernel has it.

A line of JSON on standard input sets the shape, ``{"round_trip": 0.1, "loss": 0.01}``; the answer is a line with what
was carried so far. It ends with its standard input, and the devices with it.

Figures: a packet costs about 10 microseconds of processor time, so one link carries some 60 MB/s in all.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import struct
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

LARGEST = 2048
"""Bytes that are read of a packet; the devices have an MTU of 1500."""

AT_ONCE = 64
"""Packets that are read from one side before the other has its turn."""

QUEUE_SECONDS = 0.25
"""How much a line with a rate lets stand before it, as a home router's does. More is dropped."""

LEAST_QUEUE = 16 * 1500
"""Bytes that may stand in it however slow it is."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a link treats packets, the same in both directions.

    Attributes:
        round_trip: Seconds, half of them each way.
        loss: Share of the packets that are lost.
        rate: Bytes per second, or ``None`` for as fast as it goes.
        reorder: Share of the packets that are held back for ``late`` seconds.
        late: How long those are held back.
        largest: Bytes of the largest IP packet; larger ones vanish, without a word to the sender.
        down: Whether everything is lost.
        seed: Of the chance that loss and reordering follow.
    """

    round_trip: float = 0.0
    loss: float = 0.0
    rate: float | None = None
    reorder: float = 0.0
    late: float = 0.01
    largest: int | None = None
    down: bool = False
    seed: int = 0


@dataclass(slots=True)
class Carried:
    """What went over one direction: packets and bytes that left, and packets that did not."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0


@dataclass(slots=True)
class Direction:
    """Packets on their way to one side. ``now`` is monotonic seconds; nothing here reads a clock."""

    shape: Shape
    chance: random.Random
    carried: Carried = field(default_factory=Carried)
    _free: float = 0.0  # when the line has sent all that stands before it
    _number: int = 0
    _travelling: list[tuple[float, int, bytes]] = field(default_factory=list)

    def take(self, packet: bytes, now: float) -> None:
        """A packet enters the link."""
        shape, size = self.shape, len(packet)
        if shape.down or (shape.largest is not None and size > shape.largest):
            self.carried.lost += 1
            return
        if shape.loss and self.chance.random() < shape.loss:
            self.carried.lost += 1
            return
        due = now
        if shape.rate is not None:
            begin = max(now, self._free)
            if (begin - now) * shape.rate + size > max(shape.rate * QUEUE_SECONDS, LEAST_QUEUE):
                self.carried.lost += 1
                return
            due = self._free = begin + size / shape.rate
        due += shape.round_trip / 2
        if shape.reorder and self.chance.random() < shape.reorder:
            due += shape.late
        self._number += 1
        heapq.heappush(self._travelling, (due, self._number, packet))

    def arrived(self, now: float) -> bytes | None:
        """The next packet that is there, or nothing."""
        if not self._travelling or self._travelling[0][0] > now:
            return None
        packet = heapq.heappop(self._travelling)[2]
        self.carried.packets += 1
        self.carried.bytes += len(packet)
        return packet

    def due(self) -> float | None:
        """When the next one arrives."""
        return self._travelling[0][0] if self._travelling else None


def device(name: str, pid: int) -> int:
    """Make a TUN device in the network namespace of a process; gives its file descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"The network namespace of process {pid} can't be entered.")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


class Link:
    """Two devices and what travels between them."""

    def __init__(self, devices: list[int]) -> None:
        self._devices = devices
        # Towards the second device, and towards the first.
        self.ways = [Direction(Shape(), random.Random(0)) for _ in devices]

    def shape(self, changes: dict[str, Any]) -> None:
        """Change the shape. What travels goes on as it was; chance begins anew with a seed."""
        for number, way in enumerate(self.ways):
            way.shape = replace(way.shape, **changes)
            if "seed" in changes:
                way.chance = random.Random(2 * way.shape.seed + number)

    def run(self) -> None:
        """Carry packets until standard input ends."""
        stdin = sys.stdin.fileno()
        while True:
            dues = [due for way in self.ways if (due := way.due()) is not None]
            timeout = max(0.0, min(dues) - time.monotonic()) if dues else None
            ready = select.select([*self._devices, stdin], [], [], timeout)[0]
            if stdin in ready:
                line = sys.stdin.readline()
                if not line:
                    return
                self.shape(json.loads(line))
                print(json.dumps([asdict(way.carried) for way in self.ways]), flush=True)
            for way, source, target in zip(self.ways, self._devices, reversed(self._devices), strict=True):
                if source in ready:
                    self._read(way, source)
                now = time.monotonic()
                while (packet := way.arrived(now)) is not None:
                    self._write(target, packet)

    @staticmethod
    def _read(way: Direction, source: int) -> None:
        now = time.monotonic()
        try:
            for _ in range(AT_ONCE):
                way.take(os.read(source, LARGEST), now)
        except BlockingIOError:
            return
        except OSError:  # the device is down: nothing comes out of it
            return

    @staticmethod
    def _write(target: int, packet: bytes) -> None:
        try:
            os.write(target, packet)
        except OSError:  # the device is down, or its namespace has no room: a lost packet
            return


def main(name: str, *pids: str) -> None:
    # Both ends before the first word, so that a device that can't be made ends it.
    link = Link([device(name, int(pid)) for pid in pids])
    print("ready", flush=True)
    link.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
