"""``peerpouch serve`` as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from tests.interop.node_processes import LIMIT


class Serving:
    """A server process in a folder, which can be ended and started again at the same port."""

    def __init__(self, folder: Path, port: int = 0, *options: str) -> None:
        self.folder = folder
        self.port = port
        self.url = ""
        self.options = options
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "peerpouch.cli",
            "serve",
            str(self.folder / "databases"),
            "--port",
            str(self.port),
            "--json",
            "--log-level",
            "warning",
            *self.options,
            env={**os.environ, "PEERPOUCH_HOME": str(self.folder), "PEERPOUCH_ICE_SERVERS": "none"},
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), LIMIT)
        assert line, "The server did not start."
        self.url = json.loads(line)["url"]
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Of the process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def memory(self, *, peak: bool = False) -> int:
        """Bytes that the process holds in memory now, or has held at most (Linux)."""
        wanted = "VmHWM:" if peak else "VmRSS:"
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        (line,) = (line for line in status.splitlines() if line.startswith(wanted))
        return int(line.split()[1]) * 1024

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; gives the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return await asyncio.wait_for(process.wait(), LIMIT)

    async def __aenter__(self) -> Serving:
        self.folder.mkdir(exist_ok=True)
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end(signal.SIGKILL)
