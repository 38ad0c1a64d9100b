"""A link's life, over an engine in memory and a clock that the test turns."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from peerpouch.errors import (
    InvalidSignal,
    PeerPouchError,
    PeerUnreachable,
    ProtocolError,
    TooLarge,
)
from peerpouch.exchange import Exchange, Request, Response
from peerpouch.ports import Link, PendingLink
from peerpouch.transports.webrtc import RTCOptions, WebRTC
from peerpouch.transports.webrtc.engine import EngineConnection
from peerpouch.transports.webrtc.link import PeerLink
from peerpouch.wire import Code, Limits
from peerpouch.wire.liveness import Liveness, Verdict
from tests.transports.harness import ALICE, BOB, FakeClock, MemoryConnection, MemoryEngine, TestApp, drop, linked, until


async def _get(exchange: Exchange, target: str, **options: Any) -> Response:
    return await exchange.handle_async_request(Request("GET", "http://peer" + target, **options))


async def _read(exchange: Exchange, target: str) -> bytes:
    return await (await _get(exchange, target)).aread()


async def _fails_with(awaitable: Any, error: type[PeerPouchError]) -> PeerPouchError:
    with pytest.raises(error) as raised:
        async with asyncio.timeout(10):
            await awaitable
    return raised.value


# Serving


async def test_the_application_learns_who_asks() -> None:
    app = TestApp()
    async with linked(app) as pair:
        response = await _get(pair.a.exchange, "/about")
        await response.aread()
        assert response.json()["principal"] == repr(ALICE)
        response = await _get(pair.b.exchange, "/about")
        await response.aread()
        assert response.json()["principal"] == repr(BOB)


async def test_hop_by_hop_headers_and_the_host_stay_behind() -> None:
    async with linked(TestApp()) as pair:
        response = await _get(pair.a.exchange, "/about", headers={"Connection": "close", "X-Kept": "1"})
        await response.aread()
        names = [name for name, _ in response.json()["headers"]]
        assert "x-kept" in names
        assert not {"connection", "host", "transfer-encoding"} & set(names)


async def test_an_application_that_fails_before_its_answer_gives_an_error_without_details() -> None:
    async with linked(TestApp()) as pair:
        response = await _get(pair.a.exchange, "/fail-before")
        assert response.status_code == 500
        body = await response.aread()
        assert json.loads(body)["error"] == "internal_server_error"
        assert b"secret" not in body


async def test_an_application_that_fails_within_its_answer_breaks_the_stream_off() -> None:
    async with linked(TestApp()) as pair:
        for path in ("/fail-after", "/leave"):
            error = await _fails_with(_read(pair.a.exchange, path), PeerPouchError)
            assert "secret" not in error.reason
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204


async def test_a_response_that_is_closed_cancels_its_handler() -> None:
    app = TestApp()
    async with linked(app) as pair:
        response = await _get(pair.a.exchange, "/deaf")
        await response.aclose()
        await until(lambda: app.notes == ["cancelled"])
        await until(lambda: not pair.b._ends and not pair.a._ends)


async def test_twin_a_handler_that_is_not_cancelled_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from peerpouch.transports.webrtc import server

    monkeypatch.setattr(server.Serving, "on_reset", lambda self, event: self._gone.set())
    app = TestApp()
    async with linked(app) as pair:
        response = await _get(pair.a.exchange, "/deaf")
        await response.aclose()
        for _ in range(100):
            await asyncio.sleep(0)
        assert app.notes == []


async def test_more_requests_than_the_peer_takes_wait_for_their_turn() -> None:
    app = TestApp()
    async with linked(app, limits=Limits(max_streams=3)) as pair:
        tasks = [asyncio.create_task(_get(pair.a.exchange, "/wait")) for _ in range(10)]
        await until(lambda: len(app.scopes) == 3)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(app.scopes) == 3
        await drop(tasks.pop())
        app.hold.set()
        assert {(await task).status_code for task in tasks} == {204}


async def test_a_waiting_request_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    app = TestApp()
    async with linked(app, limits=Limits(max_streams=1)) as pair:
        first = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        await until(lambda: app.scopes)
        second = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        third = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        for _ in range(10):
            await asyncio.sleep(0)
        second.cancel()
        app.hold.set()
        assert (await first).status_code == (await third).status_code == 204


async def test_a_head_that_is_too_large_is_refused_here() -> None:
    async with linked(TestApp()) as pair:
        await _fails_with(_get(pair.a.exchange, "/about?" + "x" * 20_000), TooLarge)
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204


async def test_a_body_that_fails_while_it_is_made_fails_the_request_and_no_other() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"begin"
        raise KeyError("mine")

    app = TestApp()
    async with linked(app) as pair:
        with pytest.raises((KeyError, PeerPouchError)):
            response = await pair.a.exchange.handle_async_request(Request("POST", "http://peer/echo", content=body()))
            await response.aread()
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204
        await until(lambda: "cancelled" in app.notes)


# Flow


async def test_the_engines_queue_stays_short_and_unread_responses_stay_small() -> None:
    app = TestApp()
    async with linked(app) as pair:
        _, channel = pair.channels
        response = await _get(pair.a.exchange, "/endless")
        before = -1
        while app.sent != before:
            before = app.sent
            for _ in range(200):
                await asyncio.sleep(0)
        assert app.sent <= 1024 * 1024 + 2 * 256 * 1024
        assert channel.highest <= 1024 * 1024 + 64 * 1024
        assert max(channel.sent) <= 64 * 1024
        await response.aclose()


async def test_twin_without_credit_an_unread_response_grows_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    app = TestApp()
    async with linked(app) as pair:
        pair.a.connection._credit.take = lambda size: True  # type: ignore[method-assign]
        response = await _get(pair.a.exchange, "/endless")
        await until(lambda: pair.b._ends)
        (stream,) = pair.b.connection._streams
        pair.b.connection._streams[stream].may_send = pair.b.connection._out.may_send = 10**9
        pair.a.connection._streams[stream].may_receive = 10**9
        await until(lambda: app.sent > 5 * 1024 * 1024)
        await response.aclose()


async def test_what_is_said_in_one_turn_shares_messages() -> None:
    async with linked(TestApp()) as pair:
        channel, _ = pair.channels
        before = len(channel.sent)
        responses = await asyncio.gather(*(_get(pair.a.exchange, "/empty") for _ in range(30)))
        assert len(responses) == 30
        assert len(channel.sent) - before <= 3


async def test_a_request_passes_a_large_body_that_flows() -> None:
    async with linked(TestApp()) as pair:
        _, channel = pair.channels
        bulk = await _get(pair.a.exchange, "/bytes/50000000")
        reading = asyncio.create_task(bulk.aread())
        await until(lambda: sum(channel.sent) > 1_000_000)
        before = sum(channel.sent)
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204
        assert sum(channel.sent) - before < 10_000_000
        assert len(await reading) == 50_000_000


# The end


async def test_a_silent_peer_ends_everything_within_ten_seconds() -> None:
    clock, app = FakeClock(), TestApp()
    async with linked(app, clock=clock) as pair:
        pending = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        feed = await _get(pair.a.exchange, "/feed")
        reading = asyncio.create_task(feed.aread())
        await until(lambda: len(app.scopes) == 2)
        for channel in pair.channels:
            channel.cut = True
        await clock.advance(9.9)
        assert pair.a.closed and pair.b.closed
        for task in (pending, reading):
            await _fails_with(task, PeerUnreachable)
        await _fails_with(_get(pair.a.exchange, "/empty"), PeerUnreachable)
        assert isinstance(await pair.a.wait_closed(), PeerUnreachable)
        await until(lambda: app.notes.count("cancelled") == 2)


async def test_twin_without_liveness_a_silent_peer_is_never_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Liveness, "check", lambda self, now: Verdict.WAIT)
    clock = FakeClock()
    async with linked(TestApp(), clock=clock) as pair:
        for channel in pair.channels:
            channel.cut = True
        await clock.advance(60)
        assert not pair.a.closed


async def test_an_idle_link_stays_open_and_learns_its_round_trip() -> None:
    clock = FakeClock()
    async with linked(TestApp(), clock=clock) as pair:
        await clock.advance(120)
        assert not pair.a.closed and not pair.b.closed
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204


async def test_a_pause_of_this_process_does_not_end_the_link() -> None:
    clock = FakeClock()
    async with linked(TestApp(), clock=clock) as pair:
        await clock.advance(3600, step=3600)
        await clock.advance(5)
        assert not pair.a.closed and not pair.b.closed


async def test_closing_is_orderly_for_both_and_pending_requests_end() -> None:
    app = TestApp()
    async with linked(app) as pair:
        ours = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        theirs = asyncio.create_task(_get(pair.b.exchange, "/wait"))
        await until(lambda: len(app.scopes) == 2)
        await pair.a.close()
        for task in (ours, theirs):
            await _fails_with(task, PeerUnreachable)
        assert await pair.a.wait_closed() is None
        assert await pair.b.wait_closed() is None
        await _fails_with(_get(pair.b.exchange, "/empty"), PeerUnreachable)
        await pair.a.close()
        await until(lambda: pair.a._engine.closed and pair.b._engine.closed)  # type: ignore[attr-defined]


async def test_closing_waits_for_handlers_to_clean_up() -> None:
    cleaned = False

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            cleaned = True

    async with linked(app) as pair:
        pending = asyncio.create_task(_get(pair.a.exchange, "/"))
        await until(lambda: pair.b._ends)
        await pair.b.close()
        assert cleaned
        await _fails_with(pending, PeerUnreachable)


async def test_closing_drains_answers_that_were_given() -> None:
    app = TestApp()
    async with linked(app) as pair:
        _, channel = pair.channels
        channel.hold = True
        asking = asyncio.create_task(_get(pair.a.exchange, "/bytes/60000"))
        await until(lambda: app.notes == ["done"])
        closing = asyncio.create_task(pair.b.close())
        for _ in range(20):
            await asyncio.sleep(0)
        channel.release()
        response = await asking
        assert len(await response.aread()) == 60_000
        await closing


async def test_twin_an_engine_closed_without_draining_loses_the_answer() -> None:
    app = TestApp()
    async with linked(app) as pair:
        _, channel = pair.channels
        channel.hold = True
        asking = asyncio.create_task(_get(pair.a.exchange, "/bytes/60000"))
        await until(lambda: app.notes == ["done"])
        channel.cut = True
        await pair.b._engine.close()
        channel.other.shut()
        await _fails_with(asking, PeerUnreachable)


async def test_a_response_that_was_complete_can_be_read_after_the_end() -> None:
    async with linked(TestApp()) as pair:
        response = await _get(pair.a.exchange, "/bytes/50000")
        await until(lambda: not pair.b._ends)
        await pair.b.close()
        await pair.a.wait_closed()
        assert len(await response.aread()) == 50_000


async def test_a_channel_that_closes_by_itself_is_a_loss() -> None:
    async with linked(TestApp()) as pair:
        channel, _ = pair.channels
        pending = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        await until(lambda: pair.b._ends)
        channel.shut()
        await _fails_with(pending, PeerUnreachable)
        assert isinstance(await pair.a.wait_closed(), PeerUnreachable)


async def test_a_peer_that_breaks_the_protocol_is_told_and_left() -> None:
    async with linked(TestApp()) as pair:
        channel, _ = pair.channels
        pending = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        await until(lambda: pair.b._ends)
        channel.send(b"\0" * 5)
        error = await pair.b.wait_closed()
        assert isinstance(error, ProtocolError)
        await _fails_with(pending, PeerUnreachable)
        assert isinstance(await pair.a.wait_closed(), PeerUnreachable)


async def test_a_channel_that_closes_right_behind_the_goodbye_is_orderly() -> None:
    async with linked(TestApp()) as pair:
        channel, other = pair.channels
        pair.a.connection.go_away()
        goodbye = pair.a.connection.data_to_send(0)
        other._open = False  # before the pump runs, and before its end is told
        other.arrive(goodbye)
        pair.b.connection.ping(0.0)
        assert await pair.b.wait_closed() is None
        channel.shut()


async def test_an_engine_that_refuses_a_message_ends_the_link() -> None:
    async with linked(TestApp()) as pair:
        channel, _ = pair.channels
        channel._open = False
        await _fails_with(_get(pair.a.exchange, "/empty"), PeerUnreachable)


@pytest.mark.parametrize("code", list(Code))
async def test_every_code_of_a_reset_is_an_error_of_the_tree(code: Code) -> None:
    app = TestApp()
    async with linked(app) as pair:
        pending = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        await until(lambda: pair.b._ends)
        (stream,) = pair.b._ends
        pair.b.connection.reset(stream, code, "because")
        pair.b._schedule()
        error = await _fails_with(pending, PeerPouchError)
        assert "because" in error.reason


async def test_stats_tell_path_and_bytes() -> None:
    async with linked(TestApp()) as pair:
        response = await _get(pair.a.exchange, "/bytes/50000")
        await response.aread()
        stats = await pair.a.stats()
        assert (stats.path, stats.engine, stats.streams) == ("direct", "memory", 0)
        assert stats.received > 50_000 > stats.sent > 0


# Making links


async def test_garbage_instead_of_a_description_is_an_invalid_signal() -> None:
    transport = WebRTC(engine=MemoryEngine())
    for garbage in ("", "hello", "v=0\r\nm=audio 9 RTP 0\r\n", "v=0" + "x" * 100_000):
        await _fails_with(transport.answer(garbage, TestApp(), BOB), InvalidSignal)
        offer = await transport.offer(TestApp(), BOB)
        await _fails_with(offer.connect(garbage, timeout=5), InvalidSignal)
    assert not transport._pending
    await transport.close()


async def test_an_unanswered_offer_times_out_and_names_its_candidates() -> None:
    transport = WebRTC(engine=MemoryEngine())
    offer = await transport.offer(TestApp(), BOB)
    error = await _fails_with(offer.connect(timeout=0.01), PeerUnreachable)
    assert "host 127.0.0.1:9/udp" in error.reason
    await _fails_with(offer.connect(timeout=0.01), PeerUnreachable)
    await offer.abandon()
    await transport.close()


class _Unready(MemoryEngine):
    """An answerer's engine that loses what comes before its application has got the channel, as Chromium may."""

    async def connection(self, options: RTCOptions) -> EngineConnection:
        connection = MemoryConnection()
        channel = connection.channel

        def arrive(message: bytes) -> None:
            if channel._on_message is not None:
                channel._on_message(message)

        channel.arrive = arrive  # type: ignore[method-assign]
        return connection


@asynccontextmanager
async def _late_answerer() -> AsyncIterator[tuple[PendingLink, asyncio.Task[Link]]]:
    """An offerer whose channel is open, and an answerer that has not taken it yet."""
    one, two = WebRTC(engine=MemoryEngine()), WebRTC(engine=_Unready())
    try:
        offer = await one.offer(TestApp(), BOB)
        answer = await two.answer(offer.sdp, TestApp(), ALICE)
        connecting = asyncio.create_task(offer.connect(answer.sdp, timeout=1))
        await until(lambda: one._pending and offer._connection.channel._on_message is not None)  # type: ignore[attr-defined]
        for _ in range(20):
            await asyncio.sleep(0)  # whatever it sends of itself has arrived
        yield answer, connecting
    finally:
        await asyncio.gather(one.close(), two.close())


async def test_an_answerer_that_takes_its_channel_late_misses_nothing() -> None:
    async with _late_answerer() as (answer, connecting):
        link = await answer.connect(timeout=5)
        assert await _read(link.exchange, "/empty") == b""
        assert await _read((await connecting).exchange, "/empty") == b""


async def test_twin_a_hello_that_waits_for_nobody_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PeerLink, "_held", property(lambda link: False, lambda link, value: None), raising=False)
    async with _late_answerer() as (answer, connecting):
        with pytest.raises(PeerPouchError):
            await answer.connect(timeout=0.2)
        with pytest.raises(PeerPouchError):
            await (await connecting).exchange.handle_async_request(Request("GET", "http://peer/empty"))


async def test_a_peer_that_opens_the_channel_and_says_nothing_times_out() -> None:
    transport, other = WebRTC(engine=MemoryEngine()), await MemoryEngine().connection(RTCOptions())
    offer = await transport.offer(TestApp(), BOB)
    answer = await other.answer(offer.sdp)
    await _fails_with(offer.connect(answer, timeout=0.05), PeerUnreachable)
    await transport.close()


async def test_closing_the_transport_closes_its_links_and_offers() -> None:
    transport, other = WebRTC(engine=MemoryEngine()), WebRTC(engine=MemoryEngine())
    waiting = await transport.offer(TestApp(), BOB)
    offer = await transport.offer(TestApp(), BOB)
    answer = await other.answer(offer.sdp, TestApp(), ALICE)
    a, b = await asyncio.gather(offer.connect(answer.sdp, timeout=5), answer.connect(timeout=5))
    await transport.close()
    assert a.closed and isinstance(a, PeerLink)
    await b.wait_closed()
    assert not transport._links and not transport._pending
    await _fails_with(waiting.connect(timeout=1), PeerUnreachable)
    await other.close()


async def test_links_leave_no_tasks_behind() -> None:
    before = asyncio.all_tasks()
    async with linked(TestApp()) as pair:
        pending = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        await until(lambda: pair.b._ends)
    with contextlib.suppress(PeerUnreachable):
        await pending
    await until(lambda: asyncio.all_tasks() <= before)
