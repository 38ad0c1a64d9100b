"""Programs that a benchmark runs to their end."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


async def output(*command: str, given: bytes = b"") -> bytes:
    """Run a program in the project's folder; gives what it wrote to stdout. It is killed when nobody waits any more.

    Args:
        given: What it finds on its stdin.

    Raises:
        RuntimeError: it failed; with the end of what it wrote to stderr.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}: {err.decode()[-500:]}")
    return out


async def python(module: str, *arguments: str) -> bytes:
    """The same of a module of Python's."""
    return await output(sys.executable, "-m", module, *arguments)
