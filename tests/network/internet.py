"""A small internet: two homes, the internet between them, and in it STUN, TURN and a hub.

::

    a ── router ══ shaped ══ internet ── router ── b        a router only where the path has NATs
                             │ hub, STUN, TURN

Everything between `a` and the rest goes over the shaped link, so each pair of machines but `b` and the internet is as
far apart as its shape says.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.network.namespaces import ROOT, SCALE, Namespace, Wire, kill, veth
from tests.network.shaper import Shape

Path_ = Literal["direct", "nat", "symmetric", "relay", "ipv6", "loopback"]
"""How two peers can reach each other: by addresses of their own; through NATs that give a port the same address
whoever it speaks to; through NATs that give another one for each; by TURN only, as they want it; by IPv6 only; on one
machine without a network."""

PATHS: tuple[Path_, ...] = ("direct", "nat", "symmetric", "relay", "ipv6", "loopback")

SERVICES, SERVICES_6 = "198.18.0.1", "2001:db8::1"
"""Where hub, STUN and TURN are. These ranges are reserved for benchmarks and for documentation."""

PASSWORD = "sesame"
START = 90 * SCALE

# What routers do in front of lines that drop large packets, for TCP: peer connections have to find out themselves.
_CLAMP = """
table inet clamp {
    chain in {
        type filter hook input priority mangle
        tcp flags syn tcp option maxseg size set %(segment)d
    }
    chain out {
        type filter hook output priority mangle
        tcp flags syn tcp option maxseg size set %(segment)d
    }
}
"""

# A port is kept where it is free, so all who hear of it reach it, if they were spoken to. The second table drops
# strangers before the router answers them, which would occupy the port that the machine behind it is about to use.
_NAT = """
table ip nat {
    chain out {
        type nat hook postrouting priority srcnat
        oifname "wan0" masquerade %s
    }
}
table ip filter {
    chain in {
        type filter hook input priority filter
        iifname "wan0" ct state new drop
    }
    chain through {
        type filter hook forward priority filter
        iifname "wan0" ct state new drop
    }
}
"""


@dataclass
class Home:
    """A machine, and the router in front of it if there is one.

    Attributes:
        machine: Where the peer runs.
        gateway: What has the line to the internet: the router, or the machine.
    """

    machine: Namespace
    gateway: Namespace


@dataclass
class Internet:
    """What a test has of it.

    Attributes:
        wire: The shaped line of ``a``; ``None`` on the path "loopback".
        ice: What a hub takes as ``ice_servers`` and ``ice_transport_policy``.
    """

    path: Path_
    a: Home
    b: Home
    core: Namespace
    wire: Wire | None
    ice: dict[str, Any] = field(default_factory=dict)

    async def shape(self, shape: Shape) -> None:
        """Change how the line of ``a`` behaves."""
        if self.wire is not None:
            await self.wire.set(shape)

    @property
    def line(self) -> Wire:
        """The shaped line of ``a``."""
        assert self.wire is not None, "This path has no line."
        return self.wire


@asynccontextmanager
async def internet(path: Path_, *, segment: int | None = None) -> AsyncIterator[Internet]:
    """Build one.

    Args:
        path: How the homes can reach each other.
        segment: The most bytes of a TCP segment to and from the internet, for lines that drop large packets.
    """
    async with AsyncExitStack() as stack:

        async def namespace(name: str) -> Namespace:
            return await stack.enter_async_context(await Namespace.make(name))

        if path == "loopback":
            here = await namespace("the machine")
            yield Internet(path, Home(here, here), Home(here, here), here, None, {"ice_servers": []})
            return
        core = await namespace("the internet")
        homes = []
        for name in ("a", "b"):
            machine = await namespace(name)
            homes.append(Home(machine, await namespace(f"{name}'s router") if _has_nat(path) else machine))
        a, b = homes
        wire = await stack.enter_async_context(await Wire.make("wan0", a.gateway, core))
        await veth(b.gateway, "wan0", core, "wan1")
        await _address(path, core, homes)
        if segment is not None:
            await core.nft(_CLAMP % {"segment": segment})
        ice: dict[str, Any] = {"ice_servers": []}
        if _has_nat(path):
            await stack.enter_async_context(turn_server(core))
            ice = _ice(path)
        yield Internet(path, a, b, core, wire, ice)


def _has_nat(path: Path_) -> bool:
    return path in ("nat", "symmetric", "relay")


def _ice(path: Path_) -> dict[str, Any]:
    stun = [f"stun:{SERVICES}:3478"]
    turn = [{"urls": f"turn:{SERVICES}:3478", "username": "peer", "credential": PASSWORD}]
    if path == "nat":
        return {"ice_servers": stun}
    return {"ice_servers": [*stun, *turn], "ice_transport_policy": "relay" if path == "relay" else "all"}


async def _address(path: Path_, core: Namespace, homes: list[Home]) -> None:
    """Give all of them addresses and routes."""
    six = path == "ipv6"
    family, length = ("-6 ", "/64 nodad") if six else ("", "/30")
    await core.sh("echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
    # What is sent to an address that nobody has goes nowhere, without a word, as on the internet; coturn would end a
    # session upon an error that says so.
    await core.ip("link add void type veth peer name nowhere", "link set void arp off up", "link set nowhere up")
    await core.sh(f"ip {family}route add default dev void")
    await core.ip(f"addr add {SERVICES_6}/128 dev lo nodad" if six else f"addr add {SERVICES}/32 dev lo")
    for number, home in enumerate(homes):
        net = f"2001:db8:{number + 1}::" if six else f"198.18.{number + 1}."
        await core.ip(f"addr add {net}1{length} dev wan{number}")
        await home.gateway.ip(f"addr add {net}2{length} dev wan0")
        await home.gateway.sh(f"ip {family}route add default via {net}1")
        if home.gateway is not home.machine:
            await veth(home.gateway, "lan0", home.machine, "eth0")
            lan = f"192.168.{number + 1}."
            await home.gateway.ip(f"addr add {lan}1/24 dev lan0")
            await home.machine.ip(f"addr add {lan}2/24 dev eth0", f"route add default via {lan}1")
            await home.gateway.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
            await home.gateway.nft(_NAT % ("" if path == "nat" else "fully-random"))


@asynccontextmanager
async def turn_server(namespace: Namespace) -> AsyncIterator[None]:
    """STUN and TURN at :data:`SERVICES`, port 3478."""
    process = await namespace.start(
        *("turnserver", "-n", "--listening-ip", SERVICES, "--relay-ip", SERVICES, "--listening-port", "3478"),
        *(
            "--lt-cred-mech",
            "--user",
            f"peer:{PASSWORD}",
            "--realm",
            "example.org",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
        ),
        *("--allow-loopback-peers", "--pidfile", "/dev/null", "--log-file", "stdout", "--no-software-attribute"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(START):
            while ":3478" not in await namespace.sh("ss -Hlun"):
                assert process.returncode is None, "The TURN server did not start."
                await asyncio.sleep(0.02)
        yield
    finally:
        await kill(process)


class HubServer:
    """``peerpouch serve`` in a namespace, which can be killed and started again."""

    def __init__(self, namespace: Namespace, folder: Path, address: str) -> None:
        self._namespace = namespace
        self._folder = folder
        self._address = address
        self._process: asyncio.subprocess.Process | None = None
        host = f"[{address}]" if ":" in address else address
        self.target = f"http://admin:{PASSWORD}@{host}:5984/hub"
        """What ``peerpouch.Hub`` takes."""

    async def start(self) -> None:
        """Start it; returns when it takes connections."""
        self._folder.mkdir(exist_ok=True)
        process = self._process = await self._namespace.start(
            *(sys.executable, "-m", "peerpouch.cli", "serve", str(self._folder / "databases"), "--json"),
            *("--host", self._address, "--port", "5984", "--admin", "admin", "--log-level", "warning"),
            env={
                **os.environ,
                "PEERPOUCH_HOME": str(self._folder),
                "PEERPOUCH_ADMIN_PASSWORD": PASSWORD,
                "PYTHONPATH": str(ROOT),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(START):
            line = await process.stdout.readline()
        assert line, "The hub did not start."
        assert json.loads(line)["url"]

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal."""
        process, self._process = self._process, None
        if process is not None:
            if process.returncode is None:
                process.send_signal(number)
                async with asyncio.timeout(START):
                    await process.wait()
            await kill(process)

    async def __aenter__(self) -> HubServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()


def hub_server(net: Internet, folder: Path) -> HubServer:
    """The hub of an internet, not started yet. A client makes its database."""
    return HubServer(net.core, folder, SERVICES_6 if net.path == "ipv6" else SERVICES)
