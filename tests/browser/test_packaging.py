"""What the wheel and the npm package hold, how large the plugin is, and that vendored files are what they say."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx2
import pytest

import peerpouch
from tests.browser.pages import minify

ROOT = Path(__file__).parents[2]
BROWSER = ROOT / "browser"
MODULES = BROWSER / "node_modules"

needs_packages = pytest.mark.skipif(
    shutil.which("npm") is None or not MODULES.is_dir(),
    reason="Node and the plugin's packages are not installed: make setup-browser",
)

VENDORED = {
    # name here: (file of npm's package, SHA-256)
    "pouchdb-9.0.0.min.js": (
        "pouchdb/dist/pouchdb.min.js",
        "17ed174bf4d3230e7bd0fd13a0eb92163f68ac0fa38a71946662bd45b58d8fcb",
    ),
    "pouchdb-9.0.0.LICENSE.txt": (
        "pouchdb/LICENSE",
        "bf41d90b4fb789f6eac84eafedafe33695311236732f4efe8e3ebf9f4521c719",
    ),
    "uqr-0.1.3.js": (
        "uqr/dist/index.mjs",
        "7f0e61c2f13bb3724edee7bfb876e13c54ac9ee4fcfa283c9fa93cfb1241c325",
    ),
    "uqr-0.1.3.LICENSE.txt": (
        "uqr/LICENSE",
        "b39d50e24727f341a0ebdb2ab040c57efaf4076a8ad5b1d0c8c45beb975b4571",
    ),
}

STAGES = {
    # When a page loads it: (its entry, bytes minified, bytes compressed with gzip after that)
    "at first": ("src/index.js", 43_000, 20_000),
    "when it opens something": ("src/connecting.js", 55_000, 20_200),
    "when it is connected": ("src/connected.js", 6_000, 2_800),
    "when it shares something": ("src/hosting.js", 56_500, 21_400),
    "for other things": (None, 49_000, 21_000),
}
"""How large the parts of the plugin may be, each without what was loaded before it. None is to be larger than 60 kB."""


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_what_others_made_is_listed_with_its_hash_and_licence() -> None:
    assert files_of(BROWSER / "vendor") == set(VENDORED)
    for name, (_, digest) in VENDORED.items():
        assert hashlib.sha256((BROWSER / "vendor" / name).read_bytes()).hexdigest() == digest


@needs_packages
def test_what_others_made_is_what_npm_has() -> None:
    for name, (source, _) in VENDORED.items():
        assert (BROWSER / "vendor" / name).read_bytes() == (MODULES / source).read_bytes()
        package = json.loads((MODULES / source.split("/")[0] / "package.json").read_text())
        assert package["version"] in name


@needs_packages
def test_the_npm_package_holds_the_modules_and_nothing_else() -> None:
    done = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--ignore-scripts"], cwd=BROWSER, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    (packed,) = json.loads(done.stdout)
    names = {file["path"] for file in packed["files"]}
    assert names == {"package.json", "README.md", "LICENSE", *("src/" + name for name in files_of(BROWSER / "src"))}


@needs_packages
def test_the_plugin_keeps_to_its_size(tmp_path: Path) -> None:
    outputs = minify(tmp_path)
    entries = {facts.get("entryPoint"): name for name, facts in outputs.items()}
    loaded: set[str] = set()
    for stage, (entry, minified, compressed) in STAGES.items():
        chunks = needed(outputs, entries[entry]) - loaded if entry else set(outputs) - loaded
        loaded |= chunks
        data = [(tmp_path / name).read_bytes() for name in sorted(chunks)]
        sizes = sum(map(len, data)), sum(len(gzip.compress(each, 9)) for each in data)
        print(stage, sizes)
        assert minified <= 60_000
        assert sizes[0] <= minified, (stage, sizes)
        assert sizes[1] <= compressed, (stage, sizes)


def needed(outputs: dict[str, Any], name: str) -> set[str]:
    """A chunk, and those that are loaded with it."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        found.add(each := waiting.pop())
        imports = outputs[each]["imports"]
        static = {Path(one["path"]).name for one in imports if one["kind"] != "dynamic-import"}
        waiting.extend(static - found)
    return found


def test_the_wheel_holds_the_pages_the_modules_and_what_they_need(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name.removeprefix("peerpouch/_browser/") for name in archive.namelist() if "/_browser/" in name}
        archive.extractall(tmp_path / "installed")
    wanted = {f"{part}/{name}" for part in ("src", "pages", "vendor") for name in files_of(BROWSER / part)}
    assert names == wanted
    # Where it is installed it finds them beside itself, and not in the repository.
    asked = "from peerpouch.node.pages import folders; print(*folders().values(), sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    done = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, timeout=60)
    found = [Path(line) for line in done.stdout.splitlines()]
    assert len(found) == 3, done.stderr
    assert all(path.is_dir() and tmp_path in path.parents for path in found)


async def test_a_server_serves_every_file_to_everybody(tmp_path: Path) -> None:
    async with (
        peerpouch.Server(tmp_path / "databases", port=0, admins={"root": "secret"}) as server,
        httpx2.AsyncClient(base_url=server.url, trust_env=False) as http,
    ):
        for name in files_of(BROWSER / "src"):
            response = await http.get(f"_peerpouch/src/{name}")
            assert response.status_code == 200, name
            assert response.headers["content-type"].startswith("text/javascript")
            assert response.content == (BROWSER / "src" / name).read_bytes()
        page = await http.get("_peerpouch/", follow_redirects=True)
        assert page.status_code == 200
        assert str(page.url).endswith("/_peerpouch/dashboard/")
        assert (await http.get("_peerpouch/vendor/pouchdb-9.0.0.min.js")).status_code == 200
        # What is not a file is the API's, and asks who it is.
        assert (await http.get("_peerpouch/status")).status_code == 401
        assert (await http.get("_peerpouch/src/nothing.js")).status_code == 404
