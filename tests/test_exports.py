"""The public names are deliberate, and importing peerpouch loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import peerpouch

PUBLIC = {
    "Access",
    "Check",
    "Contacts",
    "Database",
    "ExportProgress",
    "Hub",
    "Identity",
    "ImportProgress",
    "Invite",
    "LinkStats",
    "LocalDatabase",
    "OwnShare",
    "PeerPouchError",
    "PublicKey",
    "RemoteEvent",
    "RemotePeer",
    "RemoteShare",
    "Replication",
    "ReplicationOptions",
    "ReplicationProgress",
    "Server",
    "ShareOptions",
    "SharedDatabase",
    "SharedDatabases",
    "Sync",
    "SyncProgress",
    "Trust",
    "collect_hub",
    "diagnose",
    "errors",
    "export_database",
    "import_database",
    "open",
    "prepare_hub",
    "replicate",
    "sync",
}

HEAVY = ("webrtc", "aiortc", "uvicorn", "starlette", "httpx2", "apsw", "cryptography", "click", "rich")


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running ``code``."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_public_names_are_these() -> None:
    assert set(peerpouch.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(peerpouch, name)
    assert name in dir(peerpouch)
    if callable(value):
        assert value.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonesuch"):
        peerpouch.nonesuch  # noqa: B018


def test_importing_peerpouch_loads_no_engine_no_server_and_no_database() -> None:
    assert modules_after("import peerpouch").isdisjoint(HEAVY)


def test_the_test_of_lazy_loading_sees_what_is_loaded() -> None:
    assert not modules_after("import apsw, peerpouch").isdisjoint(HEAVY)


def test_help_loads_no_part_of_peerpouch_but_the_command_line() -> None:
    loaded = modules_after("from peerpouch.cli.commands import invoke\nassert invoke(['--help']) == 0")
    assert loaded.isdisjoint({*HEAVY, "asyncio"} - {"click"})
    assert not [name for name in loaded if name.startswith(("peerpouch.node", "peerpouch.storage", "peerpouch.hub"))]


def test_opening_a_local_database_loads_no_engine_and_no_server() -> None:
    code = """
import asyncio, peerpouch
async def main():
    async with peerpouch.open(":memory:") as database:
        await database.put({"_id": "a"})
asyncio.run(main())
"""
    loaded = modules_after(code)
    assert loaded.isdisjoint({"webrtc", "aiortc", "uvicorn", "httpx2", "cryptography"})


LOCAL = {"__init__", "core", "errors", "js", "node", "ports", "query", "storage"}


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (["put", "FILE", '{"_id": "heron"}'], set()),
        (["get", "FILE", "heron"], set()),
        (["ls", "FILE"], set()),
        (["info", "FILE"], set()),
        (["changes", "FILE"], set()),
        (["find", "FILE", "{}"], set()),
        (["get", "http://127.0.0.1:1/db", "heron"], {"hub", "identity", "remote", "transports"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_loads_no_part_that_it_has_no_use_for(tmp_path: Path, command: list[str], more: set[str]) -> None:
    file = str(tmp_path / "local.db")
    words = [file if word == "FILE" else word for word in command]
    code = f"""
import os, sys
from peerpouch.cli.commands import invoke
sys.stdout = open(os.devnull, "w")
invoke(["put", {file!r}, '{{"_id": "heron"}}']) if {words!r}[0] != "put" else None
invoke({words!r})
sys.stdout = sys.__stdout__
"""
    loaded = {name.split(".")[1] for name in modules_after(code) if name.startswith("peerpouch.")} - {"cli"}
    assert more <= loaded  # which shows that a part that is loaded is seen
    assert more or loaded <= LOCAL, loaded - LOCAL
