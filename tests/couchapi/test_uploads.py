"""Uploads that go on where they broke off, and what may not be done with them."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.access.gate import GatedDatabase
from peerpouch.core import jsonio
from peerpouch.core.multipart import closing, part_head
from peerpouch.core.policy import Access
from peerpouch.couchapi import staging
from peerpouch.couchapi.limits import Limits
from peerpouch.couchapi.spool import Key
from peerpouch.couchapi.staging import Upload, Uploads
from peerpouch.errors import ConnectionFailed
from peerpouch.node.databases import LocalDatabase
from peerpouch.ports import Database, Peer, Principal, User
from peerpouch.transports.inprocess import AppExchange
from tests.couchapi.support import Answer, Api, served

DATA = bytes(range(256)) * 12_000
BOUNDARY = "b" * 32
TYPE = {"content-type": f'multipart/related; boundary="{BOUNDARY}"'}
NAME = "0123456789abcdef" * 2


def body_of(data: bytes = DATA, *, doc_id: str = "d", digest: bytes | None = None, length: int | None = None) -> bytes:
    """A body as it is uploaded, with one attachment."""
    entry = {"content_type": "image/png", "follows": True, "length": len(data) if length is None else length}
    doc = {"_id": doc_id, "_rev": f"1-{'a' * 32}", "_attachments": {"f": entry}}
    body = part_head(BOUNDARY, {"Content-Type": "application/json"}, first=True) + jsonio.dumps(doc)
    body += part_head(BOUNDARY, {"Content-Type": "image/png"}) + data + closing(BOUNDARY)
    return body + (hashlib.sha256(body).digest() if digest is None else digest)


BODY = body_of()
CUT = len(BODY) * 7 // 10


async def put(
    api: Api, data: bytes, offset: int = 0, *, name: str = NAME, length: int | None = None, doc: str = "d"
) -> Answer:
    path = f"/db/_upload/{name}?doc={doc}&length={len(BODY) if length is None else length}&offset={offset}"
    return await api.put(path, content=data, headers=TYPE)


async def offset_of(api: Api, name: str = NAME) -> Any:
    answer = await api.get(f"/db/_upload/{name}")
    return answer.json["offset"] if answer.status == 200 else answer.status


@pytest.fixture
async def uploads() -> AsyncIterator[Uploads]:
    uploads = Uploads()
    yield uploads
    await uploads.close()


@pytest.fixture
async def api(uploads: Uploads) -> AsyncIterator[Api]:
    async with served(Limits(uploads=uploads)) as api:
        yield api


async def content(api: Api, doc: str = "d") -> bytes | int:
    answer = await api.get(f"/db/{doc}/f")
    return answer.body if answer.status == 200 else answer.status


async def rows(api: Api) -> int:
    """Contents in the file, finished or not."""
    database = api.registry.databases["db"]
    assert isinstance(database, LocalDatabase)
    engine = database._engine
    found: int = await engine.read(lambda c: c.execute("SELECT count(*) FROM contents").get)
    return found


def broken(data: bytes, piece: int = 50_000) -> AsyncIterator[bytes]:
    async def stream() -> AsyncIterator[bytes]:
        for at in range(0, len(data), piece):
            yield data[at : at + piece]
        raise ConnectionFailed("The line was cut.")

    return stream()


async def begun(api: Api, upto: int = CUT, **more: Any) -> None:
    answer = await put(api, broken(BODY[:upto]), **more)  # type: ignore[arg-type]
    assert answer.status == 503
    assert await offset_of(api, more.get("name", NAME)) == upto


async def test_it_goes_on_where_it_broke_off_and_is_whole(api: Api) -> None:
    assert (await api.get("/db")).json["uploads"] == 1
    await begun(api)
    assert await content(api) == 404  # nothing is written before all of it is there
    answer = await put(api, BODY[CUT:], CUT)
    assert (answer.status, answer.json["rev"]) == (201, f"1-{'a' * 32}")
    assert await content(api) == DATA
    # Whose answer was lost asks again, and is told the same.
    assert await offset_of(api) == len(BODY)
    again = await put(api, b"", len(BODY))
    assert (again.status, again.json) == (201, answer.json)


async def test_in_pieces_of_any_size(api: Api) -> None:
    body = body_of(b"content" * 30)
    for size in (1, 7, 31, 32, 33, 127, 128, 129):
        name = f"{size:032x}"
        for at in range(0, len(body), size):
            answer = await put(api, body[at : at + size], at, name=name, length=len(body))
            assert answer.status == (201 if at + size >= len(body) else 202)
        assert await content(api) == b"content" * 30


@pytest.mark.parametrize("offset", [0, 1, CUT - 1, CUT + 1, len(BODY)])
async def test_at_any_other_byte_nothing_is_taken(api: Api, offset: int) -> None:
    await begun(api)
    answer = await put(api, BODY[offset:], offset)
    assert answer.status == 416
    assert await offset_of(api) == CUT
    assert (await put(api, BODY[CUT:], CUT)).status == 201
    assert await content(api) == DATA


async def test_without_the_comparison_of_offsets_a_piece_is_taken_twice(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(api)
    take = Upload.take
    monkeypatch.setattr(Upload, "take", lambda self, offset, body: take(self, self.offset, body))
    assert (await put(api, BODY[CUT - 1000 : CUT], CUT - 1000)).status == 202
    assert await offset_of(api) == CUT + 1000


async def test_what_differs_in_a_bit_is_never_written(api: Api) -> None:
    for at in (len(BODY) // 2, len(BODY) - 200, len(BODY) - 1):
        wrong = bytearray(BODY)
        wrong[at] ^= 1
        answer = await put(api, bytes(wrong))
        assert (answer.status, answer.json["error"]) == (400, "content_md5_mismatch")
        assert await content(api) == 404
        assert await offset_of(api) == 404
    assert await rows(api) == 0


async def test_without_the_digest_it_would_be_written(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unchecked(self: Upload, turn: int) -> None:
        await self._pass(len(self._end) - staging.DIGEST, turn)
        self._complete = True

    monkeypatch.setattr(Upload, "_finish", unchecked)
    wrong = bytearray(BODY)
    wrong[len(BODY) // 2] ^= 1
    assert (await put(api, bytes(wrong))).status == 201
    assert await content(api) != DATA


async def test_more_than_was_announced_ends_it(api: Api) -> None:
    await begun(api)
    assert (await put(api, BODY[CUT:] + b"x", CUT)).status in (201, 400)
    assert (await put(api, BODY, name="f" * 32, length=len(BODY) - 1)).status == 400
    assert await offset_of(api, "f" * 32) == 404
    # An attachment that is longer or shorter than its document says is refused, as in one request.
    for length in (len(DATA) - 1, len(DATA) + 1):
        body = body_of(length=length, doc_id="e")
        assert (await put(api, body, name="e" * 32, length=len(body), doc="e")).status == 400
    assert await content(api, "e") == 404


@pytest.mark.parametrize(
    "query",
    ["", "?doc=d&length=5&offset=0", "?doc=d&length=-1&offset=0", "?length=500&offset=0", "?doc=d&offset=0",
     "?doc=_local/x&length=500&offset=0", "?doc=d&length=500&offset=x", "?doc=d&length=500"],
)  # fmt: skip
async def test_malformed_requests_begin_nothing(api: Api, uploads: Uploads, query: str) -> None:
    assert (await api.put(f"/db/_upload/{NAME}{query}", content=b"x" * 500, headers=TYPE)).status == 400
    assert (await put(api, BODY, name="short")).status == 400
    assert (await put(api, BODY, 5, name="f" * 32)).status == 416
    assert not uploads._known


async def test_of_another_document_or_length_it_is_another_upload(api: Api) -> None:
    await begun(api)
    assert (await put(api, BODY[CUT:], CUT, doc="other")).status == 400
    assert (await put(api, BODY[CUT:], CUT, length=len(BODY) + 1)).status == 400
    assert await offset_of(api) == CUT


async def test_who_asks_how_much_came_ends_the_request_that_brought_it(api: Api) -> None:
    more, started = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield BODY[:100_000]
        started.set()
        await more.wait()
        yield BODY[100_000:]

    first = asyncio.ensure_future(put(api, slow()))  # type: ignore[arg-type]
    await started.wait()
    assert await offset_of(api) == 100_000
    more.set()
    assert (await first).status == 503
    assert await offset_of(api) == 100_000
    assert (await put(api, BODY[100_000:], 100_000)).status == 201
    assert await content(api) == DATA


async def test_a_cancelled_request_loses_no_byte_that_was_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in (len(BODY) - 300, len(BODY) - 100, len(BODY)):
        name = f"{cut:032x}"
        stuck = asyncio.Event()

        async def stay(self: Upload, size: int, turn: int, stuck: asyncio.Event = stuck) -> None:
            stuck.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(Upload, "_pass", stay)
            sending = asyncio.ensure_future(put(api, BODY[:cut], name=name))
            await stuck.wait()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        assert await offset_of(api, name) == cut
        assert (await put(api, BODY[cut:], cut, name=name)).status == 201
        assert await content(api) == DATA


# Others


def visitors(api: Api, who: Principal, access: Access | None = None) -> Api:
    """The same application, for somebody else."""
    other = Api(api.app, api.registry)
    other.exchange = AppExchange(api.app, who)
    if access is not None:
        open_as = api.registry.open

        async def gated(name: str, principal: Principal) -> Database:
            database = await open_as(name, principal)
            return database if principal != who else GatedDatabase(database, who, access, name=name)

        api.registry.open = gated  # type: ignore[method-assign]
    return other


async def test_others_neither_see_it_nor_go_on_with_it_nor_end_it(api: Api) -> None:
    await begun(api)
    eve = visitors(api, User("eve"))
    missing = await eve.get(f"/db/_upload/{'f' * 32}")
    assert (await eve.get(f"/db/_upload/{NAME}")).json == missing.json
    assert (await put(eve, BODY[CUT:], CUT)).status == 416
    assert (await put(eve, b"evil" * 100)).status == 202  # one of her own, under the same name
    assert await offset_of(api) == CUT
    assert (await put(api, BODY[CUT:], CUT)).status == 201
    assert await content(api) == DATA


async def test_without_the_owner_in_its_key_others_could_spoil_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from peerpouch.couchapi import uploads as handlers

    monkeypatch.setattr(handlers, "_key", lambda request: Key("all", "db", request.values["upload"]))
    await begun(api)
    eve = visitors(api, User("eve"))
    assert await offset_of(eve) == CUT
    assert (await put(eve, b"evil", CUT)).status == 202
    assert (await put(api, BODY[CUT + 4 :], CUT + 4)).status == 400


async def test_a_peers_next_session_goes_on_with_it(api: Api) -> None:
    await begun(visitors(api, Peer(b"k" * 32, "one")))
    later = visitors(api, Peer(b"k" * 32, "two"))
    assert await offset_of(later) == CUT
    assert (await put(later, BODY[CUT:], CUT)).status == 201
    assert await offset_of(visitors(api, Peer(b"q" * 32, "one"))) == 404


async def test_naming_a_digest_gives_no_content(api: Api) -> None:
    """An upload is content and nothing else: a stub in it stands for what the document itself has, as ever."""
    secret = await api.put("/db/secret/f", content=DATA, headers={"content-type": "image/png"})
    digest = (await api.get("/db/secret")).json["_attachments"]["f"]["digest"]
    assert secret.status == 201
    await begun(api)
    entry = {"content_type": "image/png", "stub": True, "digest": digest, "length": len(DATA)}
    doc = {"_id": "mine", "_rev": f"1-{'c' * 32}", "_attachments": {"f": entry}, "filling": "x" * 200}
    body = part_head(BOUNDARY, {"Content-Type": "application/json"}, first=True) + jsonio.dumps(doc) + closing(BOUNDARY)
    body += hashlib.sha256(body).digest()
    eve = visitors(api, User("eve"), Access())
    answer = await put(eve, body, length=len(body), doc="mine")
    assert answer.status == 412 and answer.json["error"] == "missing_stub"
    assert await content(api, "mine") == 404


@pytest.mark.parametrize("access", [Access(write=False), Access(read=False, write=False)])
async def test_who_may_not_write_begins_nothing(api: Api, uploads: Uploads, access: Access) -> None:
    eve = visitors(api, Peer(b"e" * 32, "s"), access)
    assert (await put(eve, BODY)).status == 403
    assert not uploads._known and await rows(api) == 0


async def test_design_documents_are_refused_to_who_may_not_write_them(api: Api, uploads: Uploads) -> None:
    eve = visitors(api, Peer(b"e" * 32, "s"), Access())
    assert (await put(eve, BODY, doc="_design/d")).status == 403
    assert not uploads._known


@pytest.mark.parametrize("how", ["before", "meanwhile"])
async def test_who_loses_the_right_to_write_does_not_finish_it(api: Api, uploads: Uploads, how: str) -> None:
    await begun(api := visitors(api, Peer(b"e" * 32, "s"), Access()))
    (upload,) = uploads._known.values()
    gate: Any = upload.database
    if how == "before":
        gate.revoke()
        assert (await put(api, BODY[CUT:], CUT)).status == 403
    else:

        async def late() -> AsyncIterator[bytes]:
            yield BODY[CUT:-10]
            gate.revoke()
            yield BODY[-10:]

        assert (await put(api, late(), CUT)).status == 403  # type: ignore[arg-type]
    assert await offset_of(api) == 404
    await asyncio.wait([upload.task])
    assert upload.task.cancelled() and await content(api) == 404


async def test_without_being_asked_again_a_revoked_visitor_would_finish_it(
    api: Api, uploads: Uploads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def yes(self: GatedDatabase, doc_id: str) -> None: ...

    monkeypatch.setattr(GatedDatabase, "check_write", yes)
    await begun(api := visitors(api, Peer(b"e" * 32, "s"), Access()))
    (upload,) = uploads._known.values()
    upload.database.revoke()  # type: ignore[attr-defined]
    assert (await put(api, BODY[CUT:], CUT)).status == 201


# Bounds


async def test_a_flood_of_uploads_is_bounded_for_one_and_for_all(api: Api, uploads: Uploads) -> None:
    await begun(api)
    eve = visitors(api, User("eve"))
    for number in range(staging.EACH * 3):
        assert (await put(eve, BODY[:2000], name=f"{number:032x}")).status == 202
    assert len(uploads._known) == staging.EACH + 1
    # The oldest made room, and only her own.
    assert await offset_of(eve, f"{0:032x}") == 404
    assert await offset_of(eve, f"{staging.EACH * 3 - 1:032x}") == 2000
    assert await offset_of(api) == CUT
    others = [await put(visitors(api, User(f"mallory-{n}")), BODY[:2000]) for n in range(staging.ALL * 2)]
    assert {answer.status for answer in others} == {202, 429} and others[-1].status == 429
    assert len(uploads._known) == staging.ALL
    assert await offset_of(api) == CUT
    assert (await put(api, BODY[CUT:], CUT)).status == 201


async def test_one_that_made_room_is_not_kept_in_memory(api: Api, uploads: Uploads) -> None:
    kept: weakref.WeakSet[Upload] = weakref.WeakSet()
    for number in range(staging.EACH * 4):
        await put(api, BODY[:2000], name=f"{number:032x}")
        kept.add(list(uploads._known.values())[-1])
    async with asyncio.timeout(10):
        while len(kept) > staging.EACH:
            gc.collect()
            await asyncio.sleep(0.01)


async def test_bytes_are_bounded_too(api: Api, uploads: Uploads) -> None:
    assert (await put(api, b"x", length=staging.EACH_BYTES + 1)).status == 429
    for number in range(8):
        await put(visitors(api, User(f"{number}")), b"x" * 200, length=staging.EACH_BYTES)
    assert sum(upload.length for upload in uploads._known.values()) <= staging.ALL_BYTES


async def test_those_that_are_being_sent_are_not_ended_for_others(api: Api, uploads: Uploads) -> None:
    stay, tasks = asyncio.Event(), []

    async def slow() -> AsyncIterator[bytes]:
        yield BODY[:1000]
        await stay.wait()
        yield BODY[1000:]

    for number in range(staging.EACH):
        tasks.append(asyncio.ensure_future(put(api, slow(), name=f"{number:032x}")))  # type: ignore[arg-type]
    while len(uploads._known) < staging.EACH or any(u.offset < 1000 for u in uploads._known.values()):
        await asyncio.sleep(0)
    assert (await put(api, BODY)).status == 429
    stay.set()
    assert {answer.status for answer in await asyncio.gather(*tasks)} == {201}


async def test_one_that_rests_for_too_long_is_given_up_and_what_was_staged_is_removed() -> None:
    uploads = Uploads(rest=0.05)
    async with served(Limits(uploads=uploads)) as api:
        answer = await put(api, BODY[:-200])
        assert answer.status == 202
        (upload,) = uploads._known.values()
        async with asyncio.timeout(10):
            while uploads._known or not upload.task.done() or await rows(api):
                await asyncio.sleep(0.01)
        assert await offset_of(api) == 404
        uploads._rest = staging.REST
        assert (await put(api, BODY)).status == 201
        await uploads.close()


async def test_closing_ends_all_and_leaves_nothing_staged(api: Api, uploads: Uploads) -> None:
    await begun(api, len(BODY) - 200)
    assert await rows(api) == 1
    await uploads.close()
    assert await rows(api) == 0
    assert (await put(api, BODY)).status == 429


async def test_where_there_are_none_they_are_not_offered() -> None:
    async with served() as api:
        assert "uploads" not in (await api.get("/db")).json
        assert (await put(api, BODY)).status == 501
