"""Pushing large attachments over lines that break off."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from peerpouch.couchapi import staging
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.staging import Uploads
from peerpouch.errors import BadRequest, ConnectionFailed, NotFound, PeerUnreachable, ProtocolError
from peerpouch.exchange import AsyncByteStream, Exchange, Request, Response
from peerpouch.node.databases import open_file
from peerpouch.ports import Database, ReplicationOptions, WriteFailure
from peerpouch.remote import RemoteDatabase
from peerpouch.remote import uploads as sending
from peerpouch.replication import PipelinedReplicator
from tests.couchapi.support import Api, served
from tests.replication.memory import ManualClock

SIZE = 9_000_000
DATA = random.Random(7).randbytes(SIZE)
PIECE = 16_384
LOST = 4 * PIECE
"""Bytes that were sent and had not arrived when the line was cut."""


class Line(Exchange):
    """A line that breaks off at the given bytes of what is sent in all, and counts these."""

    def __init__(self, inner: Exchange, cuts: list[int]) -> None:
        self.inner = inner
        self.cuts = cuts
        self.sent = 0
        self.asked: list[str] = []
        self.lose_answers = 0
        self.on_cut: Callable[[], Awaitable[None]] | None = None

    async def handle_async_request(self, request: Request) -> Response:
        path = request.url.raw_path.decode()
        self.asked.append(f"{request.method} {path}")
        cut = False
        line = self

        class Body(AsyncByteStream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                nonlocal cut
                held: list[bytes] = []
                assert isinstance(request.stream, AsyncByteStream)
                async for data in request.stream:
                    for at in range(0, len(data), PIECE):
                        held.append(data[at : at + PIECE])
                        line.sent += len(held[-1])
                        if line.cuts and line.sent >= line.cuts[0]:
                            line.cuts.pop(0)
                            cut = True
                            raise ConnectionFailed("The line was cut.")
                        if line.cuts and line.sent >= line.cuts[0] - LOST:
                            continue
                        for piece in held:
                            yield piece
                        held.clear()
                for piece in held:
                    yield piece

        body = request.stream if "content-length" not in request.headers else Body()
        sent = Request(request.method, request.url, headers=request.headers, stream=body)
        response: Response | None = None
        try:
            response = await self.inner.handle_async_request(sent)
        except ConnectionFailed:
            if not cut:
                raise
        lose = request.method == "PUT" and "_upload" in path and self.lose_answers > 0
        if cut or lose:
            self.lose_answers -= lose
            if response is not None:
                await response.aclose()
            if self.on_cut is not None:
                await self.on_cut()
            raise PeerUnreachable("The line was cut.")
        assert response is not None
        return response


@asynccontextmanager
async def line(*cuts: float, uploads: Uploads | None = None) -> AsyncIterator[tuple[Line, Api, RemoteDatabase]]:
    """A line to a server that offers uploads, which breaks off at these parts of the attachment."""
    here = Uploads() if uploads is None else uploads
    async with served(Limits(uploads=here)) as api:
        exchange = Line(api.exchange, [int(cut * SIZE) for cut in cuts])
        yield exchange, api, RemoteDatabase(exchange, "http://far.example/db")
        await here.close()


@asynccontextmanager
async def source(data: bytes = DATA) -> AsyncIterator[Database]:
    async with await open_file(":memory:") as database:
        await database.put({"_id": "small", "n": 1})
        entry = {"content_type": "image/png", "data": data}
        other = {"content_type": "text/plain", "data": b"little" * 20_000}
        await database.put({"_id": "large", "_attachments": {"a": entry, "b": other}})
        yield database


async def push(local: Database, remote: Database, **options: Any) -> Any:
    clock = ManualClock()
    running = PipelinedReplicator(clock, lambda: 0.5).replicate(local, remote, ReplicationOptions(**options))
    waiting = asyncio.ensure_future(running._finished())
    async with asyncio.timeout(60):
        while not waiting.done():
            clock.advance(5)
            await asyncio.sleep(0.001)
    return await waiting


async def arrived(api: Api) -> bool:
    there = api.registry.databases["db"]
    assert (await there.get("small"))["n"] == 1
    assert await (await there.get_attachment("large", "b")).read() == b"little" * 20_000
    return await (await there.get_attachment("large", "a")).read() == DATA


async def test_a_push_that_breaks_off_again_and_again_goes_on_where_it_was() -> None:
    # 70 % of all, and then 70 % of what was left, and so on.
    async with source() as local, line(0.7, 0.92, 0.97, 1.0) as (cable, api, remote):
        progress = await push(local, remote, retry=True)
        assert await arrived(api)
        assert not cable.cuts
        assert SIZE < cable.sent < 1.15 * SIZE
        assert progress.docs_written == 2
        begun = [asked for asked in cable.asked if "offset=0" in asked]
        assert len(begun) == 1 and not any(asked.startswith("PUT /db/large") for asked in cable.asked)


async def test_without_uploads_it_begins_anew_each_time() -> None:
    async with source() as local, served() as api:
        cable = Line(api.exchange, [int(part * SIZE) for part in (0.7, 1.4)])
        await push(local, RemoteDatabase(cable, "http://far.example/db"), retry=True)
        assert await arrived(api)
        assert cable.sent > 2.3 * SIZE
        assert not any("_upload" in asked for asked in cable.asked)


async def test_a_replication_that_is_started_again_goes_on_too() -> None:
    async with source() as local, line(0.7) as (cable, api, remote):
        with pytest.raises(ConnectionFailed):
            await push(local, remote)
        await push(local, remote)
        assert await arrived(api)
        assert cable.sent < 1.15 * SIZE


async def test_a_receiver_that_forgot_it_is_sent_all_of_it_anew() -> None:
    async with source() as local, line(0.7) as (cable, api, remote):

        async def restart() -> None:
            await api.app.limits.uploads.close()  # type: ignore[union-attr]
            object.__setattr__(api.app.limits, "uploads", Uploads())

        cable.on_cut = restart
        await push(local, remote, retry=True)
        assert await arrived(api)
        assert 1.6 * SIZE < cable.sent < 1.9 * SIZE
        await api.app.limits.uploads.close()  # type: ignore[union-attr]


async def test_a_receiver_that_came_back_without_uploads_is_sent_one_request() -> None:
    async with source() as local, line(0.7) as (cable, api, remote):

        async def replace() -> None:
            await api.app.limits.uploads.close()  # type: ignore[union-attr]
            object.__setattr__(api.app.limits, "uploads", None)

        cable.on_cut = replace
        progress = await push(local, remote, retry=True)
        assert await arrived(api) and progress.docs_failed == 0
        assert any(asked.startswith("PUT /db/large") for asked in cable.asked)


async def test_an_answer_that_was_lost_costs_no_second_upload() -> None:
    async with source() as local, line() as (cable, api, remote):
        cable.lose_answers = 1
        await push(local, remote, retry=True)
        assert await arrived(api)
        assert cable.sent < 1.1 * SIZE


async def test_where_there_is_no_room_it_goes_in_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "ALL", 0)
    async with source() as local, line() as (cable, api, remote):
        progress = await push(local, remote)
        assert await arrived(api) and progress.docs_failed == 0
        assert any(asked.startswith("PUT /db/large") for asked in cable.asked)


async def test_where_what_was_begun_is_never_there_it_goes_in_one_request() -> None:
    async with source() as local, line(0.1, 0.2, 0.3) as (cable, api, remote):

        async def forget() -> None:
            here = api.app.limits.uploads
            assert here is not None
            for upload in list(here._known.values()):
                here.drop(upload)

        cable.on_cut = forget
        await push(local, remote, retry=True)
        assert await arrived(api)
        assert len([asked for asked in cable.asked if "offset=0" in asked]) == sending.MOST_LOST
        assert any(asked.startswith("PUT /db/large") for asked in cable.asked)


async def test_what_was_garbled_on_its_way_is_sent_anew_and_never_written() -> None:
    async with source() as local, line() as (cable, api, remote):
        inner, garbled = cable.inner, 0

        class Garbling(Exchange):
            async def handle_async_request(self, request: Request) -> Response:
                nonlocal garbled
                stream = request.stream
                if "_upload" in str(request.url) and request.method == "PUT" and not garbled:
                    garbled += 1

                    class Body(AsyncByteStream):
                        async def __aiter__(self) -> AsyncIterator[bytes]:
                            at = 0
                            assert isinstance(stream, AsyncByteStream)
                            async for data in stream:
                                if at <= 5_000_000 < at + len(data):
                                    data = data[:-1] + bytes([data[-1] ^ 1])
                                at += len(data)
                                yield data

                    request = Request(request.method, request.url, headers=request.headers, stream=Body())
                return await inner.handle_async_request(request)

        cable.inner = Garbling()
        progress = await push(local, remote, retry=True)
        assert garbled == 1 and await arrived(api)
        assert progress.docs_failed == 0


async def test_small_documents_and_new_edits_go_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async with source(b"x" * 1_000_000) as local, line() as (cable, api, remote):
        await push(local, remote)
        entry = {"content_type": "image/png", "data": DATA}
        await remote.put({"_id": "new", "_attachments": {"a": entry}})
        assert not any("_upload" in asked for asked in cable.asked)
        assert await (await api.registry.databases["db"].get_attachment("new", "a")).read() == DATA


async def test_bytes_are_uploaded_too_and_a_refusal_is_the_documents_own() -> None:
    async with line(0.5) as (cable, _, remote):
        doc = {"_id": "d", "_rev": f"1-{'a' * 32}", "_attachments": {"a": {"data": DATA, "content_type": "a/b"}}}
        with pytest.raises(ConnectionFailed):
            await remote.bulk_docs([doc], new_edits=False)
        (written,) = await remote.bulk_docs([doc], new_edits=False)
        assert written.rev == doc["_rev"] and cable.sent < 1.15 * SIZE
        wrong = {**doc, "_id": "e", "_unknown": 1}
        (failure,) = await remote.bulk_docs([wrong], new_edits=False)
        assert isinstance(failure, WriteFailure) and isinstance(failure.error, BadRequest)
        with pytest.raises(NotFound):
            await remote.get("e")
        assert not remote._uploads._begun


async def test_the_same_revision_twice_at_once_is_written_once_each() -> None:
    async with line() as (_, _, remote):
        doc = {"_id": "d", "_rev": f"1-{'a' * 32}", "_attachments": {"a": {"data": DATA, "content_type": "a/b"}}}
        results = await asyncio.gather(*(remote.bulk_docs([dict(doc)], new_edits=False) for _ in range(3)))
        assert [row.rev for (row,) in results] == [doc["_rev"]] * 3
        assert await (await remote.get_attachment("d", "a")).read() == DATA


@pytest.mark.parametrize("offset", [0, 1, 99, 100, 101, 2_000_000, 3_333_333, 6_000_000, 6_000_131, 6_000_132])
async def test_from_every_byte_the_body_is_the_same(offset: int) -> None:
    class Stream:
        def __init__(self) -> None:
            self.begun: list[int] = []

        async def read_from(self, offset: int) -> AsyncIterator[bytes]:
            self.begun.append(offset)
            for at in range(offset, 6_000_000, 70_000):
                yield DATA[at : min(at + 70_000, 6_000_000)]

    stream = Stream()
    pieces: list[sending.Piece] = [(50, b"h" * 50), (6_000_000, stream), (50, b"t" * 50)]
    whole = b"h" * 50 + DATA[:6_000_000] + b"t" * 50
    whole += hashlib.sha256(whole).digest()
    upload = sending._Upload("n", "b", length=len(whole))
    assert b"".join([chunk async for chunk in sending._body(upload, pieces, 0)]) == whole
    stream.begun.clear()
    assert b"".join([chunk async for chunk in sending._body(upload, pieces, offset)]) == whole[offset:]
    assert all(offset - 50 - begun <= sending._LEAST_MARK + 70_000 for begun in stream.begun)


async def test_offsets_that_can_not_be_are_no_offsets() -> None:
    answers: list[Any] = [{"offset": -1, "length": SIZE}, {"offset": 1, "length": 2}, {"offset": True}, {}, []]
    for answer in answers:
        async with line(0.5) as (cable, _, remote):
            doc = {"_id": "d", "_rev": f"1-{'a' * 32}", "_attachments": {"a": {"data": DATA, "content_type": "a/b"}}}
            with pytest.raises(ConnectionFailed):
                await remote.bulk_docs([doc], new_edits=False)

            class Lying(Exchange):
                async def handle_async_request(self, request: Request, answer: Any = answer) -> Response:
                    return Response(200, json=answer, request=request)

            cable.inner = Lying()

            with pytest.raises(ProtocolError):
                await remote.bulk_docs([doc], new_edits=False)
