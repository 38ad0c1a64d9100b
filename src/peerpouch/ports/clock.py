"""The port Clock."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """Time as a port, so that deadlines, leases and back-off are tested without waiting."""

    @abstractmethod
    def now(self) -> float:
        """Wall-clock time: seconds since 1970, UTC."""

    @abstractmethod
    def monotonic(self) -> float:
        """Seconds that never jump; the origin means nothing."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None: ...


class SystemClock(Clock):
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
