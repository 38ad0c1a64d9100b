"""Nothing of the user's own is used, and nothing outside this machine is asked."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERPOUCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PEERPOUCH_ICE_SERVERS", "none")
