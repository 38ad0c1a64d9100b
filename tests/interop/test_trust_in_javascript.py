"""Another implementation, in JavaScript on WebCrypto, reads the vectors of docs/protocol/trust.md."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors" / "trust.json"
NODE = shutil.which("node")

CHECKS = ["base32", "canonical", "identities", "signature", "sessions", "sealed", "share", "offer", "answers", "invite"]


def _run(vectors: Path) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    return subprocess.run(
        [NODE, str(HERE / "trust.mjs"), str(vectors)], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.skipif(NODE is None, reason="needs node")
def test_javascript_reads_every_vector() -> None:
    done = _run(VECTORS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == CHECKS


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize("part", ["share", "offer"])
def test_javascript_notices_an_altered_vector(tmp_path: Path, part: str) -> None:
    vectors = json.loads(VECTORS.read_text(encoding="utf-8"))
    vectors[part]["document"]["_id"] = "share:" + "0" * 26
    altered = tmp_path / "trust.json"
    altered.write_text(json.dumps(vectors), encoding="utf-8")
    assert _run(altered).returncode != 0
