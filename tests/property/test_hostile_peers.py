"""A link whose peer sends what it likes: only documented errors, nothing that hangs, nothing left behind."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerpouch.errors import PeerPouchError, PeerUnreachable, ProtocolError
from peerpouch.exchange import Request
from peerpouch.remote.decoding import decoded
from peerpouch.transports.webrtc.link import PeerLink
from peerpouch.wire import Limits, frames
from peerpouch.wire.frames import Flag, FrameType, RequestHead, ResponseHead, frame
from tests.transports.harness import BOB, FakeClock, MemoryChannel, MemoryConnection, TestApp

_HELLO = frame(FrameType.HELLO, 0, frames.encode_hello(Limits(), 1))
_GZIPPED = ResponseHead(200, ((b"content-type", b"application/json"), (b"content-encoding", b"gzip")))
_requests = st.builds(
    lambda path, stream, end: frame(FrameType.REQUEST, stream, frames.encode_request(RequestHead(b"POST", path)), end),
    st.sampled_from([b"/echo", b"/feed", b"/deaf", b"/wait", b"/bytes/100000", b"/fail-after", b"/nonesuch", b"/"]),
    st.integers(0, 40),
    st.integers(0, 1),
)
_responses = st.builds(
    lambda head, stream, end: frame(FrameType.RESPONSE, stream, frames.encode_response(head), end),
    st.sampled_from([ResponseHead(200), ResponseHead(404), _GZIPPED]),
    st.integers(0, 12),
    st.integers(0, 1),
)
_bodies = st.builds(
    lambda data, stream, end: frame(FrameType.DATA, stream, data, end),
    st.one_of(st.binary(max_size=50), st.sampled_from([gzip.compress(b"[]"), gzip.compress(bytes(100_000))[:60]])),
    st.integers(0, 40),
    st.integers(0, 1),
)
_others = st.builds(frame, st.integers(0, 12), st.integers(0, 12), st.binary(max_size=20), st.integers(0, 3))
_frames = st.lists(st.one_of(_requests, _responses, _bodies, _others), min_size=1, max_size=5).map(b"".join)
_messages = st.lists(st.one_of(_frames, st.binary(max_size=40)), max_size=15)


async def _ask(link: PeerLink, path: str) -> None:
    request = Request("GET", f"http://peer{path}", headers={"accept-encoding": "gzip"})
    response = await link.exchange.handle_async_request(request)
    async for _ in decoded(response):
        pass


async def _meet(messages: list[bytes]) -> list[Any]:
    """Let a peer say all that, while three requests of ours are under way; gives what came of each."""
    loop = asyncio.get_running_loop()
    surprises: list[Any] = []
    loop.set_exception_handler(lambda loop, context: surprises.append(context))
    ours, theirs = MemoryConnection(), MemoryChannel()
    ours.channel.other = theirs
    theirs.other = ours.channel
    theirs.attach(lambda message: None, lambda: None, lambda: None)
    clock = FakeClock()
    link = PeerLink(ours, ours.channel, offerer=True, app=TestApp(), peer=BOB, clock=clock, name="memory")
    ours.channel.arrive(_HELLO)
    asking = [asyncio.create_task(_ask(link, f"/{number}")) for number in range(3)]
    for _ in range(20):  # the requests are on their way
        await asyncio.sleep(0)
    for message in messages:
        await asyncio.sleep(0)
        ours.channel.arrive(message)
    for _ in range(20):
        await asyncio.sleep(0)
    await clock.advance(30, step=1)  # a peer that says no more is given up
    async with asyncio.timeout(20):
        error = await link.wait_closed()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        await link.close()
    assert error is None or isinstance(error, (PeerUnreachable, ProtocolError)), error
    assert all(outcome is None or isinstance(outcome, PeerPouchError) for outcome in outcomes), outcomes
    assert not link._ends and ours.closed
    assert {task for task in asyncio.all_tasks() if not task.done()} == {asyncio.current_task()}
    assert not surprises, surprises
    return outcomes


@settings(max_examples=60, deadline=None)
@given(_messages)
def test_whatever_a_peer_sends_everything_ends_and_nothing_stays(messages: list[bytes]) -> None:
    asyncio.run(_meet(messages))


@pytest.mark.parametrize(
    ("body", "outcome"), [(gzip.compress(b"[]"), type(None)), (b"no gzip", ProtocolError)], ids=str
)
def test_the_fuzzing_reaches_the_decoder(body: bytes, outcome: type[object]) -> None:
    head = frame(FrameType.RESPONSE, 1, frames.encode_response(_GZIPPED))
    first, *others = asyncio.run(_meet([head, frame(FrameType.DATA, 1, body, Flag.END)]))
    assert type(first) is outcome
    assert {type(other) for other in others} == {PeerUnreachable}


async def _crumbs(total: int) -> int:
    """Queue so many bytes of a request's body that nobody reads, 16 by 16; gives the objects that wait."""
    ours, theirs = MemoryConnection(), MemoryChannel()
    ours.channel.other, theirs.other = theirs, ours.channel
    theirs.attach(lambda message: None, lambda: None, lambda: None)
    link = PeerLink(ours, ours.channel, offerer=True, app=TestApp(), peer=BOB, clock=FakeClock(), name="memory")
    ours.channel.arrive(_HELLO)
    ours.channel.arrive(frame(FrameType.REQUEST, 2, frames.encode_request(RequestHead(b"POST", b"/deaf"))))
    crumbs = frame(FrameType.DATA, 2, b"ab" * 8) * 1000
    for _ in range(total // 16_000):
        ours.channel.arrive(crumbs)
    (end,) = link._ends.values()
    waiting = list(end._chunks)
    link.end(None)
    await link.close()
    assert b"".join(waiting) == b"ab" * (total // 2)
    return len(waiting)


async def test_bytes_that_come_few_by_few_are_kept_as_few_objects() -> None:
    assert await _crumbs(96_000) <= 96_000 // 4096 + 1


async def test_twin_without_joining_each_frame_is_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerpouch.transports.webrtc.streams._JOINED", 0)
    assert await _crumbs(96_000) == 6_000
