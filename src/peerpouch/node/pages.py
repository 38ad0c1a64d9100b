"""Where the files for browsers are: beside the package in a wheel, in the repository of an editable installation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[1]
_PLACES: Final = (_PACKAGE / "_browser", _PACKAGE.parents[1] / "browser")

_PARTS: Final = {"": "pages", "src/": "src", "vendor/": "vendor"}
"""What is served under which path: the pages, the plugin's modules, and what others made."""


def folders() -> Mapping[str, Path]:
    """The folders to serve, by path; none where the files are not installed."""
    for place in _PLACES:
        if (place / "src" / "errors.js").is_file():
            return {path: place / part for path, part in _PARTS.items()}
    return {}
