"""The order of keys is that of a real PouchDB."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from peerpouch.core.collation import encode_key

HERE = Path(__file__).parent
NODE = shutil.which("node")
POUCHDB = HERE / "node" / "node_modules" / "pouchdb"

# Up to U+D7FF: above, PouchDB on LevelDB goes by UTF-8 (as its keys are stored), in browsers by UTF-16.
TEXTS = [
    "",
    "a",
    "A",
    "ab",
    "b",
    "é",
    "z",
    "ä",
    "0",
    "10",
    "9",
    "\x00",
    "\x01",
    "\x02",
    "a\x00",
    "a\x01",
    "ß",
    "中",
    "\ud7ff",
]
NUMBERS = [-1e300, -1e10, -5.5, -5, -1, -0.001, 0, 1e-300, 0.001, 0.1, 1, 1.5, 2, 9, 10, 123456789, 2**53, 1e300]


def keys(seed: int) -> list[Any]:
    """Keys of all types, nested; no two are equal."""
    chance = random.Random(seed)

    def key(depth: int) -> Any:
        kind = chance.randrange(3 if depth == 0 else 5)
        if kind == 0:
            return chance.choice([None, False, True])
        if kind == 1:
            return chance.choice(NUMBERS)
        if kind == 2:
            return chance.choice(TEXTS)
        if kind == 3:
            return [key(depth - 1) for _ in range(chance.randrange(4))]
        return {chance.choice("abc"): key(depth - 1) for _ in range(chance.randrange(3))}

    found = [None, False, True, *NUMBERS, *TEXTS, *(key(3) for _ in range(600))]
    return list({encode_key(value): value for value in found}.values())


@pytest.mark.skipif(NODE is None or not POUCHDB.exists(), reason="needs node, and pouchdb from npm")
@pytest.mark.parametrize("seed", [1, 2])
def test_a_view_of_pouchdb_has_the_same_order(tmp_path: Path, seed: int) -> None:
    assert NODE is not None
    values = keys(seed)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(values), encoding="utf-8")
    done = subprocess.run(
        [NODE, str(HERE / "collation.mjs"), str(file), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == sorted(range(len(values)), key=lambda n: encode_key(values[n]))
