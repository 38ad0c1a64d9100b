"""Both languages know the same errors."""

from __future__ import annotations

import re
from pathlib import Path

from peerpouch import errors

SOURCE = Path(__file__).parents[2] / "browser" / "src" / "errors.js"


def _tree(cls: type[errors.PeerPouchError]) -> list[type[errors.PeerPouchError]]:
    """The package's errors; other tests make some of their own."""
    children = (child for child in cls.__subclasses__() if child.__module__.partition(".")[0] == "peerpouch")
    return [cls, *(found for child in children for found in _tree(child))]


def test_the_plugin_knows_every_error_with_its_status() -> None:
    table = re.search(r"STATUS = Object\.freeze\(\{\n(.*?)\}\);", SOURCE.read_text(), re.DOTALL)
    assert table is not None
    known = {name: int(status) for name, status in re.findall(r"^  (\w+): (\d+),$", table[1], re.MULTILINE)}
    assert known == {cls.error: cls.status for cls in reversed(_tree(errors.PeerPouchError))}
