"""Which engine is used. Each is a module of its own, imported when it is the one."""

from __future__ import annotations

from importlib.util import find_spec

from peerpouch.errors import NotSupported

from .engine import Engine


def load_engine(name: str | None = None) -> Engine:
    """The engine of that name; without one, wrtc, or aiortc where wrtc has no build.

    Raises:
        NotSupported: It is not installed.
    """
    available = {"wrtc": "wrtc", "aiortc": "aiortc"}
    for candidate, module in available.items():
        if name in (None, candidate) and find_spec(module) is not None:
            return _load(candidate)
    if name not in (None, *available):
        raise NotSupported(f"There is no WebRTC engine {name!r}; wrtc and aiortc are known.")
    raise NotSupported(f"The WebRTC engine {name or 'wrtc'} is not installed: pip install 'peerpouch[aiortc]'.")


def _load(name: str) -> Engine:
    # Inside a function: each engine takes 100 to 200 ms to import, and one is enough.
    if name == "wrtc":
        from .wrtc_engine import WrtcEngine

        return WrtcEngine()
    from .aiortc_engine import AiortcEngine

    return AiortcEngine()
