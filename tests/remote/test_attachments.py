from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peerpouch.errors import BadRequest, ConnectionFailed, NotFound, ProtocolError, RangeNotSatisfiable
from peerpouch.ports import Attachment
from peerpouch.remote.attachments import SMALL, attachment_path
from tests.remote.support import Reply, database

DATA = bytes(range(256)) * 1000
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()


async def chunked(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def whole(data: bytes = DATA, headers: dict[str, str] | None = None) -> Reply:
    all_headers = {"content-type": "t/x", "content-length": str(len(data)), "etag": f'"{MD5}"', **(headers or {})}
    return Reply(chunked(data), headers=all_headers)


def part(start: int, end: int, total: int = len(DATA)) -> Reply:
    headers = {"content-type": "t/x", "content-range": f"bytes {start}-{end - 1}/{total}", "etag": f'"{MD5}"'}
    return Reply(chunked(DATA[start:end]), status=206, headers=headers)


def test_a_name_keeps_its_slashes() -> None:
    assert attachment_path("a/b", "dir/é ?.txt") == "/a%2Fb/dir/%C3%A9%20%3F.txt"
    assert attachment_path("a", "../x") == "/a/%2E%2E/x"


async def test_what_is_known_of_an_attachment() -> None:
    remote, server = database(whole())
    attachment = await remote.get_attachment("a", "f", rev="1-x")
    assert (attachment.content_type, attachment.length) == ("t/x", len(DATA))
    assert (attachment.digest, attachment.encoding) == ("md5-" + MD5, None)
    assert await attachment.read() == DATA
    (asked,) = server.asked
    assert (asked.path, asked.query, asked.headers["accept-encoding"]) == ("/a/f", {"rev": "1-x"}, "identity")
    assert server.all_closed


@pytest.mark.parametrize(
    ("headers", "digest"),
    [
        ({"content-md5": "abc==", "etag": '"other"'}, "md5-abc=="),
        ({"etag": '"sha256-abc"'}, "sha256-abc"),
        ({"etag": 'W/"md5-abc"'}, "md5-abc"),
    ],
)
async def test_the_digest_stands_in_several_places(headers: dict[str, str], digest: str) -> None:
    remote, _ = database(Reply(b"x", headers={"content-length": "1", **headers}))
    assert (await remote.get_attachment("a", "f")).digest == digest


async def test_digests_of_the_very_bytes_are_told_and_none_of_others() -> None:
    given = {"content-length": "1", "etag": '"x"', "content-md5": "abc=="}
    good = f"{'s' * 43}="
    for header in (f"sha-256=:{good}:", f"sha-512=:AAAA:, sha-256=:{good}:"):
        remote, _ = database(Reply(b"x", headers={**given, "repr-digest": header}))
        assert (await remote.get_attachment("a", "f")).checks == (f"sha256-{good}", "md5-abc==")
    remote, _ = database(Reply(b"x", headers={**given, "repr-digest": "sha-256=:short:"}))
    assert (await remote.get_attachment("a", "f")).checks == ("md5-abc==",)
    remote, _ = database(Reply(b"x", headers={"content-length": "1", "etag": '"x"'}))
    assert (await remote.get_attachment("a", "f")).checks == ()


@pytest.mark.parametrize(
    ("start", "end", "header"), [(10, 20, "bytes=10-19"), (10, None, "bytes=10-"), (0, 20, "bytes=0-19")]
)
async def test_a_range_is_asked_for(start: int, end: int | None, header: str) -> None:
    remote, server = database(part(start, end or len(DATA)))
    attachment = await remote.get_attachment("a", "f", start=start, end=end)
    assert server.asked[0].headers["range"] == header
    assert await attachment.read() == DATA[start:end]
    assert (attachment.start, attachment.end, attachment.length) == (start, end or len(DATA), len(DATA))


@pytest.mark.parametrize(("start", "end"), [(10, 20), (100_000, None), (0, 20), (5, 200_000)])
async def test_a_server_without_ranges_sends_all_and_the_rest_is_dropped(start: int, end: int | None) -> None:
    remote, server = database(whole())
    attachment = await remote.get_attachment("a", "f", start=start, end=end)
    assert await attachment.read() == DATA[start:end]
    assert server.all_closed
    assert server.streams[0].given <= (end or len(DATA)) + 1000


async def test_a_range_of_nothing_is_empty() -> None:
    remote, server = database(part(5, 6))
    attachment = await remote.get_attachment("a", "f", start=5, end=5)
    assert await attachment.read() == b""
    assert server.all_closed


async def test_a_range_from_the_beginning_of_an_empty_attachment_is_empty() -> None:
    refusal = Reply({"error": "requested_range_not_satisfiable", "reason": "why"}, status=416)
    remote, server = database(refusal, whole(b""))
    assert await (await remote.get_attachment("a", "f", end=10)).read() == b""
    assert "range" not in server.asked[1].headers


async def test_a_range_beyond_the_end_is_refused() -> None:
    refusal = Reply({"error": "requested_range_not_satisfiable", "reason": "why"}, status=416)
    remote, server = database(refusal, whole())
    for _ in range(2):
        with pytest.raises(RangeNotSatisfiable):
            await remote.get_attachment("a", "f", start=len(DATA))
    assert server.all_closed
    with pytest.raises(BadRequest):
        await remote.get_attachment("a", "f", start=-1)


async def test_a_part_that_is_not_said_to_be_one_is_a_breach_of_the_protocol() -> None:
    remote, server = database(Reply(b"x", status=206))
    with pytest.raises(ProtocolError):
        await remote.get_attachment("a", "f", start=1)
    assert server.all_closed


async def test_a_stream_that_is_cut_off_fails() -> None:
    remote, _ = database(whole(headers={"content-length": str(len(DATA) + 1)}))
    attachment = await remote.get_attachment("a", "f")
    with pytest.raises(ConnectionFailed):
        await attachment.read()


async def test_a_server_that_sends_too_much_is_not_listened_to() -> None:
    remote, _ = database(whole(headers={"content-length": str(len(DATA) - 7)}))
    assert await (await remote.get_attachment("a", "f")).read() == DATA[:-7]


async def test_a_small_one_frees_its_connection_at_once() -> None:
    small = DATA[:SMALL]
    remote, server = database(whole(small))
    attachment = await remote.get_attachment("a", "f")
    assert server.all_closed
    assert await attachment.read() == small


async def test_one_that_is_not_read_is_closed() -> None:
    remote, server = database(whole())
    attachment = await remote.get_attachment("a", "f")
    assert not server.streams[0].closed.is_set()
    await attachment.aclose()
    assert server.all_closed
    await attachment.aclose()
    # The database's own end closes what nobody closed.
    remote, server = database(whole())
    await remote.get_attachment("a", "f")
    await remote.close()
    assert server.all_closed


class TestEncoded:
    PACKED = gzip.compress(DATA, mtime=0)

    async def test_encoded_bytes_are_given_as_they_are(self) -> None:
        remote, server = database(whole(self.PACKED, {"content-encoding": "gzip"}))
        attachment = await remote.get_attachment("a", "f", encoded=True)
        assert (attachment.encoding, attachment.length) == ("gzip", len(self.PACKED))
        assert await attachment.read() == self.PACKED
        assert server.asked[0].headers["accept-encoding"] == "gzip"

    async def test_a_server_that_encodes_all_the_same_is_decoded(self) -> None:
        stub: dict[str, Any] = {"_id": "a", "_attachments": {"f": {"length": len(DATA), "stub": True}}}
        remote, server = database(whole(self.PACKED, {"content-encoding": "gzip"}), stub)
        attachment = await remote.get_attachment("a", "f")
        assert (attachment.encoding, attachment.length) == (None, len(DATA))
        assert await attachment.read() == DATA
        assert server.all_closed

    async def test_a_length_that_is_not_announced_is_looked_up(self) -> None:
        stub: dict[str, Any] = {"_id": "a", "_attachments": {"f": {"length": len(DATA), "encoded_length": 3}}}
        remote, _ = database(Reply(chunked(DATA), headers={"etag": f'"{MD5}"'}), stub)
        attachment = await remote.get_attachment("a", "f")
        assert attachment.length == len(DATA)
        assert await attachment.read() == DATA
        remote, _ = database(Reply(chunked(b"xyz"), headers={"etag": '"x"', "content-encoding": "gzip"}), stub)
        assert (await remote.get_attachment("a", "f", encoded=True)).length == 3
        stub["_attachments"]["f"]["digest"] = "md5-known"
        remote, _ = database(Reply(chunked(DATA)), stub)
        assert (await remote.get_attachment("a", "f")).digest == "md5-known"
        remote, server = database(Reply(chunked(DATA)), {"_id": "a"})
        with pytest.raises(NotFound):
            await remote.get_attachment("a", "f")
        assert server.all_closed


class TestPut:
    async def test_content_is_the_body(self) -> None:
        remote, server = database({"ok": True, "id": "a", "rev": "2-x"}, {"ok": True, "id": "a", "rev": "3-x"})
        written = await remote.put_attachment("a", "f", b"content", "t/x", rev="1-x")
        assert written == ("a", "2-x")
        await remote.put_attachment("a", "f", base64.b64encode(b"text").decode(), "t/y", rev="2-x")
        first, second = server.asked
        assert (first.method, first.path, first.query) == ("PUT", "/a/f", {"rev": "1-x"})
        assert (first.body, first.headers["content-type"]) == (b"content", "t/x")
        assert second.body == b"text"
        with pytest.raises(BadRequest):
            await remote.put_attachment("a", "f", "no base64!")

    async def test_a_stream_is_sent_as_it_comes(self) -> None:
        remote, server = database({"ok": True, "id": "a", "rev": "1-x"}, {"ok": True, "id": "a", "rev": "1-x"})
        await remote.put_attachment("a", "f", chunked(DATA))
        attachment = Attachment("f", "t/x", 9, "md5-x", lambda: chunked(b"ninebytes"), encoding="gzip")
        await remote.put_attachment("a", "f", attachment)
        first, second = server.asked
        assert first.body == DATA
        assert first.headers["transfer-encoding"] == "chunked"
        assert (second.headers["content-length"], second.headers["content-encoding"]) == ("9", "gzip")

    async def test_it_is_removed(self) -> None:
        remote, server = database({"ok": True, "id": "a", "rev": "2-x"})
        assert await remote.remove_attachment("a", "f", "1-x") == ("a", "2-x")
        assert (server.asked[0].method, server.asked[0].query) == ("DELETE", {"rev": "1-x"})
