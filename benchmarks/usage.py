"""What a process uses: time of a processor, and memory."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"
"""What the kernel takes as the word to begin its peak anew (proc(5), clear_refs)."""


def usage() -> dict[str, float]:
    """Seconds of a processor since the start; bytes of memory now, and the most since the last call (0 where the system
    does not tell)."""
    now, peak = _memory()
    return {"processor": time.process_time(), "memory": now, "peak": peak}


def _memory() -> tuple[int, int]:
    if not _STATUS.exists():
        return 0, 0
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    now, peak = (1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    with suppress(OSError):  # not ours to reset: the peak is that of the whole life then
        _CLEAR.write_text(_RESET_PEAK)
    return now, peak
