"""Run a module in the network namespace of a process: ``python -m tests.network.inside PID MODULE ARGUMENT…``."""

from __future__ import annotations

import ctypes
import runpy
import signal
import sys
from pathlib import Path

from tests.network.shaper import CLONE_NEWNET

PR_SET_PDEATHSIG = 1


def enter(pid: int) -> None:
    """Enter it. Must come before the first thread, which would stay outside."""
    libc = ctypes.CDLL(None, use_errno=True)
    # The tests start it and it never outlives them.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with Path(f"/proc/{pid}/ns/net").open() as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"The network namespace of process {pid} can't be entered.")


if __name__ == "__main__":
    _, number, module, *arguments = sys.argv
    enter(int(number))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
