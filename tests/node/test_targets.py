"""What a path or URL means."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerpouch.errors import BadRequest
from peerpouch.node.targets import Kind, parse


def test_paths_become_absolute_and_urls_lose_their_credentials_in_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("notes.db") == (Kind.FILE, str(tmp_path / "notes.db"), str(tmp_path / "notes.db"))
    assert parse(tmp_path / "a b.db").address == str(tmp_path / "a b.db")
    assert parse("file:///tmp/a%20b.db").address == "/tmp/a b.db"
    assert parse(":memory:").kind is Kind.MEMORY
    url = parse("https://ann:secret@example.org:5984/hub")
    assert (url.kind, url.label) == (Kind.HTTP, "https://example.org:5984/hub")
    assert "secret" in url.address
    assert parse("webrtc://x?hub=y").kind is Kind.SHARE


def test_a_windows_path_is_a_path() -> None:
    assert parse("C:\\notes.db").kind is Kind.FILE


@pytest.mark.parametrize("target", ["", "ftp://example.org/db", "couchdb://x"])
def test_what_is_no_target_is_an_error(target: str) -> None:
    with pytest.raises(BadRequest):
        parse(target)


@pytest.mark.parametrize(
    "target",
    [
        "peerpouch:1:AAAA",
        " peerpouch:2:secret",
        "Peerpouch:1:secret",
        "http:/ann:secret@host/db",
        "HTTPS:secret@host/db",
    ],
)
def test_a_mistyped_invite_or_url_becomes_no_files_name_and_is_not_shown(target: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(target)
    assert "secret" not in caught.value.reason
