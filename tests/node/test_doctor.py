"""The doctor finds what is wrong, and says what to do; and finds nothing where nothing is."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

import peerpouch
from peerpouch import Check, Identity, diagnose
from peerpouch.errors import HubUnreachable
from peerpouch.hub.client import HubClient
from peerpouch.node import doctor
from peerpouch.transports.webrtc import engines
from tests.transports.harness import SCALE
from tests.transports.stun import stun_server


async def _examine(hub: str | Path, **options: Any) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    options.setdefault("identity", Identity.ephemeral())
    options.setdefault("ice_servers", [])
    async for check in diagnose(hub, **options):
        assert check.text and (check.state in ("ok", "skipped") or check.advice), check
        found.setdefault(check.name, []).append(check)
    return found


def _states(found: dict[str, list[Check]]) -> dict[str, str]:
    return {name: "/".join(check.state for check in checks) for name, checks in found.items()}


@pytest.fixture
async def hub(tmp_path: Path) -> Path:
    await peerpouch.prepare_hub(str(tmp_path / "hub.db"))
    return tmp_path / "hub.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 1.0)


async def test_where_nothing_is_wrong_everything_is_tried_and_nothing_stays(hub: Path) -> None:
    async with stun_server() as port:
        found = await _examine(hub, ice_servers=[f"stun:127.0.0.1:{port}"])
    names = ["identity", "engine", "hub", "server", "router", "candidates", "writing", "feed", "connection", "path"]
    assert list(found) == names
    bad = [check for checks in found.values() for check in checks if check.state not in ("ok", "warning")]
    assert not bad
    assert found["path"][0].details["local"] in found["path"][0].text
    async with peerpouch.Hub(hub, identity=Identity.ephemeral(), ice_servers=[]) as after:
        assert await after.get_shared_databases() == []


async def test_a_hub_that_is_not_there_is_named_and_what_needs_it_is_skipped(tmp_path: Path) -> None:
    found = await _examine(tmp_path / "none.db")
    assert found["hub"][0].state == "failed" and "none.db" in found["hub"][0].text
    assert [found[name][0].state for name in ("writing", "feed", "connection", "path")] == ["skipped"] * 4
    assert not (tmp_path / "none.db").exists()


@asynccontextmanager
async def _http(date: str) -> AsyncIterator[str]:
    """An HTTP server that has nothing but the time."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hub"


@pytest.mark.parametrize(
    ("ahead", "state"), [(0, "ok"), (-300, "warning"), (3600, "failed"), (-3600, "failed"), (None, "skipped")]
)
async def test_a_wrong_clock_is_noticed_by_the_hubs(ahead: int | None, state: str) -> None:
    import time

    date = "no date" if ahead is None else formatdate(time.time() - ahead, usegmt=True)
    async with _http(date) as url:
        found = await _examine(url)
    assert found["clock"][0].state == state
    if ahead == 3600:
        assert "60 minutes ahead" in found["clock"][0].text


async def test_a_dead_stun_server_and_a_url_without_a_host_are_told(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ANSWER", 0.3)
    async with stun_server(silent=True) as port:
        found = await _examine(hub, ice_servers=[f"stun:127.0.0.1:{port}", "stun:127.0.0.1:no"])
    assert [check.state for check in found["server"]] == ["failed", "failed"]
    assert "did not answer" in found["server"][0].text
    assert "router" not in found


async def test_servers_that_can_not_be_fetched_are_told(hub: Path) -> None:
    async def fetch() -> list[Any]:
        raise ValueError("no money left")

    found = await _examine(hub, ice_servers=fetch)
    assert found["server"][0].state == "failed" and "no money left" in found["server"][0].text


@pytest.mark.parametrize(
    ("shifts", "state", "words"),
    [
        ((0, 0), "ok", "no router"),
        ((7,), "ok", "behind a router"),
        ((7, 7), "ok", "lets direct connections through"),
        ((7, 9), "warning", "another address"),
    ],
)
async def test_the_router_is_judged_by_what_servers_see(
    hub: Path, shifts: tuple[int, ...], state: str, words: str
) -> None:
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(stun_server(shift=shift)) for shift in shifts]
        found = await _examine(hub, ice_servers=[f"stun:127.0.0.1:{port}" for port in ports])
    assert found["router"][0].state == state and words in found["router"][0].text


async def test_a_hub_that_can_not_be_written_is_told(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: Any, **__: Any) -> Any:
        raise HubUnreachable("The hub is read-only.")

    monkeypatch.setattr(HubClient, "publish", refuse)
    found = await _examine(hub)
    assert found["writing"][0].state == "failed" and "read-only" in found["writing"][0].text
    assert found["connection"][0].state == "skipped"


async def test_a_feed_that_brings_nothing_is_told(hub: Path, monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    monkeypatch.setattr(doctor._News, "changed", lambda self, share: None)
    found = await _examine(hub)
    assert _states({name: found[name] for name in ("writing", "feed", "connection", "path")}) == {
        "writing": "ok",
        "feed": "failed",
        "connection": "skipped",
        "path": "skipped",
    }


async def test_relays_only_without_a_relay_is_told(hub: Path, impatient: None) -> None:
    found = await _examine(hub, ice_transport_policy="relay")
    assert found["candidates"][0].state == "failed"
    assert found["connection"][0].state == "failed" and "TURN" in str(found["connection"][0].advice)


async def test_without_an_engine_it_says_so_and_goes_on(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    found = await _examine(hub)
    assert found["engine"][0].state == "failed" and found["hub"][0].state == "ok"


@asynccontextmanager
async def _coturn(folder: Path) -> AsyncIterator[int]:
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    options = (
        f"-n -L 127.0.0.1 -p {port} -E 127.0.0.1 -u ann:secret -r test -a --no-tls --no-dtls --no-cli "
        f"--allow-loopback-peers -l {folder}/turn.log --simple-log --pidfile {folder}/turn.pid --db {folder}/turn.db"
    )
    process = await asyncio.create_subprocess_exec(
        program, *options.split(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(20 * SCALE):
            while isinstance((await doctor._ask([f"stun:127.0.0.1:{port}"]))[0], str):
                pass
        yield port
    finally:
        process.terminate()
        await process.wait()


async def test_a_turn_server_is_tried_with_its_password(hub: Path, tmp_path: Path, impatient: None) -> None:
    async with _coturn(tmp_path) as port:
        server = {"urls": f"turn:127.0.0.1:{port}", "username": "ann", "credential": "secret"}
        found = await _examine(hub, ice_servers=[server])
        assert found["server"][0].state == "ok"
        wrong = await _examine(hub, ice_servers=[server | {"credential": "wrong"}])
    assert wrong["server"][0].state == "failed"
    assert "401" in wrong["server"][0].text and "password" in str(wrong["server"][0].advice)
    assert wrong["relay"][0].state == "failed" and "401" in wrong["relay"][0].text
