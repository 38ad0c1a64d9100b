from __future__ import annotations

import base64
import email
import email.message
import gzip
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerpouch.couchapi.attachments import parse_ranges
from peerpouch.errors import RangeNotSatisfiable
from peerpouch.ports import Attachment
from tests.couchapi.support import Api

DATA = bytes(range(256)) * 2000


async def put(api: Api, data: bytes = DATA, **headers: str) -> str:
    answer = await api.put("/db/a/f", content=data, headers={"content-type": "image/png", **headers})
    assert answer.status == 201
    rev: str = answer.json["rev"]
    return rev


async def test_an_attachment_is_given_with_what_is_known_of_it(api: Api) -> None:
    await put(api)
    answer = await api.get("/db/a/f")
    digest = base64.b64encode(hashlib.md5(DATA).digest()).decode()
    assert answer.body == DATA
    expected = {
        "content-type": "image/png",
        "content-length": str(len(DATA)),
        "content-md5": digest,
        "repr-digest": f"sha-256=:{base64.b64encode(hashlib.sha256(DATA).digest()).decode()}:",
        "etag": f'"{digest}"',
        "accept-ranges": "bytes",
    }
    assert {name: answer.headers[name] for name in expected} == expected
    head = await api.call("HEAD", "/db/a/f")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(DATA))
    assert (await api.get("/db/a/f", headers={"if-none-match": f'"{digest}"'})).status == 304


async def test_a_page_that_was_attached_runs_in_a_sandbox(api: Api) -> None:
    await put(api, b"<script>", **{"content-type": "text/html"})
    assert (await api.get("/db/a/f")).headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-9", 0, 10), ("5-", 5, len(DATA)), ("-7", len(DATA) - 7, len(DATA)), (f"10-{10**12}", 10, len(DATA))],
)
async def test_a_range_is_given_alone(api: Api, asked: str, start: int, end: int) -> None:
    await put(api)
    answer = await api.get("/db/a/f", headers={"range": f"bytes={asked}"})
    assert answer.status == 206
    assert answer.body == DATA[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(end - start)


@pytest.mark.parametrize("asked", [f"{len(DATA)}-", "9-5", "-0"])
async def test_a_range_that_does_not_exist_is_refused_with_the_length(api: Api, asked: str) -> None:
    await put(api)
    answer = await api.get("/db/a/f", headers={"range": f"bytes={asked}"})
    assert (answer.status, answer.json["error"]) == (416, "requested_range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.parametrize(
    "asked", ["items=0-1", "bytes=0-1,x", "bytes=-", "bytes=a-b", "bytes=1-2,", "bytes=" + ",".join(["0-0"] * 10)]
)
async def test_a_range_that_is_not_understood_is_ignored(api: Api, asked: str) -> None:
    await put(api)
    answer = await api.get("/db/a/f", headers={"range": asked})
    assert (answer.status, answer.body) == (200, DATA)


async def test_a_range_of_what_has_changed_meanwhile_is_all_of_it(api: Api) -> None:
    await put(api)
    answer = await api.get("/db/a/f", headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert (answer.status, answer.body) == (200, DATA)


async def test_several_ranges_are_parts_of_one_answer(api: Api) -> None:
    await put(api)
    answer = await api.get("/db/a/f", headers={"range": f"bytes=10-19, -5 ,0-0,{len(DATA)}-"})
    assert answer.status == 206
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "content-range" not in answer.headers
    head = b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n"
    message = email.message_from_bytes(head + answer.body)
    assert message.get_content_type() == "multipart/byteranges"
    parts = message.get_payload()
    assert isinstance(parts, list)
    end = len(DATA)
    spans = [(10, 20), (end - 5, end), (0, 1)]
    for part, (start, stop) in zip(parts, spans, strict=True):
        assert isinstance(part, email.message.Message)
        assert part["content-type"] == "image/png"
        assert part["content-range"] == f"bytes {start}-{stop - 1}/{end}"
    for start, stop in spans:
        assert b"\r\n\r\n" + DATA[start:stop] + b"\r\n--" in answer.body


async def test_one_range_left_of_several_is_given_alone(api: Api) -> None:
    await put(api)
    answer = await api.get("/db/a/f", headers={"range": f"bytes={len(DATA)}-,0-"})
    assert (answer.status, answer.body) == (206, DATA)
    assert answer.headers["content-range"] == f"bytes 0-{len(DATA) - 1}/{len(DATA)}"


async def test_ranges_that_are_longer_than_all_are_answered_with_all(api: Api) -> None:
    await put(api)
    answer = await api.get("/db/a/f", headers={"range": "bytes=0-,0-,0-,0-,0-,0-,0-,0-,0-"})
    assert (answer.status, answer.body) == (200, DATA)


async def test_no_answer_is_put_together_of_two_revisions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    rev = await put(api)
    database = api.registry.databases["db"]
    opens = database.get_attachment

    async def change_before_a_part(*args: Any, **options: Any) -> Attachment:
        if "start" in options:
            assert (await api.put(f"/db/a/f?rev={rev}", content=DATA[::-1])).status == 201
        return await opens(*args, **options)

    monkeypatch.setattr(database, "get_attachment", change_before_a_part)
    assert (await api.get("/db/a/f", headers={"range": "bytes=0-9"})).status == 409


@given(st.text("0123456789-, =bytes", max_size=40), st.integers(0, 50))
def test_whatever_is_asked_for_the_ranges_are_there(asked: str, length: int) -> None:
    for value in (asked, f"bytes={asked}"):
        try:
            spans = parse_ranges(value, length)
        except RangeNotSatisfiable:
            continue
        assert all(0 <= start < end <= length for start, end in spans)
        assert sum(end - start for start, end in spans) <= length


def test_ranges_of_nothing() -> None:
    assert parse_ranges("bytes=0-", 0) == []
    for asked in ("bytes=-1", "bytes=0-0"):
        with pytest.raises(RangeNotSatisfiable):
            parse_ranges(asked, 0)


async def test_a_gzipped_attachment_is_decoded_for_who_does_not_accept_it(api: Api) -> None:
    packed = gzip.compress(DATA, mtime=0)
    await put(api, packed, **{"content-encoding": "gzip"})
    plain = await api.get("/db/a/f", headers={"accept-encoding": "identity"})
    assert plain.body == DATA
    assert "content-encoding" not in plain.headers
    refused = await api.get("/db/a/f", headers={"accept-encoding": "gzip;q=0"})
    assert refused.body == DATA
    raw = await api.get("/db/a/f", headers={"accept-encoding": "deflate, gzip;q=0.5"})
    assert (raw.headers["content-encoding"], raw.body) == ("gzip", packed)
    # Digests are of what is sent, or not there: whoever checks them must not find a good content wrong.
    assert raw.headers["content-md5"] == base64.b64encode(hashlib.md5(packed).digest()).decode()
    assert raw.headers["repr-digest"] == f"sha-256=:{base64.b64encode(hashlib.sha256(packed).digest()).decode()}:"
    assert not {"content-md5", "repr-digest"} & {*refused.headers}
    assert raw.headers["content-length"] == str(len(packed))


async def test_a_name_may_have_slashes_and_any_letters(api: Api) -> None:
    for path in ("/db/a/dir/file.txt", "/db/b/dir%2Ffile.txt", "/db/c/%C3%BC%20b.txt"):
        assert (await api.put(path, content=b"x")).status == 201
        assert (await api.get(path)).body == b"x"
    assert "dir/file.txt" in (await api.get("/db/b")).json["_attachments"]


async def test_an_attachment_of_a_design_document(api: Api) -> None:
    assert (await api.put("/db/_design/app/index.html", content=b"x")).status == 201
    assert (await api.get("/db/_design/app/index.html")).body == b"x"


async def test_a_local_document_has_none(api: Api) -> None:
    assert (await api.put("/db/_local/c/f", content=b"x")).status == 400


async def test_an_attachment_is_replaced_and_removed(api: Api) -> None:
    rev = await put(api)
    answer = await api.put(f"/db/a/f?rev={rev}", content=b"new")
    assert answer.status == 201
    assert (await api.get("/db/a/f")).body == b"new"
    assert (await api.get(f"/db/a/f?rev={rev}")).body == DATA
    answer = await api.delete("/db/a/f", headers={"if-match": answer.json["rev"]})
    assert answer.status == 200
    assert (await api.get("/db/a/f")).status == 404
    assert "_attachments" not in (await api.get("/db/a")).json


async def test_a_stream_is_stored_as_it_comes(api: Api) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield DATA

    assert (await api.put("/db/a/f", content=body(), headers={"content-type": "image/png"})).status == 201
    answer = await api.call("HEAD", "/db/a/f")
    assert answer.headers["content-length"] == str(len(DATA) * 100)
