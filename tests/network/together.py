"""Several networks at a time: what takes long in them is waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

AT_ONCE = 5
"""Networks that stand at a time. Each has half a dozen processes; more would only compete for the processors."""

Job = Callable[[], Awaitable[object]]
"""Something to try; gives what is worth saying of it."""


async def together(jobs: Mapping[str, Job], say: Callable[[str], None] = print) -> None:
    """Do all jobs, and say how each ended; one that fails keeps none from going on.

    Raises:
        AssertionError: some failed; with the name and the error of each.
    """
    places = asyncio.Semaphore(AT_ONCE)
    done, failed = 0, []

    async def one(name: str, job: Job) -> None:
        nonlocal done
        async with places:
            began = time.monotonic()
            try:
                told = str(await job() or "passed")
            except Exception as error:
                told = f"failed: {error!r}"
                failed.append(f"{name}: {error!s}" if isinstance(error, AssertionError) else f"{name}: {error!r}")
            done += 1
            say(f"{done:>3}/{len(jobs)} {name:<48} {time.monotonic() - began:6.1f} s  {told}")

    await asyncio.gather(*(one(name, job) for name, job in jobs.items()))
    assert not failed, "\n".join([f"{len(failed)} of {len(jobs)} failed:", *failed])
