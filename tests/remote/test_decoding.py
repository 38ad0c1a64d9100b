"""Compressed answers, honest ones and bombs."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator

import pytest

from peerpouch.errors import ConnectionFailed, ProtocolError
from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response
from peerpouch.remote.client import AnswerTooLarge, Client
from peerpouch.remote.decoding import STEP, decoded


class _Pieces(AsyncByteStream):
    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def _response(*pieces: bytes, coding: str = "gzip") -> Response:
    return Response(200, headers={"content-encoding": coding}, stream=_Pieces(list(pieces)))


async def _read(response: Response) -> bytes:
    return b"".join([data async for data in decoded(response)])


_BOMB_SIZE = 64 << 20
_BOMB = gzip.compress(bytes(_BOMB_SIZE))


@pytest.mark.parametrize("step", [1, 7, 10_000])
async def test_a_body_is_decoded_however_it_is_cut(step: int) -> None:
    body = b"".join(b"line %d\n" % n for n in range(2000))
    data = gzip.compress(body)
    assert await _read(_response(*(data[at : at + step] for at in range(0, len(data), step)))) == body


async def test_what_is_not_compressed_and_what_is_empty_pass() -> None:
    assert await _read(_response(b"plain", coding="identity")) == b"plain"
    assert await _read(_response()) == b""


async def test_a_portion_that_was_flushed_comes_at_once() -> None:
    deflate = zlib.compressobj(1, zlib.DEFLATED, 31)
    first = deflate.compress(b"line\n") + deflate.flush(zlib.Z_SYNC_FLUSH)
    never = asyncio.Event()

    class Feed(AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield first
            await never.wait()

    chunks = decoded(Response(200, headers={"content-encoding": "gzip"}, stream=Feed()))
    assert await asyncio.wait_for(anext(chunks), 5) == b"line\n"
    await chunks.aclose()


@pytest.mark.parametrize(
    ("pieces", "coding", "error"),
    [
        ((gzip.compress(b"x" * 500)[:-9],), "gzip", ConnectionFailed),
        ((b"this is no gzip at all",), "gzip", ProtocolError),
        ((gzip.compress(b"a") + b"behind",), "gzip", ProtocolError),
        ((gzip.compress(gzip.compress(b"a")),), "gzip, gzip", ProtocolError),
        ((b"x",), "br", ProtocolError),
        ((b"x",), "zstd", ProtocolError),
    ],
)
async def test_what_is_not_one_whole_gzip_member_is_an_error(
    pieces: tuple[bytes, ...], coding: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await _read(_response(*pieces, coding=coding))


class _Answers(Exchange):
    def __init__(self, response: Response) -> None:
        self._response = response

    async def handle_async_request(self, request: Request) -> Response:
        return self._response


async def _highest_while_reading(limit: int) -> int:
    response = _response(_BOMB)
    client = Client(_Answers(response), "http://peer/share")
    tracemalloc.start()
    try:
        with pytest.raises(AnswerTooLarge):
            await client.read(response, limit)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_a_bomb_is_noticed_at_the_limit_and_not_when_it_has_gone_off() -> None:
    assert len(_BOMB) < 100_000  # it comes as one chunk
    assert await _highest_while_reading(1 << 20) < 4 << 20


async def test_twin_without_steps_it_goes_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerpouch.remote.decoding.STEP", 0)  # zlib's word for no bound
    assert await _highest_while_reading(1 << 20) >= _BOMB_SIZE


async def test_a_bomb_keeps_nobody_else_from_working() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    async for _ in decoded(_response(_BOMB)):
        pass
    task.cancel()
    assert turns >= _BOMB_SIZE // STEP // 2
