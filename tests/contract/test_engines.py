"""What holds for every WebRTC engine and every pair of them: the traps that were measured, one by one.

Of the traps known of these engines, those of the network's troubles (a dead path, an outage, ICE restart) need
network namespaces and are tested there. Slow readers, short queues, liveness and closing of the link itself
are tested in ``tests/transports/webrtc/test_link.py``.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from peerpouch.errors import ConnectionFailed, InvalidSignal, NotSupported, PeerUnreachable
from peerpouch.exchange import Request
from peerpouch.transports.webrtc import IceServer, RTCOptions, WebRTC
from peerpouch.transports.webrtc.engine import EngineChannel, EngineConnection, has_network
from peerpouch.transports.webrtc.engines import load_engine
from tests.transports.harness import ALICE, BOB, SCALE, TestApp, linked, until

ENGINES = ["wrtc", "aiortc"]
PAIRS = [(one, two) for one in ENGINES for two in ENGINES]
_LOOPBACK = RTCOptions(loopback=True)


class Inbox:
    """Attached to a channel; notes what came."""

    def __init__(self, channel: EngineChannel) -> None:
        self.messages: list[bytes] = []
        self.size = 0
        self.lows = 0
        self.closes = 0
        channel.attach(self._message, self._low, self._closed)

    def _message(self, message: bytes) -> None:
        self.messages.append(message)
        self.size += len(message)

    def _low(self) -> None:
        self.lows += 1

    def _closed(self) -> None:
        self.closes += 1


@asynccontextmanager
async def _connected(
    engines: tuple[str, str],
) -> AsyncIterator[tuple[EngineConnection, EngineConnection, EngineChannel, EngineChannel]]:
    one = await load_engine(engines[0]).connection(_LOOPBACK)
    two = await load_engine(engines[1]).connection(_LOOPBACK)
    try:
        await one.accept(await two.answer(await one.offer()))
        async with asyncio.timeout(20 * SCALE):
            a, b = await asyncio.gather(one.opened(), two.opened())
        yield one, two, a, b
    finally:
        await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize("engines", PAIRS, ids=str)
async def test_messages_arrive_whole_and_in_order_both_ways(engines: tuple[str, str]) -> None:
    async with _connected(engines) as (_, _, a, b):
        at_a, at_b = Inbox(a), Inbox(b)
        sizes = [1, 1200, 16384, 65536, 262144, 7]
        for number, size in enumerate(sizes):
            a.send(bytes([number]) * size)
            b.send(bytes([number]) * size)
        await until(lambda: len(at_a.messages) == len(at_b.messages) == len(sizes))
        for inbox in (at_a, at_b):
            assert inbox.messages == [bytes([number]) * size for number, size in enumerate(sizes)]


@pytest.mark.parametrize("engines", PAIRS, ids=str)
async def test_what_came_before_attaching_is_kept(engines: tuple[str, str]) -> None:
    async with _connected(engines) as (_, _, a, b):
        a.send(b"early")
        first = Inbox(a)
        b.send(b"sign")
        await until(lambda: first.messages)
        await asyncio.sleep(0)
        second = Inbox(b)
        await until(lambda: second.messages == [b"early"])


@pytest.mark.parametrize("engine", ENGINES)
async def test_low_is_told_once_per_crossing(engine: str) -> None:
    async with _connected((engine, engine)) as (_, _, a, b):
        at_a, at_b = Inbox(a), Inbox(b)
        a.set_low(100_000)
        for round_ in (1, 2):
            for _ in range(20):
                a.send(bytes(60_000))
            assert a.buffered > 100_000
            await until(lambda: a.buffered == 0)
            assert at_a.lows == round_
        await until(lambda: at_b.size == 2 * 20 * 60_000)
        # Never above the mark: nothing is told.
        a.send(bytes(1000))
        await until(lambda: at_b.size == 2 * 20 * 60_000 + 1000)
        assert at_a.lows == 2


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_full_queue_and_a_message_too_large_fail_instead_of_growing(engine: str) -> None:
    async with _connected((engine, engine)) as (_, _, a, b):
        Inbox(b)
        with pytest.raises(ConnectionFailed):
            a.send(bytes(262_145))
        with pytest.raises(ConnectionFailed):
            for _ in range(100):
                a.send(bytes(262_144))
        assert a.buffered <= 17 * 1024 * 1024


@pytest.mark.parametrize("engines", PAIRS, ids=str)
async def test_closing_the_channel_sends_what_is_queued(engines: tuple[str, str]) -> None:
    async with _connected(engines) as (one, _, a, b):
        at_a, at_b = Inbox(a), Inbox(b)
        for _ in range(30):
            a.send(bytes(65_536))
        await a.close(limit=20 * SCALE)
        await one.close()
        await until(lambda: at_b.closes)
        assert at_b.size == 30 * 65_536
        assert at_a.closes == at_b.closes == 1
        with pytest.raises(ConnectionFailed):
            a.send(b"late")


async def test_twin_closing_the_connection_first_loses_what_is_queued() -> None:
    async with _connected(("wrtc", "wrtc")) as (one, _, a, b):
        at_a, at_b = Inbox(a), Inbox(b)
        for _ in range(200):
            a.send(bytes(65_536))
        await one.close()
        await until(lambda: at_b.closes, 30)
        assert at_b.size < 200 * 65_536
        assert at_a.closes == 1


@pytest.mark.parametrize("engine", ENGINES)
async def test_closing_a_connection_that_never_opened_ends_its_wait(engine: str) -> None:
    connection = await load_engine(engine).connection(_LOOPBACK)
    await connection.offer()
    waiting = asyncio.create_task(connection.opened())
    await asyncio.sleep(0)
    await connection.close()
    with pytest.raises(PeerUnreachable):
        await waiting
    await connection.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_description_has_its_candidates_and_a_fingerprint_inside(engine: str) -> None:
    connection = await load_engine(engine).connection(_LOOPBACK)
    offer = await connection.offer()
    assert "a=candidate:" in offer and "a=fingerprint:sha-256" in offer
    assert " 127.0.0.1 " in offer
    await connection.close()


@pytest.mark.parametrize("engines", PAIRS, ids=str)
async def test_a_wrong_fingerprint_never_opens(engines: tuple[str, str]) -> None:
    one = await load_engine(engines[0]).connection(_LOOPBACK)
    two = await load_engine(engines[1]).connection(_LOOPBACK)
    answer = await two.answer(await one.offer())
    lines = [
        line[:-5] + ("00:00" if line[-5:] != "00:00" else "11:11") if line.startswith("a=fingerprint:") else line
        for line in answer.splitlines()
    ]
    await one.accept("\r\n".join(lines) + "\r\n")
    opened = asyncio.create_task(one.opened())
    failed, _ = await asyncio.wait({opened}, timeout=3 * SCALE)
    assert not failed or isinstance(opened.exception(), PeerUnreachable)
    opened.cancel()
    await asyncio.gather(one.close(), two.close())


@pytest.mark.parametrize("engine", ENGINES)
async def test_an_altered_description_is_an_invalid_signal_or_finds_no_path(engine: str) -> None:
    transport = WebRTC(_LOOPBACK, engine=engine)
    good = (await transport.offer(TestApp(), BOB)).sdp
    for bad in (
        good.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 zz"),
        good.replace("a=ice-ufrag", "a=ice-none"),
        good.replace("a=setup", "a=nothing"),
        good[: len(good) // 2] + "\r\n",
    ):
        with pytest.raises((InvalidSignal, PeerUnreachable)):
            pending = await transport.answer(bad, TestApp(), BOB)
            await pending.connect(timeout=0.2)
    await transport.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_dead_stun_server_costs_no_more_than_the_time_for_gathering(engine: str) -> None:
    # A server that never answers, on this machine.
    loop = asyncio.get_running_loop()
    silent, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    port = silent.get_extra_info("sockname")[1]
    options = RTCOptions((IceServer((f"stun:127.0.0.1:{port}",)),), gathering=0.2, loopback=True)
    transport = WebRTC(options, engine=engine)
    async with asyncio.timeout(4 * SCALE):  # uncapped, the engines take 5 and 40 seconds
        offer = await transport.offer(TestApp(), BOB)
    assert "a=candidate:" in offer.sdp
    await transport.close()
    silent.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_ice_servers_can_be_fetched_for_each_connection(engine: str) -> None:
    fetched: list[int] = []

    async def fetch() -> list[IceServer]:
        fetched.append(1)
        return []

    transport = WebRTC(RTCOptions(fetch, loopback=True), engine=engine)
    await transport.offer(TestApp(), BOB)
    await transport.offer(TestApp(), BOB)
    assert len(fetched) == 2
    await transport.close()


async def test_servers_that_can_not_be_fetched_are_an_error_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> list[IceServer]:
        raise ValueError("no money left")

    async def stuck() -> list[IceServer]:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr("peerpouch.transports.webrtc.engine.FETCH", 0.05)
    for fetch, words in ((broken, "no money left"), (stuck, "within 0.05 seconds")):
        with pytest.raises(PeerUnreachable, match=words):
            await WebRTC(RTCOptions(fetch)).offer(TestApp(), BOB)


async def test_an_engine_that_does_not_exist_is_not_supported() -> None:
    with pytest.raises(NotSupported, match="nonesuch"):
        load_engine("nonesuch")


@pytest.mark.parametrize("engines", PAIRS, ids=str)
async def test_stats_tell_the_path(engines: tuple[str, str]) -> None:
    async with linked(TestApp(), engines=engines) as pair:
        stats = await pair.a.stats()
        assert stats.engine == engines[0]
        assert stats.path == "direct" or stats.path == "reflexive"
        assert stats.local and stats.remote


@pytest.mark.parametrize("engines", PAIRS, ids=str)
async def test_closing_a_link_is_seen_as_orderly_by_the_other_side(engines: tuple[str, str]) -> None:
    async with linked(TestApp(), engines=engines) as pair:
        response = await pair.a.exchange.handle_async_request(Request("GET", "http://peer/bytes/300000"))
        assert len(await response.aread()) == 300_000
        await pair.a.close()
        async with asyncio.timeout(20 * SCALE):
            assert await pair.b.wait_closed() is None


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_blocked_loop_is_survived(engine: str) -> None:
    async with linked(TestApp(), engines=(engine, engine)) as pair:
        response = await pair.a.exchange.handle_async_request(Request("GET", "http://peer/bytes/6000000"))
        await until(lambda: pair.a._received > 100_000)
        end = time.monotonic() + 0.5
        while time.monotonic() < end:  # what a blocked loop is
            pass
        assert len(await response.aread()) == 6_000_000


_CHILD = """
import asyncio, sys
from peerpouch.transports.webrtc.engines import load_engine
from peerpouch.transports.webrtc.engine import RTCOptions
async def main():
    connection = await load_engine(sys.argv[1]).connection(RTCOptions(loopback=True))
    print(len(await connection.offer()) > 100)
    await connection.close()
asyncio.run(main())
"""


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_spawned_process_has_an_engine_of_its_own(engine: str) -> None:
    async with _connected((engine, engine)):
        # Spawned, not forked: the threads of wrtc don't survive a fork.
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", _CHILD, engine],
            capture_output=True,
            timeout=60 * SCALE,
            check=True,
        )
        assert done.stdout.strip() == b"True"


def _open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.parametrize("engine", ENGINES)
async def test_many_connections_leave_no_file_open(engine: str) -> None:
    async def once() -> None:
        async with linked(TestApp(), engines=(engine, engine)) as pair:
            response = await pair.a.exchange.handle_async_request(Request("GET", "http://peer/empty"))
            assert response.status_code == 204

    await once()
    # The engine's own threads close its sockets a little later.
    before = _open_files()
    for _ in range(8):
        await once()
    await until(lambda: _open_files() <= before + 8, 20)


def test_looking_for_a_network_sends_nothing_and_answers() -> None:
    assert has_network() in (True, False)


async def test_alice_and_bob_are_not_mixed_up() -> None:
    async with linked(TestApp(), engines=("wrtc", "aiortc")) as pair:
        assert pair.a.peer == BOB and pair.b.peer == ALICE
