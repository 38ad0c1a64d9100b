from __future__ import annotations

import multiprocessing
import os
import pickle
import stat
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.errors import BadRequest, InvalidIdentity
from peerpouch.identity import files, keys
from peerpouch.identity.encoding import to_text
from peerpouch.identity.keys import Identity, PublicKey, read_fingerprint

SEED = bytes(range(32))
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes")


def test_a_signature_holds_for_its_key_purpose_and_payload_only() -> None:
    me, other = Identity.ephemeral(), Identity.ephemeral()
    signature = me.sign(b"payload", purpose="offer")
    assert me.key.verify(signature, b"payload", purpose="offer")
    assert not me.key.verify(signature, b"payload", purpose="answer")
    assert not me.key.verify(signature, b"payloads", purpose="offer")
    assert not other.key.verify(signature, b"payload", purpose="offer")
    assert not me.key.verify(signature[:-1], b"payload", purpose="offer")
    assert not PublicKey(b"\xff" * 32).verify(signature, b"payload", purpose="offer")


def test_twin_without_domain_separation_a_signature_serves_another_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "label", lambda use, purpose: b"")
    me = Identity.ephemeral()
    assert me.key.verify(me.sign(b"payload", purpose="offer"), b"payload", purpose="answer")


def test_a_key_is_its_text_and_has_a_fingerprint_to_read_aloud() -> None:
    key = Identity.ephemeral(SEED).key
    assert PublicKey.parse(key.text) == key
    assert hash(PublicKey.parse(key.text)) == hash(key)
    assert len(key.fingerprint) == 24
    assert read_fingerprint(key.fingerprint.upper().replace("-", " ")) == key.fingerprint
    assert str(key) == key.fingerprint


@pytest.mark.parametrize("text", ["", "x", None, 3, to_text(bytes(31)), to_text(bytes(33)), to_text(bytes(32)) + "="])
def test_what_is_not_a_key_is_refused(text: object) -> None:
    with pytest.raises(BadRequest):
        PublicKey.parse(text)


def test_the_file_is_made_at_first_use_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "identity.json"
    made = Identity.load(path)
    assert Identity.load(path).key == made.key
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_default_is_in_the_users_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEERPOUCH_HOME", str(tmp_path))
    made = Identity.load()
    assert Identity.load(tmp_path / "identity.json").key == made.key


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_file_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.json"
    Identity.load(path)
    path.chmod(mode)
    with pytest.raises(InvalidIdentity, match="chmod 600"):
        Identity.load(path)


@posix
def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "identity.json"
    Identity.load(path)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    with pytest.raises(InvalidIdentity, match="another user"):
        Identity.load(path)


def _load(path: Path, gate: object, found: object) -> None:
    gate.wait()  # type: ignore[attr-defined]
    found.put(Identity.load(path).key.text)  # type: ignore[attr-defined]


def test_processes_that_start_at_once_get_the_same_identity(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    gate, found = context.Barrier(4), context.Queue()
    workers = [context.Process(target=_load, args=(tmp_path / "identity.json", gate, found)) for _ in range(4)]
    for worker in workers:
        worker.start()
    texts = {found.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join(60)
    assert texts == {Identity.load(tmp_path / "identity.json").key.text}


def test_a_failed_write_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidIdentity, match="No space"):
        Identity.load(tmp_path / "identity.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.json.lock"]


def test_export_and_parse_are_inverse() -> None:
    me = Identity.ephemeral()
    assert Identity.parse(me.export()).key == me.key
    assert Identity.parse(me.export().encode()).sign(b"x", purpose="p") == me.sign(b"x", purpose="p")


def test_saving_never_overwrites_another_identity_unasked(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    mine, other = Identity.ephemeral(), Identity.ephemeral()
    mine.save(path)
    mine.save(path)
    with pytest.raises(InvalidIdentity, match="another identity"):
        other.save(path)
    assert Identity.load(path).key == mine.key
    other.save(path, replace=True)
    assert Identity.load(path).key == other.key


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", '{"type":"peerpouch identity","version":2}', '{"type":"peerpouch identity","version":1}'],
)
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "identity.json"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(InvalidIdentity):
        Identity.load(path)
    assert path.read_text() == text


@given(st.text())
def test_garbage_is_no_identity(text: str) -> None:
    with pytest.raises(InvalidIdentity):
        Identity.parse(text)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LIMIT", 10)
    path = tmp_path / "identity.json"
    path.touch(0o600)
    path.write_bytes(b" " * 11)
    with pytest.raises(InvalidIdentity, match="larger"):
        Identity.load(path)


def test_a_key_that_does_not_belong_to_the_other_is_refused() -> None:
    mine, other = Identity.ephemeral(), Identity.ephemeral()
    with pytest.raises(InvalidIdentity, match="belong"):
        Identity.parse(mine.export().replace(mine.key.text, other.key.text))


def test_no_private_key_in_repr_pickles_or_errors(tmp_path: Path) -> None:
    me = Identity.ephemeral(SEED)
    secret = to_text(SEED)
    assert secret in me.export()  # the search finds what is there
    assert secret not in repr(me)
    with pytest.raises(TypeError):
        pickle.dumps(me)
    path = tmp_path / "identity.json"
    path.touch(0o600)
    path.write_text(me.export().replace(me.key.text, Identity.ephemeral().key.text))
    with pytest.raises(InvalidIdentity) as caught:
        Identity.load(path)
    assert secret not in "".join(traceback.format_exception(caught.value))
