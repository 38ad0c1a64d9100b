"""ICE restart: when a link is in trouble, and that another path loses nothing."""

from __future__ import annotations

import asyncio
import re

import pytest

from peerpouch.errors import InvalidSignal, NotSupported, PeerUnreachable
from peerpouch.exchange import Exchange, Request, Response
from peerpouch.transports.webrtc import link as link_module
from peerpouch.transports.webrtc.link import PeerLink
from peerpouch.transports.webrtc.pathwatch import ANSWER_WITHIN, PathWatch
from peerpouch.transports.webrtc.sdp import fingerprints
from tests.transports.harness import SCALE, FakeClock, Linked, TestApp, linked, until

HOME, AWAY, NOWHERE = ("192.0.2.1",), ("198.51.100.7",), ()


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """This machine's addresses: the first of the list."""
    current: list[tuple[str, ...]] = [HOME]
    monkeypatch.setattr(link_module, "own_addresses", lambda: current[0])
    return current


async def _get(exchange: Exchange, target: str) -> Response:
    return await exchange.handle_async_request(Request("GET", "http://peer" + target))


def _break(pair: Linked) -> None:
    """The path leads nowhere from now on; SCTP keeps what it was given, and tries again."""
    for channel in pair.channels:
        channel.hold = True


async def _restart(one: PeerLink, two: PeerLink) -> None:
    await one.restarted(await two.answer_restart(await one.restart()))


async def _in_trouble(link: PeerLink) -> bool:
    waiting = asyncio.ensure_future(link.troubled())
    await asyncio.sleep(0)
    found = waiting.done()
    waiting.cancel()
    return found


def _closed(pair: Linked) -> list[bool]:
    return [pair.a.closed, pair.b.closed]


# When


def test_silence_after_an_unanswered_ping_is_trouble_and_a_sign_of_life_ends_it() -> None:
    watch = PathWatch(HOME)
    watch.check(5.9, 5.9, lambda: HOME)
    assert not watch.trouble.is_set()
    watch.check(6.0, 6.0, lambda: HOME)
    assert watch.trouble.is_set()
    watch.heard()
    assert not watch.trouble.is_set()


def test_another_address_is_trouble_if_a_ping_is_not_answered() -> None:
    watch = PathWatch(HOME)
    assert not watch.check(1.0, 1.0, lambda: HOME)
    assert watch.check(2.0, 0.1, lambda: AWAY)  # ask now
    assert watch.soon == ANSWER_WITHIN
    assert not watch.trouble.is_set()
    watch.check(2.0 + ANSWER_WITHIN, 1.6, lambda: AWAY)
    assert watch.trouble.is_set()


def test_another_address_of_a_path_that_works_is_none() -> None:
    watch = PathWatch(HOME)
    assert watch.check(2.0, 0.1, lambda: AWAY)
    watch.heard()
    assert not watch.check(4.0, 0.1, lambda: AWAY)
    assert not watch.trouble.is_set()


def test_without_a_network_there_is_no_other_path_until_one_comes() -> None:
    watch = PathWatch(HOME)
    assert not watch.check(6.0, 6.0, lambda: NOWHERE)
    assert not watch.trouble.is_set()
    assert watch.check(8.0, 8.0, lambda: AWAY)
    assert watch.trouble.is_set()


async def test_a_link_notices_its_new_address_before_its_silence(addresses: list[tuple[str, ...]]) -> None:
    clock = FakeClock()
    async with linked(TestApp(), clock=clock) as pair:
        await clock.advance(1)
        _break(pair)
        addresses[0] = AWAY
        await clock.advance(4.9, step=0.1)
        assert await _in_trouble(pair.a)


async def test_a_link_whose_path_works_is_in_no_trouble_at_another_address(addresses: list[tuple[str, ...]]) -> None:
    clock = FakeClock()
    async with linked(TestApp(), clock=clock) as pair:
        addresses[0] = AWAY
        for _ in range(100):
            await clock.advance(0.1, step=0.1)
            assert not await _in_trouble(pair.a)


# What


async def test_a_restart_in_time_loses_nothing(addresses: list[tuple[str, ...]]) -> None:
    clock, app = FakeClock(), TestApp()
    async with linked(app, clock=clock) as pair:
        waiting = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        bulk = await _get(pair.a.exchange, "/bytes/3000000")
        _break(pair)
        await clock.advance(7)
        assert [await _in_trouble(end) for end in (pair.a, pair.b)] == [True, True]
        await _restart(pair.a, pair.b)
        await clock.advance(30)
        assert _closed(pair) == [False, False]
        assert not await _in_trouble(pair.a)
        assert len(await bulk.aread()) == 3_000_000
        app.hold.set()
        assert (await waiting).status_code == 204


async def test_twin_without_a_restart_all_is_lost(addresses: list[tuple[str, ...]]) -> None:
    clock = FakeClock()
    async with linked(TestApp(), clock=clock) as pair:
        waiting = asyncio.create_task(_get(pair.a.exchange, "/wait"))
        _break(pair)
        await clock.advance(10)
        with pytest.raises(PeerUnreachable):
            await waiting


async def test_a_restart_gives_the_path_three_seconds_more_and_no_longer(addresses: list[tuple[str, ...]]) -> None:
    clock = FakeClock()
    async with linked(TestApp(), clock=clock) as pair:
        _break(pair)
        await clock.advance(8.5)
        offer = await pair.a.restart()
        answer = await pair.b.answer_restart(offer)
        pair.a._engine.under_way = False  # type: ignore[attr-defined]  # the other path leads nowhere, either
        await pair.a.restarted(answer)
        await clock.advance(2)
        assert _closed(pair) == [False, False]
        await clock.advance(2)
        assert _closed(pair) == [True, True]


async def test_a_restart_of_another_connection_is_refused() -> None:
    async with linked(TestApp()) as pair, linked(TestApp()) as other:
        stranger = await other.a.restart()
        with pytest.raises(InvalidSignal, match="not of this connection"):
            await pair.b.answer_restart(stranger)
        await pair.a.restart()
        with pytest.raises(InvalidSignal, match="not of this connection"):
            await pair.a.restarted(await other.b.answer_restart(stranger))
        with pytest.raises(InvalidSignal):
            await pair.b.answer_restart("v=0 and no more")
        await _restart(pair.a, pair.b)


async def test_twin_without_the_check_another_connections_description_reaches_the_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PeerLink, "_check_same", lambda self, sdp: None)
    async with linked(TestApp()) as pair, linked(TestApp()) as other:
        await pair.b.answer_restart(await other.a.restart())
        assert pair.b._engine.channel.other is other.a._channel  # type: ignore[attr-defined]


async def test_a_link_that_has_ended_is_not_restarted() -> None:
    async with linked(TestApp()) as pair:
        offer = await pair.a.restart()
        await pair.b.close()
        with pytest.raises(PeerUnreachable):
            await pair.b.answer_restart(offer)
        with pytest.raises(PeerUnreachable):
            await pair.b.restart()
        await pair.b.take_back()


# The engines


def _credentials(sdp: str) -> str:
    found = re.search(r"a=ice-ufrag:(\S+)", sdp)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("by_offerer", [True, False])
async def test_wrtc_restarts_under_way_with_new_credentials_and_the_same_certificate(by_offerer: bool) -> None:
    async with linked(TestApp(), engines=("wrtc", "wrtc")) as pair:
        one, two = (pair.a, pair.b) if by_offerer else (pair.b, pair.a)
        bulk = await _get(pair.a.exchange, "/bytes/20000000")
        reading = asyncio.create_task(bulk.aread())
        await until(lambda: pair.a._received > 1_000_000)
        offer = await one.restart()
        assert "a=candidate:" in offer
        answer = await two.answer_restart(offer)
        assert "a=candidate:" in answer
        await one.restarted(answer)
        again = await one.restart()
        assert _credentials(again) != _credentials(offer) and fingerprints(again) == fingerprints(offer)
        await one.take_back()
        async with asyncio.timeout(30 * SCALE):
            assert len(await reading) == 20_000_000
        assert (await _get(pair.b.exchange, "/empty")).status_code == 204


async def test_wrtc_takes_its_offer_back_for_the_others() -> None:
    async with linked(TestApp(), engines=("wrtc", "wrtc")) as pair:
        await pair.a.restart()
        await _restart(pair.b, pair.a)
        await pair.a.take_back()
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204
        await _restart(pair.a, pair.b)
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204


async def test_aiortc_says_that_it_can_not() -> None:
    async with linked(TestApp(), engines=("aiortc", "aiortc")) as pair:
        assert not pair.a.can_restart
        with pytest.raises(NotSupported):
            await pair.a.restart()
        await pair.a.take_back()
        assert (await _get(pair.a.exchange, "/empty")).status_code == 204
