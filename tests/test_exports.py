"""The public names are deliberate, and importing peerpouch loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

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

HEAVY = ("webrtc", "aiortc", "uvicorn", "starlette", "httpx2", "apsw", "cryptography", "watchfiles", "click", "rich")


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
    assert loaded.isdisjoint({"webrtc", "aiortc", "uvicorn"})
