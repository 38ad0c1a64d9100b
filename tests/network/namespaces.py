"""Network namespaces, and running things in them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from peerpouch.cli.processes import Process
from tests.network.shaper import Carried, Shape

ROOT = Path(__file__).parents[2]

SCALE = float(os.environ.get("PEERPOUCH_TEST_TIMEOUT_SCALE", "1"))

DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
"""What a test starts does not outlive it, also when it is killed."""

PROGRAMS = ("ip", "nft", "nsenter", "unshare", "setpriv")


def missing(*programs: str) -> str | None:
    """What this machine lacks for tests in namespaces, in words; nothing if it has all."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    absent = [program for program in (*PROGRAMS, *programs) if shutil.which(program) is None]
    if absent:
        return f"needs {', '.join(absent)}"
    # Containers may have all of it and still not be allowed to.
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        return "needs the right to make network namespaces"
    return None


async def kill(process: asyncio.subprocess.Process) -> None:
    """End a process, and wait until nothing of it is left, its pipes included: they must not outlive the loop."""
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()
    process._transport.close()  # type: ignore[attr-defined]
    await asyncio.sleep(0)


class Namespace:
    """A network namespace with a loopback interface. It is gone when its holder is, and that goes with this process."""

    def __init__(self, name: str, holder: asyncio.subprocess.Process) -> None:
        self.name = name
        self._holder = holder

    @classmethod
    async def make(cls, name: str) -> Self:
        """Make one; ``name`` is for error messages."""
        holder = await asyncio.create_subprocess_exec(
            *("unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert holder.stdout is not None
        if await holder.stdout.readline() != b"ready\n":
            raise RuntimeError(f"The network namespace {name} could not be made.")
        return cls(name, holder)

    @property
    def pid(self) -> int:
        """A process in it."""
        return self._holder.pid

    async def close(self) -> None:
        await kill(self._holder)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ip(self, *lines: str) -> None:
        """Run lines of ``ip``, as ``link set lo up``."""
        await self._feed(["ip", "-batch", "-"], "\n".join(lines))

    async def nft(self, rules: str) -> None:
        """Load rules of ``nft``."""
        await self._feed(["nft", "-f", "-"], rules)

    async def sh(self, script: str) -> str:
        """Run a shell script; gives its output."""
        return await self._feed(["sh", "-e"], script)

    async def _feed(self, command: list[str], text: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.command(*command),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(text.encode())
        if process.returncode:
            raise RuntimeError(f"In {self.name}, {' '.join(command)} failed: {err.decode()}\n{text}")
        return out.decode()

    def command(self, *command: str) -> list[str]:
        """A command line that runs in it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net", *command]

    async def start(self, *command: str, **options: Any) -> asyncio.subprocess.Process:
        """Start a program in it, which does not outlive this process."""
        return await asyncio.create_subprocess_exec(*DIES_WITH_US, *self.command(*command), **options)

    async def process(
        self, name: str, module: str, *arguments: str, env: dict[str, str], on_event: Any = None
    ) -> Process:
        """Start a Python module in it that is called by lines of JSON."""
        # Where there is a network, the loopback address is no candidate; tests elsewhere make it one for all processes.
        env = {"PYTHONPATH": str(ROOT), "WRTC_ALLOW_LOOPBACK": "0", **env}
        listener = on_event or (lambda event: None)
        return await Process.start(
            name, "tests.network.inside", str(self.pid), module, *arguments, env=env, on_event=listener
        )


class Wire:
    """A shaped link between two namespaces: a TUN device of the same name in each."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asking = asyncio.Lock()
        self.shape = Shape()

    @classmethod
    async def make(cls, device: str, one: Namespace, other: Namespace) -> Self:
        """Make both devices. They have no addresses yet."""
        process = await asyncio.create_subprocess_exec(
            *(*DIES_WITH_US, sys.executable, "-m", "tests.network.shaper", device, str(one.pid), str(other.pid)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"The link between {one.name} and {other.name} could not be made.")
        for end in (one, other):
            # Room for a burst, so that what is lost is lost on the link. More would be a queue in front of it.
            await end.ip(f"link set {device} mtu 1500 txqueuelen 2000 up")
        return cls(process)

    async def set(self, shape: Shape) -> list[Carried]:
        """Change how it behaves; gives what each direction, from the first namespace and to it, has carried so far."""
        self.shape = shape
        return await self._tell(asdict(shape))

    async def carried(self) -> list[Carried]:
        """What each direction, from the first namespace and to it, has carried so far."""
        return await self._tell({})

    async def _tell(self, changes: dict[str, Any]) -> list[Carried]:
        assert self._process.stdin is not None and self._process.stdout is not None
        async with self._asking:
            self._process.stdin.write(json.dumps(changes).encode() + b"\n")
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("The link has ended.")
        return [Carried(**way) for way in json.loads(line)]

    async def close(self) -> None:
        await kill(self._process)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def veth(one: Namespace, device: str, other: Namespace, other_device: str) -> None:
    """Connect two namespaces by a cable without faults."""
    await one.ip(f"link add {device} type veth peer name {other_device} netns {other.pid}", f"link set {device} up")
    await other.ip(f"link set {other_device} up")
