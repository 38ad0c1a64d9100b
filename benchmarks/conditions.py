"""What the figures are of: the commit, the machine, and what runs on it. Nothing of the day."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import apsw

from benchmarks.pouchdb import NODE_FOLDER
from benchmarks.registry import Scale

_HERE = Path(__file__).parent


def commit() -> str:
    """The commit that is measured, marked where the tree has changes beyond it."""
    # What a run itself writes is no change of what it measures.
    return _said("git", "-C", str(_HERE), "describe", "--always", "--abbrev=12") + ("-dirty" if _dirty() else "")


def _dirty() -> bool:
    return bool(_said("git", "-C", str(_HERE.parent), "status", "--porcelain", "--", "src", "browser/src", "*.lock"))


def conditions(scale: Scale) -> dict[str, str]:
    """What a reader has to know, by what it says."""
    versions = {
        "Python": platform.python_version(),
        "SQLite": apsw.sqlite_lib_version(),
        **{name: _version(name) for name in ("wrtc", "aiortc", "uvicorn")},
        "Node": _said("node", "--version").removeprefix("v"),
        **{name: _npm_version(name) for name in ("pouchdb", "pouchdb-server")},
        "Chromium": next(iter(_said("chromium", "--version").split()[1:2]), ""),
    }
    return {
        "commit": commit() or "unknown",
        "machine": f"{os.cpu_count()} cores, {_processor()}, {_memory()}, {_filesystem()}",
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        "load when it began": f"{os.getloadavg()[0]:.1f}",
        "form": f"{scale.name}: {scale.rounds} rounds or fewer, {scale.documents:,} documents or what a note says",
    }


def _said(*command: str) -> str:
    """What a program says on stdout; nothing where there is none, or it fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _npm_version(package: str) -> str:
    try:
        return str(json.loads((NODE_FOLDER / "node_modules" / package / "package.json").read_text())["version"])
    except (OSError, KeyError, ValueError):
        return ""


def _of_file(path: str, field: str) -> str:
    """The value of the first line of a file in ``/proc`` that begins with a field's name."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


def _processor() -> str:
    return _of_file("/proc/cpuinfo", "model name") or platform.processor() or "unknown"


def _memory() -> str:
    kilobytes = _of_file("/proc/meminfo", "MemTotal").removesuffix(" kB")
    return f"{int(kilobytes) / (1 << 20):.0f} GB" if kilobytes else "unknown memory"


def _filesystem() -> str:
    """Of where databases are made."""
    return _said("stat", "--file-system", "--format", "%T", os.environ.get("TMPDIR", "/tmp")) or "unknown file system"
