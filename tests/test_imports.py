"""The import table of ARCHITECTURE.md holds: no edge that is not in it, no cycle, and the pure layers stay pure."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "peerpouch"


@dataclass(frozen=True)
class Layer:
    """What a layer may import of peerpouch, and of other people's packages."""

    inside: frozenset[str]
    outside: frozenset[str] = frozenset()


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _layer(inside: str = "", outside: str = "") -> Layer:
    return Layer(_names(inside), _names(outside))


# The same table stands in ARCHITECTURE.md; a test below compares them. `peerpouch` is the package's own __init__.
TABLE: dict[str, Layer] = {
    "errors": _layer(),
    "exchange": _layer("", "httpx2"),
    "ports": _layer("errors"),
    "core": _layer("errors", "orjson re2"),
    "wire": _layer("errors"),
    "identity": _layer("errors ports core", "cryptography platformdirs"),
    "access": _layer("errors ports core"),
    "storage": _layer("errors ports core", "apsw orjson"),
    "replication": _layer("errors ports core"),
    "archive": _layer("errors ports core"),
    "query": _layer("errors ports core"),
    "js": _layer("errors ports core", "quickjs"),
    "remote": _layer("errors ports core exchange", "httpx2"),
    "couchapi": _layer("errors ports core exchange"),
    "hub": _layer("errors ports core identity"),
    "transports": _layer("errors ports wire exchange", "aioice aiortc httpx2 webrtc"),
    "peers": _layer("errors ports core identity wire exchange"),
    "jobs": _layer("errors ports core"),
    "node": _layer(
        "errors ports exchange core wire identity access storage replication archive query js remote couchapi hub "
        "transports peers jobs",
        "h11 httpx2 platformdirs uvicorn uvloop",
    ),
    "peerpouch": _layer("errors ports node"),
    "cli": _layer("errors ports peerpouch", "click rich segno"),
}

# Edges that exist for the type checker alone, and that the running program does not have.
TYPES_ONLY = {("ports", "exchange")}

# What `now` and randomness as arguments, and bytes in and bytes out, make needless.
IMPURE = _names(
    "asyncio concurrent ctypes fcntl http io mmap multiprocessing os pathlib queue random sched secrets select "
    "selectors shutil signal socket socketserver sqlite3 ssl subprocess tempfile threading time urllib uuid"
)
PURE_LAYERS = ("core", "wire")

TEST_ONLY = _names("pytest hypothesis tests benchmarks examples unittest doctest")


@dataclass(frozen=True)
class Import:
    """One import statement's edge, between dotted module names."""

    source: str
    target: str
    line: int
    types_only: bool

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def modules_of(folder: Path) -> dict[str, Path]:
    """Dotted names of a package's modules; the folder's own name is the first part."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> Iterator[Import]:
    """Every import of a module, wherever in it: at the top, in a function, or for the type checker."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    stack: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text("utf-8")), False)]
    while stack:
        node, types_only = stack.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(name, alias.name, node.lineno, types_only)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(name, inner if inner in modules else base, node.lineno, types_only)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend((child, True) for child in node.body)
            stack.extend((child, types_only) for child in node.orelse)
            continue
        stack.extend((child, types_only) for child in ast.iter_child_nodes(node))


def layer_of(name: str) -> str:
    """``peerpouch.storage.schema`` is of the layer ``storage``; ``peerpouch`` is its own."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def violations(folder: Path, table: dict[str, Layer]) -> list[str]:
    """What breaks the table, in words."""
    modules = modules_of(folder)
    wrong = [f"{name} belongs to no layer of the table" for name in modules if layer_of(name) not in table]
    for name, path in modules.items():
        layer = layer_of(name)
        if layer not in table:
            continue
        for edge in imports_of(name, path, modules):
            top = edge.target.split(".")[0]
            if top == folder.name:
                target = layer_of(edge.target)
                types_only = edge.types_only and (layer, target) in TYPES_ONLY
                if target != layer and target not in table[layer].inside and not types_only:
                    wrong.append(f"{edge}: {layer} may not import {target}")
            elif top in sys.stdlib_module_names and top not in TEST_ONLY:
                if layer in PURE_LAYERS and top in IMPURE:
                    wrong.append(f"{edge}: {layer} is pure")
            elif top not in table[layer].outside:
                wrong.append(f"{edge}: {layer} may not import the package {top}")
    return wrong


def cycle(folder: Path) -> list[str]:
    """A cycle among a package's modules, as the path that closes it; empty if there is none.

    Two classes of one layer may name each other in annotations: that edge the running program does not have. Between
    layers the table, which has no circle, counts annotations too.
    """
    modules = modules_of(folder)
    graph = {
        name: sorted({edge.target for edge in imports_of(name, path, modules) if not edge.types_only} & set(modules))
        for name, path in modules.items()
    }
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [] if start in done else [(start, iter(graph[start]))]
        path.extend(name for name, _ in stack)
        while stack:
            name, targets = stack[-1]
            following = next((target for target in targets if target not in done), None)
            if following is None:
                done.add(name)
                stack.pop()
                path.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            else:
                stack.append((following, iter(graph[following])))
                path.append(following)
    return []


def test_no_import_is_outside_the_table() -> None:
    assert violations(SOURCE, TABLE) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert cycle(SOURCE) == []


def test_the_table_itself_has_no_circle() -> None:
    done: set[str] = set()
    while ready := {name for name, layer in TABLE.items() if name not in done and layer.inside <= done}:
        done |= ready
    assert done == set(TABLE)


def test_architecture_md_shows_the_same_table() -> None:
    rows = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 3:
            inside, outside = (frozenset(re.findall(r"`([\w.]+)`", cell)) for cell in cells[1:])
            for name in re.findall(r"`(\w+)`", cells[0]):
                rows[name] = Layer(inside, outside)
    assert rows == TABLE


# The checks above find what they are there to find.


def _package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "peerpouch" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder / "peerpouch"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("wire/frames.py", "import asyncio", "wire is pure"),
        ("core/tree.py", "def f():\n    from time import time", "core is pure"),
        ("core/tree.py", "from peerpouch.ports import Document", "core may not import ports"),
        ("hub/leases.py", "from ..storage import schema", "hub may not import storage"),
        ("hub/leases.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import peerpouch.node", "node"),
        ("replication/run.py", "import httpx2", "may not import the package httpx2"),
        ("node/open.py", "import pytest", "may not import the package pytest"),
        ("cli/share.py", "from peerpouch.node import hub", "cli may not import node"),
        ("extra/thing.py", "", "belongs to no layer"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    package = _package(tmp_path, {"__init__.py": "", "storage/schema.py": "", name: text})
    (found,) = violations(package, TABLE)
    assert complaint in found


def test_a_circle_is_found_also_when_a_function_hides_it(tmp_path: Path) -> None:
    package = _package(
        tmp_path,
        {
            "__init__.py": "",
            "hub/a.py": "from peerpouch.hub import b",
            "hub/b.py": "import peerpouch.hub.c",
            "hub/c.py": "def late():\n    from peerpouch.hub.a import thing",
        },
    )
    assert cycle(package) == ["peerpouch.hub.a", "peerpouch.hub.b", "peerpouch.hub.c", "peerpouch.hub.a"]
    late = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from peerpouch.hub.a import thing"
    (package / "hub" / "c.py").write_text(late, "utf-8")
    assert cycle(package) == []


def test_ports_may_name_the_exchange_in_annotations_only(tmp_path: Path) -> None:
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from peerpouch.exchange import Exchange"
    package = _package(tmp_path, {"__init__.py": "", "exchange.py": "", "ports/peers.py": text})
    assert violations(package, TABLE) == []
    (package / "ports" / "peers.py").write_text("from peerpouch.exchange import Exchange", "utf-8")
    assert len(violations(package, TABLE)) == 1
