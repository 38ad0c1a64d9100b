"""Commands and programs as processes, each as somebody with a home of their own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT = 90 * float(os.environ.get("PEERPOUCH_TEST_TIMEOUT_SCALE", "1"))
"""Seconds for one step of a command: starting Python alone takes many where many others do."""


@dataclass
class Ended:
    """What a command left behind."""

    code: int | None
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@asynccontextmanager
async def python(folder: Path, who: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A Python process that goes on until it is told to end; killed if the test leaves it behind."""
    env = {**os.environ, "PEERPOUCH_HOME": str(folder / who), "PEERPOUCH_ICE_SERVERS": "none"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=folder,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def running(folder: Path, who: str, *arguments: str) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    """A command of peerpouch."""
    return python(folder, who, "-m", "peerpouch.cli", *arguments)


async def ended(process: asyncio.subprocess.Process) -> Ended:
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate()
    return Ended(process.returncode, out.decode(), err.decode())


async def run(folder: Path, who: str, *arguments: str) -> Ended:
    async with running(folder, who, *arguments) as process:
        return await ended(process)


async def text_line(process: asyncio.subprocess.Process) -> str:
    """The next line of a process that goes on."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        text = await process.stdout.readline()
    if not text:
        raise AssertionError((await ended(process)).err)
    return text.decode()


async def line(process: asyncio.subprocess.Process) -> Any:
    """The next line, of JSON."""
    return json.loads(await text_line(process))
