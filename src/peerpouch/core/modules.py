"""CommonJS modules of design documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peerpouch.core import jsonio

_CALL = "require"


def modules_of(source: str, design: Mapping[str, Any]) -> str:
    """The JSON text of what a function may ``require`` from: its design document; empty when it requires nothing.

    The text goes along with every call, so a function that has no use for it does without.
    """
    if _CALL not in source and "this" not in source:
        return ""
    return jsonio.dumps({name: value for name, value in design.items() if name != "_attachments"}).decode()


def view_modules_of(source: str, design: Mapping[str, Any]) -> str:
    """The same for a map function: it finds ``views.lib`` and nothing else, as in CouchDB, so that its rows depend on
    nothing that the index is not named by."""
    views: Any = design.get("views")
    lib = views.get("lib") if type(views) is dict else None
    return jsonio.dumps({"views": {"lib": lib}}).decode() if _CALL in source and lib is not None else ""
